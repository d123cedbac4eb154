import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { openLmdbDeferred } from '../../../src/deferred/stores/lmdb.ts';
import { opened } from '../../conformance/deferred-requests.ts';
import { folder } from '../../support/fakes/folder.ts';

/*
 * A process that submits and ends is killed (SIGKILL) again and again; what it had acknowledged must be there. SLUICE_KILLS=20
 * for the long form.
 */

const PROCESS = fileURLToPath(new URL('submitter-process.ts', import.meta.url));
const KILLS = Number(process.env['SLUICE_KILLS'] ?? 3);

interface Said {
  readonly submitted: Set<number>;
  readonly ended: Set<number>;
  /** Acknowledged more than once: a sequence was used again. */
  readonly twice: number[];
}

/** Runs the process until `msBeforeKill` after it was ready. */
async function runAndKill(path: string, said: Said, msBeforeKill: number, mutant: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [PROCESS, path, ...mutant], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const drained = once(lines, 'close');
  lines.on('line', (line) => {
    if (line === 'ready') setTimeout(() => child.kill('SIGKILL'), msBeforeKill);
    const [what, sequence] = line.split(' ');
    if (what === 'submitted' && said.submitted.has(Number(sequence))) said.twice.push(Number(sequence));
    if (what === 'submitted') said.submitted.add(Number(sequence));
    if (what === 'ended') said.ended.add(Number(sequence));
  });
  const [, signal] = (await exited) as [number | null, string | null];
  await drained;
  expect(signal).toBe('SIGKILL');
}

/** What was acknowledged and is not in the store. */
async function lost(path: string, said: Said): Promise<{ readonly requests: number; readonly ends: number }> {
  const store = await openLmdbDeferred(path, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  try {
    const { rows, sequences } = await opened(store);
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
    const pending = new Set(sequences);
    expect(pending.size).toBe(rows.length);
    let requests = 0;
    let ends = 0;
    for (const sequence of said.submitted) {
      const found = pending.has(sequence) ? undefined : await store.ended(sequence);
      if (!pending.has(sequence) && found === undefined) requests++;
      if (said.ended.has(sequence) && found === undefined) ends++;
      if (sequence % 101 === 0 && pending.has(sequence)) expect((await store.load(sequence))?.head.bodyBytes).toBe(1_000);
    }
    return { requests, ends };
  } finally {
    await store.close();
  }
}

it(`loses nothing that was acknowledged when its process is killed, ${KILLS} times`, { timeout: 30_000 + KILLS * 10_000 }, async () => {
  const { path, end } = await folder();
  onTestFinished(end);
  const said: Said = { submitted: new Set(), ended: new Set(), twice: [] };
  for (let kill = 0; kill < KILLS; kill++) {
    await runAndKill(path, said, 150 + ((kill * 137) % 600), []);
    expect(await lost(path, said)).toEqual({ requests: 0, ends: 0 });
  }
  expect(said.twice).toEqual([]);
  expect(said.submitted.size).toBeGreaterThan(KILLS * 64);
  console.info(`${KILLS} kills, ${said.submitted.size} acknowledged, ${said.ended.size} ended, 0 lost`);
});

it('finds a store out that acknowledges before its commit', async () => {
  const { path, end } = await folder();
  onTestFinished(end);
  const said: Said = { submitted: new Set(), ended: new Set(), twice: [] };
  let missing = 0;
  for (let kill = 0; kill < 3 && missing === 0; kill++) {
    await runAndKill(path, said, 300, ['early']);
    missing += (await lost(path, said)).requests;
  }
  expect(missing).toBeGreaterThan(0);
});
