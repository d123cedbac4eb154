import type { LimitSpec, Quota } from '../../../src/core/group.ts';

/** One thing that happened to a limit, in order. Times in microseconds since the start of the run. */
export interface Entry {
  readonly kind: 'charge' | 'refund' | 'debit' | 'permits';
  readonly at: number;
  /** Units; of `permits`: how many may pass from now on. */
  readonly cost: number;
  /** `permits`: how many it was before. */
  readonly was?: number;
  /** Refund: the charge it belongs to. */
  readonly of?: Entry;
  /** Charge of a lease: when it ended or will lapse. */
  readonly end: () => number;
}

/** What is still charged for an entry, after its refunds. */
function net(entry: Entry, log: readonly Entry[]): number {
  const back = log.filter((other) => other.kind === 'refund' && other.of === entry);
  return entry.cost - back.reduce((sum, other) => sum + other.cost, 0);
}

/** The earliest moment, not before `now`, at which `cost` may pass, by reading the whole log again. */
export function readyAt(quota: Quota, epoch: number, log: readonly Entry[], now: number, cost: number): number {
  switch (quota.kind) {
    case 'spacing':
      return readySpacing(quota.spacing + quota.slack, log, now, cost);
    case 'rate':
      return readyRate(quota, log, now, cost);
    case 'window':
      return readyWindow(quota, log, now, cost);
    case 'fixed':
      return readyFixed(quota, epoch, log, now, cost);
    case 'concurrency': {
      const held = log.filter((entry) => entry.kind === 'charge' && entry.at <= now && now < entry.end());
      return held.reduce((sum, entry) => sum + entry.cost, 0) + cost <= quota.max ? now : Number.POSITIVE_INFINITY;
    }
  }
}

function readySpacing(period: number, log: readonly Entry[], now: number, cost: number): number {
  const passed = log.filter((entry) => entry.kind === 'charge' && net(entry, log) > 0);
  const last = passed.at(-1);
  return last === undefined || cost === 0 ? now : Math.max(now, last.at + period);
}

/** Theoretical arrival time, multiplied by `permits` so that it stays whole. */
function readyRate(quota: Extract<Quota, { kind: 'rate' }>, log: readonly Entry[], now: number, cost: number): number {
  const { permits, per, burst } = quota;
  let tat = Number.NEGATIVE_INFINITY;
  for (const entry of log) {
    if (entry.kind === 'permits') continue;
    if (entry.kind !== 'refund') tat = Math.max(tat, entry.at * permits) + (entry.cost === 0 ? 0 : entry.cost * per);
    // Of what was charged some has been refilled since: no more than the rest still counts.
    else if (entry.of) tat -= Math.max(0, Math.min(entry.cost * per, entry.of.cost * per - (entry.at - entry.of.at) * permits));
  }
  return Math.max(now, Math.ceil((tat + (cost - burst) * per) / permits));
}

/**
 * The log played from its beginning. A debit that finds no room is debt; whenever an entry leaves the window, or anything
 * else makes room, debt takes that place at that moment.
 */
class WindowPlay {
  readonly #per: number;
  #permits: number;
  #debt = 0;
  #entries: { at: number; count: number; readonly of: Entry | undefined }[] = [];

  constructor(per: number, permits: number) {
    this.#per = per;
    this.#permits = permits;
  }

  get missing(): number {
    return this.#debt + this.#held - this.#permits;
  }

  get nextLeave(): number {
    return Math.min(...this.#entries.map((entry) => entry.at + this.#per));
  }

  play(entry: Entry): void {
    this.advance(entry.at);
    if (entry.kind === 'charge') this.#entries.push({ at: entry.at, count: entry.cost, of: entry });
    else if (entry.kind === 'debit') this.#debt += entry.cost;
    else if (entry.kind === 'permits') this.#permits = entry.cost;
    else for (const one of this.#entries) if (one.of === entry.of) one.count -= Math.min(one.count, entry.cost);
    this.#pay(entry.at);
  }

  advance(to: number): void {
    for (let leave = this.nextLeave; leave <= to; leave = this.nextLeave) {
      this.#entries = this.#entries.filter((entry) => entry.at + this.#per > leave);
      this.#pay(leave);
    }
  }

  get #held(): number {
    return this.#entries.reduce((sum, entry) => sum + entry.count, 0);
  }

  #pay(at: number): void {
    const paid = Math.max(0, Math.min(this.#debt, this.#permits - this.#held));
    this.#debt -= paid;
    if (paid > 0) this.#entries.push({ at, count: paid, of: undefined });
  }
}

function readyWindow(quota: Extract<Quota, { kind: 'window' }>, log: readonly Entry[], now: number, cost: number): number {
  const first = log.find((entry) => entry.kind === 'permits');
  const window = new WindowPlay(quota.per, first?.was ?? quota.permits);
  for (const entry of log) window.play(entry);
  window.advance(now);
  let moment = now;
  while (window.missing + cost > 0 && cost <= quota.permits) {
    moment = window.nextLeave;
    window.advance(moment);
  }
  return cost <= quota.permits ? moment : Number.POSITIVE_INFINITY;
}

/** Without spill; epoch and first. What comes back does not close a window. */
function readyFixed(quota: Extract<Quota, { kind: 'fixed' }>, epoch: number, log: readonly Entry[], now: number, cost: number): number {
  const per = quota.per as number;
  const startOf = (at: number): number => Math.floor((epoch + at) / per) * per - epoch;
  let start = Number.NEGATIVE_INFINITY;
  let used = 0;
  for (const entry of log) {
    if (entry.kind === 'permits' || entry.cost === 0) continue;
    if (entry.kind === 'refund') {
      if (entry.of && entry.of.at >= start && entry.at < start + per) used -= entry.cost;
    } else {
      if (entry.at >= start + per) [start, used] = [quota.align === 'first' ? entry.at : startOf(entry.at), 0];
      used += entry.cost;
    }
  }
  return cost === 0 || now >= start + per || used + cost <= quota.permits ? now : start + per;
}

/** What a limit promises to a key. */
export function quotaOf(limit: LimitSpec, key: string | undefined): Quota {
  return (key === undefined ? undefined : limit.keys.get(key)) ?? limit.quota;
}

/** The largest cost that can pass. */
export function capacityOf(quota: Quota): number {
  if (quota.kind === 'spacing') return 1;
  if (quota.kind === 'rate') return quota.burst;
  return quota.kind === 'concurrency' ? quota.max : quota.permits;
}

/** A child's part of a parent's limit. */
export function shareOf(limit: LimitSpec, share: number): LimitSpec {
  const part = (whole: number): number => Math.floor(whole * share);
  const { quota } = limit;
  const name = `share of ${limit.name}`;
  if (quota.kind === 'concurrency') return { ...limit, name, quota: { ...quota, max: part(quota.max) } };
  if (quota.kind === 'window' || quota.kind === 'fixed') return { ...limit, name, quota: { ...quota, permits: part(quota.permits) } };
  return { ...limit, name };
}
