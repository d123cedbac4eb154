import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Quota } from '../../../src/core/group.ts';
import { createLimit, type PersistentQuota } from '../../../src/core/limits/create-limit.ts';
import type { PersistentLimit } from '../../../src/core/limits/limit.ts';
import { type Instant, NEVER } from '../../../src/core/time.ts';
import { BASE, command, kinds, quotaOf } from './quotas.ts';
import { type Charge, type Model, modelOf, violation } from './reference.ts';

type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** A limit, its model, and all that was admitted and not given back. */
class Run {
  readonly limit: PersistentLimit;
  readonly model: Model;
  readonly charges: Charge[] = [];
  now = BASE as Instant;
  readonly #window: number;

  constructor(quota: PersistentQuota) {
    this.limit = createLimit(quota);
    this.model = modelOf(quota);
    this.#window = windowOf(quota);
  }

  do(step: Command): void {
    if (step.kind === 'step') this.now = (this.now + Math.round(step.by * this.#window)) as Instant;
    else if (step.kind === 'debit') {
      this.limit.debit(this.now, step.cost);
      this.model.charge(this.now, step.cost);
    } else if (step.kind === 'refund') this.#refund(step.which, step.units);
    else if (step.kind === 'wait') this.#wait(step.cost);
    else if (this.ready(step.cost) <= this.now) this.#take(step.cost);
  }

  /** Both are asked, since a window opens with the first asking for more than it has. */
  ready(cost: number): Instant {
    const ready = this.limit.readyAt(this.now, cost);
    expect(ready, `cost ${cost}`).toBe(this.model.readyAt(this.now, cost));
    return ready;
  }

  /** Goes to the moment that the limit says, after looking that a microsecond before was too early. */
  #wait(cost: number): void {
    const ready = this.ready(cost);
    if (ready === NEVER) return;
    if (ready > this.now) expect(this.limit.readyAt((ready - 1) as Instant, cost)).toBe(ready);
    expect(this.limit.readyAt(ready, cost)).toBe(ready);
    this.now = ready;
    this.#take(cost);
  }

  #take(cost: number): void {
    this.limit.take(this.now, cost);
    if (cost === 0) return;
    this.model.charge(this.now, cost);
    this.charges.push({ at: this.now, units: cost });
  }

  #refund(which: number, units: number): void {
    const charge = this.charges[which % Math.max(1, this.charges.length)];
    if (charge === undefined) return;
    const back = Math.min(units, charge.units);
    charge.units -= back;
    if (back === 0) return;
    this.limit.refund(this.now, charge.at as Instant, back);
    this.model.giveBack(this.now, charge.at, back);
  }
}

function windowOf(quota: Quota): number {
  if (quota.kind === 'spacing') return quota.spacing;
  if (quota.kind === 'concurrency' || quota.kind === 'fixed') return quota.kind === 'fixed' ? (quota.per as number) : 1;
  return quota.per;
}

describe.each(kinds)('a limit of kind %s', (kind) => {
  const quotas = quotaOf(kind, fc.integer({ min: 1, max: 400 }));
  const steps = fc.array(command, { minLength: 1, maxLength: 80 });

  it('says exactly when a cost may pass, through refunds and debts', () => {
    fc.assert(
      fc.property(quotas, steps, (quota, commands) => {
        const run = new Run(quota);
        for (const step of commands) {
          run.do(step);
          for (let cost = 0; cost <= run.limit.capacity + 1; cost++)
            expect(run.limit.readyAt(run.now, cost), `cost ${cost}`).toBe(run.model.readyAt(run.now, cost));
        }
      }),
      { numRuns: 600 },
    );
  });

  it('never passes more than it says in any interval, refunds and debts included', () => {
    fc.assert(
      fc.property(quotas, steps, (quota, commands) => {
        const run = new Run(quota);
        for (const step of commands) run.do(step);
        expect(violation(quota, run.charges)).toBeUndefined();
      }),
      { numRuns: 600 },
    );
  });

  it('goes on from a sealed state as if nothing had happened', () => {
    fc.assert(
      fc.property(quotas, steps, (quota, commands) => {
        const run = new Run(quota);
        for (const step of commands) run.do(step);
        const copy = createLimit(quota);
        copy.unseal(run.limit.seal(run.now));
        for (let cost = 0; cost <= run.limit.capacity; cost++) expect(copy.readyAt(run.now, cost)).toBe(run.limit.readyAt(run.now, cost));
        expect(copy.status(run.now)).toEqual(run.limit.status(run.now));
      }),
    );
  });

  it('shows what is used, owed, and when more opens', () => {
    fc.assert(
      fc.property(quotas, steps, (quota, commands) => {
        const run = new Run(quota);
        for (const step of commands) {
          run.do(step);
          const { capacity, used, debt, resetAt } = run.limit.status(run.now);
          const left = capacity - used;
          expect(used).toBeGreaterThanOrEqual(0);
          expect(left).toBeGreaterThanOrEqual(0);
          expect(run.ready(left)).toBe(debt > 0 ? run.ready(0) : run.now);
          if (left < run.limit.capacity) expect(run.ready(left + 1)).toBeGreaterThan(run.now);
          if (left === 0) expect(resetAt).toBe(run.ready(1));
          if (debt > 0) expect(run.ready(0)).toBeGreaterThan(run.now);
        }
      }),
    );
  });

  it('is as good as new when it says that it is idle', () => {
    fc.assert(
      fc.property(quotas, steps, (quota, commands) => {
        const run = new Run(quota);
        for (const step of commands) run.do(step);
        const idle = run.limit.idleAt(run.now);
        const fresh = createLimit(quota);
        const least = quota.kind === 'fixed' ? quota.permits : run.limit.capacity;
        expect(run.limit.readyAt(idle, least)).toBe(fresh.readyAt(idle, least));
      }),
    );
  });

  it('estimates a place in line no earlier than a free one', () => {
    fc.assert(
      fc.property(quotas, steps, fc.nat(40), (quota, commands, ahead) => {
        const run = new Run(quota);
        for (const step of commands) run.do(step);
        expect(run.limit.readyAfter(run.now, 0, 1)).toBe(run.limit.readyAt(run.now, 1));
        expect(run.limit.readyAfter(run.now, ahead, 1)).toBeGreaterThanOrEqual(run.limit.readyAt(run.now, 1));
        expect(run.limit.readyAfter(run.now, ahead + 1, 1)).toBeGreaterThanOrEqual(run.limit.readyAfter(run.now, ahead, 1));
      }),
    );
  });
});
