/**
 * B10, use of a limit that binds: callers of all replicas wait for one shared limit, drawn by Zipf's law over groups below it.
 * Beside it the same limit by compare-and-set. `npm run bench -- shared`
 */
import { resolve } from 'node:path';
import type { Effort } from '../api/acquire.ts';
import { median, table } from '../lib/figures.ts';
import { LOAD_CPU, progress, runPinned, sleep } from '../lib/pinned.ts';
import { admittedBy, GROUPS, startBenchFleet, startPinnedNats, ZIPF } from './fleet.ts';
import { startCas } from './peers.ts';

const LUA = resolve('bench/cluster/zipf.lua');
const RATE = 1_000;
const CALLERS = 192;
const BACKLOG = 'backlog: { requests: 10000, perKey: 10000 }';

/** What one round came to: admitted in the middle of the load, over what the limit allows in that time. */
type Use = number;

/** The table; undefined: there is no nats-server. */
export async function sharedLimit({ rounds, seconds }: Effort): Promise<string | undefined> {
  const nats = await startPinnedNats();
  if (nats === undefined) return undefined;
  const rows: string[][] = [];
  try {
    for (const burst of [1, 10]) {
      const below = Array.from({ length: GROUPS }, (_, at) => `  s${at}: { parent: { group: shared }, limits: [], ${BACKLOG} }\n`).join('');
      const groups = `  shared: { limits: [{ name: rate, rate: ${RATE}/1s, burst: ${burst} }], ${BACKLOG} }\n${below}`;
      const fleet = await startBenchFleet(nats, { groups, decided: ['shared'] });
      const ports = fleet.replicas.map(({ port }) => port);
      const uses: Use[] = [];
      for (let round = 0; round < rounds; round++) uses.push(await useOf(ports, seconds, 'held', () => admittedBy(fleet.replicas)));
      await fleet.stop();
      rows.push(row(`Sluice x3, burst ${burst}`, uses));
    }
    const cas = await startCas(nats, RATE, 10);
    const uses: Use[] = [];
    for (let round = 0; round < rounds; round++) uses.push(await useOf(cas.ports, seconds, 'sluice', undefined));
    await cas.stop();
    rows.push(row('compare-and-set x3, burst 10, one subject', uses));
  } finally {
    await nats.clean();
  }
  return table([`${CALLERS} callers, ${RATE} a second allowed`, 'use of the limit: median', 'range'], rows);
}

function row(name: string, uses: readonly Use[]): string[] {
  return [name, percent(median(uses)), `${percent(Math.min(...uses))} to ${percent(Math.max(...uses))}`];
}

/** Counted by the servers in the middle of the load; where they do not count, by the load over all its time. */
async function useOf(ports: readonly number[], seconds: number, kind: string, count: (() => Promise<number>) | undefined): Promise<Use> {
  const span = seconds + (count === undefined ? 0 : 2);
  const groups = count === undefined ? ['1'] : [String(GROUPS)];
  const wrk = [
    'wrk',
    '-t3',
    `-c${CALLERS}`,
    `-d${span}s`,
    '--timeout',
    '30s',
    '-s',
    LUA,
    `http://127.0.0.1:${ports[0]}`,
    '--',
    kind,
    String(ZIPF),
    's',
    ...groups,
  ];
  const load = runPinned(LOAD_CPU, ['env', `PORTS=${ports.join(',')}`, ...wrk], span + 20);
  let use: number | undefined;
  if (count !== undefined) {
    await sleep(1_000);
    const [before, began] = [await count(), performance.now()];
    await sleep(seconds * 1_000);
    use = (((await count()) - before) * 1_000) / (performance.now() - began) / RATE;
  }
  const { out } = await load;
  const bad = /Non-2xx.*/.exec(out)?.[0];
  if (bad !== undefined) throw new Error(`Callers were turned away: ${bad}`);
  use ??= Number(/Requests\/sec:\s+([\d.]+)/.exec(out)?.[1]) / RATE;
  progress(`  use ${percent(use)}`);
  return use;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}
