import { type Costs, costOf, type LimitSpec, type Quota } from '../core/group.ts';
import type { RefusalReason } from '../core/refusal.ts';
import { DAY, type Micros } from '../core/time.ts';

/** A growing list of lengths of time, of which percentiles are asked at the end. */
export class Waits {
  #values = new Float64Array(16);
  #sorted = true;
  count = 0;

  add(wait: Micros): void {
    if (this.count === this.#values.length) {
      const grown = new Float64Array(this.count * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.count++] = wait;
    this.#sorted = false;
  }

  /** The least wait that `part` (0..1) of them did not exceed; undefined where there are none. */
  percentile(part: number): Micros | undefined {
    if (this.count === 0) return undefined;
    if (!this.#sorted) this.#values.subarray(0, this.count).sort();
    this.#sorted = true;
    return this.#values[Math.max(0, Math.ceil(this.count * part) - 1)];
  }
}

/** What became of callers that are alike: of one class of a group, or of one key. */
export class Outcomes {
  readonly waits = new Waits();
  readonly refused = new Map<string, number>();
  arrived = 0;

  admit(wait: Micros): void {
    this.waits.add(wait);
  }

  /** `limit` distinguishes refusals of the same reason, as `shed: backlog.perKey`. */
  refuse(reason: RefusalReason, limit: string | undefined): void {
    const name = reason === 'shed' && limit !== undefined ? `shed: ${limit}` : reason;
    this.refused.set(name, (this.refused.get(name) ?? 0) + 1);
  }

  get refusals(): number {
    let sum = 0;
    for (const count of this.refused.values()) sum += count;
    return sum;
  }
}

/** Units (for concurrency, units times microseconds) that a limit lets pass in a span that begins with all of it free. */
function allowed(quota: Quota, span: Micros): number {
  switch (quota.kind) {
    case 'rate':
      return quota.burst + (span / quota.per) * quota.permits;
    case 'spacing':
      return 1 + span / (quota.spacing + quota.slack);
    case 'window':
      return quota.permits * Math.max(1, span / quota.per);
    case 'fixed':
      return quota.permits * Math.max(1, span / (quota.per === 'month' ? MONTH : quota.per));
    case 'concurrency':
      return quota.max * Math.max(1, span);
  }
}

const MONTH: Micros = 30.4375 * DAY;

/** Use of one limit, by each key that has it for itself, or by the whole group. */
export class LimitUses {
  readonly limit: LimitSpec;
  /** Units that passed, by key; of concurrency, units times microseconds. */
  readonly #spent = new Map<string, number>();

  constructor(limit: LimitSpec) {
    this.limit = limit;
  }

  /** Adds what an admitted request costs; nothing for concurrency. */
  admit(key: string, costs: Costs): void {
    if (this.limit.quota.kind !== 'concurrency') this.#add(key, costOf(costs, this.limit.unit));
  }

  /** Adds what a lease held for this long; nothing for other kinds than concurrency. */
  hold(key: string, costs: Costs, held: Micros): void {
    if (this.limit.quota.kind === 'concurrency') this.#add(key, costOf(costs, this.limit.unit) * held);
  }

  #add(key: string, units: number): void {
    const by = this.limit.scope === 'key' ? key : '';
    this.#spent.set(by, (this.#spent.get(by) ?? 0) + units);
  }

  /** The fullest: the part used of what the limit allows over a span, above 1 where debits came afterwards; and how many keys there are. */
  fullest(span: Micros): { readonly key: string; readonly share: number; readonly keys: number } {
    let [key, share] = ['', 0];
    for (const [by, units] of this.#spent) {
      const part = units / allowed(this.limit.keys.get(by) ?? this.limit.quota, span);
      if (part > share) [key, share] = [by, part];
    }
    return { key, share, keys: this.#spent.size };
  }
}
