import { MILLISECOND, type Micros, plus } from '../core/time.ts';
import type { Clock } from './clock.ts';
import type { Pace } from './pace.ts';

/** The event loop is kept this long at a time, and one step of the work longer at most. */
const SLICE: Micros = 3 * MILLISECOND;

/** Steps of one slice at most, whatever the clock says. */
const STEPS_MAX = 1_000;

/** Work that yields after each small step and returns its result. */
export type Work<T> = Generator<void, T, void>;

/** Runs long work in slices of a few milliseconds, between which the event loop answers callers. */
export class Slices {
  readonly #clock: Clock;
  readonly #turn: () => Promise<void>;

  /** `defer` runs something in the next turn of the event loop; `pace`, if given, says when the next slice may run instead. */
  constructor({ clock, defer, pace }: { clock: Clock; defer: (run: () => void) => void; pace?: Pace | undefined }) {
    this.#clock = clock;
    this.#turn = pace === undefined ? () => new Promise((resolve) => defer(resolve)) : () => pace.turn();
  }

  /** Runs the first slice at once, the rest in later turns; each keeps the event loop for `slice`, 3 ms if not given. Rejects with what the work throws. */
  async run<T>(work: Work<T>, slice: Micros = SLICE): Promise<T> {
    for (;;) {
      const end = plus(this.#clock.now(), slice);
      for (let steps = 0; steps < STEPS_MAX; steps++) {
        const step = work.next();
        if (step.done === true) return step.value;
        if (this.#clock.now() >= end) break;
      }
      await this.#turn();
    }
  }
}

/** Runs work to its end in one turn: for a start, when no caller is served yet. */
export function atOnce<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
