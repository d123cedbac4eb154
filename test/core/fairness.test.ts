import { describe, expect, it } from 'vitest';
import type { LimitSpec } from '../../src/core/group.ts';
import { HOUR, MILLISECOND, SECOND } from '../../src/core/time.ts';
import { seeded } from '../support/seeded.ts';
import { Driver } from './driver.ts';
import type { Handle } from './handle.ts';
import { type Demand, fairShares, jain, worstError } from './shares.ts';
import { concurrency, group, rate, rolling, spacing } from './specs.ts';

/** One tenant of a scenario. */
interface Tenant {
  readonly name: string;
  readonly weight?: number;
  readonly waiting: number;
  /** Units of the first limit's unit per ask. */
  readonly cost?: () => number;
}

/** Everybody queues up at once behind one slot; then `grants` asks are let through, one after the other. Answers units had by tenant. */
function backlogOf(limits: readonly LimitSpec[], tenants: readonly Tenant[], until: (units: number, grants: number) => boolean): ReadonlyMap<string, number> {
  const unit = limits[0]?.unit ?? 'requests';
  const weights = new Map(tenants.flatMap(({ name, weight }) => (weight === undefined ? [] : [[name, weight]])));
  const driver = new Driver({ groups: [group('shared', limits, { fairness: { by: 'key', weights } })] });
  driver.call((gate, now) => gate.pause(now, 0, (now + SECOND) as typeof now));
  for (const { name, waiting, cost } of tenants) {
    for (let index = 0; index < waiting; index += 1) driver.ask({ key: name, costs: { [unit]: cost?.() ?? 1 }, ttl: 1000 * HOUR });
  }
  const had = new Map<string, number>();
  let units = 0;
  let grants = 0;
  driver.onAdmitted = (handle) => {
    if (until(units, grants)) return;
    const cost = handle.ask.costs[unit] ?? 1;
    units += cost;
    grants += 1;
    had.set(handle.ask.key, (had.get(handle.ask.key) ?? 0) + cost);
  };
  for (let step = 0; !until(units, grants) && step < 1_000_000; step += 1) driver.advance(SECOND);
  return had;
}

function fair(capacity: number, tenants: readonly Tenant[], mean: (tenant: Tenant) => number = () => 1): ReadonlyMap<string, number> {
  return fairShares(
    capacity,
    tenants.map((tenant): Demand => ({ name: tenant.name, weight: tenant.weight ?? 1, wants: tenant.waiting * mean(tenant) })),
  );
}

describe('the oracle of shares', () => {
  it('pours what one does not want over the others', () => {
    const shares = fairShares(100, [
      { name: 'small', weight: 1, wants: 10 },
      { name: 'a', weight: 1, wants: 1000 },
      { name: 'b', weight: 2, wants: 1000 },
    ]);
    expect([...shares]).toEqual([
      ['small', 10],
      ['a', 30],
      ['b', 60],
    ]);
  });
});

