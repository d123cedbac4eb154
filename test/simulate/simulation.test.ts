import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';
import { type Instant, MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import { reportOf, type SimulationReport } from '../../src/simulate/report.ts';
import type { SimulatedRequest } from '../../src/simulate/simulated-request.ts';
import { Simulation } from '../../src/simulate/simulation.ts';

const START = (Date.UTC(2024, 0, 1) * 1_000) as Instant;

function request(at: Micros, more: Partial<SimulatedRequest> = {}): SimulatedRequest {
  return { at, group: 'g', key: '', priority: undefined, costs: ONE_REQUEST, wait: undefined, hold: 0, settled: undefined, ...more };
}

function simulated(groups: string, requests: readonly SimulatedRequest[]): SimulationReport {
  const loaded = loadConfig({ text: `groups: { ${groups} }`, name: 'sluice.yaml', env: {}, flags: [] });
  if (loaded.kind !== 'config') throw new Error(JSON.stringify(loaded.mistakes));
  return reportOf(new Simulation(loaded.config.groups, START).run(requests));
}

function times(count: number, make: (i: number) => SimulatedRequest): readonly SimulatedRequest[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

describe('a simulation', () => {
  test('admits by a rate exactly when the rate lets each pass', () => {
    const { groups, admitted } = simulated(
      'g: { limits: [ { name: r, rate: 10/1s, burst: 1 } ] }',
      times(101, () => request(0)),
    );
    expect(admitted).toBe(101);
    expect(groups[0]?.classes[0]?.waitMs).toEqual({ p50: 5_000, p90: 9_000, p99: 9_900 });
  });

  test('gives a slot back when its hold ends, and says how much of the limit was held', () => {
    const { groups } = simulated(
      'g: { limits: [ { name: slots, concurrency: 1 } ] }',
      [0, 1, 2].map((i) => request(i * SECOND, { hold: 2 * SECOND })),
    );
    // Held from 0 to 2, 2 to 4, and from 4, where the span ends.
    expect(groups[0]?.classes[0]?.waitMs).toEqual({ p50: 1_000, p90: 2_000, p99: 2_000 });
    expect(groups[0]?.limits).toEqual([{ name: 'slots', kind: 'concurrency', share: 1 }]);
  });

  test('counts a lease that outlives the last decision up to that decision', () => {
    const { groups } = simulated('g: { limits: [ { name: slots, concurrency: 2 } ] }', [request(0, { hold: 3_600 * SECOND }), request(10 * SECOND)]);
    expect(groups[0]?.limits[0]?.share).toBe(0.5);
  });

  test('admits by urgency, and reports each class by its name', () => {
    const { groups } = simulated('g: { limits: [ { name: r, rate: 1/1s, burst: 1 } ], priority: { classes: { high: 0, low: 5 }, default: low } }', [
      request(0, { priority: 'low' }),
      request(1, { priority: 'low' }),
      request(2, { priority: 'high' }),
    ]);
    expect(groups[0]?.classes.map(({ class: name, waitMs }) => [name, waitMs.p99])).toEqual([
      ['high', (SECOND - 2) / MILLISECOND],
      ['low', (2 * SECOND - 1) / MILLISECOND],
    ]);
  });

  test('lets waiters expire, and refuses what the backlog does not hold', () => {
    const { groups, refused } = simulated('g: { limits: [ { name: slots, concurrency: 1 } ], backlog: { requests: 2 }, ttl: { default: 5s } }', [
      request(0, { hold: 60 * SECOND }),
      ...times(3, () => request(1)),
    ]);
    expect(refused).toBe(3);
    expect(groups[0]?.classes[0]?.refused).toEqual({ 'shed: backlog.requests': 1, expired: 2 });
  });

  test('holds a child to the limits of its parent, and charges both', () => {
    const { groups } = simulated(
      'top: { limits: [ { name: r, rate: 1/1s, burst: 1 } ] }, g: { parent: { group: top }, limits: [ { name: own, rate: 10/1s, burst: 10 } ] }',
      times(5, () => request(0)),
    );
    const shares = Object.fromEntries(groups.flatMap(({ name, limits }) => limits.map((limit) => [`${name}/${limit.name}`, limit.share])));
    expect(shares).toEqual({ 'top/r': 1, 'g/own': 0.1 });
    expect(groups.find(({ name }) => name === 'g')?.classes[0]?.waitMs.p99).toBe(4_000);
  });

  test('says the fullest key of a limit for each key', () => {
    const { groups } = simulated('g: { limits: [ { name: r, rate: 1/1s, burst: 1, scope: key } ] }', [
      ...times(3, () => request(0, { key: 'loud' })),
      request(0, { key: 'quiet' }),
    ]);
    expect(groups[0]?.limits).toEqual([{ name: 'r', kind: 'rate', share: 1, key: 'loud' }]);
    expect(groups[0]?.keys.map(({ key, arrived }) => [key, arrived])).toEqual([
      ['loud', 3],
      ['quiet', 1],
    ]);
  });

  test('settles what a request cost in the end', () => {
    const costs = { tokens: 100 };
    const { groups } = simulated('g: { limits: [ { name: tpm, rate: 100/1s, burst: 100, unit: tokens } ] }', [
      request(0, { costs, settled: { tokens: 0 }, hold: SECOND / 10 }),
      request(SECOND / 5, { costs }),
    ]);
    expect(groups[0]?.classes[0]?.waitMs.p99).toBe(0);
  });

  test('counts requests of groups and classes that the configuration does not have', () => {
    const report = simulated('g: { limits: [ { name: r, rate: 1/1s } ] }', [request(0, { group: 'gone' }), request(0, { priority: 'none' }), request(0)]);
    expect(report).toMatchObject({ arrived: 3, admitted: 1, refused: 2, unknownGroups: { gone: 1 } });
    expect(report.groups[0]?.classes[0]?.refused).toEqual({ malformed: 1 });
  });

  test('says the same of the same requests', () => {
    const requests = times(1_000, (i) => request(i * 700, { key: `k${i % 7}`, hold: (i % 13) * 1_000 }));
    const groups = 'g: { limits: [ { name: slots, concurrency: 3 }, { name: r, rate: 200/1s, burst: 5 } ] }';
    expect(simulated(groups, requests)).toEqual(simulated(groups, requests));
  });
});
