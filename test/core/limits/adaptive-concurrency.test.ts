import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Adapt, Quota } from '../../../src/core/group.ts';
import type { PermitOutcome } from '../../../src/core/limits/adaptive-concurrency.ts';
import { createLimit, scaleQuota } from '../../../src/core/limits/create-limit.ts';
import type { Limit } from '../../../src/core/limits/limit.ts';
import { type Instant, MILLISECOND, NEVER, SECOND } from '../../../src/core/time.ts';
import { NaiveAdaptation } from '../model/naive-adaptation.ts';
import { BASE } from './quotas.ts';

const gradient: Adapt = { by: 'gradient', floor: 1, initial: 12, tolerance: 1.5, backoff: 0.5, slow: undefined };
const aimd: Adapt = { ...gradient, by: 'aimd' };
const at = (micros: number): Instant => (BASE + micros) as Instant;

/** One limit with those who hold it, first in, first out. */
class Hand {
  readonly limit: Limit;
  now = 0;
  readonly held: { readonly since: number; readonly cost: number }[] = [];

  constructor(quota: Quota) {
    this.limit = createLimit(quota);
  }

  get capacity(): number {
    return this.limit.status(at(this.now)).capacity;
  }

  /** As many of `cost` as may pass. */
  fill(cost = 1): number {
    let count = 0;
    while (this.limit.readyAt(at(this.now), cost) <= at(this.now)) {
      this.limit.take(at(this.now), cost);
      this.held.push({ since: this.now, cost });
      count += 1;
    }
    return count;
  }

  end(how: PermitOutcome = 'used', which = 0): void {
    const [permit] = this.held.splice(which, 1);
    if (permit === undefined) throw new Error('nobody holds it');
    this.limit.onPermitEnded?.(at(this.now), at(permit.since), permit.cost, how);
    this.limit.refund(at(this.now), at(permit.since), permit.cost);
  }

  /** `ends` times: always full, of which each `per` of the backend brings one back. */
  work(ends: number, per: (held: number) => number): void {
    for (let end = 0; end < ends; end += 1) {
      this.fill();
      this.now += per(this.held.length);
      this.end();
    }
  }
}

/** A backend of `servers` that take 100 ms each, with all of them at work: the time to the next end. */
const served =
  (servers: number, each = 100 * MILLISECOND) =>
  (held: number) =>
    Math.ceil(each / Math.min(servers, held));

describe('a limit that adapts by gradient', () => {
  it('grows by half its root while it takes no longer, up to max', () => {
    const hand = new Hand({ kind: 'concurrency', max: 40, adapt: gradient });
    hand.work(3_000, served(1_000));
    expect(hand.capacity).toBe(40);
  });

  it('settles where permits are held tolerance times as long as at a third of it, and a little more', () => {
    for (const servers of [5, 20, 60]) {
      const hand = new Hand({ kind: 'concurrency', max: 1_000, adapt: gradient });
      hand.work(400 * servers, served(servers));
      const { estimate = 0 } = hand.limit;
      expect(estimate).toBeGreaterThanOrEqual(1.4 * servers);
      expect(estimate).toBeLessThanOrEqual(1.5 * servers + 2 * Math.sqrt(1.5 * servers) + 3);
    }
  });

  it('comes down from far too many, and does not stay at too few for a backend that is only slower', () => {
    const hand = new Hand({ kind: 'concurrency', max: 1_000, adapt: { ...gradient, initial: 400 } });
    hand.work(12_000, served(10));
    expect(hand.limit.estimate).toBeLessThanOrEqual(30);
    hand.work(3_000, served(10, SECOND));
    expect(hand.limit.estimate).toBeGreaterThanOrEqual(10);
  });

  it('does not grow while not half of it is held', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt: gradient });
    for (let round = 0; round < 500; round += 1) {
      for (let one = 0; one < 5; one += 1) {
        hand.limit.take(at(hand.now), 1);
        hand.held.push({ since: hand.now, cost: 1 });
      }
      hand.now += 1_000;
      for (let one = 0; one < 5; one += 1) hand.end();
    }
    expect(hand.capacity).toBe(12);
  });

  it('lets a third be held while it measures, by time at the latest: nobody waits for ever for those who stay', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt: gradient });
    hand.work(32, served(1_000));
    expect(hand.capacity).toBe(4);
    expect(hand.limit.readyAt(at(hand.now), 1)).toBe(NEVER);
    const until = hand.limit.changesAt?.(at(hand.now)) ?? NEVER;
    expect(until).toBeLessThan(at(hand.now + 5 * SECOND));
    expect(hand.limit.status(until).capacity).toBe(12);
    expect(hand.limit.readyAt(until, 1)).toBe(until);
  });
});

