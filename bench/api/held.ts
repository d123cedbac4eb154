/**
 * B3 and B5: many callers held on real connections. B3: 10,000 of them at 1,000 grants a second, how late each answer was.
 * B5: what a held caller costs in memory. `npm run bench -- lateness memory`
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { quantile, short, table } from '../lib/figures.ts';
import { cpuSeconds, LOAD_CPU, progress, residentBytes, sleep } from '../lib/pinned.ts';
import { type Lateness, lateness } from './lateness.ts';
import { startBottleneck, startNginx } from './peers.ts';
import { type EngineName, nodeFor, startBare, startSluice } from './servers.ts';
import { stamp } from './stamps.ts';

const HTTP = resolve('bench/api/holder-http.ts');
const GRPC = resolve('bench/api/holder-grpc.ts');
const PERIOD = 1_000;
const BACKLOG = 'backlog: { requests: 200000, perKey: 200000, bytes: 1GiB }, ttl: { default: 10m, max: 10m }';

/** A holder on the load's processor; `held` resolves when all have asked, `over` when it has written its stamps. */
function holder(script: string, args: readonly string[]): { held: Promise<void>; over: Promise<void>; stop: () => Promise<void> } {
  const child = fork(script, [...args], { execArgv: ['--max-semi-space-size=64'] });
  // taskset cannot keep fork's channel open for us: it is moved after it started.
  void import('node:child_process').then(({ spawnSync }) => spawnSync('taskset', ['-acp', String(LOAD_CPU), String(child.pid)]));
  const over = new Promise<void>((done) => void child.once('exit', () => done()));
  const held = new Promise<void>((done) => void child.once('message', () => done()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await over;
  };
  return { held: Promise.race([held, over]), over, stop };
}

/** One-way floor: half of the median round trip of a refusal on arrival, which is the shortest answer there is. */
async function oneWay(port: number): Promise<number> {
  const took: number[] = [];
  for (let at = 0; at < 300; at++) {
    const began = stamp();
    await (await fetch(`http://127.0.0.1:${port}/nowhere`)).arrayBuffer();
    took.push(stamp() - began);
  }
  return quantile(took.slice(100), 0.5) / 2;
}

/** A row of B3. */
export interface LateRow extends Lateness {
  readonly name: string;
  readonly cpuShare: number;
}

/** Sluice on one transport: `waiters` held at 1,000 grants a second. */
export async function sluiceLateness(
  transport: EngineName | 'grpc',
  burst: number,
  { waiters, seconds, warm }: { waiters: number; seconds: number; warm: number },
): Promise<LateRow | undefined> {
  if (transport === 'uws' && nodeFor('uws') === undefined) return undefined;
  const sluice = await startSluice(transport === 'uws' ? 'uws' : 'node', `  paced: { limits: [{ name: rate, rate: 1000/1s, burst: ${burst} }], ${BACKLOG} }\n`);
  try {
    await sleep(1_500);
    const args = transport === 'grpc' ? [String(sluice.grpc), 'paced'] : [String(sluice.http), '/v1/groups/paced/acquire?ttl=10m'];
    const name = `Sluice, ${transport === 'grpc' ? 'gRPC, 8 connections' : `HTTP on ${transport}`}, burst ${burst}`;
    return await late(name, transport === 'grpc' ? GRPC : HTTP, args, [sluice.process.pid], await oneWay(sluice.http), burst, { waiters, seconds, warm });
  } finally {
    await sluice.stop();
  }
}

/** nginx, whose schedule is a fixed grid too, or Bottleneck behind node:http. */
export async function peerLateness(which: 'nginx' | 'bottleneck', effort: { waiters: number; seconds: number; warm: number }): Promise<LateRow | undefined> {
  const peer = which === 'nginx' ? await startNginx('paced') : await startBottleneck();
  if (peer === undefined) return undefined;
  try {
    return await late(peer.name, HTTP, [String(peer.http), '/'], peer.pids, 100, which === 'nginx' ? 2 : 1, effort);
  } finally {
    await peer.stop();
  }
}

async function late(
  name: string,
  script: string,
  args: readonly string[],
  pids: readonly number[],
  floor: number,
  burst: number,
  { waiters, seconds, warm }: { waiters: number; seconds: number; warm: number },
): Promise<LateRow> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-held-'));
  const file = join(folder, 'stamps');
  const running = holder(script, [...args, String(waiters), String(seconds + warm), file]);
  await running.held;
  const before = cpuSeconds(pids);
  const began = performance.now();
  await sleep((seconds - 1) * 1_000);
  const cpuShare = (cpuSeconds(pids) - before) / ((performance.now() - began) / 1_000);
  await running.over;
  const figures = lateness(file, { period: PERIOD, burst, floor, skip: warm });
  rmSync(folder, { recursive: true });
  progress(`  ${name}: ${JSON.stringify(figures)}`);
  return { name, cpuShare, ...figures };
}

