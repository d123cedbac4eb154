/**
 * Acknowledged submits a second, stored durably, 1 kB each, from callers who each wait for theirs: the LMDB store behind its
 * group commit, beside an append-only file with one `fdatasync` per batch (the floor) and BullMQ over redis-server with
 * `appendfsync always`. BullMQ is no dependency: `npm i bullmq ioredis` in a folder elsewhere, and name that in SLUICE_BULLMQ.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchedStore } from '../../src/deferred/batched-store.ts';
import { openLmdbDeferred } from '../../src/deferred/stores/lmdb.ts';
import { median, quantile, short, spread, table } from '../lib/figures.ts';
import { progress } from '../lib/pinned.ts';
import { submitWrite } from './requests.ts';

const BYTES = 1_000;

/** Something that stores one request durably. */
export interface Peer {
  readonly name: string;
  readonly submit: () => Promise<unknown>;
  /** Processes beside this one that work for it. */
  readonly pids: readonly number[];
  readonly close: () => Promise<void>;
}

/** What a round gave. */
export interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicros: number;
}

/** Figures at 64 and 256 in flight, as Markdown. */
export async function submitTable({ rounds, seconds }: { readonly rounds: number; readonly seconds: number }): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const peers = [await lmdb(folder), await appendOnly(folder), ...(await bullmq(folder))];
  try {
    const parts: string[] = [];
    for (const inFlight of [64, 256]) {
      const found = new Map<string, Round[]>(peers.map(({ name }) => [name, []]));
      for (const peer of peers) await round(peer, inFlight, 0.5);
      for (let index = 0; index < rounds; index++) {
        for (const peer of index % 2 === 0 ? peers : peers.toReversed()) {
          const figures = await round(peer, inFlight, seconds);
          found.get(peer.name)?.push(figures);
          progress(`  ${inFlight} in flight, ${peer.name}: ${Math.round(figures.perSecond)}/s`);
        }
      }
      parts.push(`${inFlight} in flight:\n\n${asTable(found)}`);
    }
    if (peers.length === 2) parts.push('Left out: BullMQ (npm i bullmq ioredis in a folder elsewhere, named in SLUICE_BULLMQ; and redis-server).');
    return parts.join('\n\n');
  } finally {
    for (const peer of peers) await peer.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function asTable(found: ReadonlyMap<string, readonly Round[]>): string {
  const [base = []] = found.values();
  const of = (all: readonly Round[], figure: (each: Round) => number): string => short(median(all.map(figure)));
  const rows = [...found].map(([name, all]) => {
    const ratio = spread(all.map(({ perSecond }, index) => (base[index]?.perSecond ?? Number.NaN) / perSecond));
    return [
      name,
      of(all, ({ perSecond }) => perSecond),
      `${of(all, ({ p50Ms }) => p50Ms)} / ${of(all, ({ p99Ms }) => p99Ms)}`,
      of(all, ({ cpuMicros }) => cpuMicros),
      `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)})`,
    ];
  });
  return table(['store', 'acknowledged/s', 'p50 / p99 ms', 'CPU us', 'LMDB is x'], rows);
}

/** Has so many callers submit for so long, each one after the other. */
export async function round({ submit, pids }: Peer, inFlight: number, seconds: number): Promise<Round> {
  const took: number[] = [];
  const [cpu, others] = [process.cpuUsage(), await cpuOf(pids)];
  const began = performance.now();
  const until = began + seconds * 1_000;
  const caller = async (): Promise<void> => {
    for (let at = performance.now(); at < until; ) {
      await submit();
      const now = performance.now();
      took.push(now - at);
      at = now;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  const lasted = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return {
    perSecond: (took.length / lasted) * 1_000,
    p50Ms: quantile(took, 0.5),
    p99Ms: quantile(took, 0.99),
    cpuMicros: (user + system + (await cpuOf(pids)) - others) / took.length,
  };
}

/** Microseconds of processor that processes have used, of 10 ms each. */
async function cpuOf(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const file = await open(`/proc/${pid}/stat`);
    const fields = (await file.readFile('utf8')).split(') ')[1]?.split(' ') ?? [];
    await file.close();
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

async function lmdb(folder: string): Promise<Peer> {
  const store = await openLmdbDeferred(folder, { holder: { pid: process.pid, address: '' }, takeOver: false }, { bytesMax: 2 ** 40 });
  await store.open(
    () => {},
    () => {},
  );
  const batched = new BatchedStore(store);
  let next = 1;
  const body = new Uint8Array(BYTES).fill(65);
  return { name: 'LMDB', pids: [], submit: () => batched.write(submitWrite(next++, body)), close: () => store.close() };
}

/** One write and one `fdatasync` for all that has arrived meanwhile. */
async function appendOnly(folder: string): Promise<Peer> {
  const file = await open(join(folder, 'floor'), 'a');
  const body = Buffer.alloc(BYTES + 400, 65);
  let waiting: (() => void)[] = [];
  let isWriting = false;
  const write = async (): Promise<void> => {
    isWriting = true;
    await Promise.resolve();
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      await file.write(Buffer.concat(batch.map(() => body)));
      await file.datasync();
      for (const resolve of batch) resolve();
    }
    isWriting = false;
  };
  const submit = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve);
      if (!isWriting) void write();
    });
  return { name: 'append-only file', pids: [], submit, close: () => file.close() };
}

interface BullQueue {
  add(name: string, data: unknown, options?: object): Promise<unknown>;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}

async function bullmq(folder: string): Promise<readonly Peer[]> {
  const at = process.env['SLUICE_BULLMQ'];
  if (at === undefined || !existsSync('/usr/bin/redis-server')) return [];
  const socket = join(folder, 'redis.sock');
  const arguments_ = ['--port', '0', '--unixsocket', socket, '--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--dir', folder];
  const redis: ChildProcess = spawn('/usr/bin/redis-server', arguments_, { stdio: 'ignore' });
  const ended = once(redis, 'exit');
  for (let tries = 0; tries < 250 && !existsSync(socket); tries++) await new Promise((resolve) => setTimeout(resolve, 20));
  let queue: BullQueue;
  try {
    const { Queue } = createRequire(join(at, 'index.js'))('bullmq') as { Queue: new (name: string, options: object) => BullQueue };
    queue = new Queue('bench', { connection: { path: socket } });
    await queue.waitUntilReady();
  } catch (cause) {
    redis.kill('SIGKILL');
    throw cause;
  }
  const body = 'A'.repeat(BYTES);
  const close = async (): Promise<void> => {
    await queue.close();
    redis.kill('SIGKILL');
    await ended;
  };
  return [{ name: 'BullMQ add, appendfsync always', pids: [redis.pid as number], submit: () => queue.add('job', body, { removeOnComplete: true }), close }];
}
