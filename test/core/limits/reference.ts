import type { FixedQuota, Quota } from '../../../src/core/group.ts';

/** One charge that was made: when, how much still counts of it. */
export interface Charge {
  readonly at: number;
  units: number;
}

/** What a quota promises, checked over every admission that was made and not given back, in O(n^2) without state. */
export function violation(quota: Quota, charges: readonly Charge[]): string | undefined {
  switch (quota.kind) {
    case 'rate':
      return anyInterval(charges, (length) => quota.burst + Number((BigInt(length) * BigInt(quota.permits)) / BigInt(quota.per)));
    case 'spacing':
      return anyInterval(charges, (length) => 1 + Math.floor(length / Math.max(1, quota.spacing + quota.slack)));
    case 'window':
      return anyInterval(charges, (length) => (length < quota.per ? quota.permits : Number.POSITIVE_INFINITY));
    case 'fixed':
      return fixed(quota, charges);
    case 'concurrency':
      return undefined;
  }
}

function anyInterval(charges: readonly Charge[], most: (length: number) => number): string | undefined {
  for (let from = 0; from < charges.length; from++) {
    let units = 0;
    const start = charges[from]?.at ?? 0;
    for (let to = from; to < charges.length; to++) {
      const charge = charges[to] as Charge;
      units += charge.units;
      if (units > most(charge.at - start)) return `${units} units in ${charge.at - start} from ${start}`;
    }
  }
  return undefined;
}

function fixed(quota: FixedQuota, charges: readonly Charge[]): string | undefined {
  const { permits, spill, per, align } = quota;
  if (per === 'month' || align === 'calendar') throw new Error('not modelled: see calendar.test.ts');
  if (align === 'first') return anyInterval(charges, (length) => permits * (Math.ceil((length + 1) / per) + 1) + spill);
  // n windows in a row: n times the permits, and once the spill; one window alone likewise.
  const windows = charges.map(({ at, units }) => ({ at: Math.floor(at / per), units }));
  return anyInterval(windows, (length) => permits * (length + 1) + spill);
}

/** What every naive model answers; slow and plain. */
export interface Model {
  readyAt(now: number, cost: number): number;
  charge(now: number, cost: number): void;
  giveBack(now: number, at: number, cost: number): void;
}

/** The token bucket with exact fractions: everything times `permits`. */
export class NaiveRate implements Model {
  readonly #quota: Extract<Quota, { kind: 'rate' }>;
  #tat = 0n;

  constructor(quota: Extract<Quota, { kind: 'rate' }>) {
    this.#quota = quota;
  }

  readyAt(now: number, cost: number): number {
    const { permits, per, burst } = this.#quota;
    if (cost > burst) return Number.POSITIVE_INFINITY;
    const at = this.#tat - BigInt(burst - cost) * BigInt(per);
    const rounded = at <= 0n ? 0n : (at + BigInt(permits) - 1n) / BigInt(permits);
    return Math.max(now, Number(rounded));
  }

  charge(now: number, cost: number): void {
    const { permits, per } = this.#quota;
    const from = BigInt(now) * BigInt(permits);
    this.#tat = (this.#tat > from ? this.#tat : from) + BigInt(cost) * BigInt(per);
  }

  giveBack(now: number, at: number, cost: number): void {
    const { permits, per } = this.#quota;
    const back = BigInt(cost) * BigInt(per) - BigInt(now - at) * BigInt(permits);
    if (back > 0n) this.#tat -= back;
  }
}

/** A list of charges; debt takes the place of whatever leaves, one by one. */
export class NaiveWindow implements Model {
  readonly #permits: number;
  readonly #per: number;
  #charges: Charge[] = [];
  #debt = 0;

  constructor(quota: Extract<Quota, { kind: 'window' }>) {
    this.#permits = quota.permits;
    this.#per = quota.per;
  }

