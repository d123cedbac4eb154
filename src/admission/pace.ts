import { MILLISECOND, type Micros } from '../core/time.ts';

/** Lets work that has no deadline go on a slice at a time. */
export interface Pace {
  /** Resolves when the next slice may run. Never rejects. */
  turn(): Promise<void>;
}

/** What a {@link LoopPace} is made of. */
export interface LoopPaceDeps {
  /** Monotonic time. */
  readonly mono: () => Micros;
  readonly after: (delay: Micros, act: () => void) => void;
  /** Runs something once what has arrived from outside was read. */
  readonly defer: (run: () => void) => void;
  /** How long everything that this process decides stays its own without another renewal; infinite where there is nothing to renew. */
  readonly slack: () => Micros;
}

/** The event loop rests as long as a slice takes, so that callers have at least half of it. */
const REST: Micros = 3 * MILLISECOND;

/** A rest that ends this much too late says that the processor, or the loop, is overloaded: the next rest is twice as long. */
const LATE: Micros = 15 * MILLISECOND;
const REST_MAX: Micros = 50 * MILLISECOND;

/** An overloaded loop holds up a slice no longer than this: otherwise a busy machine would never take a new configuration. */
const OVERLOADED_MAX: Micros = 250 * MILLISECOND;

/**
 * No slice begins with less slack, unless there was a renewal since the last one; the second, while slices take longer than {@link LATE} or rests end
 * late. Of a second, peers look whether a replica is dead after 0.7 s: so a slice may take 200 times what it should.
 */
const SLACK_MIN: Micros = 650 * MILLISECOND;
const SLACK_MIN_BUSY: Micros = 900 * MILLISECOND;

/**
 * Paces work by what the event loop still manages (docs/decisions/0035-reloads-give-way.md). Between two slices timers ran and what had arrived was
 * read; a slice never begins while renewals are behind, so that work cannot take the time they need, however slow the machine is.
 */
export class LoopPace implements Pace {
  readonly #deps: LoopPaceDeps;
  /** The least slack seen since the last renewal. */
  #slack: Micros = Number.POSITIVE_INFINITY;
  /** When the last turn was given. */
  #turnedAt: Micros = Number.NEGATIVE_INFINITY;

  constructor(deps: LoopPaceDeps) {
    this.#deps = deps;
  }

  async turn(): Promise<void> {
    const { mono, slack } = this.#deps;
    const began = mono();
    let busy = began - this.#turnedAt > LATE;
    for (let rest = REST; ; rest = Math.min(2 * rest, REST_MAX)) {
      const due = mono() + rest;
      await this.#rest(rest);
      const now = mono();
      const left = slack();
      const late = now - due > LATE;
      busy ||= late;
      const safe = left >= (busy ? SLACK_MIN_BUSY : SLACK_MIN) || left > this.#slack;
      this.#slack = left;
      if (!safe || (late && now - began < OVERLOADED_MAX)) continue;
      this.#turnedAt = now;
      return;
    }
  }

  #rest(delay: Micros): Promise<void> {
    const { after, defer } = this.#deps;
    return new Promise((resolve) => after(delay, () => defer(resolve)));
  }
}
