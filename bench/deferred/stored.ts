/**
 * What a store of deferred requests costs by the number stored: commits of 64 (submit, retry, ends scattered over all), reading one
 * request, and the start in a process of its own. 1,000 beside 1,000,000; SLUICE_STORED names another second number.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Change } from '../../src/deferred/store.ts';
import { type LmdbDeferredStore, openLmdbDeferred } from '../../src/deferred/stores/lmdb.ts';
import { quantile, short, table, xorshift } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';
import { endWrite, retryWrite, submitWrite } from './requests.ts';

const COMMIT = 64;
const COMMITS = 60;
const BODY = new Uint8Array(1_000).fill(65);

async function opened(folder: string): Promise<LmdbDeferredStore> {
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  await store.open(
    () => {},
    () => {},
  );
  return store;
}

interface Figures {
  readonly ms: ReadonlyMap<string, readonly number[]>;
  readonly start: StartFigures;
  readonly fileBytes: number;
}

interface StartFigures {
  readonly rows: number;
  readonly openMs: number;
  readonly rowsMs: number;
  readonly rssMiB: number;
}

async function measure(stored: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  try {
    let store = await opened(folder);
    const began = performance.now();
    for (let sequence = 1; sequence <= stored; ) {
      const batch: Change[] = [];
      for (; batch.length < 256 && sequence <= stored; sequence++) batch.push(submitWrite(sequence, BODY));
      await store.commit(batch);
    }
    progress(`  ${stored} stored in ${short((performance.now() - began) / 1_000)} s`);
    await store.close();
    const start = JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), folder], { encoding: 'utf8' })) as StartFigures;
    store = await opened(folder);
    const ms = await commits(store, stored);
    await store.close();
    return { ms, start, fileBytes: statSync(join(folder, 'deferred', 'data.mdb')).size };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function commits(store: LmdbDeferredStore, stored: number): Promise<ReadonlyMap<string, readonly number[]>> {
  const ms = new Map<string, number[]>();
  const random = xorshift(7);
  const timed = async (what: string, run: () => Promise<unknown>): Promise<void> => {
    const began = performance.now();
    await run();
    const all = ms.get(what) ?? [];
    all.push(performance.now() - began);
    ms.set(what, all);
  };
  const spread = stored / COMMITS / COMMIT;
  let next = stored + 1;
  let ended = 0;
  for (let index = 0; index < COMMITS; index++) {
    const some = Array.from({ length: COMMIT }, () => 1 + (random() % stored));
    // Each of these once, all over: the number is a step of its own through the whole.
    const scattered = Array.from({ length: COMMIT }, () => 1 + Math.floor(((ended++ * 1_229) % (COMMITS * COMMIT)) * spread));
    await timed('submit', () => store.commit(some.map(() => submitWrite(next++, BODY))));
    await timed('arm', () => store.commit([{ kind: 'arm', flights: some.map((sequence) => ({ sequence, attempt: 1 })) }]));
    await timed('retry, scattered', () => store.commit(some.map(retryWrite)));
    await timed('load one', async () => void (await store.load(some[0] as number)));
    await timed('end, scattered', () => store.commit(scattered.map(endWrite)));
  }
  for (let more = true; more; ) {
    await timed('sweep, a step', async () => {
      more = await store.sweep(0);
    });
  }
  return ms;
}

/** Figures for 1,000 and for many, as Markdown. */
export async function storedTable(many = Number(process.env['SLUICE_STORED'] ?? 1_000_000)): Promise<string> {
  const [few, all] = [await measure(1_000), await measure(many)];
  const rows = [...few.ms.keys()].map((what) => {
    const [a, b] = [few, all].map(({ ms }) => ms.get(what) ?? []) as [readonly number[], readonly number[]];
    const cell = (of: readonly number[]): string => `${short(quantile(of, 0.5))} / ${short(quantile(of, 0.99))}`;
    return [what, cell(a), cell(b), short(quantile(b, 0.5) / quantile(a, 0.5))];
  });
  const { openMs, rowsMs, rssMiB, rows: read } = all.start;
  const perRequest = ((all.start.rssMiB - few.start.rssMiB) * 2 ** 20) / many;
  return [
    table(['p50 / p99 ms of a commit of 64', '1,000', String(many), 'x (p50)'], rows),
    `Start with ${read}: environment checked and mapped ${short(openMs)} ms, all rows read in ${short(rowsMs)} ms more; ${short(rssMiB)} MiB resident, pages of the file included (${short(perRequest)} bytes a request beyond 1,000). ` +
      `File: ${Math.round(all.fileBytes / many)} bytes a request.`,
  ].join('\n\n');
}

async function start(folder: string): Promise<void> {
  const began = performance.now();
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  const openMs = performance.now() - began;
  let rows = 0;
  await store.open(
    () => rows++,
    () => {},
  );
  const rowsMs = performance.now() - began - openMs;
  process.stdout.write(JSON.stringify({ rows, openMs, rowsMs, rssMiB: process.memoryUsage().rss / 2 ** 20 }));
  await store.close();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === undefined) process.stdout.write(`${await storedTable()}\n`);
  else await start(process.argv[2]);
}
