import type { Clock } from '../admission/clock.ts';
import { MILLISECOND, plus } from '../core/time.ts';

/** Time that a reader waits for an end that is being stored. */
const SETTLED_WITHIN_MS = 1_000;

/** Ends of requests that are being stored. */
export class StoredEnds {
  readonly #clock: Clock;
  readonly #ending = new Map<number, Promise<unknown>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts an end as being stored until `stored` settles. Resolves as that does. */
  during<T>(sequence: number, stored: Promise<T>): Promise<T> {
    const ended = stored.finally(() => this.#ending.delete(sequence));
    this.#ending.set(sequence, ended);
    return ended;
  }

  /** Whether the end of this request is being stored. */
  has(sequence: number): boolean {
    return this.#ending.has(sequence);
  }

  /**
   * Resolves when the end of this request that is being stored now is on disk, or could not be stored; at once if none is. Resolves with
   * false if that takes longer than a second, as while the disk is full: the request has not ended then, as far as anyone may know.
   */
  async settled(sequence: number): Promise<boolean> {
    const ending = this.#ending.get(sequence);
    if (ending === undefined) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const stop = this.#clock.at(plus(this.#clock.now(), SETTLED_WITHIN_MS * MILLISECOND), () => resolve(false));
    ending.then(
      () => resolve(true),
      () => resolve(true),
    );
    return promise.finally(stop);
  }
}