it('a fixed number that becomes one that adapts counts what is held from then on', () => {
  const hand = new Hand({ kind: 'concurrency', max: 12 });
  hand.now = SECOND;
  hand.fill();
  hand.limit.reconfigure(at(hand.now), { kind: 'concurrency', max: 100, adapt: gradient });
  expect(hand.limit.status(at(hand.now))).toMatchObject({ capacity: 12, used: 12 });
  hand.work(32, served(1_000));
  // It measures, for so long as 12 that are held 100 ms each let expect.
  expect(hand.capacity).toBe(4);
  expect(hand.limit.changesAt?.(at(hand.now))).toBeLessThan(at(hand.now + 5 * SECOND));
});

describe('a limit that adapts by aimd', () => {
  it('is one more for each round that used half of it', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt: aimd });
    hand.work(12 + 13 + 14, served(1_000));
    expect(hand.capacity).toBe(15);
  });

  it('counts a permit held too long as overload', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt: { ...aimd, slow: SECOND } });
    hand.fill();
    hand.now += SECOND;
    hand.end();
    expect(hand.capacity).toBe(12);
    hand.now += 1;
    hand.end();
    expect(hand.capacity).toBe(6);
  });
});

describe.each([
  ['gradient', gradient],
  ['aimd', aimd],
])('overload, with %s', (_name, adapt) => {
  it('backs off once for all permits that were granted before, and never below the floor', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt: { ...adapt, floor: 5 } });
    hand.fill();
    hand.now += SECOND;
    hand.end('dropped');
    hand.end('lapsed');
    hand.end('dropped');
    expect(hand.capacity).toBe(6);
    for (let one = 0; one < 8; one += 1) hand.end('used', 0);
    hand.now += 1;
    hand.fill();
    hand.end('dropped', hand.held.length - 1);
    expect(hand.capacity).toBe(5);
  });

  it('cuts nobody: arrivals wait until enough has come back', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt });
    hand.fill();
    hand.now += SECOND;
    hand.end('dropped');
    expect(hand.limit.status(at(hand.now))).toMatchObject({ capacity: 6, used: 6, debt: 5 });
    for (let left = 10; left >= 6; left -= 1) {
      expect(hand.limit.readyAt(at(hand.now), 1)).toBe(NEVER);
      hand.end('unused');
    }
    expect(hand.fill()).toBe(0);
    hand.end('unused');
    expect(hand.fill()).toBe(1);
  });

  it('an unused or revoked permit says nothing', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt });
    for (let round = 0; round < 200; round += 1) {
      hand.fill();
      hand.now += SECOND;
      hand.end(round % 2 === 0 ? 'unused' : 'revoked');
    }
    expect(hand.capacity).toBe(12);
  });

  it('one alone that costs more than the limit raises it, up to max and no further', () => {
    const hand = new Hand({ kind: 'concurrency', max: 50, adapt });
    expect(hand.limit.capacity).toBe(50);
    expect(hand.limit.readyAt(at(0), 51)).toBe(NEVER);
    expect(hand.fill(50)).toBe(1);
    expect(hand.limit.status(at(0))).toMatchObject({ capacity: 50, used: 50, debt: 0 });
  });

  it('goes on from where it was after a fixed number for a time, and under other bounds', () => {
    const quota: Quota = { kind: 'concurrency', max: 100, adapt: { ...adapt, initial: 40 } };
    const hand = new Hand(quota);
    hand.fill();
    hand.now += 1;
    hand.end('dropped');
    expect(hand.capacity).toBe(20);
    hand.limit.reconfigure(at(hand.now), { kind: 'concurrency', max: 3 });
    expect([hand.capacity, hand.limit.capacity, hand.limit.estimate]).toEqual([3, 3, undefined]);
    hand.end('dropped');
    hand.now += SECOND;
    hand.limit.reconfigure(at(hand.now), { ...quota });
    expect(hand.capacity).toBe(20);
    hand.limit.reconfigure(at(hand.now), { ...quota, max: 15 });
    expect(hand.capacity).toBe(15);
    hand.limit.reconfigure(at(hand.now), { ...quota, adapt: { ...adapt, floor: 30 } });
    expect(hand.capacity).toBe(30);
  });

  it('is remembered for a minute after the last permit, a fresh one not at all', () => {
    const hand = new Hand({ kind: 'concurrency', max: 100, adapt });
    expect(hand.limit.idleAt(at(0))).toBe(at(0));
    hand.limit.take(at(0), 1);
    hand.held.push({ since: 0, cost: 1 });
    expect(hand.limit.idleAt(at(0))).toBe(NEVER);
    hand.now = SECOND;
    hand.end();
    expect(hand.limit.idleAt(at(SECOND))).toBe(at(61 * SECOND));
    expect(hand.limit.idleAt(at(90 * SECOND))).toBe(at(90 * SECOND));
  });

  it('a share of it follows and does not adapt', () => {
    const quota: Quota = { kind: 'concurrency', max: 100, adapt };
    const share = createLimit(scaleQuota(quota, 0.25));
    expect([share.capacity, share.status(at(0)).capacity, share.estimate]).toEqual([25, 3, undefined]);
    share.setShare?.(17);
    expect(share.status(at(0)).capacity).toBe(17);
    share.setShare?.(1_000);
    expect(share.status(at(0)).capacity).toBe(25);
  });
});

