import { describe, expect, it } from 'vitest';
import { MINUTE, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { concurrency, fixed, group, rolling, sec, t } from '../specs.ts';

/** Asks that will not wait. */
function now(driver: Driver, ...costs: number[]): string {
  return costs.map((cost) => yes(driver.ask({ cost, ttl: 0 }))).join(' ');
}

function yes(handle: Handle): string {
  return handle.fate === 'admitted' ? 'yes' : 'no';
}

describe('quotas of Lunar', () => {
  it('LN-15: concurrency 1: the second is refused, and admitted once the first lease lapsed', () => {
    const driver = new Driver({ groups: [group('slots', [concurrency(1)])] });
    expect(yes(driver.ask({ name: 'A', lease: 10 * SECOND, ttl: 0 }))).toBe('yes');
    expect(yes(driver.ask({ name: 'B', ttl: 0 }))).toBe('no');
    driver.advance(sec(9.999_999));
    expect(yes(driver.ask({ name: 'B', ttl: 0 }))).toBe('no');
    driver.advance(sec(1.000_001));
    expect(yes(driver.ask({ name: 'B', ttl: 0 }))).toBe('yes');
    expect(driver.ended).toMatchObject([{ how: 'lapsed', at: t(10) }]);
  });

  it('LN-16: the holder renews 10 s leases and dies: its slot is free within 10 s, not after 120', () => {
    const driver = new Driver({ groups: [group('slots', [concurrency(1)])] });
    const owner = driver.ask({ lease: 10 * SECOND });
    const next = driver.ask({ name: 'next', ttl: 120 * SECOND });
    for (let renewals = 0; renewals < 20; renewals += 1) {
      driver.advance(3 * SECOND);
      driver.renew(owner, 10 * SECOND);
    }
    expect(next.fate).toBe('waiting');
    driver.advance(MINUTE);
    expect(next.seconds).toBe(70);
  });

  it('LN-16: also when the server dies with it: a restored lease is free within 30 s of the death', () => {
    const before = new Driver({ groups: [group('slots', [concurrency(1)])], recording: true });
    before.ask({ lease: 10 * SECOND });
    before.advance(SECOND);
    const after = new Driver({
      groups: [group('slots', [concurrency(1)])],
      recording: true,
      term: 2n,
      from: t(2),
      now: t(2),
      restored: before.restored(),
    });
    const next = after.ask({ ttl: 120 * SECOND });
    expect(next.fate).toBe('waiting');
    after.advance(2 * MINUTE);
    expect(next.seconds).toBeGreaterThanOrEqual(10);
    expect(next.seconds).toBeLessThanOrEqual(31);
  });

  it('LN-18: costs 3, 3, 4, 2 against 9 per minute, then 4 in a new window (fixed, aligned with the epoch)', () => {
    const driver = new Driver({ groups: [group('weights', [fixed(9, MINUTE)])] });
    expect(now(driver, 3, 3, 4, 2)).toBe('yes yes no yes');
    driver.advance(MINUTE);
    expect(now(driver, 4)).toBe('yes');
  });

  it('LN-18: the same with a rolling window', () => {
    const driver = new Driver({ groups: [group('weights', [rolling(9, MINUTE)])] });
    expect(now(driver, 3, 3, 4, 2)).toBe('yes yes no yes');
    driver.advance(MINUTE);
    expect(now(driver, 4)).toBe('yes');
  });

  it('LN-19: a child with 60 % of 10 passes 6', () => {
    const parent = group('provider', [fixed(10, SECOND)]);
    const child = group('child', [], { parent: { group: 'provider', share: 0.6 } });
    const driver = new Driver({ groups: [parent, child] });
    const answers = Array.from({ length: 10 }, () => yes(driver.ask({ group: 'child', ttl: 0 })));
    expect(answers.join(' ')).toBe('yes yes yes yes yes yes no no no no');
    expect(yes(driver.ask({ group: 'provider', cost: 4, ttl: 0 }))).toBe('yes');
  });

  it('LN-19: 4 per s split 25 % and 75 %: 1 of A, 3 of B; a refusal of one charges nothing to the other or the parent', () => {
    const driver = new Driver({
      groups: [
        group('provider', [fixed(4, SECOND)]),
        group('A', [], { parent: { group: 'provider', share: 0.25 } }),
        group('B', [], { parent: { group: 'provider', share: 0.75 } }),
      ],
    });
    const ask = (name: string): string => yes(driver.ask({ group: name, ttl: 0 }));
    expect([1, 2, 3, 4].map(() => ask('A')).join(' ')).toBe('yes no no no');
    expect([1, 2, 3, 4].map(() => ask('B')).join(' ')).toBe('yes yes yes no');
    expect(driver.gate.limits(driver.now, driver.group('provider'), '')[0]).toMatchObject({ capacity: 4, used: 4 });
  });

  it('LN-D13: what a parent refuses is not spent in the child', () => {
    const driver = new Driver({
      groups: [group('provider', [fixed(1, SECOND)]), group('child', [fixed(10, MINUTE)], { parent: { group: 'provider', share: undefined } })],
    });
    expect(yes(driver.ask({ group: 'provider', ttl: 0 }))).toBe('yes');
    for (let index = 0; index < 5; index += 1) expect(yes(driver.ask({ group: 'child', ttl: 0 }))).toBe('no');
    expect(driver.gate.limits(driver.now, driver.group('child'), '')[0]).toMatchObject({ capacity: 10, used: 0 });
  });

  it('LN-21: what window 1 left is spilled into window 2: 2 per s, 1 in window 1, 4 in window 2', () => {
    const driver = new Driver({ groups: [group('spill', [fixed(2, SECOND, { spill: 2 })])] });
    expect(now(driver, 1)).toBe('yes');
    driver.advance(SECOND);
    expect(now(driver, 1, 1, 1, 1)).toBe('yes yes yes no');
  });

  it('LN-21: spill is bounded by its option', () => {
    const driver = new Driver({ groups: [group('spill', [fixed(5, SECOND, { spill: 1 })])] });
    expect(now(driver, 1)).toBe('yes');
    driver.advance(SECOND);
    expect(now(driver, 6, 1)).toBe('yes no');
  });

  it('LN-22: 5 per 10 s, six asks: five pass', () => {
    for (const limit of [fixed(5, 10 * SECOND), fixed(5, 10 * SECOND, { align: 'first' }), rolling(5, 10 * SECOND)]) {
      const driver = new Driver({ groups: [group('five', [limit])] });
      expect(now(driver, 1, 1, 1, 1, 1, 1)).toBe('yes yes yes yes yes no');
    }
  });

  it('LN-22: 2 per 1 s: three asks, and one in the next window', () => {
    for (const limit of [fixed(2, SECOND), fixed(2, SECOND, { align: 'first' }), rolling(2, SECOND)]) {
      const driver = new Driver({ groups: [group('two', [limit])] });
      expect(now(driver, 1, 1, 1)).toBe('yes yes no');
      driver.advance(SECOND);
      expect(now(driver, 1)).toBe('yes');
    }
  });

  it('LN-24: a limit of 5 after 4 asks says 5 and 4, and 5 when it is exhausted (LN-D14)', () => {
    const driver = new Driver({ groups: [group('five', [fixed(5, 10 * SECOND)])] });
    now(driver, 1, 1, 1, 1);
    expect(driver.gate.limits(driver.now, 0, '')[0]).toMatchObject({ capacity: 5, used: 4 });
    now(driver, 1, 1, 1);
    expect(driver.gate.limits(driver.now, 0, '')[0]).toMatchObject({ capacity: 5, used: 5, resetAt: t(10) });
  });

  it('LN-D5: a rolling window never passes more than its permits in any interval, also around an edge', () => {
    const driver = new Driver({ groups: [group('edge', [rolling(10, SECOND)])] });
    driver.advance(sec(0.9));
    for (let index = 0; index < 30; index += 1) driver.ask({});
    driver.advance(5 * SECOND);
    expect(driver.times()).toEqual([...Array(10).fill(0.9), ...Array(10).fill(1.9), ...Array(10).fill(2.9)]);
  });

  it('LN-D6: a slot given back is taken in the same moment: max 1 and a backend of 50 ms make 20 per second', () => {
    const driver = new Driver({ groups: [group('slots', [concurrency(1)])] });
    const asks = Array.from({ length: 20 }, () => driver.ask({}));
    for (const handle of asks) {
      driver.advance(sec(0.05));
      driver.release(handle);
    }
    expect(driver.times()).toEqual(asks.map((_, index) => index * 0.05).map((time) => Number(time.toFixed(6))));
  });
});
