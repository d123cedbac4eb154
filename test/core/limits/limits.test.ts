import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FixedQuota } from '../../../src/core/group.ts';
import { createLimit, lookaheadUnits, type PersistentQuota, scaleQuota } from '../../../src/core/limits/create-limit.ts';
import { intervalOf } from '../../../src/core/limits/gcra.ts';
import type { Limit } from '../../../src/core/limits/limit.ts';
import { DAY, HOUR, type Instant, MINUTE, NEVER, SECOND } from '../../../src/core/time.ts';
import { fixedQuota } from './quotas.ts';
import { type Charge, NaiveWindow, violation } from './reference.ts';

const T0 = (Date.UTC(2026, 0, 1) * 1000) as Instant;
const at = (micros: number): Instant => (T0 + micros) as Instant;

/** Takes `cost` if it may pass. */
function admits(limit: Limit, now: Instant, cost = 1): boolean {
  if (limit.readyAt(now, cost) > now) return false;
  limit.take(now, cost);
  return true;
}

/** How many of `asks` pass at one moment. */
function passing(limit: Limit, now: Instant, asks: number): number {
  let passed = 0;
  for (let ask = 0; ask < asks; ask++) if (admits(limit, now)) passed += 1;
  return passed;
}

const rate = (permits: number, per: number, burst = 1): PersistentQuota => ({ kind: 'rate', permits, per, burst });
const window = (permits: number, per: number): PersistentQuota => ({ kind: 'window', permits, per });
const spacing = (every: number, slack = 0): PersistentQuota => ({ kind: 'spacing', spacing: every, slack });

describe('a rate', () => {
  it('neither drifts nor is early where the interval is no whole number of microseconds', () => {
    // 7 per second: the n-th after the first opens at ceil(n * 1e6 / 7).
    const limit = createLimit(rate(7, SECOND));
    let now = T0;
    for (let n = 1; n <= 70_000; n++) {
      limit.take(now, 1);
      now = limit.readyAt(now, 1);
      if (now - T0 < Math.ceil((n * SECOND) / 7)) expect.fail(`the ${n}th is early`);
    }
    expect(now - T0).toBeLessThanOrEqual(Math.ceil((70_000 * SECOND) / 7) + 70_000);
    const steady = createLimit(rate(7, SECOND, 7));
    for (let second = 0; second < 1000; second++) expect(passing(steady, at(second * SECOND), 9)).toBe(7);
  });

  it('allows the burst at once and the rate after it', () => {
    const limit = createLimit(rate(500, MINUTE, 20));
    expect(passing(limit, T0, 30)).toBe(20);
    expect(limit.readyAt(T0, 1)).toBe(at(120_000));
    expect(limit.readyAt(T0, 20)).toBe(at(20 * 120_000));
    expect(limit.readyAt(T0, 21)).toBe(NEVER);
  });

  it('rounds an interval up, never down, where its exact fraction would not fit a double', () => {
    const fits = fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 400 * DAY }), fc.integer({ min: 1, max: 2 ** 36 }));
    fc.assert(
      fc.property(fits, ([permits, per, units]) => {
        const { whole, rest, of, exactMax } = intervalOf(permits, per, units);
        expect(rest).toBeLessThan(of);
        expect(BigInt(units + 1) * BigInt(of)).toBeLessThanOrEqual(2n ** 53n);
        if (whole * units < 2 ** 53) expect(exactMax).toBeGreaterThanOrEqual(units);
        const slower = (BigInt(whole) * BigInt(of) + BigInt(rest)) * BigInt(permits) - BigInt(per) * BigInt(of);
        expect(slower >= 0n).toBe(true);
        expect(slower <= BigInt(permits)).toBe(true);
      }),
    );
  });

  it('shows a debit as debt and pays it before anyone passes', () => {
    const limit = createLimit(rate(10, SECOND, 5));
    limit.debit(T0, 8);
    expect(limit.status(T0)).toMatchObject({ capacity: 5, used: 5, debt: 3 });
    expect(limit.readyAt(T0, 0)).toBe(at(300_000));
    expect(limit.readyAt(T0, 1)).toBe(at(400_000));
  });

  it('stays sound under a debit of any size', () => {
    const limit = createLimit(rate(999_999_937, SECOND, 1000));
    limit.debit(T0, 2 ** 52);
    expect(limit.readyAt(T0, 1)).toBeGreaterThan(T0);
    expect(limit.status(T0).debt).toBeGreaterThan(2 ** 51);
    const slow = createLimit(rate(1, DAY, 2));
    slow.debit(T0, 2 ** 52);
    expect(Number.isSafeInteger(slow.readyAt(T0, 1))).toBe(true);
  });

  it('keeps what is spent when its quota changes', () => {
    const limit = createLimit(rate(10, SECOND, 10));
    limit.take(T0, 6);
    limit.reconfigure(T0, rate(1, SECOND, 10));
    expect(limit.status(T0)).toMatchObject({ used: 6, resetAt: at(6 * SECOND) });
    limit.reconfigure(T0, rate(1, SECOND, 4));
    expect(limit.status(T0)).toMatchObject({ used: 4, debt: 2 });
    limit.refund(at(1), (T0 - 1) as Instant, 6);
    expect(limit.status(at(1)).debt).toBe(2);
  });
});