  readyAt(now: number, cost: number): number {
    if (cost > this.#permits) return Number.POSITIVE_INFINITY;
    const trial = this.#copy();
    let at = now;
    for (;;) {
      trial.#advance(at);
      if (trial.#debt === 0 && trial.#held() + cost <= this.#permits) return at;
      at = Math.min(...trial.#charges.map((charge) => charge.at)) + this.#per;
    }
  }

  charge(now: number, cost: number): void {
    this.#advance(now);
    this.#debt += cost;
    this.#pay(now);
  }

  giveBack(now: number, at: number, cost: number): void {
    this.#advance(now);
    if (at + this.#per <= now) return;
    let left = cost;
    for (const charge of this.#charges) {
      if (charge.at !== at) continue;
      const back = Math.min(left, charge.units);
      charge.units -= back;
      left -= back;
    }
    this.#charges = this.#charges.filter((charge) => charge.units > 0);
    this.#pay(now);
  }

  #held(): number {
    return this.#charges.reduce((sum, charge) => sum + charge.units, 0);
  }

  #pay(now: number): void {
    const units = Math.min(this.#debt, this.#permits - this.#held());
    if (units <= 0) return;
    this.#charges.push({ at: now, units });
    this.#debt -= units;
  }

  #advance(now: number): void {
    for (;;) {
      const first = this.#charges[0];
      if (first === undefined || first.at + this.#per > now) return;
      this.#charges.shift();
      this.#pay(first.at + this.#per);
    }
  }

  #copy(): NaiveWindow {
    const copy = new NaiveWindow({ kind: 'window', permits: this.#permits, per: this.#per });
    copy.#charges = this.#charges.map((charge) => ({ ...charge }));
    copy.#debt = this.#debt;
    return copy;
  }
}

/** Windows of the epoch or of the first admission, one after the other. */
export class NaiveFixed implements Model {
  readonly #quota: FixedQuota;
  readonly #per: number;
  #end = 0;
  #left: number;
  #used = false;
  #start = -1;

  constructor(quota: FixedQuota) {
    this.#quota = quota;
    this.#per = quota.per as number;
    this.#left = quota.permits;
  }

  readyAt(now: number, cost: number): number {
    if (cost > this.#quota.permits + this.#quota.spill) return Number.POSITIVE_INFINITY;
    if (!this.#used && cost > this.#left) this.#open(now);
    const trial = new NaiveFixed(this.#quota);
    trial.#end = this.#end;
    trial.#left = this.#left;
    trial.#used = this.#used;
    let at = now;
    for (;;) {
      trial.#advance(at);
      if (trial.#left >= cost) return at;
      at = trial.#end;
    }
  }

  charge(now: number, cost: number): void {
    this.#open(now);
    this.#left -= cost;
  }

  giveBack(now: number, at: number, cost: number): void {
    this.#advance(now);
    const open = this.#quota.align === 'first' ? at >= this.#start && now < this.#start + this.#per : at >= this.#end - this.#per && now < this.#end;
    if (this.#used && open) this.#left += cost;
  }

  #open(now: number): void {
    this.#advance(now);
    if (this.#quota.align === 'first' && (!this.#used || now >= this.#start + this.#per)) {
      this.#start = now;
      this.#end = now + this.#per;
    }
    if (!this.#used) this.#end = this.#quota.align === 'first' ? now + this.#per : (Math.floor(now / this.#per) + 1) * this.#per;
    this.#used = true;
  }

  #advance(now: number): void {
    while (this.#used && now >= this.#end) {
      this.#end += this.#per;
      this.#left = this.#quota.permits + Math.min(this.#quota.spill, this.#left);
    }
  }
}

/** One at a time. */
export class NaiveSpacing implements Model {
  readonly #period: number;
  #last = -1;
  #next = 0;

  constructor(quota: Extract<Quota, { kind: 'spacing' }>) {
    this.#period = quota.spacing + quota.slack;
  }

  readyAt(now: number, cost: number): number {
    if (cost > 1) return Number.POSITIVE_INFINITY;
    return Math.max(now, cost === 0 ? this.#next - this.#period : this.#next);
  }

  charge(now: number, cost: number): void {
    if (this.#next <= now) this.#last = now;
    this.#next = Math.max(this.#next, now) + cost * this.#period;
  }

  giveBack(_now: number, at: number, cost: number): void {
    if (at === this.#last) this.#next -= cost * this.#period;
  }
}

/** The model of a quota. */
export function modelOf(quota: Quota): Model {
  switch (quota.kind) {
    case 'rate':
      return new NaiveRate(quota);
    case 'window':
      return new NaiveWindow(quota);
    case 'fixed':
      return new NaiveFixed(quota);
    case 'spacing':
      return new NaiveSpacing(quota);
    case 'concurrency':
      throw new Error('time has no part in it');
  }
}
