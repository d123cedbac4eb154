import type { Coordinator, Placement, Tenure } from '../../src/coordination/coordinator.ts';
import { type Instant, LONG_AGO, NEVER } from '../../src/core/time.ts';

/** A coordinator whose one tenure does what a test says: lasts for ever unless told otherwise. */
export class FakeCoordinator implements Coordinator, Tenure {
  term = 1n;
  from: Instant = LONG_AGO;
  end: Instant = NEVER;
  left = false;
  /** While set, every extension waits for it. */
  extending: Promise<void> | undefined;
  extensions = 0;
  #lost: ((why: Error) => void) | undefined;

  place(_root: string): Placement {
    return { at: 'here', tenure: this };
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