describe('a spacing', () => {
  it('adds its slack to the pause', () => {
    const limit = createLimit(spacing(5 * SECOND, 250_000));
    expect(admits(limit, T0)).toBe(true);
    expect(limit.readyAt(T0, 1)).toBe(at(5_250_000));
    expect(admits(limit, at(5_249_999))).toBe(false);
  });

  it('opens again for a refund only if nobody passed since', () => {
    const limit = createLimit(spacing(SECOND));
    limit.take(T0, 1);
    limit.take(at(SECOND), 1);
    limit.refund(at(SECOND), T0, 1);
    expect(limit.readyAt(at(SECOND), 1)).toBe(at(2 * SECOND));
    limit.refund(at(SECOND + 1), at(SECOND), 1);
    expect(limit.readyAt(at(SECOND + 1), 1)).toBe(at(SECOND + 1));
  });

  it('counts a changed pause from the last admission', () => {
    const limit = createLimit(spacing(SECOND));
    limit.take(T0, 1);
    limit.reconfigure(at(3 * SECOND), spacing(10 * SECOND));
    expect(limit.readyAt(at(3 * SECOND), 1)).toBe(at(10 * SECOND));
    limit.reconfigure(at(3 * SECOND), spacing(SECOND));
    expect(limit.readyAt(at(3 * SECOND), 1)).toBe(at(3 * SECOND));
  });
});

describe('a rolling window', () => {
  it('opens a place exactly one window after it was taken', () => {
    const limit = createLimit(window(2, SECOND));
    limit.take(T0, 1);
    limit.take(at(1000), 1);
    expect(limit.readyAt(at(2000), 1)).toBe(at(SECOND));
    expect(limit.readyAt(at(2000), 2)).toBe(at(SECOND + 1000));
    expect(limit.readyAt(at(2000), 3)).toBe(NEVER);
  });

  it('re-charges debt as places open, round after round, by arithmetic', () => {
    const limit = createLimit(window(3, 4000));
    for (const when of [0, 100, 200]) limit.take(at(when), 1);
    limit.debit(at(300), 3_000_000_000 + 1);
    // A thousand million rounds, then one more unit at the first place of the round after.
    const rounds = 1_000_000_000;
    expect(limit.readyAt(at(300), 1)).toBe(at(4000 * (rounds + 1) + 100));
    expect(limit.status(at(300)).debt).toBe(3_000_000_001);
    const paid = at(4000 * (rounds + 1));
    expect(limit.status((paid - 1) as Instant).debt).toBe(1);
    expect(limit.status(paid)).toMatchObject({ used: 3, debt: 0 });
    expect(limit.readyAt(paid, 1)).toBe(at(4000 * (rounds + 1) + 100));
  });

  it('reopens a place at most per/4096 late where entries merge, and never early', () => {
    const per = 40_960_000;
    const step = fc.record({ by: fc.oneof(fc.nat(9000), fc.nat(13_000_000)), cost: fc.integer({ min: 1, max: 4 }), debit: fc.integer({ min: 0, max: 60 }) });
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 40 }), fc.array(step, { minLength: 1, maxLength: 120 }), (permits, steps) => {
        const quota = { kind: 'window', permits, per } as const;
        const limit = createLimit(quota);
        const naive = new NaiveWindow(quota);
        const charges: Charge[] = [];
        let now = T0;
        for (const { by, cost, debit } of steps) {
          now = (now + by) as Instant;
          const ready = limit.readyAt(now, cost);
          const exact = naive.readyAt(now, cost);
          expect(ready).toBeGreaterThanOrEqual(exact);
          if (debit === 0) naive.charge(now, cost);
          else if (ready > now) continue;
          else naive.charge(now, cost);
          if (debit === 0) limit.debit(now, cost);
          else {
            limit.take(now, cost);
            charges.push({ at: now, units: cost });
            // Without debt, merging is the only difference.
            if (steps.every((each) => each.debit > 0)) expect(limit.readyAt(now, 1) - naive.readyAt(now, 1)).toBeLessThan(per / 4096);
          }
        }
        expect(violation(quota, charges)).toBeUndefined();
      }),
    );
  });

  it('keeps no more entries than it has grains, whatever passes and comes back', () => {
    const limit = createLimit(window(1_000_000, MINUTE));
    let now = T0;
    for (let n = 0; n < 60_000; n++) {
      now = (now + 2500) as Instant;
      limit.take(now, 3);
      limit.refund(now, now, n % 3 === 0 ? 3 : 1);
    }
    expect(limit.seal(now).length).toBeLessThanOrEqual(3 + 2 * 4099);
  });

  it('keeps counting what was taken when it becomes smaller', () => {
    const limit = createLimit(window(10, SECOND));
    limit.take(T0, 4);
    limit.take(at(1000), 4);
    limit.reconfigure(at(2000), window(5, SECOND));
    expect(limit.status(at(2000))).toMatchObject({ used: 5, debt: 3 });
    expect(limit.readyAt(at(2000), 1)).toBe(at(SECOND));
    expect(limit.readyAt(at(2000), 2)).toBe(at(SECOND + 1000));
  });

  it('forgets no bound when its length changes in the middle of a slot', () => {
    const wide = createLimit(window(10, 64 * SECOND));
    wide.enablePersistence();
    const bounds = [wide.bound(T0, 5, 0)];
    for (const bound of bounds) wide.onPersisted(bound);
    wide.take(T0, 5);
    wide.reconfigure(at(1), window(10, 32 * SECOND));
    // The slot that ends with the old one starts from what the old one may hold.
    const late = at(SECOND + 1);
    expect(wide.isCovered(late, 1)).toBe(false);
    expect(wide.bound(late, 1, 0)).toEqual({ slot: at(2 * SECOND), value: 6 });
  });
});

