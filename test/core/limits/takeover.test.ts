import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLimit, type PersistentQuota } from '../../../src/core/limits/create-limit.ts';
import type { Bound, PersistentLimit } from '../../../src/core/limits/limit.ts';
import { type Instant, SECOND } from '../../../src/core/time.ts';
import { BASE, kinds, quotaOf } from './quotas.ts';
import { type Charge, violation } from './reference.ts';

const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      cost: fc.integer({ min: 1, max: 8 }),
      ahead: fc.nat(4),
      written: fc.integer({ min: 0, max: 9 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      cost: fc.integer({ min: 1, max: 8 }),
      ahead: fc.nat(4),
      written: fc.integer({ min: 0, max: 9 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('step' as const),
      by: fc.oneof(fc.double({ min: 0, max: 0.1, noNaN: true }), fc.double({ min: 0, max: 3, noNaN: true })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('refund' as const), which: fc.nat(1000), units: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), after: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: SECOND })) }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** Owners one after the other over one ledger: each takes only what is covered, then dies. */
class Terms {
  limit: PersistentLimit;
  readonly quota: PersistentQuota;
  readonly charges: Charge[] = [];
  now = BASE as Instant;
  readonly #per: number;
  /** Largest value by slot, as a ledger merges them. */
  #disk = new Map<number, number>();
  /** Charges of earlier terms are not given back. */
  #term = 0;

  constructor(quota: PersistentQuota, per: number) {
    this.quota = quota;
    this.#per = per;
    this.limit = createLimit(quota);
    this.limit.enablePersistence();
  }

  do(step: Command): void {
    if (step.kind === 'step') this.now = (this.now + Math.round(step.by * this.#per)) as Instant;
    else if (step.kind === 'crash') this.#crash(step.after);
    else if (step.kind === 'refund') this.#refund(step.which, step.units);
    else this.#ask(step);
  }

  #ask({ kind, cost, ahead, written }: Extract<Command, { cost: number }>): void {
    const ready = this.limit.readyAt(this.now, cost);
    if (cost > this.limit.capacity || (ready > this.now && kind === 'ask')) return;
    // A slot that opens soon may be covered before it does.
    if (written > 6 && !this.limit.isCovered(ready, cost)) this.#write(ready, cost, ahead);
    this.now = ready;
    if (!this.limit.isCovered(this.now, cost)) {
      if (written === 0) return;
      this.#write(this.now, cost, ahead);
      // The answer of the disk takes a moment.
      this.now = (this.now + written * 100) as Instant;
      if (this.limit.readyAt(this.now, cost) > this.now || !this.limit.isCovered(this.now, cost)) return;
    }
    this.limit.take(this.now, cost);
    this.charges.push({ at: this.now, units: cost });
  }

  #write(at: Instant, cost: number, ahead: number): void {
    const bound = this.limit.bound(at, cost, ahead);
    this.#disk.set(bound.slot, Math.max(bound.value, this.#disk.get(bound.slot) ?? 0));
    this.limit.onPersisted(bound);
    expect(this.limit.isCovered(at, cost)).toBe(true);
  }

  #refund(which: number, units: number): void {
    const own = this.charges.slice(this.#term);
    const charge = own[which % Math.max(1, own.length)];
    if (charge === undefined) return;
    const back = Math.min(units, charge.units);
    charge.units -= back;
    this.limit.refund(this.now, charge.at as Instant, back);
  }

  /** The next owner knows the disk only, and may decide from `from` on: after whatever the one before can have decided. */
  #crash(after: number): void {
    const from = (this.now + after) as Instant;
    const dead = this.limit;
    const disk: Bound[] = [...this.#disk].map(([slot, value]) => ({ slot, value }));
    this.limit = createLimit(this.quota);
    this.limit.enablePersistence();
    this.limit.restore(from, disk);
    this.now = from;
    // Sometimes the ledger keeps only what the limit says still counts.
    if (after % 2 === 0) this.#disk = new Map(this.limit.bounds(from).map(({ slot, value }) => [slot, value]));
    const decided = this.charges.length > this.#term;
    this.#term = this.charges.length;
    // A term that took nothing only guessed; the next one may know better.
    if (!decided) return;
    for (let cost = 1; cost <= dead.capacity; cost++) {
      // A copy: asking a window may open it.
      expect(this.#copy(from).readyAt(from, cost), `cost ${cost} after a crash`).toBeGreaterThanOrEqual(dead.readyAt(from, cost));
    }
  }

  #copy(from: Instant): PersistentLimit {
    const copy = createLimit(this.quota);
    copy.unseal(this.limit.seal(from));
    return copy;
  }
}

const sizes = { horizon: fc.integer({ min: 1, max: 500_000 }), chunk: fc.integer({ min: 4 * SECOND, max: 50 * SECOND }) };

describe.each(kinds)('a new term of kind %s', (kind) => {
  it.each(['horizon', 'chunk'] as const)('starts no better than the one before can have ended, and never passes more in sum (%s)', (mode) => {
    fc.assert(
      fc.property(
        sizes[mode].chain((per) => fc.tuple(quotaOf(kind, fc.constant(per)), fc.constant(per))),
        fc.array(command, { minLength: 1, maxLength: 80 }),
        ([quota, per], commands) => {
          const terms = new Terms(quota, per);
          for (const step of commands) terms.do(step);
          expect(violation(quota, terms.charges)).toBeUndefined();
        },
      ),
      { numRuns: 1000 },
    );
  });
});
