import { type Instant, type Micros, NEVER, plus } from '../time.ts';
import type { Estimated, WaitEstimate } from './wait-estimate.ts';
import type { WaitTraffic } from './wait-traffic.ts';

/** Steps towards the wait in which as many overtake as come in it. */
const STEPS = 24;
/** A wait is lengthened so many times at most. */
const LONGER_MAX = 4;
/** Keys looked at for turns that others may still take. */
const KEYS_MAX = 256;
/** What is not known yet of overtakers and leavers: courses by this power of what they change. */
const DOUBTS = [-0.7, -0.35, 0, 0.35, 0.7];

/** Returns an estimate with those who will come and go first, and those ahead who will leave. */
export function withTraffic(traffic: WaitTraffic, now: Instant, who: Estimated, estimate: WaitEstimate): WaitEstimate {
  const alone = estimate.at - now;
  if (estimate.at === NEVER || alone <= 0) return estimate;
  const { leaving } = traffic;
  const kept = leaving === 0 || who.ahead === 0 ? alone : Math.log1p(leaving * alone) / leaving;
  const pace = (who.ahead + 1) / alone;
  const wait = lengthened(kept, (during) => traffic.overtaking(now, who.priority, during, who.state.node.spec.aging) / pace);
  const turns = openTurns(who);
  const others = othersPart(who);
  const longest = turns === 0 ? wait : lengthened(wait, (during) => Math.min(turns, traffic.coming(now, who.priority, during) * others) / pace);
  if (longest === alone && wait === alone) return estimate;
  const at = plus(now, Math.round(wait));
  if (estimate.courses.length > 0) return { at, courses: estimate.courses.map((each) => plus(now, Math.round((each - now) * (wait / alone)))) };
  const doubt = Math.max(wait, longest) / Math.min(wait, alone);
  return { at, courses: DOUBTS.map((power) => plus(now, Math.round(wait * (longest > wait && power < 0 ? 1 : doubt ** power)))).sort((a, b) => a - b) };
}

/** Returns a wait made longer by what comes first while it lasts, at most four times. */
function lengthened(wait: Micros, more: (during: Micros) => Micros): Micros {
  let length = wait;
  for (let step = 0; step < STEPS; step++) {
    const next = Math.min(LONGER_MAX * wait, wait + more(length));
    if (next - length < 1) return length;
    length = next;
  }
  return length;
}

/** Turns that callers of other keys may take before this one if they come: a key may go as often as this one does until then. */
function openTurns({ state, aheadOfKey }: Estimated): number {
  const { node } = state;
  if (!node.fair) return 0;
  const weight = node.weightOf(state.key);
  let turns = 0;
  let looked = 0;
  for (const other of node.keys.values()) {
    if (other === state) continue;
    if (++looked > KEYS_MAX) break;
    const own = Math.ceil(((aheadOfKey + 1) * node.weightOf(other.key)) / weight);
    turns += Math.max(0, own - other.waiting);
  }
  return turns;
}

/** Part of those that come which is not of this key. */
function othersPart({ state }: Estimated): number {
  return 1 - state.waiting / Math.max(1, state.node.waiting);
}
