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
  const report = await play({ binary: { path: natsBinary() }, faults: 12, seed: 11, nats: 1, kinds, eachGroup: 6, ttlMs: 15_000, quiet: 0.4, msMax: 80_000 });
  expect(report.violations, reportOf(report).join('\n')).toEqual([]);
  expect(report.begun).toBe(12);
  expect(report.admitted).toBeGreaterThan(500);
}, 120_000);

test('An owner that goes on deciding after its slots are lost is found', async () => {
  // This seed stops each of the three for about two seconds: longer than its slots last.
  const run = { faults: 3, seed: 1454, nats: 1, kinds: ['pause'], eachGroup: 6, ttlMs: 3_000, quiet: 0.4, broken: true } as const;
  const report = await play({ binary: { path: natsBinary() }, ...run });
  expect(report.violations.filter((violation) => violation.includes('permits within'))).not.toEqual([]);
}, 60_000);
