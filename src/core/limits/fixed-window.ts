import type { FixedQuota, Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER } from '../time.ts';
import { RESERVE_AHEAD } from './gcra.ts';
import { type Bound, type LimitStatus, MAX_DRAINED_RECOVERY, type PersistentLimit } from './limit.ts';
import { lengthOf, type WindowLayout, windowsOf } from './window-layout.ts';

/** Bounds remembered, the latest written last: the running window's, the next one's, and some that may owe. */
const COVERED_MAX = 8;

/** Nothing was ever charged: no window lies anywhere yet. */
const FRESH = -1;

/**
 * Windows side by side with `permits` each, and at most `spill` unspent permits of earlier windows on top; twice the
 * permits may pass around an edge. What is charged beyond (a debit) is carried into the windows that follow until paid.
 *
 * State is one window and what was left when it opened: `carry` more (spill) or less (debt) than `permits`. Windows that
 * passed since are caught up with by arithmetic. With align `first` a window opens with the first admission after the
 * one before; the time in between counts in whole windows, for spill and debt.
 */
export class FixedWindow implements PersistentLimit {
  #quota: FixedQuota;
  #windows: WindowLayout | undefined;
  #start: number = FRESH;
  #end = 0;
  /** Number of the window; not used by align `first`. */
  #index = 0;
  #carry = 0;
  #used = 0;
  /** Of `used` beyond what the quota allows now: allowed when it passed, so no debt. */
  #forgiven = 0;
  /** Only what was taken from here on counts in `used` one by one, and can be given back. */
  #since: Instant = DISTANT_PAST;
  #recording = false;
  #covered: Bound[] = [];

  constructor(quota: FixedQuota) {
    this.#quota = quota;
    this.#windows = windowsOf(quota);
  }

  get capacity(): number {
    return this.#quota.permits + this.#quota.spill;
  }

