import { DRIFT_MAX } from '../../coordination/clocks/clock-bounds.ts';
import type { Instant, Micros } from '../../core/time.ts';

/**
 * What turns another process's time into one's own: the greatest lower bound of the difference that its frames give, which
 * age makes lower (docs/design/coordination.md 2.5). So an instant of the other is told too late rather than too early, by the shortest
 * time that a frame was ever on its way.
 */
export class ClockOffset {
  #ahead: Micros | undefined;
  #at: Instant = 0 as Instant;

  /** The other's clock showed `theirs` when it sent what came at `now`. */
  heard(theirs: Instant, now: Instant): void {
    const ahead = theirs - now;
    this.#ahead = Math.max(ahead, this.#aged(now) ?? ahead);
    this.#at = now;
  }

  /** To be added to an instant of the other; 0 before anything was heard. */
  shift(now: Instant): Micros {
    return Math.ceil(0 - (this.#aged(now) ?? 0));
  }

  #aged(now: Instant): Micros | undefined {
    return this.#ahead === undefined ? undefined : this.#ahead - DRIFT_MAX * (now - this.#at);
  }
}
