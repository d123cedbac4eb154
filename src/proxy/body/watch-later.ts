import type { Clock } from '../../admission/clock.ts';
import { type IndexedItem, IndexedSet } from '../../core/collections/indexed-set.ts';
import { type Instant, type Micros, plus, SECOND } from '../../core/time.ts';

/** Most are over before: a timer of its own has only what has not ended after this long. */
const UNWATCHED: Micros = SECOND;

/** One that need not be watched yet. */
export interface WatchedLater extends IndexedItem {
  /** It is to be watched from now on. */
  watch(): void;
}

/** Bodies and permits that have just begun: one timer serves all that end in a moment. */
export class WatchLater {
  readonly #clock: Clock;
  readonly #roll = new IndexedSet<WatchedLater>();
  #armed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `watch` of `one` within a second; returns false where that is too late for what is due at `due`. */
  take(one: WatchedLater, now: Instant, due: Instant | undefined): boolean {
    const at = plus(now, UNWATCHED);
    if (due !== undefined && due <= at) return false;
    this.#roll.add(one);
    if (!this.#armed) {
      this.#armed = true;
      this.#clock.at(at, this.#ring);
    }
    return true;
  }

  /** It is over, or watched already. */
  leave(one: WatchedLater): void {
    this.#roll.remove(one);
  }

  readonly #ring = (): void => {
    this.#armed = false;
    for (const one of this.#roll.takeAll()) one.watch();
  };
}
