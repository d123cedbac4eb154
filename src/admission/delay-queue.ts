import { Fifo } from '../core/collections/fifo.ts';
import { type Instant, type Micros, plus } from '../core/time.ts';
import type { Clock } from './clock.ts';

/** Things to look at again after a fixed time, in order, with one timer for all. */
export class DelayQueue<T> {
  readonly #clock: Clock;
  readonly #delay: Micros;
  readonly #due: (thing: T, now: Instant) => void;
  readonly #line = new Fifo<{ readonly thing: T; readonly at: Instant }>();
  #armed = false;

  constructor(deps: { clock: Clock; delay: Micros; due: (thing: T, now: Instant) => void }) {
    this.#clock = deps.clock;
    this.#delay = deps.delay;
    this.#due = deps.due;
  }

  /** Looks at it once, `delay` from now. */
  push(thing: T): void {
    this.#line.push({ thing, at: plus(this.#clock.now(), this.#delay) });
    this.#arm();
  }

  #arm(): void {
    const next = this.#line.peek();
    if (this.#armed || next === undefined) return;
    this.#armed = true;
    this.#clock.at(next.at, () => this.#look());
  }

  #look(): void {
    this.#armed = false;
    const now = this.#clock.now();
    for (let next = this.#line.peek(); next !== undefined && next.at <= now; next = this.#line.peek()) {
      this.#line.shift();
      this.#due(next.thing, now);
    }
    this.#arm();
  }
}
