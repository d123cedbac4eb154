import type { Adapt, Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER, plus, SECOND } from '../time.ts';
import { AdaptiveConcurrency, type PermitOutcome } from './adaptive-concurrency.ts';
import type { Limit, LimitStatus } from './limit.ts';

/** A quota of units held at once. */
export type ConcurrencyQuota = Extract<Quota, { kind: 'concurrency' }>;

/** What was found out outlives the last permit by so long; then an idle key may be forgotten. */
const ESTIMATE_FOR: Micros = 60 * SECOND;

/**
 * At most `max` units held at any moment; with `adapt` fewer, as many as the backend bears. Time alone frees nothing: a unit
 * comes back by `giveBack`, when its lease ends. After a change to fewer, or an admission restored beyond them, no caller passes
 * until enough have come back. What is held over a change of term is recorded lease by lease, not here: the gate takes
 * restored leases again. An estimate is not recorded: a new term begins with `initial`.
 */
export class Concurrency implements Limit {
  #max: number;
  #held = 0;
  /** As many now, where nothing adapts. */
  #now: number;
  #adaptation: AdaptiveConcurrency | undefined;
  #adapts = false;
  #endedAt: Instant = DISTANT_PAST;

  constructor(quota: ConcurrencyQuota) {
    this.#max = quota.max;
    this.#now = quota.adapt === undefined ? quota.max : startOf(quota.adapt, quota.max);
    this.#adopt(DISTANT_PAST, quota.adapt);
  }

  get capacity(): number {
    return this.#max;
  }

  get estimate(): number | undefined {
    return this.#adapts ? this.#adaptation?.estimate : undefined;
  }

  /** One alone always passes: the limit may be below its cost for now, but with nothing held nothing would raise it. */
  readyAt(now: Instant, cost: number): Instant {
    return this.#held + cost <= this.#limitAt(now) || (this.#held === 0 && cost <= this.#max) ? now : NEVER;
  }

  take(now: Instant, cost: number): void {
    if (this.#adapts) this.#adaptation?.took(now, this.#held, cost);
    else if (this.#held === 0 && cost <= this.#max) this.#now = Math.max(this.#now, cost);
    this.#held += cost;
  }

  refund(now: Instant, _at: Instant, cost: number): void {
    this.#held = Math.max(0, this.#held - cost);
    this.#endedAt = now;
  }

  debit(now: Instant, cost: number): void {
    if (this.#adapts) this.#adaptation?.took(now, this.#held, cost);
    this.#held += cost;
  }

  /** What is held beyond the limit is held by leases, which end. */
  forgive(): void {}

  status(now: Instant): LimitStatus {
    const capacity = this.#limitAt(now);
    const used = Math.min(this.#held, capacity);
    return { capacity, used, debt: this.#held - used, resetAt: used < capacity ? now : NEVER };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    return this.readyAt(now, ahead + cost);
  }

  idleAt(now: Instant): Instant {
    if (this.#held > 0) return NEVER;
    return this.#adapts && this.#endedAt !== DISTANT_PAST ? later(now, plus(this.#endedAt, ESTIMATE_FOR)) : now;
  }

  reconfigure(now: Instant, quota: Quota): void {
    if (quota.kind !== 'concurrency') throw new TypeError(`a concurrency cannot become a ${quota.kind}`);
    this.#max = quota.max;
    if (quota.adapt === undefined) this.#now = quota.max;
    else this.#now = Math.min(this.#now, this.#max);
    this.#adopt(now, quota.adapt);
  }

  onPermitEnded(now: Instant, at: Instant, cost: number, how: PermitOutcome): void {
    if (this.#adapts) this.#adaptation?.ended(now, this.#held, at, cost, how);
  }

  changesAt(now: Instant): Instant {
    return this.#adapts ? (this.#adaptation?.changesAt(now) ?? NEVER) : NEVER;
  }

  setShare(units: number): void {
    this.#now = Math.min(units, this.#max);
  }

  /** A fixed number for a time (an override) lets the estimate sleep; it goes on from where it was. */
  #adopt(now: Instant, adapt: Adapt | undefined): void {
    this.#adapts = adapt !== undefined && adapt.by !== 'parent';
    if (!this.#adapts || adapt === undefined) this.#adaptation?.pause();
    else {
      this.#adaptation ??= new AdaptiveConcurrency(adapt, this.#max);
      this.#adaptation.reshape(now, adapt, this.#max);
    }
  }

  #limitAt(now: Instant): number {
    return this.#adapts && this.#adaptation !== undefined ? this.#adaptation.limitAt(now) : this.#now;
  }
}

function startOf({ floor, initial }: Adapt, max: number): number {
  return Math.min(max, Math.max(floor, initial));
}
