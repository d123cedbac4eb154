import type { Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER } from '../time.ts';
import { EntryRing } from './entry-ring.ts';
import { type Bound, type LimitStatus, MAX_DRAINED_RECOVERY, type PersistentLimit } from './limit.ts';
import { PersistedSlots } from './persisted-slots.ts';

/** A quota of a rolling window. */
export type WindowQuota = Extract<Quota, { kind: 'window' }>;

/** Time is cut into grains of at most this part of a window, rounded up to whole microseconds; what falls into one is one entry. */
const GRAINS = 4096;

/**
 * Rolling window, exact: in every half-open interval of length `per` at most `permits` units. What was taken at t counts
 * up to, but not at, `t + per`.
 *
 * A log of admissions with merging: what falls into one grain of per/4096 is one entry that stands at the time of the
 * last of it, so a place may reopen that much late and never early, and no more than 4,098 entries live (at most twice
 * that after debts were paid, which never merge).
 *
 * Debt: a debit that finds no room waits outside; whenever an entry leaves the window, as much of the debt takes its
 * place at that very moment. While there is debt the window is therefore full, and its entries come round with period
 * `per`: when a cost will pass is computed, not simulated.
 */
export class RollingWindow implements PersistentLimit {
  #permits: number;
  #per: Micros;
  readonly #entries = new EntryRing();
  /** Units in the entries. */
  #held = 0;
  #debt = 0;
  /** End of the grain of the newest entry: what comes before it merges. */
  #grainEnd = 0;
  #since: Instant = DISTANT_PAST;
  #slots: PersistedSlots | undefined;

  constructor(quota: WindowQuota) {
    this.#permits = quota.permits;
    this.#per = quota.per;
  }

  get capacity(): number {
    return this.#permits;
  }

  get recovery(): Micros {
    return this.#per;
  }

