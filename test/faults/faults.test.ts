import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { natsBinary, showLogsOfFailures } from '../fakes/nats.ts';
import type { HistoryLine } from './history.ts';
import { play } from './play.ts';
import { reportOf } from './report.ts';

/*
 * The small edition of `npm run faults`: real processes, real time. What is broken on purpose has to be found, else the rest
 * says nothing.
 */

showLogsOfFailures();

test('Twelve faults of replicas, their lines and NATS: never over, nothing doubled, fences grow, nobody is forgotten, it comes back', async () => {
  const kinds = ['kill', 'pause', 'cut', 'cut-up', 'cut-down', 'nats-kill', 'nats-pause'] as const;
  const lines: HistoryLine[] = [];
  const write = (line: HistoryLine) => void lines.push(line);
  const report = await play({
    binary: { path: natsBinary() },
    write,
    faults: 12,
    seed: 11,
    nats: 1,
    kinds,
    eachGroup: 6,
    ttlMs: 15_000,
    quiet: 0.4,
    msMax: 80_000,
  });
  expect(report.violations, `${reportOf(report).join('\n')}\nhistory: ${kept(lines, report)}`).toEqual([]);
  expect(report.begun).toBe(12);
  expect(report.admitted).toBeGreaterThan(500);
}, 120_000);

test('An owner that goes on deciding after its slots are lost is found', async () => {
  // This seed stops each of the three for about two seconds: longer than its slots last.
  const run = { faults: 3, seed: 1454, nats: 1, kinds: ['pause'], eachGroup: 6, ttlMs: 3_000, quiet: 0.4, broken: true } as const;
  const report = await play({ binary: { path: natsBinary() }, ...run });
  expect(report.violations.filter((violation) => violation.includes('permits within'))).not.toEqual([]);
}, 60_000);

/** The history of a run in which something was wrong, in a file to be judged again. */
function kept(lines: readonly HistoryLine[], { violations }: { readonly violations: readonly string[] }): string {
  if (violations.length === 0) return '';
  const file = join(mkdtempSync(join(tmpdir(), 'sluice-faults-')), 'history.jsonl');
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return file;
}
