import type { Clock } from '../admission/clock.ts';
import { after, type Instant, type Micros, SECOND } from '../core/time.ts';
import { type Enrolled, Roll } from './roll.ts';

/** Most are over before: a timer of its own has only what has not ended after this long. */
const UNWATCHED: Micros = SECOND;

/** One that nobody has to watch yet. */
export interface Newcomer extends Enrolled {
  /** It is to be watched from now on. */
  watch(): void;
}

/** Bodies and permits that have just begun: one timer serves all that end in a moment. */
export class Newcomers {
  readonly #clock: Clock;
  readonly #roll = new Roll<Newcomer>();
  #armed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It will be told to watch within a second; answers false where that is too late for what is due at `due`. */
  take(one: Newcomer, now: Instant, due: Instant | undefined): boolean {
    const at = after(now, UNWATCHED);
    if (due !== undefined && due <= at) return false;
    this.#roll.add(one);
    if (!this.#armed) {
      this.#armed = true;
      this.#clock.at(at, this.#ring);
    }
    return true;
  }

  /** It is over, or watched already. */
  leave(one: Newcomer): void {
    this.#roll.remove(one);
  }

  readonly #ring = (): void => {
    this.#armed = false;
    for (const one of this.#roll.takeAll()) one.watch();
  };
}
