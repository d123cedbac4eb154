import type { Coordinator, LeaderLease, TreePlacement } from '../../../src/coordination/coordinator.ts';
import { DISTANT_PAST, type Instant, NEVER } from '../../../src/core/time.ts';

/** A coordinator whose one leader lease does what a test says: lasts for ever unless told otherwise. */
export class FakeCoordinator implements Coordinator, LeaderLease {
  term = 1n;
  from: Instant = DISTANT_PAST;
  end: Instant = NEVER;
  left = false;
  /** While set, every extension waits for it. */
  extending: Promise<void> | undefined;
  extensions = 0;
  #lost: ((why: Error) => void) | undefined;

  place(_root: string): TreePlacement {
    return { at: 'here', leaderLease: this };
  }

  onLost(lost: (why: Error) => void): void {
    this.#lost = lost;
  }

  async leave(): Promise<void> {
    this.left = true;
  }

  until(): Instant {
    return this.end;
  }

  extend(_now: Instant): Promise<void> | undefined {
    this.extensions++;
    return this.extending;
  }

  /** A newer process took over. */
  lose(why: Error): void {
    this.#lost?.(why);
  }
}
