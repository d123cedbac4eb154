import type { Instant, Micros } from '../../core/time.ts';

/** Two machines' monotonic clocks, slewing included, drift apart by at most this much (docs/design/coordination.md 2.6): NTP moves a clock by 500 ppm at most. */
export const DRIFT_MAX = 1e-3;

/**
 * The greatest lower bound of what another clock is ahead of the own one, in microseconds, from messages that contain what it showed:
 * one that was long on its way only makes the bound lower, and so does age, since the clocks may run apart.
 */
export class LowerBound {
  #offset: Micros | undefined;
  #at: Micros = 0;

  /** Records that at `now` of the own clock the other one was ahead by `offset` at least. */
  observe(offset: Micros, now: Micros): void {
    this.#offset = Math.max(offset, this.offset(now) ?? offset);
    this.#at = now;
  }

  /** Returns by how much the other clock is ahead at least at `now`; undefined if nothing was observed of it. */
  offset(now: Micros): Micros | undefined {
    return this.#offset === undefined ? undefined : this.#offset - DRIFT_MAX * (now - this.#at);
  }
}

/**
 * Lower bounds of the clocks of shards (docs/design/coordination.md 2.5): for each the greatest one that its owner's
 * heartbeats give. A bound belongs to one term: the clock of the next may be behind that of the one before.
 */
export class ClockBounds {
  readonly #bounds = new Map<number, { readonly term: bigint; readonly bound: LowerBound }>();

  /** Records that the owner of `shard` in `term` reported `at` as its clock; received at `mono`, after it was sent. */
  observe(shard: number, term: bigint, at: Instant, mono: Micros): void {
    const known = this.#bounds.get(shard);
    if (known !== undefined && known.term > term) return;
    const bound = known?.term === term ? known.bound : new LowerBound();
    bound.observe(at - mono, mono);
    this.#bounds.set(shard, { term, bound });
  }

  /** Returns what the clock of `shard` in `term` shows at least at `mono`, or undefined if nothing was observed of that term. */
  bound(shard: number, term: bigint, mono: Micros): Instant | undefined {
    const known = this.#bounds.get(shard);
    if (known?.term !== term) return undefined;
    const offset = known.bound.offset(mono);
    return offset === undefined ? undefined : (Math.floor(mono + offset) as Instant);
  }
}