  readyAt(now: Instant, cost: number): Instant {
    if (cost > this.#permits) return NEVER;
    return this.#leaves(now, this.#debt + this.#held + cost - this.#permits);
  }

  take(now: Instant, cost: number): void {
    if (cost > 0) this.#charge(now, cost);
  }

  refund(now: Instant, at: Instant, cost: number): void {
    if (cost <= 0 || at < this.#since || at + this.#per <= now) return;
    this.#advance(now);
    const index = this.#entries.firstFrom(at);
    if (index === this.#entries.length) return;
    const count = this.#entries.countAt(index);
    const back = Math.min(count, cost);
    this.#entries.set(index, this.#entries.timeAt(index), count - back);
    this.#held -= back;
    this.#slots?.back(at, back);
    this.#payDebt(now);
    this.#trim();
  }

  debit(now: Instant, cost: number): void {
    if (cost > 0) this.#charge(now, cost);
  }

  forgive(now: Instant): void {
    this.#advance(now);
    this.#debt = 0;
  }

  status(now: Instant): LimitStatus {
    const charged = this.#charged(now);
    const used = Math.min(charged, this.#permits);
    const resetAt = used === this.#permits ? this.readyAt(now, 1) : this.idleAt(now);
    return { capacity: this.#permits, used, debt: charged - used, resetAt };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    if (cost > this.#permits) return NEVER;
    this.#advance(now);
    return this.#leaves(now, this.#debt + this.#held + ahead + cost - this.#permits);
  }

  idleAt(now: Instant): Instant {
    return this.#leaves(now, this.#debt + this.#held);
  }

  reconfigure(now: Instant, quota: Quota): void {
    if (quota.kind !== 'window') throw new TypeError(`a rolling window cannot become a ${quota.kind}`);
    this.#advance(now);
    this.#permits = quota.permits;
    this.#per = quota.per;
    this.#slots?.reshape(now, quota.per);
    this.#grainEnd = 0;
    this.#advance(now);
    this.#payDebt(now);
  }

  isCovered(now: Instant, cost: number): boolean {
    if (this.#slots === undefined || cost <= 0 || this.#per <= MAX_DRAINED_RECOVERY) return true;
    return this.#slots.covers(now, cost);
  }

  bound(now: Instant, cost: number, ahead: number): Bound {
    const ready = this.readyAt(now, Math.min(cost, this.#permits));
    this.enablePersistence();
    return (this.#slots as PersistedSlots).bound(later(now, ready), cost, ahead, this.#permits);
  }

  onPersisted(bound: Bound): void {
    this.#slots?.cover(bound);
  }

  bounds(now: Instant): readonly Bound[] {
    return this.#per <= MAX_DRAINED_RECOVERY ? [] : (this.#slots?.live(now) ?? []);
  }

  enablePersistence(): void {
    this.#slots ??= new PersistedSlots(this.#per);
  }

  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#since = from;
    this.#entries.clear();
    this.#debt = 0;
    const horizon = this.#per <= MAX_DRAINED_RECOVERY;
    const spent = horizon ? [{ slot: from, value: this.#permits }] : [...bounds].sort((a, b) => b.slot - a.slot);
    // The newest units that can all have been taken dominate: older ones leave the window before them.
    const kept: [time: number, count: number][] = [];
    this.#held = 0;
    for (const { slot, value } of spent) {
      const count = Math.min(value, this.#permits - this.#held);
      const time = Math.min(slot, from) - 1;
      if (count <= 0 || time + this.#per <= from) continue;
      kept.push([time, count]);
      this.#held += count;
    }
    for (const [time, count] of kept.reverse()) this.#append(time, count);
    if (!horizon) this.#slots?.restore(from, bounds);
    this.#grainEnd = 0;
  }

  seal(now: Instant): readonly number[] {
    this.#advance(now);
    const slots = this.#slots?.seal(now) ?? [];
    const state = [this.#debt, this.#since, slots.length, ...slots];
    for (let index = 0; index < this.#entries.length; index++) state.push(this.#entries.timeAt(index), this.#entries.countAt(index));
    return state;
  }

  unseal(state: readonly number[]): void {
    const [debt = 0, since = 0, slots = 0] = state;
    this.#entries.clear();
    this.#held = 0;
    for (let at = 3 + slots; at + 1 < state.length; at += 2) {
      this.#entries.push(state[at] ?? 0, state[at + 1] ?? 0);
      this.#held += state[at + 1] ?? 0;
    }
    this.#debt = debt;
    this.#grainEnd = 0;
    this.#since = since as Instant;
    this.#slots?.unseal(state.slice(3, 3 + slots));
  }

  #charge(now: Instant, cost: number): void {
    this.#advance(now);
    this.#debt += cost;
    this.#payDebt(now);
  }

  /** Charges of the debt what has room, at `now`. */
  #payDebt(now: Instant): void {
    const paid = Math.min(this.#debt, this.#permits - this.#held);
    if (paid <= 0) return;
    this.#debt -= paid;
    this.#held += paid;
    this.#append(now, paid);
    this.#slots?.spend(now, paid);
  }

  #append(time: number, count: number): void {
    const last = this.#entries.length - 1;
    if (last >= 0 && (time < this.#grainEnd || time === this.#entries.timeAt(last))) {
      this.#entries.set(last, time, this.#entries.countAt(last) + count);
      return;
    }
    this.#entries.push(time, count);
    const grain = Math.ceil(this.#per / GRAINS);
    this.#grainEnd = (Math.floor(time / grain) + 1) * grain;
  }

  /** Lets leave what is no longer in the window at `now`, and its debt take its place. */
  #advance(now: number): void {
    const entries = this.#entries;
    while (entries.length > 0) {
      const leaves = entries.timeAt(0) + this.#per;
      if (leaves > now) return;
      if (this.#debt >= this.#permits && this.#held === this.#permits) this.#turn(now);
      if (entries.timeAt(0) + this.#per !== leaves) continue;
      const count = entries.countAt(0);
      entries.dropFirst();
      this.#held -= count;
      const paid = Math.min(this.#debt, this.#permits - this.#held);
      if (paid <= 0) continue;
      // No merging here: who leaves together comes back together, so that whole rounds can be skipped.
      entries.push(leaves, paid);
      this.#grainEnd = 0;
      this.#held += paid;
      this.#debt -= paid;
    }
  }

  /** Skips the rounds in which a full window of debt follows a full window. */
  #turn(now: number): void {
    const entries = this.#entries;
    const newest = entries.timeAt(entries.length - 1);
    const rounds = Math.min(Math.floor(this.#debt / this.#permits), Math.floor((now - newest) / this.#per));
    if (rounds <= 0) return;
    this.#debt -= rounds * this.#permits;
    this.#grainEnd = 0;
    for (let index = 0; index < entries.length; index++) entries.set(index, entries.timeAt(index) + rounds * this.#per, entries.countAt(index));
  }

  /**
   * When the n-th unit from now leaves, if every place that opens is taken again at once; what finds room now is taken
   * now. Not before `now`.
   */
  #leaves(now: Instant, nth: number): Instant {
    if (nth <= 0) return now;
    const round = Math.max(this.#held, this.#permits);
    if (nth <= round) return later(now, (this.#unit(nth, now) + this.#per) as Instant);
    // The first round lets go of what is over the permits for good; from then on `permits` units go round.
    const over = round - this.#permits;
    const rest = nth - round - 1;
    const turns = Math.floor(rest / this.#permits);
    const unit = over + 1 + (rest - turns * this.#permits);
    return later(now, (this.#unit(unit, now) + (2 + turns) * this.#per) as Instant);
  }

  /** Time of the n-th oldest unit; `now` past the newest. */
  #unit(nth: number, now: Instant): number {
    if (nth > this.#held) return now;
    let left = nth;
    let index = 0;
    for (; index < this.#entries.length; index++) {
      left -= this.#entries.countAt(index);
      if (left <= 0) break;
    }
    return this.#entries.timeAt(index);
  }

  /** Units in the window or owed at `now`, without changing anything. */
  #charged(now: Instant): number {
    const total = this.#held + this.#debt;
    if (this.#leaves(now, 1) > now) return total;
    this.#advance(now);
    return this.#held + this.#debt;
  }

  #trim(): void {
    const entries = this.#entries;
    while (entries.length > 0 && entries.countAt(entries.length - 1) === 0) {
      entries.dropLast();
      this.#grainEnd = 0;
    }
  }
}
