/**
 * B8: server CPU of a forwarded request at the peak, beside a bare dispatch proxy and other proxies in the same run; then what
 * each adds to the backend's own latency, all at the same rate: half of what Sluice with an active rule does at its peak.
 * `npm run bench -- forward`
 */
import { resolve } from 'node:path';
import type { Effort } from '../api/acquire.ts';
import { median, type Spread, short, spread, table } from '../lib/figures.ts';
import { type Paired, paired, pairedTable } from '../lib/paired.ts';
import { cpuSeconds, progress } from '../lib/pinned.ts';
import { openLoop } from './generator.ts';
import type { PhaseFigures } from './plan.ts';
import { bareDispatch, bareDispatchWithFields, haproxy, httpProxy, nginx, sluice, startBackend, together, type Way } from './proxies.ts';

const LUA = resolve('bench/proxy/post.lua');
const SERVICE_MS = 5;
const ACTIVE = '/rate';

/** What one way adds at a rate that all have. */
interface Added {
  readonly name: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Over the backend alone in the same round. */
  readonly p50Added: Spread;
  readonly p99Added: Spread;
  readonly cpuMicros: Spread;
  /** Requests that were due and had no 2xx. */
  readonly lost: number;
}

/** Bodies of `bytes` both ways: a table of the peak, and one of the latency added. */
export async function forwarded(bytes: number, effort: Effort): Promise<string> {
  const backend = await startBackend(bytes, SERVICE_MS, 100_000);
  const up = await together([bareDispatch, bareDispatchWithFields, sluice, httpProxy, nginx, haproxy], { backend: backend.port, bound: undefined }).catch(
    async (cause) => {
      await backend.process.stop();
      throw cause;
    },
  );
  try {
    const connections = bytes > 10_000 ? 64 : 256;
    const peaks = await paired(
      up.ways.map((way) => ({ name: way.name, pids: way.pids, load: wrk(way, bytes, connections) })),
      effort,
    );
    const rate = Math.round((peaks[up.ways.findIndex(({ path }) => path === ACTIVE)]?.perSecond ?? Number.NaN) / 2);
    const direct: Way = { name: 'directly to the backend', pids: [backend.process.pid], port: backend.port, path: '/' };
    const added = await atHalfLoad([direct, ...up.ways], rate, bytes, effort);
    const missing = up.missing.length === 0 ? '' : `\n\nNot installed, and so not measured: ${up.missing.join(', ')}.`;
    return [
      `${size(bytes)} each way, ${connections} connections in a closed loop:`,
      pairedTable(peaks),
      `The same, open loop, ${rate} requests a second (half of the peak of Sluice with an active rule):`,
      `${addedTable(added, peaks, rate)}${missing}`,
    ].join('\n\n');
  } finally {
    await up.stop();
    await backend.process.stop();
  }
}

function wrk({ port, path }: Way, bytes: number, connections: number): (seconds: number) => readonly string[] {
  return (seconds) => ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', LUA, `http://127.0.0.1:${port}${path}`, '--', String(bytes)];
}

/** Rounds of all ways in turn, the first of them the backend alone. */
async function atHalfLoad(ways: readonly Way[], rate: number, bytes: number, { rounds, seconds }: Effort): Promise<readonly Added[]> {
  const found = new Map<string, { figures: PhaseFigures; cpuMicros: number }[]>(ways.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
      const one = await halfLoad(way, { rate, seconds, bytes });
      found.get(way.name)?.push(one);
      const { goodMs, lateMs } = one.figures;
      progress(
        `  half load ${round + 1}/${rounds} ${way.name}: ${short(goodMs.p50)} / ${short(goodMs.p99)} ms, sent ${short(lateMs.p50)} / ${short(lateMs.p99)} ms late, ${short(one.cpuMicros)} us/req`,
      );
    }
  }
  const [base = []] = found.values();
  return [...found].map(([name, all]) => ({
    name,
    p50Ms: median(all.map(({ figures }) => figures.goodMs.p50)),
    p99Ms: median(all.map(({ figures }) => figures.goodMs.p99)),
    p50Added: spread(all.map(({ figures }, at) => figures.goodMs.p50 - (base[at]?.figures.goodMs.p50 ?? Number.NaN))),
    p99Added: spread(all.map(({ figures }, at) => figures.goodMs.p99 - (base[at]?.figures.goodMs.p99 ?? Number.NaN))),
    cpuMicros: spread(all.map(({ cpuMicros }) => cpuMicros)),
    lost: all.reduce((sum, { figures }) => sum + figures.due - figures.good, 0),
  }));
}

async function halfLoad({ port, path, pids }: Way, { rate, seconds, bytes }: { rate: number; seconds: number; bytes: number }) {
  // Two phases: what warms up is not counted.
  const phases = [
    { name: 'warm', perSecond: rate, seconds: 0.5, storm: 0 },
    { name: 'half', perSecond: rate, seconds, storm: 0 },
  ];
  const before = cpuSeconds(pids);
  const all = await openLoop({ port, path, bytes, connections: 64, connectionsMax: 2_000, waitTimeoutMs: 5_000, phases });
  const spent = cpuSeconds(pids) - before;
  const [, figures] = all;
  if (figures === undefined) throw new Error('The generator told of one phase only.');
  return { figures, cpuMicros: (spent / all.reduce((sum, { due }) => sum + due, 0)) * 1e6 };
}

function addedTable(rows: readonly Added[], peaks: readonly Paired[], rate: number): string {
  const over = ({ median: middle, low, high }: Spread): string => `${short(middle)} (${short(low)} to ${short(high)})`;
  return table(
    ['way', 'of its own peak', 'p50 / p99 ms', 'added at p50, ms: median (95 %)', 'added at p99', 'CPU us/req', 'lost'],
    rows.map(({ name, p50Ms, p99Ms, p50Added, p99Added, cpuMicros, lost }, at) => {
      const peak = peaks.find((each) => each.name === name)?.perSecond;
      return [
        name,
        peak === undefined ? '-' : `${Math.round((rate / peak) * 100)} %`,
        `${short(p50Ms)} / ${short(p99Ms)}`,
        at === 0 ? '-' : over(p50Added),
        at === 0 ? '-' : over(p99Added),
        short(cpuMicros.median),
        String(lost),
      ];
    }),
  );
}

function size(bytes: number): string {
  return bytes < 1_000_000 && bytes % 1_024 === 0 && bytes > 10_000 ? `${bytes / 1_024} KiB` : `${bytes} bytes`;
}
