import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type Removed, removed } from '../sim/rules.ts';
import { natsBinary, showLogsOfFailures } from '../support/fakes/nats.ts';
import { isOfSafety } from './checker.ts';
import type { HistoryLine } from './history.ts';
import { mutatedMain } from './mutated.ts';
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
});

test('An owner that goes on deciding after its slots are lost is found', async () => {
  // This seed stops each of the three for about two seconds: longer than its slots last.
  const main = fileURLToPath(new URL('broken-owner-process.ts', import.meta.url));
  const run = { faults: 3, seed: 1454, nats: 1, kinds: ['pause'], eachGroup: 6, ttlMs: 3_000, quiet: 0.4, main } as const;
  const report = await play({ binary: { path: natsBinary() }, ...run });
  expect(report.violations.filter(isOfSafety)).not.toEqual([]);
});

test.each(['late-50ms', 'late-1s'])(
  'An owner that decides past the end of its slots is found: %s',
  async (name) => {
    const mutant = removed.find((each) => each.name === name) as Removed;
    const folder = mkdtempSync(join(tmpdir(), 'sluice-mutant-'));
    const main = mutatedMain(mutant, folder);
    // On a machine where the next owner begins late there is nothing to see: then more owners are cut off.
    const found: string[] = [];
    for (let round = 0; round < 4 && found.length === 0; round++) {
      const run = { faults: 3, seed: 5 + round, nats: 1, kinds: ['overrun'], eachGroup: 2, ttlMs: 3_000, quiet: 0.4, main } as const;
      const { violations } = await play({ binary: { path: natsBinary() }, ...run });
      found.push(...violations.filter(isOfSafety));
    }
    rmSync(folder, { recursive: true, force: true });
    expect(found).not.toEqual([]);
  },
  180_000,
);

test('Reloads of all replicas, whose wall clocks differ, with the death of two of them: the third decides, and each reload ends', async () => {
  const [faketime] = globSync('/usr/{lib,lib64,local/lib}/{,*/}faketime/libfaketimeMT.so.1');
  const run = { faults: 3, seed: 3, nats: 1, kinds: ['reload', 'reload-kill'], eachGroup: 4, ttlMs: 15_000, quiet: 0.4, faketime } as const;
  const report = await play({ binary: { path: natsBinary() }, ...run });
  expect(report.violations, reportOf(report).join('\n')).toEqual([]);
  expect(report.begun).toBe(3);
});

/** The history of a run in which something was wrong, in a file to be judged again. */
function kept(lines: readonly HistoryLine[], { violations }: { readonly violations: readonly string[] }): string {
  if (violations.length === 0) return '';
  const file = join(mkdtempSync(join(tmpdir(), 'sluice-faults-')), 'history.jsonl');
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return file;
}
