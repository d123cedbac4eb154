/**
 * What a store of deferred requests costs by the number stored: commits of 64 (submit, retry, ends scattered over all), reading one
 * request, the start of the store in a process of its own, and that of a whole server. 1,000 beside 1,000,000; SLUICE_STORED names another
 * second number, SLUICE_COMMITS how many requests a commit had when they were stored (256).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RequestIndex } from '../../src/deferred/request-index.ts';
import type { Change } from '../../src/deferred/store.ts';
import { type LmdbDeferredStore, openLmdbDeferred } from '../../src/deferred/stores/lmdb.ts';
import { quantile, short, spread, table, xorshift } from '../lib/figures.ts';
import { AS_STARTED, cpuSeconds, freePort, pinned, progress, sleep, withoutOptions } from '../lib/pinned.ts';
import { endWrite, retryWrite, submitWrite } from './requests.ts';

const COMMIT = 64;
const COMMITS = 60;
const COMMIT_STORED = Number(process.env['SLUICE_COMMITS'] ?? 256);
const BODY = new Uint8Array(1_000).fill(65);

async function opened(folder: string): Promise<LmdbDeferredStore> {
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  await store.open(
    () => {},
    () => {},
  );
  return store;
}

interface Prepared {
  readonly folder: string;
  readonly stored: number;
  readonly start: StartFigures;
  readonly serve: ServeFigures;
  readonly fileBytes: number;
}

interface StartFigures {
  readonly rows: number;
  readonly openMs: number;
  readonly rowsMs: number;
  readonly cpuMs: number;
  readonly indexBytes: number;
}

interface ServeFigures {
  readonly firstAnswerMs: number;
  readonly peakMiB: number;
  readonly residentMiB: number;
  readonly mappedMiB: number;
}

/** A folder with so many stored, and how a store and a server start over it. */
async function prepare(stored: number): Promise<Prepared> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const store = await opened(folder);
  const began = performance.now();
  for (let sequence = 1; sequence <= stored; ) {
    const batch: Change[] = [];
    for (; batch.length < COMMIT_STORED && sequence <= stored; sequence++) batch.push(submitWrite(sequence, BODY));
    await store.commit(batch);
  }
  progress(`  ${stored} stored in ${short((performance.now() - began) / 1_000)} s`);
  for (let more = true; more; ) more = await store.sweep(0);
  await store.close();
  const fileBytes = statSync(join(folder, 'deferred', 'data.mdb')).size;
  const start = JSON.parse(execFileSync(process.execPath, ['--expose-gc', fileURLToPath(import.meta.url), folder], { encoding: 'utf8' })) as StartFigures;
  return { folder, stored, start, serve: await serving(folder), fileBytes };
}

/** One store and what its commits took. */
class Subject {
  readonly ms = new Map<string, number[]>();
  readonly #store: LmdbDeferredStore;
  readonly #stored: number;
  readonly #random = xorshift(7);
  /** After what the server accepted. */
  #next: number;
  #ended = 0;

  constructor(store: LmdbDeferredStore, stored: number) {
    this.#store = store;
    this.#stored = stored;
    this.#next = stored + 2_000_001;
  }