/** Steps of somebody who takes and gives back; `by` and `which` are fractions. */
const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('take' as const), cost: fc.oneof({ weight: 5, arbitrary: fc.constant(1) }, fc.integer({ min: 1, max: 9 })) }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('end' as const),
        which: fc.double({ min: 0, max: 0.999, noNaN: true }),
        how: fc.oneof({ weight: 30, arbitrary: fc.constant('used' as const) }, fc.constantFrom<PermitOutcome>('unused', 'dropped', 'lapsed', 'revoked')),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('wait' as const), by: fc.oneof(fc.integer({ min: 1, max: 400_000 }), fc.integer({ min: 0, max: 3 })) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fill' as const) }) },
  ),
  { minLength: 1, maxLength: 900, size: 'max' },
);

const quotas = fc
  .record({
    by: fc.constantFrom('gradient' as const, 'gradient' as const, 'aimd' as const),
    floor: fc.integer({ min: 1, max: 3 }),
    initial: fc.integer({ min: 3, max: 20 }),
    max: fc.integer({ min: 20, max: 60 }),
    tolerance: fc.constantFrom(1, 1.5, 3),
    backoff: fc.constantFrom(0.5, 0.9, 1),
    slow: fc.constantFrom(undefined, undefined, 600_000),
  })
  .map(({ max, ...adapt }): Extract<Quota, { kind: 'concurrency' }> & { readonly adapt: Adapt } => ({ kind: 'concurrency', max, adapt }));

describe('whatever happens to a limit that adapts', () => {
  it('it is what the naive reading says, within floor and max, and never passed', () => {
    let moved = 0;
    fc.assert(
      fc.property(quotas, steps, (quota, plan) => {
        const hand = new Hand(quota);
        const naive = new NaiveAdaptation(quota.adapt, quota.max);
        const ids: { readonly since: number }[] = [];
        const take = (cost: number): boolean => {
          const ready = hand.limit.readyAt(at(hand.now), cost);
          expect(ready <= at(hand.now)).toBe(naive.readyAt(hand.now, cost) <= hand.now);
          if (ready > at(hand.now)) return false;
          hand.limit.take(at(hand.now), cost);
          const permit = { since: hand.now, cost };
          hand.held.push(permit);
          ids.push(permit);
          naive.took(hand.now, permit, cost);
          const { capacity, debt } = hand.limit.status(at(hand.now));
          expect(debt).toBe(0);
          expect(capacity).toBeGreaterThanOrEqual(cost);
          return true;
        };
        for (const step of plan) {
          if (step.do === 'wait') hand.now += step.by;
          else if (step.do === 'take') take(step.cost);
          else if (step.do === 'fill') while (take(1));
          else if (hand.held.length > 0) {
            const which = Math.floor(step.which * hand.held.length);
            const permit = hand.held[which];
            hand.end(step.how, which);
            naive.ended(hand.now, permit, step.how);
          }
          expect(hand.capacity).toBe(naive.limitAt(hand.now));
          expect(hand.limit.estimate).toBe(Math.floor(naive.limit));
          expect(hand.capacity).toBeGreaterThanOrEqual(quota.adapt.floor);
          expect(hand.capacity).toBeLessThanOrEqual(quota.max);
        }
        if (hand.limit.estimate !== quota.adapt.initial) moved += 1;
      }),
      { numRuns: 120 },
    );
    // Or the plans would say little.
    expect(moved).toBeGreaterThan(60);
  });
});
