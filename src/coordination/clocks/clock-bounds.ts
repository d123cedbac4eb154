import type { Instant, Micros } from '../../core/time.ts';

/** Two machines' monotonic clocks, slewing included, part by at most this much (docs/design/coordination.md 2.6): NTP moves a clock by 500 ppm at most. */
export const DRIFT_MAX = 1e-3;

/** A bound as it was at one moment of the own clock. */
interface Bound {
  readonly term: bigint;
  /** Shard time less own monotonic time, at most. */
  readonly offset: Micros;
  readonly mono: Micros;
}

/**
 * What a listener knows about the clocks of shards (docs/design/coordination.md 2.5): for each the greatest lower bound that its owner's
 * heartbeats give. A message that was long on its way only makes the bound lower; so does its age, since the clocks may run
 * apart. A bound belongs to one term: the clock of the next may be behind that of the one before.
 */
export class ClockBounds {
  readonly #bounds = new Map<number, Bound>();

  /** The owner of `shard` in `term` said that its clock shows `at`; heard at `mono`, or later than that was said. */
  heard(shard: number, term: bigint, at: Instant, mono: Micros): void {
    const known = this.#bounds.get(shard);
    if (known !== undefined && known.term > term) return;
    let offset = at - mono;
    if (known?.term === term) offset = Math.max(offset, aged(known, mono));
    this.#bounds.set(shard, { term, offset, mono });
  }

  /** What the clock of `shard` in `term` shows at least at `mono`; undefined: nothing was heard of that term. */
  bound(shard: number, term: bigint, mono: Micros): Instant | undefined {
    const known = this.#bounds.get(shard);
    if (known?.term !== term) return undefined;
    return Math.floor(mono + aged(known, mono)) as Instant;
  }
}

function aged({ offset, mono }: Bound, now: Micros): Micros {
  return offset - DRIFT_MAX * (now - mono);
}