/** Rows of B3 in Markdown. */
export function latenessTable(rows: readonly LateRow[]): string {
  return table(
    ['1,000 grants/s, callers held', 'waiting', 'late p50 / p99 / p99.9 / most, ms', 'early', 'grants / slots', 'server CPU'],
    rows.map((row) => [
      row.name,
      String(row.waiting),
      [row.p50, row.p99, row.p999, row.most].map(short).join(' / '),
      String(row.early),
      `${(row.conserved * 100).toFixed(1)} %`,
      `${Math.round(row.cpuShare * 100)} %`,
    ]),
  );
}

/** Bytes that one more held caller costs, from outside, after a forced collection on both sides of it. */
export async function heldMemory(
  transport: EngineName | 'grpc' | 'nginx' | 'hold-node' | 'hold-uws',
  callers: number,
  // 1,000 streams are the most that one may have.
  connections = 25,
): Promise<{ name: string; callers: number; bytes: number } | undefined> {
  if (transport.endsWith('uws') && nodeFor('uws') === undefined) return undefined;
  // Not a rate: what could not pass within its ttl is refused on arrival, and nobody is held.
  const groups = `  shut: { limits: [{ name: slots, concurrency: 1 }], lease: { default: 1h, max: 1h }, ${BACKLOG} }\n`;
  const server = await shut(transport, groups);
  if (server === undefined) return undefined;
  const { name, pids, port, collect, stop, held } = server;
  const holders: ReturnType<typeof holder>[] = [];
  try {
    const args = transport === 'grpc' ? [String(port), 'shut'] : [String(port), transport === 'nginx' ? '/' : '/v1/groups/shut/acquire?ttl=10m'];
    const hold = async (count: number): Promise<void> => {
      const running = holder(transport === 'grpc' ? GRPC : HTTP, [...args, String(count), '0', '/dev/null', String(connections)]);
      holders.push(running);
      await running.held;
      await sleep(1_000);
      await collect();
    };
    // The first fifth is what makes heaps grow to their usual size; the others are what is measured.
    await hold(callers / 5);
    await expectHeld(name, held, callers / 5);
    const before = residentBytes(pids);
    await hold(callers);
    const bytes = (residentBytes(pids) - before) / callers;
    await expectHeld(name, held, callers / 5 + callers);
    progress(`  ${name}: ${Math.round(bytes)} bytes each of ${callers}`);
    return { name: transport === 'grpc' ? `${name}, ${connections} connections` : name, callers, bytes };
  } finally {
    for (const running of holders) await running.stop();
    await stop();
  }
}

/** Fails unless the server itself says that so many wait. */
async function expectHeld(name: string, held: (() => Promise<number>) | undefined, expected: number): Promise<void> {
  const found = await held?.();
  if (found !== undefined && found !== expected) throw new Error(`${name} holds ${found} callers, not ${expected}`);
}

async function shut(transport: Parameters<typeof heldMemory>[0], groups: string) {
  if (transport === 'nginx') return nginxShut();
  if (transport !== 'hold-node' && transport !== 'hold-uws') return sluiceShut(transport, groups);
  const bare = await startBare(transport, 0, true);
  return {
    name: `bare ${transport === 'hold-uws' ? 'uWebSockets.js' : 'node:http'} that never answers`,
    pids: [bare.process.pid],
    port: bare.port,
    collect: collector(bare.process.pid),
    // It answers no request at all.
    held: undefined,
    stop: bare.process.stop,
  };
}

/** Has the server collect its garbage, and waits for it. */
function collector(pid: number): () => Promise<void> {
  return async () => {
    process.kill(pid, 'SIGUSR2');
    await sleep(1_500);
  };
}

async function sluiceShut(transport: EngineName | 'grpc', groups: string) {
  const sluice = await startSluice(transport === 'uws' ? 'uws' : 'node', groups, { collect: true });
  await sleep(1_500);
  const { pid } = sluice.process;
  const collect = collector(pid);
  // The first of them takes the one permit there is.
  await (await fetch(`http://127.0.0.1:${sluice.http}/v1/groups/shut/acquire?ttl=0`, { method: 'POST' })).text();
  return {
    name: transport === 'grpc' ? 'Sluice, gRPC' : `Sluice, HTTP on ${transport}`,
    pids: [pid],
    port: transport === 'grpc' ? sluice.grpc : sluice.http,
    collect,
    held: async () => {
      const text = await (await fetch(`http://127.0.0.1:${sluice.health}/metrics`)).text();
      return Number(/^sluice_backlog_requests\{[^}]*group="shut"[^}]*\} (\d+)/m.exec(text)?.[1]);
    },
    stop: sluice.stop,
  };
}

async function nginxShut() {
  const nginx = await startNginx('shut');
  if (nginx === undefined) return undefined;
  return { name: 'nginx limit_req', pids: nginx.pids, port: nginx.http, collect: () => sleep(1_000), held: undefined, stop: nginx.stop };
}

/** Rows of B5 in Markdown. */
export function memoryTable(rows: readonly ({ name: string; callers: number; bytes: number } | undefined)[]): string {
  return table(
    ['held callers', 'how many', 'resident bytes each'],
    rows.flatMap((row) => (row === undefined ? [] : [[row.name, String(row.callers), String(Math.round(row.bytes))]])),
  );
}