describe('fair between keys over long backlogs', () => {
  const perMillisecond = [rate(1000, SECOND)];

  it('ten equal tenants, 10,000 grants: Jain >= 0.99, no share off by more than 1 %', () => {
    const tenants = Array.from({ length: 10 }, (_, index) => ({ name: `t${index}`, waiting: 1_200 }));
    const had = backlogOf(perMillisecond, tenants, (_, grants) => grants >= 10_000);
    expect(jain(tenants.map(({ name }) => had.get(name) ?? 0))).toBeGreaterThanOrEqual(0.99);
    expect(worstError(had, fair(10_000, tenants))).toBeLessThanOrEqual(0.01);
  });

  it('weights 1, 2 and 4 at equal cost: shares within 1 %', () => {
    const tenants = [1, 2, 4].map((weight) => ({ name: `w${weight}`, weight, waiting: 1_000 * weight + 500 }));
    const had = backlogOf(perMillisecond, tenants, (_, grants) => grants >= 7_000);
    expect(worstError(had, fair(7_000, tenants))).toBeLessThanOrEqual(0.01);
    expect(jain(tenants.map(({ name, weight }) => (had.get(name) ?? 0) / weight))).toBeGreaterThanOrEqual(0.99);
  });

  it("mixed costs are weighed in the first limit's unit: shares of tokens within 3 %", () => {
    const roll = seeded(7);
    const tenants: Tenant[] = [
      { name: 'large', weight: 1, waiting: 800, cost: () => 50 + Math.floor(roll() * 50) },
      { name: 'small', weight: 1, waiting: 15_000, cost: () => 1 + Math.floor(roll() * 10) },
      { name: 'heavy', weight: 2, waiting: 5_000, cost: () => 10 + Math.floor(roll() * 40) },
    ];
    const had = backlogOf([rolling(1_000, 100 * MILLISECOND, { unit: 'tokens' })], tenants, (units) => units >= 150_000);
    const total = [...had.values()].reduce((sum, units) => sum + units, 0);
    expect(
      worstError(
        had,
        fair(total, tenants, () => 1_000),
      ),
    ).toBeLessThanOrEqual(0.03);
  });

  it('one who sends a thousand times more takes only what the light ones leave', () => {
    const tenants = [{ name: 'loud', waiting: 10_000 }, ...Array.from({ length: 20 }, (_, index) => ({ name: `light ${index}`, waiting: 10 }))];
    const had = backlogOf(perMillisecond, tenants, (_, grants) => grants >= 2_000);
    expect(worstError(had, fair(2_000, tenants))).toBeLessThanOrEqual(0.01);
  });

  it('who was away has no claim on the past: a late tenant shares evenly from then on', () => {
    const driver = new Driver({ groups: [group('shared', perMillisecond, { fairness: { by: 'key', weights: new Map() } })] });
    for (let index = 0; index < 3_000; index += 1) driver.ask({ key: 'early' });
    driver.advance(SECOND);
    for (let index = 0; index < 1_500; index += 1) driver.ask({ key: 'late' });
    const before = driver.log.length;
    driver.advance(SECOND);
    const since = driver.log.slice(before).map((line) => line.handle.ask.key);
    const late = since.filter((key) => key === 'late').length;
    expect(Math.abs(late / since.length - 0.5)).toBeLessThanOrEqual(0.01);
    expect(since.slice(0, 20).filter((key) => key === 'late').length).toBeGreaterThanOrEqual(9);
    expect(since.slice(0, 20).filter((key) => key === 'late').length).toBeLessThanOrEqual(11);
  });

  it('who leaves and comes back does not gain by it', () => {
    const driver = new Driver({ groups: [group('shared', perMillisecond, { fairness: { by: 'key', weights: new Map() } })] });
    for (let index = 0; index < 2_000; index += 1) driver.ask({ key: 'patient' });
    let mine = driver.ask({ key: 'restless' });
    for (let index = 0; index < 1_000; index += 1) {
      driver.cancel(mine);
      mine = driver.ask({ key: 'restless' });
      driver.advance(MILLISECOND);
    }
    const restless = driver.log.filter((line) => line.what === 'admitted' && line.handle.ask.key === 'restless').length;
    expect(restless).toBeLessThanOrEqual(510);
  });

  it('in three bands of three tenants no band is served before the one above is empty', () => {
    const roll = seeded(3);
    const driver = new Driver({ groups: [group('bands', perMillisecond, { fairness: { by: 'key', weights: new Map() } })] });
    driver.call((gate, now) => gate.pause(now, 0, (now + SECOND) as typeof now));
    for (let index = 0; index < 900; index += 1) driver.ask({ key: `t${Math.floor(roll() * 3)}`, priority: 1 + Math.floor(roll() * 3) });
    driver.advance(10 * SECOND);
    const levels = driver.log.map((line) => line.handle.ask.priority);
    expect(levels).toEqual([...levels].sort((a, b) => a - b));
  });
});

