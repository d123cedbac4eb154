/**
 * Acknowledged submits a second over HTTP, 1 kB each, 256 connections: a deferred route of Sluice with its store in LMDB, beside BullMQ over
 * redis-server (`appendfsync always`) behind a minimal node:http server, and that server alone. All of a server's processes run on one processor.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startSluice } from '../api/servers.ts';
import { short, table } from '../lib/figures.ts';
import { type Paired, paired, type Target } from '../lib/paired.ts';
import { freePort, type Pinned, pinned, SERVER_CPU, sleep } from '../lib/pinned.ts';

const CONNECTIONS = 256;
const BYTES = 1_000;
const REDIS = '/usr/bin/redis-server';

interface Server {
  readonly target: Target;
  stop(): Promise<void>;
}

/** The rounds as a table, the base of the ratios first. */
export async function submitHttpTable(effort: { readonly rounds: number; readonly seconds: number; readonly warm: number }): Promise<string> {
  const servers: Server[] = [];
  const hasBull = process.env['SLUICE_BULLMQ'] !== undefined && existsSync(REDIS);
  try {
    if (hasBull) servers.push(await bullmq());
    servers.push(await sluice(), await bare());
    const rows = await paired(
      servers.map(({ target }) => target),
      effort,
    );
    const missing = hasBull ? '' : '\n\nLeft out: BullMQ (npm i bullmq ioredis in a folder elsewhere, named in SLUICE_BULLMQ; and redis-server).';
    return asTable(rows) + missing;
  } finally {
    for (const server of servers) await server.stop();
  }
}

function asTable(rows: readonly Paired[]): string {
  return table(
    ['server', 'acknowledged/s', 'p50 / p99 ms', 'CPU us', 'rate beside the first (95 %; range)', 'CPU beside the first (95 %)', 'generator'],
    rows.map(({ name, perSecond, p50Ms, p99Ms, cpuMicros, rate, ratio, generator }) => [
      name,
      String(Math.round(perSecond)),
      `${short(p50Ms)} / ${short(p99Ms)}`,
      short(cpuMicros.median),
      `${short(rate.median)} (${short(rate.low)}-${short(rate.high)}; ${short(rate.least)}-${short(rate.most)})`,
      `${short(ratio.median)} (${short(ratio.low)}-${short(ratio.high)})`,
      `${Math.round(generator * 100)} %`,
    ]),
  );
}

function targetOf(name: string, pids: readonly number[], port: number): Target {
  const load = (seconds: number): readonly string[] => [
    'wrk',
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    '--latency',
    '--timeout',
    '10s',
    '-s',
    resolve('bench/proxy/post.lua'),
    `http://127.0.0.1:${port}/orders`,
    '--',
    String(BYTES),
  ];
  return { name, pids, load };
}

/** Nothing is delivered: its group is spaced by an hour, as the job queue beside it has no worker. */
async function sluice(): Promise<Server> {
  const forward = 'backends: { shop: { urls: [ "http://127.0.0.1:9" ] } }\nroutes: [ { match: { path: "/*" }, group: shop, backend: shop, mode: deferred } ]\n';
  const started = await startSluice('node', '  shop: { limits: [ { name: pace, spacing: 1h } ] }\n', { forward });
  return { target: targetOf('Sluice, deferred route', [started.process.pid], started.proxy), stop: () => started.stop() };
}

async function bare(): Promise<Server> {
  const port = await freePort();
  const server = await pinned(SERVER_CPU, [process.execPath, resolve('bench/deferred/post-server.ts'), String(port)], port);
  return { target: targetOf('node:http, nothing stored', [server.pid], port), stop: () => server.stop() };
}

async function bullmq(): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const socket = join(folder, 'redis.sock');
  const redis: Pinned = await pinned(SERVER_CPU, [
    REDIS,
    ...['--port', '0', '--unixsocket', socket, '--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--dir', folder],
  ]);
  for (let tries = 0; tries < 250 && !existsSync(socket); tries++) await sleep(20);
  const port = await freePort();
  const stop = async (): Promise<void> => {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const server = await pinned(SERVER_CPU, [process.execPath, resolve('bench/deferred/post-server.ts'), String(port), socket], port);
    const target = targetOf('BullMQ behind node:http, appendfsync always', [server.pid, redis.pid], port);
    return {
      target,
      stop: async () => {
        await server.stop();
        await stop();
      },
    };
  } catch (cause) {
    await stop();
    throw cause;
  }
}
