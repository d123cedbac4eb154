import type { Timers } from '../coordination/replica.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';

/** Asks that came to nothing are made again after this long, and ever longer while that does not help. */
const FIRST: Micros = 50 * MILLISECOND;
const LAST: Micros = 800 * MILLISECOND;

/** When to ask again for a shard whose supposed owner does not decide for it. */
export class ShardRetries {
  readonly #timers: Timers;
  readonly #again: (shard: number) => void;
  readonly #planned = new Map<number, { cancel: (() => void) | undefined; delay: Micros }>();

  constructor(timers: Timers, again: (shard: number) => void) {
    this.#timers = timers;
    this.#again = again;
  }

  /** Once, for all who come before it is due. */
  plan(shard: number): void {
    const plan = this.#planned.get(shard) ?? { cancel: undefined, delay: FIRST };
    this.#planned.set(shard, plan);
    plan.cancel ??= this.#timers.after(plan.delay, () => {
      plan.cancel = undefined;
      plan.delay = Math.min(LAST, plan.delay * 2);
      this.#again(shard);
    });
  }

  /** Its owner has changed: from the beginning. */
  forget(shard: number): void {
    this.#planned.get(shard)?.cancel?.();
    this.#planned.delete(shard);
  }
}
