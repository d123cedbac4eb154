import { LowerBound } from '../../coordination/clocks/clock-bounds.ts';
import type { Instant, Micros } from '../../core/time.ts';

/**
 * Converts a peer's time to that of this process by the greatest lower bound of the difference that its frames give
 * (docs/design/coordination.md 2.5). An instant of the peer is converted too late rather than too early, by the shortest time that a
 * frame was ever on its way.
 */
export class ClockOffset {
  readonly #ahead = new LowerBound();

  /** Records that the peer's clock showed `theirs` when it sent what arrived at `now`. */
  observe(theirs: Instant, now: Instant): void {
    this.#ahead.observe(theirs - now, now);
  }

  /** Returns what to add to an instant of the peer, in microseconds; 0 before anything was received. */
  shift(now: Instant): Micros {
    return Math.ceil(0 - (this.#ahead.offset(now) ?? 0));
  }
}