  async commits(): Promise<void> {
    const store = this.#store;
    const step = this.#stored / COMMITS / COMMIT;
    const some = Array.from({ length: COMMIT }, () => 1 + (this.#random() % this.#stored));
    // Each of these once, all over: the number is a step of its own through the whole.
    const scattered = Array.from({ length: COMMIT }, () => 1 + Math.floor(((this.#ended++ * 1_229) % (COMMITS * COMMIT)) * step));
    await this.#timed('submit', () => store.commit(some.map(() => submitWrite(this.#next++, BODY))));
    await this.#timed('arm', () => store.commit([{ kind: 'arm', flights: some.map((sequence) => ({ sequence, attempt: 1 })) }]));
    await this.#timed('retry, scattered', () => store.commit(some.map(retryWrite)));
    await this.#timed('load one', async () => void (await store.load(some[0] as number)));
    await this.#timed('end, scattered', () => store.commit(scattered.map(endWrite)));
  }

  /** Returns whether there is more to sweep. */
  async sweep(): Promise<boolean> {
    let more = false;
    await this.#timed('sweep, a step', async () => {
      more = await this.#store.sweep(0);
    });
    return more;
  }

  async #timed(what: string, run: () => Promise<unknown>): Promise<void> {
    const began = performance.now();
    await run();
    const all = this.ms.get(what) ?? [];
    all.push(performance.now() - began);
    this.ms.set(what, all);
  }
}

/** Commits of the stores in turn, so that what else the disk has to do falls on all of them. */
async function commits(all: readonly Prepared[]): Promise<readonly Subject[]> {
  const stores: LmdbDeferredStore[] = [];
  for (const { folder } of all) stores.push(await opened(folder));
  const subjects = stores.map((store, index) => new Subject(store, (all[index] as Prepared).stored));
  for (let index = 0; index < COMMITS; index++) for (const subject of index % 2 === 0 ? subjects : subjects.toReversed()) await subject.commits();
  for (let left = subjects; left.length > 0; ) {
    const more: Subject[] = [];
    for (const subject of left) if (await subject.sweep()) more.push(subject);
    left = more;
  }
  for (const store of stores) await store.close();
  return subjects;
}

/** Figures for 1,000 and for many, as Markdown. */
export async function storedTable(many = Number(process.env['SLUICE_STORED'] ?? 1_000_000)): Promise<string> {
  const few = await prepare(1_000);
  const all = await prepare(many);
  try {
    const [a, b] = (await commits([few, all])) as [Subject, Subject];
    return report(few, all, a, b);
  } finally {
    for (const { folder } of [few, all]) rmSync(folder, { recursive: true, force: true });
  }
}

function report(few: Prepared, all: Prepared, before: Subject, after: Subject): string {
  const many = all.stored;
  const rows = [...before.ms.keys()].map((what) => {
    const [a, b] = [before.ms.get(what) ?? [], after.ms.get(what) ?? []];
    const instance = (of: readonly number[]): string => `${short(quantile(of, 0.5))} / ${short(quantile(of, 0.99))}`;
    const ratio = spread(b.slice(0, a.length).map((ms, index) => ms / (a[index] ?? Number.NaN)));
    return [what, instance(a), instance(b), short(quantile(b, 0.5) / quantile(a, 0.5)), `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)})`];
  });
  const { openMs, rowsMs, cpuMs, rows: read } = all.start;
  const perRequest = (all.start.indexBytes - few.start.indexBytes) / (many - 1_000);
  const perRequestServed = ((all.serve.residentMiB - all.serve.mappedMiB - few.serve.residentMiB + few.serve.mappedMiB) * 2 ** 20) / (many - 1_000);
  const { firstAnswerMs, peakMiB, residentMiB, mappedMiB } = all.serve;
  return [
    table(['p50 / p99 ms of a commit of 64', '1,000', String(many), 'p50 by p50', 'pairs: median (95 %)'], rows),
    `Start of the store with ${read}: checked and mapped in ${short(openMs)} ms, all rows read into an index in ${short(rowsMs)} ms more; ${short(cpuMs)} ms of processor time; ${short(perRequest)} bytes a request in the index.`,
    `Start of a server: the first request accepted ${short(firstAnswerMs)} ms after the process was started (${short(few.serve.firstAnswerMs)} ms with 1,000); ${short(peakMiB)} MiB resident at most until all were in line, ` +
      `${short(residentMiB)} then, ${short(mappedMiB)} of it pages of the file; ${short(perRequestServed)} bytes a request beyond 1,000 without those pages. File: ${Math.round(all.fileBytes / many)} bytes a request.`,
  ].join('\n\n');
}

async function start(folder: string): Promise<void> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  const openMs = performance.now() - began;
  const index = new RequestIndex();
  const before = memory();
  await store.open(
    (row) => void index.add(row),
    (row) => void index.addEnded(row),
  );
  const rowsMs = performance.now() - began - openMs;
  const { user, system } = process.cpuUsage(cpu);
  const indexBytes = memory() - before;
  process.stdout.write(JSON.stringify({ rows: index.length, openMs, rowsMs, cpuMs: (user + system) / 1_000, indexBytes }));
  await store.close();
}

/** Bytes of the heap and beside it that are in use. */
function memory(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A server over the store, whose group lets one pass an hour: until it accepts a request, and until all are in line. */
async function serving(folder: string): Promise<ServeFigures> {
  const [api, health, proxy] = [await freePort(), await freePort(), await freePort()];
  const file = join(folder, 'sluice.yaml');
  writeFileSync(
    file,
    `listen: { api: "127.0.0.1:${api}", grpc: none, health: "127.0.0.1:${health}", admin: none, proxy: "127.0.0.1:${proxy}" }
log: { level: warn }
store: { path: ${folder}, bytes: 100GiB }
drain: { delay: 0s, grace: 0s }
groups: { mail: { limits: [ { name: pace, spacing: 1h } ] } }
backends: { shop: { urls: [ "http://127.0.0.1:9" ] } }
routes: [ { name: send, match: { path: "/*" }, group: mail, backend: shop, mode: deferred } ]
`,
  );
  const began = performance.now();
  const server = await pinned(0, [process.execPath, ...AS_STARTED, resolve('src/main.ts'), 'serve', '--config', file], undefined, withoutOptions());
  try {
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${proxy}/`, { method: 'POST', body: 'x' }).catch(() => undefined);
      if (answer?.status === 202) break;
      if (performance.now() - began > 120_000) throw new Error(`The server does not accept: ${server.said()}`);
      await sleep(5);
    }
    const firstAnswerMs = performance.now() - began;
    // All are in line once the processor is idle.
    for (let before = -1, now = cpuSeconds([server.pid]); now - before > 0.05; before = now, now = cpuSeconds([server.pid])) await sleep(500);
    const kiB = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))?.[1] ?? 0);
    return { firstAnswerMs, peakMiB: kiB('VmHWM') / 1_024, residentMiB: kiB('VmRSS') / 1_024, mappedMiB: kiB('RssFile') / 1_024 };
  } finally {
    await server.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === undefined) process.stdout.write(`${await storedTable()}\n`);
  else await start(process.argv[2]);
}
