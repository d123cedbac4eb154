import { expect, test } from 'vitest';
import { natsBinary, showLogsOfFailures } from '../fakes/nats.ts';
import { play } from './play.ts';
import { reportOf } from './report.ts';

/*
 * The small edition of `npm run faults`: real processes, real time. What is broken on purpose has to be found, else the rest
 * says nothing.
 */

showLogsOfFailures();

test('Twelve faults of replicas, their lines and NATS: never over, nothing doubled, fences grow, nobody is forgotten, it comes back', async () => {
  const kinds = ['kill', 'pause', 'cut', 'cut-up', 'cut-down', 'nats-kill', 'nats-pause'] as const;
  const report = await play({ binary: { path: natsBinary() }, faults: 12, seed: 11, nats: 1, kinds, eachGroup: 6, msMax: 80_000 });
  expect(report.violations, reportOf(report).join('\n')).toEqual([]);
  expect(report.begun).toBe(12);
  expect(report.admitted).toBeGreaterThan(500);
}, 120_000);

test('An owner that goes on deciding after its slots are lost is found', async () => {
  const report = await play({ binary: { path: natsBinary() }, faults: 3, seed: 3, nats: 1, kinds: ['pause', 'cut'], eachGroup: 6, broken: true });
  expect(report.violations.filter((violation) => violation.includes('permits within'))).not.toEqual([]);
}, 60_000);
