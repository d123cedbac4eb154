/**
 * A storm of refusals: many callers on connections that are kept ask a full group again at once, so that the server has all the work it can do,
 * while one other caller asks a free group on a new connection each time. How long does that one wait? `npm run bench -- refusals`
 */
import { request } from 'node:http';
import { quantile, short, table } from '../lib/figures.ts';
import { cpuSeconds, LOAD_CPU, progress, runPinned, sleep } from '../lib/pinned.ts';
import type { Effort } from './acquire.ts';
import { type EngineName, type Sluice, startSluice } from './servers.ts';

const STORMS = [64, 1_000, 4_000];
/** The good caller asks so often, and waits no longer. */
const EVERY_MS = 25;
const TIMEOUT_MS = 10_000;
/** A good caller's 99th percentile in the storm, in those without one. */
const AIM = 5;

const GROUPS = `  full: { limits: [{ name: one, concurrency: 1 }], lease: { default: 1h, max: 1h } }
  open: { limits: [{ name: rate, rate: 1000000/1s, burst: 1000000 }] }
`;

interface Run {
  readonly goodMs: readonly number[];
  readonly failed: number;
  readonly refusedPerSecond: number;
  readonly microsPerRefusal: number;
}

/** One engine at all sizes of the storm, in turn with silence; undefined: the engine is not installed. */
export async function refusals(engine: EngineName, { rounds, seconds }: Effort): Promise<string> {
  const sluice = await startSluice(engine, GROUPS, { disk: false });
  try {
    await sleep(2_500);
    const held = await fetch(`http://127.0.0.1:${sluice.http}/v1/groups/full/acquire?lease=1h`, { method: 'POST' });
    if (held.status !== 200) throw new Error(`The slot was not given: ${held.status} ${await held.text()}`);
    const found = new Map<number, Run[]>([0, ...STORMS].map((size) => [size, []]));
    await one(sluice, 64, 2);
    for (let round = 0; round < rounds; round++) {
      for (const size of found.keys()) {
        const run = await one(sluice, size, Math.max(4, seconds));
        found.get(size)?.push(run);
        progress(
          `  round ${round + 1}/${rounds} ${size} connections: ${Math.round(run.refusedPerSecond)} refused/s, good p99 ${short(quantile(run.goodMs, 0.99))} ms, ${run.failed} failed`,
        );
      }
    }
    return rowsOf(engine, found);
  } finally {
    await sluice.stop();
  }
}

async function one(sluice: Sluice, size: number, seconds: number): Promise<Run> {
  const lua = 'bench/api/refuse.lua';
  const cpu = cpuSeconds([sluice.process.pid]);
  const url = `http://127.0.0.1:${sluice.http}`;
  const command = ['wrk', '-t1', `-c${size}`, `-d${seconds}s`, '--timeout', '10s', '-s', lua, url];
  const storm = size === 0 ? sleep(seconds * 1_000) : runPinned(LOAD_CPU, command, seconds + 20);
  let over = false;
  const ended = storm.then((result) => {
    over = true;
    return result;
  });
  const asked: Promise<number | undefined>[] = [];
  // Its connections are open by then.
  await sleep(1_500);
  while (!over) {
    asked.push(good(sluice.http));
    await sleep(EVERY_MS);
  }
  const result = await ended;
  const used = cpuSeconds([sluice.process.pid]) - cpu;
  const all = await Promise.all(asked);
  const out = result?.out ?? '';
  const requests = Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(out)?.[1] ?? 0);
  if (requests !== refused) throw new Error(`Of ${requests} requests to a full group ${refused} were refused: ${out}`);
  return {
    goodMs: all.filter((ms) => ms !== undefined),
    failed: all.filter((ms) => ms === undefined).length,
    refusedPerSecond: refused / seconds,
    microsPerRefusal: (used / refused) * 1e6,
  };
}

/** Milliseconds of an acquire on a connection of its own; undefined: it failed, or took 10 s. */
function good(port: number): Promise<number | undefined> {
  const began = performance.now();
  return new Promise((done) => {
    const call = request({ port, host: '127.0.0.1', method: 'POST', path: '/v1/groups/open/acquire?ttl=0s', agent: false, timeout: TIMEOUT_MS }, (response) => {
      response.resume().on('end', () => done(response.statusCode === 200 ? performance.now() - began : undefined));
    });
    call.on('timeout', () => call.destroy(new Error('timeout')));
    call.on('error', () => done(undefined));
    call.end();
  });
}

function rowsOf(engine: EngineName, found: ReadonlyMap<number, readonly Run[]>): string {
  const quiet = quantile(found.get(0)?.flatMap(({ goodMs }) => goodMs) ?? [], 0.99);
  const rows = [...found].map(([size, runs]) => {
    const good = runs.flatMap(({ goodMs }) => goodMs);
    const each = runs.map(({ goodMs }) => quantile(goodMs, 0.99) / quiet);
    const failed = runs.reduce((sum, run) => sum + run.failed, 0);
    const [refused, micros] = [runs.map((run) => run.refusedPerSecond), runs.map((run) => run.microsPerRefusal)];
    return [
      size === 0 ? 'no storm' : `${size} connections`,
      `${short(quantile(good, 0.5))} / ${short(quantile(good, 0.99))}`,
      size === 0 ? '1' : `${short(quantile(each, 0.5))} (${short(Math.min(...each))}-${short(Math.max(...each))})`,
      `${failed} of ${good.length + failed}`,
      size === 0 ? '-' : String(Math.round(quantile(refused, 0.5))),
      size === 0 ? '-' : short(quantile(micros, 0.5)),
    ];
  });
  const head = ['storm', 'good p50 / p99 ms', `p99 / quiet (range; aim ${AIM})`, 'good failed', 'refused/s', 'server CPU us/refusal'];
  return `${engine}, a good caller on a new connection every ${EVERY_MS} ms:\n\n${table(head, rows)}`;
}
