import { type Instant, MILLISECOND, NEVER, plus } from '../core/time.ts';
import type { Clock } from './clock.ts';

/** The right to decide is renewed this long before a known need, so that a grant is not late by a write. */
const AHEAD = 150 * MILLISECOND;

/** The one timer of a gate. A later request leaves an earlier timer as it is: an extra tick does nothing. */
export class GateTimer {
  readonly #clock: Clock;
  readonly #prepare: () => void;
  readonly #wake: () => void;
  #armed: Instant = NEVER;
  #cancel: (() => void) | undefined;

  /** `prepare` is called a little before `wake` where there is time for it. */
  constructor(deps: { clock: Clock; prepare: () => void; wake: () => void }) {
    this.#clock = deps.clock;
    this.#prepare = deps.prepare;
    this.#wake = deps.wake;
  }

  /** Wakes at `when`, or before. */
  arm(now: Instant, when: Instant): void {
    if (when >= this.#armed || when === NEVER) return;
    this.stop();
    this.#armed = when;
    const ahead = when - now > 2 * AHEAD;
    this.#cancel = this.#clock.at(ahead ? plus(when, -AHEAD) : when, ahead ? () => this.#ahead(when) : () => this.#due());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#armed = NEVER;
  }

  #ahead(when: Instant): void {
    this.#cancel = this.#clock.at(when, () => this.#due());
    this.#prepare();
  }

  #due(): void {
    this.#cancel = undefined;
    this.#armed = NEVER;
    this.#wake();
  }
}
