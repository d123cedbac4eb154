import { expect, it } from 'vitest';
import { WORKLOADS } from './workloads.ts';
import { judge, play } from './world.ts';

/** Callers of a workload, and the seed that draws them. */
const CALLERS = 6_000;
const SEED = 1;

it.each(WORKLOADS)('admits nine of ten callers inside the range they were given on arrival: $name', ({ groups, callers, exact, shallow }) => {
  const held = judge(play(groups, callers(SEED, CALLERS)));
  expect(held.given / held.callers).toBeGreaterThan(0.99);
  expect(held.coverage).toBeGreaterThanOrEqual(0.9);
  if (shallow !== true) expect(held.medianWidth).toBeLessThanOrEqual(2);
  if (exact === true) expect(held.exact).toBe(1);
});

it('gives the same ranges for the same calls', () => {
  const workload = WORKLOADS.at(-1) as (typeof WORKLOADS)[number];
  const callers = workload.callers(2, 500);
  expect(play(workload.groups, callers)).toEqual(play(workload.groups, callers));
});

it('knows no range while leases hold all slots and none has ended yet', () => {
  const workload = WORKLOADS.find(({ name }) => name === 'one slot, heavy tail') as (typeof WORKLOADS)[number];
  const callers = workload.callers(1, 2).map((caller, at) => ({ ...caller, at, hold: 1_000_000 }));
  expect(play(workload.groups, callers)).toMatchObject([{ range: undefined, admitted: true }]);
});
