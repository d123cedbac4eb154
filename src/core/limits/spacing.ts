import type { Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER } from '../time.ts';
import { RESERVE_AHEAD } from './gcra.ts';
import { type Bound, type LimitStatus, MAX_DRAINED_RECOVERY, type PersistentLimit } from './limit.ts';

/** A quota of one at a time with a pause after each. */
export type SpacingQuota = Extract<Quota, { kind: 'spacing' }>;

/** Before every admission. */
const NOT_YET = -1;

/**
 * At most one unit per `spacing + slack`, measured from the admission before: never two closer than that. The same as
 * {@link Gcra} with burst 1, except that it remembers the last admission itself: a change of the quota counts from there,
 * and only a refund of that very admission, with no other after it, opens it again.
 */
export class Spacing implements PersistentLimit {
  readonly capacity = 1;
  #period: Micros;
  #last: number = NOT_YET;
  /** Everything charged is paid: it opens. */
  #next: number = DISTANT_PAST;
  #since: Instant = DISTANT_PAST;
  #recording = false;
  #covered = 0;

  constructor(quota: SpacingQuota) {
    this.#period = minInterval(quota);
  }

  get recovery(): Micros {
    return this.#period;
  }

  readyAt(now: Instant, cost: number): Instant {
    if (cost > 1) return NEVER;
    return later(now, (cost > 0 ? this.#next : this.#next - this.#period) as Instant);
  }

  take(now: Instant, cost: number): void {
    if (cost <= 0) return;
    this.#next = Math.min(Number.MAX_SAFE_INTEGER, Math.max(this.#next, now) + cost * this.#period);
    this.#last = now;
  }

  refund(_now: Instant, at: Instant, cost: number): void {
    if (cost <= 0 || at < this.#since || at !== this.#last) return;
    this.#next = Math.max(this.#last, this.#next - cost * this.#period);
  }

  debit(now: Instant, cost: number): void {
    if (cost <= 0) return;
    if (this.#next <= now) this.#last = now;
    this.#next = Math.min(Number.MAX_SAFE_INTEGER, Math.max(this.#next, now) + cost * this.#period);
  }

  forgive(now: Instant): void {
    if (this.#next <= now + this.#period) return;
    this.#next = now + this.#period;
    this.#last = now;
    this.#since = now;
  }

  status(now: Instant): LimitStatus {
    const spent = Math.max(0, Math.ceil((this.#next - now) / this.#period));
    const used = Math.min(spent, 1);
    return { capacity: 1, used, debt: spent - used, resetAt: later(now, this.#next as Instant) };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    if (cost > 1) return NEVER;
    return (this.readyAt(now, Math.min(1, ahead + cost)) + Math.max(0, ahead + cost - 1) * this.#period) as Instant;
  }

  idleAt(now: Instant): Instant {
    return later(now, this.#next as Instant);
  }

  /** The new period counts from the last admission; debts are kept in units. */
  reconfigure(_now: Instant, quota: Quota): void {
    if (quota.kind !== 'spacing') throw new TypeError(`a spacing cannot become a ${quota.kind}`);
    const owed = Math.ceil((this.#next - this.#last) / this.#period);
    this.#period = minInterval(quota);
    if (this.#last !== NOT_YET) this.#next = this.#last + owed * this.#period;
  }

  isCovered(now: Instant, cost: number): boolean {
    if (!this.#recording || cost <= 0 || this.#period <= MAX_DRAINED_RECOVERY) return true;
    return Math.max(this.#next, now) + cost * this.#period <= this.#covered;
  }

  /** `ahead` is not looked at: only one can go, and the next bound is due before the next admission. */
  bound(now: Instant, cost: number, _ahead: number): Bound {
    return { slot: 0, value: Math.max(this.#next, now) + cost * this.#period + RESERVE_AHEAD };
  }

  onPersisted(bound: Bound): void {
    this.#covered = Math.max(this.#covered, bound.value);
  }

  bounds(now: Instant): readonly Bound[] {
    return this.#covered > now ? [{ slot: 0, value: this.#covered }] : [];
  }

  enablePersistence(): void {
    this.#recording = true;
  }

  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#since = from;
    this.#covered = 0;
    for (const bound of bounds) this.onPersisted(bound);
    this.#next = this.#period <= MAX_DRAINED_RECOVERY ? from + this.#period : this.#covered;
    this.#last = this.#next > 0 ? this.#next - this.#period : NOT_YET;
  }

  seal(_now: Instant): readonly number[] {
    return [this.#last, this.#next, this.#since];
  }

  unseal(state: readonly number[]): void {
    const [last = NOT_YET, next = 0, since = 0] = state;
    this.#last = last;
    this.#next = next;
    this.#since = since as Instant;
  }
}

/** How long it is closed after an admission; at least a microsecond. */
function minInterval(quota: SpacingQuota): Micros {
  return Math.max(1, quota.spacing + quota.slack);
}
