import { expect, it } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { group, spacing } from './specs.ts';

/** Asks by chance of a seed: keys of unlike weights, three priorities, costs of 1 to 3 units. */
function waiting(seed: number, by: 'key' | 'none', weights: readonly (readonly [string, number])[] = []): Driver {
  let state = seed;
  const chance = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  const driver = new Driver({ groups: [group('g', [spacing(SECOND)], { fairness: { by, weights: new Map(weights) } })] });
  driver.ask({});
  for (let caller = 0; caller < 60; caller++) {
    driver.ask({ name: `caller ${caller}`, key: ['a', 'b', 'c', ''][chance(4)] as string, priority: chance(3), costs: { requests: 1, tokens: 1 + chance(3) } });
    if (chance(4) === 0) driver.advance(100_000);
  }
  return driver;
}

const names = (driver: Driver, from: number, count: number, filter = {}): readonly string[] =>
  driver.gate.waiters(driver.now, 0, from, count, filter).map(({ holder }) => holder);

it.each([
  ['first in, first out', { by: 'none', weights: [] }],
  ['fair shares of keys', { by: 'key', weights: [] }],
  [
    'fair shares by weight',
    {
      by: 'key',
      weights: [
        ['a', 3],
        ['b', 0.5],
      ],
    },
  ],
] as const)('lists the waiters in the order in which they then go: %s', (_name, { by, weights }) => {
  for (let seed = 1; seed <= 20; seed++) {
    const driver = waiting(seed, by, weights);
    const listed = names(driver, 0, 1_000);
    expect(listed.length).toBeGreaterThan(30);
    const before = driver.log.length;
    driver.advance(100 * SECOND);
    expect(driver.log.slice(before).map(({ handle }) => handle.name)).toEqual(listed);
  }
});

it('lists pages that have each waiter once, and counts all', () => {
  const driver = waiting(7, 'key');
  const all = names(driver, 0, 1_000);
  expect([...names(driver, 0, 20), ...names(driver, 20, 20), ...names(driver, 40, 100)]).toEqual(all);
  expect(driver.gate.listed('waiters', 0, {})).toBe(all.length);
});

it('lists those of a key, a priority, or a part of their name alone', () => {
  const driver = waiting(3, 'key');
  const all = driver.gate.waiters(driver.now, 0, 0, 1_000);
  const some = (wanted: (view: (typeof all)[number]) => boolean): readonly string[] => all.filter(wanted).map(({ holder }) => holder);
  expect(names(driver, 0, 1_000, { key: 'a' })).toEqual(some(({ key }) => key === 'a'));
  expect(names(driver, 0, 1_000, { key: '', priority: 2 })).toEqual(some(({ key, priority }) => key === '' && priority === 2));
  expect(names(driver, 0, 1_000, { holder: 'CALLER 1' })).toEqual(some(({ holder }) => holder.startsWith('caller 1')));
  expect(driver.gate.listed('waiters', 0, { key: 'a' })).toBe(some(({ key }) => key === 'a').length);
});