  get recovery(): Micros {
    return lengthOf(this.#quota);
  }

  readyAt(now: Instant, cost: number): Instant {
    if (cost > this.capacity) return NEVER;
    const left = this.#left(now);
    if (cost <= left) return now;
    // Saving up for a cost that needs spill starts with the asking.
    if (this.#start === FRESH) this.#open(now);
    return this.#opens(now, Math.ceil((cost - left) / this.#quota.permits));
  }

  take(now: Instant, cost: number): void {
    if (cost <= 0) return;
    this.#open(now);
    this.#used += cost;
  }

  refund(now: Instant, at: Instant, cost: number): void {
    if (cost <= 0 || at < this.#since || this.#passed(now) > 0) return;
    this.#used = Math.max(0, this.#used - cost);
  }

  debit(now: Instant, cost: number): void {
    this.take(now, cost);
  }

  forgive(now: Instant): void {
    if (this.#left(now) >= 0) return;
    this.#open(now);
    this.#forgiven = this.#beyond;
    this.#since = now;
  }

  status(now: Instant): LimitStatus {
    const { permits } = this.#quota;
    const left = this.#left(now);
    const passed = this.#passed(now);
    const capacity = permits + Math.max(0, left - permits, passed === 0 ? this.#carry : 0);
    const used = Math.min(capacity, capacity - left);
    if (left <= 0) return { capacity, used, debt: Math.max(0, -left), resetAt: this.readyAt(now, 1) };
    return { capacity, used, debt: 0, resetAt: used === 0 ? now : this.#opens(now, 1) };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    if (cost > this.capacity) return NEVER;
    const missing = ahead + cost - this.#left(now);
    if (missing <= 0) return now;
    return this.#opens(now, Math.ceil(missing / this.#quota.permits));
  }

  /** A spill that was saved up is kept for one window after it is full, then forgotten with the key. */
  idleAt(now: Instant): Instant {
    const { permits, spill } = this.#quota;
    if (this.#start === FRESH) return now;
    // With align `first` a window that is open goes on to its end, even if everything came back; a fresh one would begin later.
    if (spill === 0 && this.#left(now) >= permits) return this.#windows === undefined && this.#passed(now) === 0 ? (this.#end as Instant) : now;
    const saved = permits + this.#carry - this.#used;
    const windows = Math.max(0, Math.ceil((spill - saved) / permits)) + 1;
    return later(now, this.#startAfter(spill === 0 ? windows : windows + 1));
  }

  /** What the running window has used stays used in the window that holds `now` under the new quota. */
  reconfigure(now: Instant, quota: Quota): void {
    if (quota.kind !== 'fixed') throw new TypeError(`a fixed window cannot become a ${quota.kind}`);
    const fresh = this.#start === FRESH;
    const closed = this.#windows === undefined && this.#passed(now) > 0;
    const carry = closed ? this.#carriedOver(this.#passed(now)) : 0;
    if (!fresh && !closed) this.#open(now);
    const debt = this.#owed;
    const since = this.#since;
    const firstStart = this.#start;
    this.#quota = quota;
    this.#windows = windowsOf(quota);
    if (fresh) return;
    if (closed) return this.#closeAt(now, carry);
    this.#carry = Math.min(quota.spill, this.#carry);
    this.#forgiven = Math.max(0, this.#beyond - debt);
    this.#place(this.#windows === undefined ? firstStart : now);
    this.#since = since;
  }

  isCovered(now: Instant, cost: number): boolean {
    if (!this.#recording || cost <= 0 || this.recovery <= MAX_DRAINED_RECOVERY) return true;
    const needed = this.#net(now) + cost;
    const start = this.#startAt(now);
    if (this.#windows === undefined) return this.#covered.some((bound) => bound.slot >= start && bound.value >= needed);
    return this.#covered.some((bound) => bound.slot === start && bound.value >= needed);
  }

  /**
   * Slot: when the window opens that `cost` can pass in; with align `first`, the latest moment at which it may have opened.
   * Value: its units, less what was carried in.
   */
  bound(now: Instant, cost: number, ahead: number): Bound {
    const at = later(now, this.readyAt(now, Math.min(cost, this.capacity)));
    const needed = this.#net(at) + cost;
    const slot = this.#windows === undefined && this.#passed(at) > 0 ? at + RESERVE_AHEAD : this.#startAt(at);
    return { slot, value: Math.max(needed, Math.min(this.#quota.permits, needed + ahead)) };
  }

  onPersisted(bound: Bound): void {
    const same = this.#covered.findIndex((old) => old.slot === bound.slot);
    if (same < 0) this.#covered.push(bound);
    else if ((this.#covered[same] as Bound).value < bound.value) this.#covered[same] = bound;
    if (this.#covered.length > COVERED_MAX) this.#covered.shift();
  }

  bounds(_now: Instant): readonly Bound[] {
    return this.recovery <= MAX_DRAINED_RECOVERY ? [] : this.#covered;
  }

  enablePersistence(): void {
    this.#recording = true;
  }

  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#start = FRESH;
    this.#carry = 0;
    this.#covered = [];
    for (const bound of [...bounds].sort((a, b) => a.slot - b.slot)) this.onPersisted(bound);
    const last = (from - 1) as Instant;
    if (this.recovery <= MAX_DRAINED_RECOVERY) {
      this.#place(last);
      this.#used = this.#quota.permits;
    } else if (bounds.length > 0) this.#restoreBounds(last, bounds);
    this.#since = from;
  }

  seal(_now: Instant): readonly number[] {
    return [this.#start, this.#end, this.#index, this.#carry, this.#used, this.#since, this.#forgiven];
  }

  unseal(state: readonly number[]): void {
    const [start = FRESH, end = 0, index = 0, carry = 0, used = 0, since = 0, forgiven = 0] = state;
    this.#start = start;
    this.#end = end;
    this.#index = index;
    this.#carry = carry;
    this.#used = used;
    this.#since = since as Instant;
    this.#forgiven = forgiven;
  }

  /** The latest window that can have been used before `last`, with the most it can have used. */
  #restoreBounds(last: Instant, bounds: readonly Bound[]): void {
    const windows = this.#windows;
    let latest = DISTANT_PAST;
    for (const { slot } of bounds) if (slot <= last || windows === undefined) latest = later(latest, Math.min(slot, last) as Instant);
    this.#place(latest);
    const start = this.#start;
    let used = 0;
    for (const { slot, value } of bounds) {
      const meant = windows === undefined ? slot + this.#end - start > start : slot >= start && slot < this.#end;
      if (meant) used = Math.max(used, value);
    }
    this.#used = used;
  }

  /** Puts the state's window where `at` is. */
  #place(at: number): void {
    this.#since = at as Instant;
    if (this.#windows === undefined) {
      this.#start = at;
      this.#end = at + lengthOf(this.#quota);
      return;
    }
    this.#index = this.#windows.indexAt(at as Instant);
    this.#start = this.#windows.startOf(this.#index);
    this.#end = this.#windows.startOf(this.#index + 1);
    this.#since = this.#start as Instant;
  }

  /** Brings the state to the window of `now`; with align `first` opens one where none is open. */
  #open(now: Instant): void {
    const passed = this.#passed(now);
    if (this.#start !== FRESH && passed === 0) return;
    if (this.#start !== FRESH) this.#carry = this.#carriedOver(passed);
    this.#used = 0;
    this.#forgiven = 0;
    this.#place(now);
  }

  /** No window is open at `at`, and `carry` goes into the next: with align `first` that one opens with the next admission. */
  #closeAt(at: Instant, carry: number): void {
    this.#used = 0;
    this.#forgiven = 0;
    this.#carry = Math.min(this.#quota.spill, carry);
    if (this.#windows !== undefined) return this.#place(at);
    this.#end = at;
    this.#start = at - lengthOf(this.#quota);
    this.#carry = carry - this.#quota.permits;
  }

  /** Units used beyond what the running window allows. */
  get #beyond(): number {
    return Math.max(0, this.#used - this.#carry - this.#quota.permits);
  }

  /** Units of it that were never allowed: carried on until paid. */
  get #owed(): number {
    return Math.max(0, this.#beyond - this.#forgiven);
  }

  /** Windows that began since the state's own. */
  #passed(at: Instant): number {
    if (this.#start !== FRESH && at < this.#end) return 0;
    if (this.#start === FRESH) return 1;
    if (this.#windows === undefined) return 1 + Math.floor((at - this.#end) / lengthOf(this.#quota));
    return this.#windows.indexAt(at) - this.#index;
  }

  #carriedOver(passed: number): number {
    const { permits, spill } = this.#quota;
    const left = this.#beyond > 0 ? -this.#owed : permits + this.#carry - this.#used;
    return Math.min(spill, left + (passed - 1) * permits);
  }

  /** Units that may pass at `at`; below 0: debt. */
  #left(at: Instant): number {
    const { permits } = this.#quota;
    if (this.#start === FRESH) return permits;
    const passed = this.#passed(at);
    if (passed > 0) return permits + this.#carriedOver(passed);
    return this.#beyond > 0 ? -this.#owed : permits + this.#carry - this.#used;
  }

  /** Used in the window at `at`, less what was carried in; an unused carry is not kept over a crash. */
  #net(at: Instant): number {
    return Math.max(0, this.#quota.permits - this.#left(at));
  }

  /** When the window of `at` opened, or would. */
  #startAt(at: Instant): number {
    if (this.#start !== FRESH && at < this.#end) return this.#start;
    return this.#windows === undefined ? at : this.#windows.startOf(this.#windows.indexAt(at));
  }

  /** When the `nth` window after the one of `now` opens, if that one opens now where none is open. */
  #opens(now: Instant, nth: number): Instant {
    if (this.#start === FRESH) {
      const windows = this.#windows;
      return (windows === undefined ? now + nth * lengthOf(this.#quota) : windows.startOf(windows.indexAt(now) + nth)) as Instant;
    }
    return later(now, this.#startAfter(this.#passed(now) + nth));
  }

  /** When the `nth` window after the state's own opens. */
  #startAfter(nth: number): Instant {
    if (this.#windows === undefined) return (this.#end + (nth - 1) * lengthOf(this.#quota)) as Instant;
    return this.#windows.startOf(this.#index + nth);
  }
}
