import { describe, expect, it } from 'vitest';
import { simulate } from './world.ts';

/*
 * 2,000 seeds in every run; `npm run sim -- --seeds 20000` and `npm run sim -- --gates --seeds 1000` go on from there, and
 * `npm run sim -- --seed N` replays one. What a seed showed stays as a test of its own in test/coordination (member.test.ts and channel.test.ts,
 * "found"): a seed means something else once the faults are drawn in another way.
 */

const range = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);
const batches = (from: number, to: number, by: number) =>
  range(0, (to - from + 1) / by).map((index) => [from + index * by, from + (index + 1) * by - 1] as const);
const failed = (seeds: readonly number[], gates: boolean) => seeds.map((seed) => simulate({ seed, gates })).filter(({ complaint }) => complaint !== undefined);

describe('replicas, in simulation', () => {
  it.each(batches(1, 1_800, 180))('never share an instant, never run ahead of real time, and come back: seeds %i to %i', (first, last) => {
    expect(failed(range(first, last - first + 1), false)).toEqual([]);
  });

  it.each(batches(1, 200, 40))('never admit more than the limits, and fences only grow: seeds %i to %i with real gates', (first, last) => {
    expect(failed(range(first, last - first + 1), true)).toEqual([]);
  });

  it('lives through the same seed in the same way', () => {
    const first = simulate({ seed: 7, gates: true });
    expect(simulate({ seed: 7, gates: true })).toEqual(first);
    expect(simulate({ seed: 8, gates: true }).hash).not.toBe(first.hash);
  });

  it('is not idle: every kind of work happens', () => {
    const verdicts = range(1, 8).map((seed) => simulate({ seed, gates: true }));
    const sum = (of: (verdict: (typeof verdicts)[number]) => number) => verdicts.reduce((total, verdict) => total + of(verdict), 0);
    expect(sum(({ terms }) => terms)).toBeGreaterThan(50);
    expect(sum(({ permits }) => permits)).toBeGreaterThan(500);
    expect(sum(({ stamps }) => stamps)).toBeGreaterThan(10_000);
  });
});