describe('a fixed window', () => {
  it('LN-21: carries unspent permits into the next window, up to the spill', () => {
    const limit = createLimit(fixedQuota({ permits: 2, per: SECOND, spill: 1 }));
    expect(passing(limit, T0, 1)).toBe(1);
    expect(passing(limit, at(SECOND), 4)).toBe(3);
    expect(passing(limit, at(2 * SECOND), 4)).toBe(2);
    expect(passing(limit, at(9 * SECOND), 4)).toBe(3);
  });

  it('with align first opens with the first admission after the one before', () => {
    const limit = createLimit(fixedQuota({ permits: 2, per: SECOND, align: 'first' }));
    expect(passing(limit, at(300), 3)).toBe(2);
    expect(limit.readyAt(at(301), 1)).toBe(at(SECOND + 300));
    expect(passing(limit, at(5 * SECOND + 7), 1)).toBe(1);
    expect(passing(limit, at(6 * SECOND + 6), 3)).toBe(1);
    expect(passing(limit, at(6 * SECOND + 7), 3)).toBe(2);
  });

  it('pays an overdraft out of the windows that follow', () => {
    const limit = createLimit(fixedQuota({ permits: 3, per: SECOND }));
    limit.debit(T0, 8);
    expect(limit.status(T0)).toMatchObject({ used: 3, debt: 5, resetAt: at(2 * SECOND) });
    expect(limit.readyAt(T0, 2)).toBe(at(3 * SECOND));
    expect(passing(limit, at(2 * SECOND), 3)).toBe(1);
  });

  it('lasts as long as its month, and a day at a clock change', () => {
    const month = createLimit(fixedQuota({ permits: 1, per: 'month', align: 'calendar', day: 31, time: 0, timezone: 'Europe/Berlin' }));
    const january = (Date.UTC(2026, 1, 1) * 1000) as Instant;
    expect(admits(month, january)).toBe(true);
    expect(month.readyAt(january, 1)).toBe(Date.UTC(2026, 1, 27, 23) * 1000);
    const day = createLimit(fixedQuota({ permits: 1, per: DAY, align: 'calendar', timezone: 'Europe/Berlin' }));
    const sunday = (Date.UTC(2026, 2, 28, 23) * 1000) as Instant;
    expect(admits(day, sunday)).toBe(true);
    expect(day.readyAt(sunday, 1)).toBe(sunday + 23 * HOUR);
  });

  it('after a takeover holds the calendar window before `from` to what is on disk', () => {
    const quota = fixedQuota({ permits: 5, per: DAY, align: 'calendar', timezone: 'Asia/Kolkata' });
    const before = createLimit(quota);
    before.enablePersistence();
    const bound = before.bound(T0, 2, 1);
    before.onPersisted(bound);
    before.take(T0, 2);
    const next = createLimit(quota);
    next.enablePersistence();
    next.restore(at(HOUR), [bound]);
    expect(next.status(at(HOUR))).toMatchObject({ used: 3 });
    expect(next.status(at(DAY))).toMatchObject({ used: 0 });
    const fresh = createLimit(quota);
    fresh.restore(at(HOUR), []);
    expect(fresh.status(at(HOUR))).toMatchObject({ used: 0 });
  });

  it('gives back only while its window runs', () => {
    const limit = createLimit(fixedQuota({ permits: 2, per: SECOND }));
    limit.take(T0, 2);
    limit.refund(at(10), T0, 1);
    expect(passing(limit, at(10), 3)).toBe(1);
    limit.take(at(SECOND), 2);
    limit.refund(at(SECOND), at(10), 1);
    expect(passing(limit, at(SECOND), 1)).toBe(0);
  });

  it('keeps what was used when its length changes, and gives none of it back twice', () => {
    const limit = createLimit(fixedQuota({ permits: 10, per: MINUTE }));
    limit.take(at(MINUTE), 4);
    limit.reconfigure(at(MINUTE + 1), fixedQuota({ permits: 10, per: HOUR }));
    expect(limit.status(at(MINUTE + 1)).used).toBe(4);
    limit.refund(at(MINUTE + 1), T0, 4);
    expect(limit.status(at(MINUTE + 1)).used).toBe(4);
    limit.refund(at(MINUTE + 1), at(MINUTE), 4);
    expect(limit.status(at(MINUTE + 1)).used).toBe(0);
  });
});

