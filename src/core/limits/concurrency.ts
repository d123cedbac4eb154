import type { Quota } from '../group.ts';
import type { Bound, Limit, LimitStatus } from '../limit.ts';
import { type Instant, type Micros, NEVER } from '../time.ts';

/** A quota of units held at once. */
export type ConcurrencyQuota = Extract<Quota, { kind: 'concurrency' }>;

/**
 * At most `max` units held at any moment. Time alone frees nothing: a unit comes back by `giveBack`, when its lease ends.
 * After a change to fewer, or an admission restored beyond them, nobody passes until enough have come back. What is held
 * over a change of term is recorded lease by lease, not here: the gate takes restored leases again.
 */
export class Concurrency implements Limit {
  #max: number;
  #held = 0;

  constructor(quota: ConcurrencyQuota) {
    this.#max = quota.max;
  }

  get capacity(): number {
    return this.#max;
  }

  get recovery(): Micros {
    return 0;
  }

  readyAt(now: Instant, cost: number): Instant {
    return this.#held + cost <= this.#max ? now : NEVER;
  }

  take(_now: Instant, cost: number): void {
    this.#held += cost;
  }

  giveBack(_now: Instant, _at: Instant, cost: number): void {
    this.#held = Math.max(0, this.#held - cost);
  }

  debit(_now: Instant, cost: number): void {
    this.#held += cost;
  }

  status(now: Instant): LimitStatus {
    const used = Math.min(this.#held, this.#max);
    return { capacity: this.#max, used, debt: this.#held - used, resetAt: used < this.#max ? now : NEVER };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    return this.readyAt(now, ahead + cost);
  }

  idleAt(now: Instant): Instant {
    return this.#held > 0 ? NEVER : now;
  }

  reshape(_now: Instant, quota: Quota): void {
    if (quota.kind !== 'concurrency') throw new TypeError(`a concurrency cannot become a ${quota.kind}`);
    this.#max = quota.max;
  }

  covers(): boolean {
    return true;
  }

  bound(): Bound {
    return { slot: 0, value: 0 };
  }

  cover(_bound: Bound): void {}

  bounds(): readonly Bound[] {
    return [];
  }

  recordBounds(): void {}

  restore(): void {}

  seal(_now: Instant): readonly number[] {
    return [this.#held];
  }

  unseal(state: readonly number[]): void {
    this.#held = state[0] ?? 0;
  }
}
