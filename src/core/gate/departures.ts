import { seededRandom } from '../seeded-random.ts';
import type { Instant, Micros } from '../time.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';

/** Courses of events that are tried. */
const TRIES = 16;
/** Holders that are followed, and leases that end, in one try; what is beyond is scaled from them. */
const HOLDERS_MAX = 64;
const ENDS_MAX = 32;

/**
 * Draws when so many leases of a limit that is full will have ended, and others have taken their places: what is held is expected to be
 * held on as leases of that age were, what follows as all were. Returns times from now in rising order, the same for the same state;
 * undefined where no lease has ended yet.
 */
export function drawDepartures({ leases, rule }: LimitInstance, now: Instant, ends: number): readonly Micros[] | undefined {
  const { holds } = rule;
  if (leases === undefined || holds.isEmpty || leases.live === 0) return undefined;
  const starts = leases.starts(HOLDERS_MAX);
  const followed = ends * (starts.length / leases.live);
  const steps = Math.min(ENDS_MAX, Math.max(1, Math.ceil(followed)));
  const beyond = followed <= steps ? 0 : ((followed - steps) * holds.mean) / starts.length;
  const part = Math.min(1, followed);
  const random = seededRandom(1);
  const times: Micros[] = [];
  const rest = new Float64Array(starts.length);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    for (const [index, since] of starts.entries()) rest[index] = holds.drawRest(now - since, random());
    let at = 0;
    for (let step = 0; step < steps; step++) {
      let first = 0;
      for (let index = 1; index < rest.length; index++) if ((rest[index] as number) < (rest[first] as number)) first = index;
      at = rest[first] as number;
      rest[first] = at + holds.draw(random());
    }
    times.push(at * part + beyond);
  }
  return times.sort((a, b) => a - b);
}