describe('who is passed and who is waited for', () => {
  it('a waiter blocked on its own key is passed, and keeps its place for when its key opens', () => {
    const driver = new Driver({ groups: [group('keys', [spacing(SECOND, 0, { scope: 'key' })])] });
    for (const name of ['a1', 'a2', 'a3', 'b1', 'b2']) driver.ask({ name, key: name[0] ?? '' });
    expect(driver.admitted()).toEqual(['a1', 'b1']);
    driver.advance(2 * SECOND);
    expect(driver.admitted()).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
    expect(driver.times()).toEqual([0, 0, 1, 1, 2]);
  });

  it("a large cost blocked on the group's limit holds the line: the small ones behind do not starve it", () => {
    const driver = new Driver({ groups: [group('tokens', [rolling(10, SECOND, { unit: 'tokens' })])] });
    const ask = (name: string, tokens: number): Handle => driver.ask({ name, costs: { tokens } });
    ask('first', 6);
    driver.advance(100 * MILLISECOND);
    const large = ask('large', 10);
    for (let index = 0; index < 50; index += 1) ask(`small ${index}`, 1);
    driver.advance(899 * MILLISECOND);
    expect(driver.admitted()).toEqual(['first']);
    driver.advance(MILLISECOND);
    expect(large.seconds).toBe(1);
    driver.advance(SECOND);
    expect(driver.admitted().slice(2)).toEqual(Array.from({ length: 10 }, (_, index) => `small ${index}`));
  });

  it("a large cost blocked on a parent's limit holds everyone behind it in that tree, other children too", () => {
    const driver = new Driver({
      groups: [
        group('root', [rolling(10, SECOND, { unit: 'tokens' })]),
        group('a', [], { parent: { group: 'root', share: undefined } }),
        group('b', [], { parent: { group: 'root', share: undefined } }),
      ],
    });
    driver.ask({ name: 'first', group: 'b', costs: { tokens: 6 } });
    driver.ask({ name: 'large', group: 'a', costs: { tokens: 10 } });
    driver.ask({ name: 'small', group: 'b', costs: { tokens: 1 } });
    expect(driver.admitted()).toEqual(['first']);
    driver.advance(2 * SECOND);
    expect(driver.admitted()).toEqual(['first', 'large', 'small']);
    expect(driver.times()).toEqual([0, 1, 2]);
  });

  it('where a parent binds, the child whose next waiter is most urgent, then oldest, goes first', () => {
    const below = { parent: { group: 'root', share: undefined } };
    const driver = new Driver({ groups: [group('root', [spacing(SECOND)]), group('a', [], below), group('b', [], below), group('c', [], below)] });
    driver.ask({ name: 'now', group: 'a' });
    driver.ask({ name: 'a old', group: 'a', priority: 2 });
    driver.ask({ name: 'b old', group: 'b', priority: 2 });
    driver.ask({ name: 'root', group: 'root', priority: 2 });
    driver.ask({ name: 'c urgent', group: 'c', priority: 1 });
    driver.ask({ name: 'b urgent', group: 'b', priority: 1 });
    driver.ask({ name: 'a late', group: 'a', priority: 2 });
    driver.advance(10 * SECOND);
    expect(driver.admitted()).toEqual(['now', 'c urgent', 'b urgent', 'a old', 'b old', 'root', 'a late']);
    expect(driver.times()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('a child that its own limit holds does not hold its siblings', () => {
    const below = { parent: { group: 'root', share: undefined } };
    const driver = new Driver({ groups: [group('root', [concurrency(10)]), group('a', [spacing(HOUR)], below), group('b', [], below)] });
    driver.ask({ group: 'a', name: 'a1' });
    driver.ask({ group: 'a', name: 'a2', ttl: 2 * HOUR });
    driver.ask({ group: 'b', name: 'b1' });
    expect(driver.admitted()).toEqual(['a1', 'b1']);
  });

  it('deferred requests come after every class and never age', () => {
    const driver = new Driver({ groups: [group('aged', [spacing(SECOND)], { aging: SECOND })] });
    driver.ask({ name: 'now' });
    driver.ask({ name: 'deferred', priority: 1000, ttl: 100 * HOUR });
    driver.advance(100 * MILLISECOND);
    for (let index = 0; index < 20; index += 1) driver.ask({ name: `live ${index}`, priority: 999 });
    driver.advance(60 * SECOND);
    expect(driver.admitted().at(-1)).toBe('deferred');
  });

  it('aging: one step of priority is worth its time of waiting, no more and no less', () => {
    const driver = new Driver({ groups: [group('aged', [spacing(100 * SECOND)], { aging: SECOND })] });
    driver.ask({ name: 'now' });
    driver.ask({ name: 'low', priority: 4 });
    driver.advance(2.9 * SECOND);
    driver.ask({ name: 'before', priority: 1 });
    driver.advance(0.2 * SECOND);
    driver.ask({ name: 'behind', priority: 1 });
    driver.advance(HOUR);
    expect(driver.admitted()).toEqual(['now', 'before', 'low', 'behind']);
  });
});
