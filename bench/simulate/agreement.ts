import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { collectErrors } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Instant } from '../../src/core/time.ts';
import { reportOf } from '../../src/simulate/report.ts';
import type { SimulatedRequest } from '../../src/simulate/simulated-request.ts';
import { Simulation } from '../../src/simulate/simulation.ts';
import { TraceReader } from '../../src/simulate/trace.ts';
import { drawRequests, readWorkload } from '../../src/simulate/workload.ts';
import { table } from '../lib/figures.ts';
import { AS_STARTED, freePort, progress, sleep, withoutOptions } from '../lib/pinned.ts';

/* How near `sluice simulate` comes to a server: callers ask a real one for half a minute, its log is simulated, and the waits are compared. */

const GROUPS = `  rate: { limits: [ { name: r, rate: 40/1s, burst: 10 } ] }
  slots: { limits: [ { name: slots, concurrency: 12 } ], priority: { classes: { high: 0, low: 9 }, default: low } }
  window: { limits: [ { name: w, window: 60/2s } ] }
`;

const WORKLOAD = (seconds: number): string => `duration: ${seconds}s
callers:
  - { group: rate, arrivals: 36/1s, pattern: bursts, burst: 24, ttl: 20s }
  - { group: slots, class: high, arrivals: 8/1s, hold: { median: 250ms, p99: 2s }, ttl: 20s }
  - { group: slots, class: low, arrivals: 25/1s, hold: { median: 250ms, p99: 2s }, keys: 5, ttl: 20s }
  - { group: window, arrivals: 28/1s, ttl: 20s }
`;

/** Runs it for so many seconds; answers Markdown. */
export async function agreement(seconds: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-agreement-'));
  try {
    const [port, health, log] = [await freePort(), await freePort(), join(folder, 'log')];
    const file = join(folder, 'sluice.yaml');
    writeFileSync(
      file,
      `log: { requests: true }\nlisten: { api: 127.0.0.1:${port}, grpc: none, admin: none, health: 127.0.0.1:${health} }\nstore: memory\ngroups:\n${GROUPS}`,
    );
    const server = spawn(process.execPath, [...AS_STARTED, 'src/main.ts', 'serve', '--config', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...withoutOptions() },
    });
    const logged = pipeline(server.stdout, createWriteStream(log));
    try {
      await serves(health);
      await callers(port, seconds);
    } finally {
      server.kill('SIGTERM');
      await Promise.all([once(server, 'exit'), logged]);
    }
    return compared(file, log);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function serves(health: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const ready = await fetch(`http://127.0.0.1:${health}/readyz`).catch(() => undefined);
    if (ready?.status === 200) return;
    await sleep(50);
  }
  throw new Error('the server is not ready after 10 s');
}

async function callers(port: number, seconds: number): Promise<void> {
  const read = readWorkload(WORKLOAD(seconds), 'workload');
  if ('mistakes' in read) throw new Error(JSON.stringify(read.mistakes));
  const requests = drawRequests(read.workload);
  progress(`${requests.length} requests in ${seconds} s`);
  const began = performance.now();
  const open: Promise<void>[] = [];
  for (const request of requests) {
    const wait = request.at / 1_000 - (performance.now() - began);
    if (wait > 1) await sleep(wait);
    open.push(ask(port, request));
  }
  await Promise.all(open);
}

async function ask(port: number, { group, key, priority, hold, wait = 0 }: SimulatedRequest): Promise<void> {
  const query = new URLSearchParams({ ttl: `${wait / 1e6}s`, ...(key === '' ? {} : { key }), ...(priority === undefined ? {} : { class: String(priority) }) });
  const answer = await fetch(`http://127.0.0.1:${port}/v1/groups/${group}/acquire?${query}`, { method: 'POST' });
  const { permit } = (await answer.json()) as { readonly permit?: string };
  if (hold === 0 || permit === undefined) return;
  await sleep(hold / 1_000);
  await (await fetch(`http://127.0.0.1:${port}/v1/permits/${encodeURIComponent(permit)}/release`, { method: 'POST' })).arrayBuffer();
}

function compared(file: string, log: string): string {
  const { mistakes, report } = collectErrors();
  const reader = new TraceReader('log', report);
  const lines = readFileSync(log, 'utf8').split('\n');
  for (const line of lines) reader.take(line);
  const { requests, startedAt = 0 } = reader.finish();
  const loaded = loadConfig({ text: readFileSync(file, 'utf8'), name: file, env: {}, flags: [] });
  if (loaded.kind !== 'config' || mistakes.length > 0) throw new Error(JSON.stringify(mistakes));
  const simulated = reportOf(new Simulation(loaded.config.groups, startedAt as Instant).run(requests));
  const real = new Map<string, number[]>();
  for (const line of lines) {
    if (!line.includes('"request_admitted"')) continue;
    const { group, priority, waitedMs } = JSON.parse(line) as { group: string; priority: number; waitedMs: number };
    const name = `${group} ${group === 'slots' ? (priority === 0 ? 'high' : 'low') : ''}`;
    real.set(name, [...(real.get(name) ?? []), waitedMs]);
  }
  const rows: string[][] = [];
  for (const { name, classes } of simulated.groups)
    for (const each of classes) {
      const waits = (real.get(`${name} ${each.class}`) ?? []).sort((a, b) => a - b);
      const at = (part: number): number => waits[Math.max(0, Math.ceil(waits.length * part) - 1)] ?? Number.NaN;
      const pair = (was: number, is: number | null): string =>
        `${was.toFixed(0)} / ${(is ?? Number.NaN).toFixed(0)}${was === 0 ? '' : ` (${(((is ?? Number.NaN) / was - 1) * 100).toFixed(1)} %)`}`;
      const { p50, p90, p99 } = each.waitMs;
      rows.push([name, each.class || '-', `${waits.length} / ${each.admitted}`, pair(at(0.5), p50), pair(at(0.9), p90), pair(at(0.99), p99)]);
    }
  return table(['group', 'class', 'admitted: real / simulated', 'wait p50, ms', 'p90', 'p99'], rows);
}
