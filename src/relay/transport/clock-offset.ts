import { LowerBound } from '../../coordination/clocks/clock-bounds.ts';
import type { Instant, Micros } from '../../core/time.ts';

/**
 * Turns another process's time into one's own by the greatest lower bound of the difference that its frames give
 * (docs/design/coordination.md 2.5). An instant of the other is reported too late rather than too early, by the shortest time that a
 * frame was ever on its way.
 */
export class ClockOffset {
  readonly #ahead = new LowerBound();

  /** The other's clock showed `theirs` when it sent what came at `now`. */
  heard(theirs: Instant, now: Instant): void {
    this.#ahead.heard(theirs - now, now);
  }

  /** Returns what to add to an instant of the other, in microseconds; 0 before anything was heard. */
  shift(now: Instant): Micros {
    return Math.ceil(0 - (this.#ahead.offset(now) ?? 0));
  }
}
