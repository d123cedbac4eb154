/**
 * A whole life in the store of LMDB: requests of 1 kB are accepted by 256 callers, then drained by 256 attempts (load, arm, end each) and
 * swept away. How fast it drains beside how fast it accepts, in rounds of their own; the time of the sweep counts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchedStore } from '../../src/deferred/batched-store.ts';
import { openLmdbDeferred } from '../../src/deferred/stores/lmdb.ts';
import { median, short, spread, table } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';
import { endWrite, submitWrite } from './requests.ts';

const REQUESTS = 20_000;
const IN_FLIGHT = 256;
const BODY = new Uint8Array(1_000).fill(65);

interface Round {
  readonly accepted: number;
  readonly drained: number;
  readonly swept: number;
  readonly cpuMicros: number;
}

/** Figures as Markdown. */
export async function drainTable({ rounds }: { readonly rounds: number }): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  await store.open(
    () => {},
    () => {},
  );
  const batched = new BatchedStore(store);
  const found: Round[] = [];
  let next = 1;
  /** Does it for each request, so many at once; returns how many a second. */
  const each = async (from: number, work: (sequence: number) => Promise<unknown>): Promise<number> => {
    const began = performance.now();
    let at = from;
    const worker = async (): Promise<void> => {
      while (at < from + REQUESTS) await work(at++);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    return (REQUESTS / (performance.now() - began)) * 1_000;
  };
  try {
    for (let round = 0; round <= rounds; round++) {
      const from = next;
      next += REQUESTS;
      const cpu = process.cpuUsage();
      const accepted = await each(from, (sequence) => batched.write(submitWrite(sequence, BODY)));
      const began = performance.now();
      const drained = await each(from, async (sequence) => {
        await store.load(sequence);
        await batched.write({ kind: 'arm', flight: { sequence, attempt: 1 } });
        await batched.write(endWrite(sequence));
      });
      for (let more = true; more; ) more = await store.sweep(0);
      const swept = (REQUESTS / (performance.now() - began)) * 1_000;
      const { user, system } = process.cpuUsage(cpu);
      const figures = { accepted, drained, swept, cpuMicros: (user + system) / REQUESTS };
      progress(`  accepted ${Math.round(accepted)}/s, drained ${Math.round(drained)}/s, with the sweep ${Math.round(swept)}/s`);
      // The first one warms up.
      if (round > 0) found.push(figures);
    }
  } finally {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const row = (name: string, of: (round: Round) => number): readonly string[] => {
    const ratio = spread(found.map((round) => of(round) / round.accepted));
    return [
      name,
      String(Math.round(median(found.map(of)))),
      `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)}; ${short(ratio.least)}-${short(ratio.most)})`,
    ];
  };
  const rows = [row('accepted', ({ accepted }) => accepted), row('drained', ({ drained }) => drained), row('drained and swept', ({ swept }) => swept)];
  const life = median(found.map(({ cpuMicros }) => cpuMicros));
  return `${table(['LMDB store, 256 at once', 'a second', 'beside accepted in the same round (95 %; range)'], rows)}\n\nProcessor time of a whole life, all threads: ${short(life)} us.`;
}