describe('a concurrency', () => {
  it('frees nothing by time, and everything by giving back', () => {
    const limit = createLimit({ kind: 'concurrency', max: 2 });
    expect(passing(limit, T0, 3)).toBe(2);
    expect(limit.readyAt(T0, 1)).toBe(NEVER);
    expect(limit.status(T0)).toEqual({ capacity: 2, used: 2, debt: 0, resetAt: NEVER });
    limit.refund(T0, T0, 1);
    expect(limit.readyAt(T0, 1)).toBe(T0);
    expect(limit.idleAt(T0)).toBe(NEVER);
  });

  it('lets nobody pass below what is held after it shrank', () => {
    const limit = createLimit({ kind: 'concurrency', max: 4 });
    limit.take(T0, 4);
    limit.reconfigure(T0, { kind: 'concurrency', max: 2 });
    expect(limit.status(T0)).toMatchObject({ used: 2, debt: 2 });
    expect(limit.readyAt(T0, 0)).toBe(NEVER);
    limit.refund(T0, T0, 2);
    expect(limit.readyAt(T0, 1)).toBe(NEVER);
    limit.refund(T0, T0, 1);
    expect(limit.readyAt(T0, 1)).toBe(T0);
  });
});

describe("a child's share", () => {
  it('LN-19: is rounded down to whole units, pauses up, and at least one', () => {
    expect(scaleQuota(window(10, SECOND), 0.6)).toEqual(window(6, SECOND));
    expect(scaleQuota(window(100, SECOND), 0.29)).toEqual(window(29, SECOND));
    expect(scaleQuota(rate(100, SECOND, 3), 0.5)).toEqual(rate(50, SECOND, 1));
    expect(scaleQuota(spacing(5 * SECOND, 3), 0.3)).toEqual(spacing(16_666_667, 10));
    expect(scaleQuota(spacing(6, 0), 0.6)).toEqual(spacing(10, 0));
    expect(scaleQuota({ kind: 'concurrency', max: 3 }, 0.1)).toEqual({ kind: 'concurrency', max: 1 });
    expect((scaleQuota(fixedQuota({ permits: 4, per: SECOND, spill: 2 }), 0.25) as FixedQuota).spill).toBe(0);
  });
});

it('gives each kind of limit the capacity and the recovery of its quota', () => {
  const month = fixedQuota({ permits: 3, per: 'month', align: 'calendar', spill: 2 });
  const expected: readonly (readonly [PersistentQuota, capacity: number, recovery: number])[] = [
    [rate(500, MINUTE, 20), 20, 2_400_000],
    [rate(1, 400 * DAY, 1_000_000), 91, 91 * 400 * DAY],
    [spacing(5, 1), 1, 6],
    [window(7, HOUR), 7, HOUR],
    // A month of 31 days, in which clocks are set back by an hour.
    [month, 5, 31 * DAY + HOUR],
  ];
  for (const [quota, capacity, recovery] of expected) expect(createLimit(quota)).toMatchObject({ capacity, recovery });
  expect(createLimit({ kind: 'concurrency', max: 8 })).toMatchObject({ capacity: 8 });
});

it('looks ahead for half a second of demand, at most a tenth of the capacity', () => {
  expect([lookaheadUnits(0, 1000), lookaheadUnits(50, 1000), lookaheadUnits(1e6, 1000), lookaheadUnits(100, 5)]).toEqual([1, 25, 100, 1]);
});
