/**
 * What a waiter costs in memory where several replicas have a part in it: held at the replica that decides, or at another.
 * `npm run bench -- waiters`
 */

import { holder } from '../frontends/held.ts';
import { table } from '../lib/figures.ts';
import { progress, residentBytes, sleep } from '../lib/pinned.ts';
import { type Replica, startBenchFleet, startPinnedNats } from './fleet.ts';

const WAITERS = 10_000;
const HTTP_HOLDER = new URL('../frontends/holder-http.ts', import.meta.url).pathname;
const LIMITS = 'limits: [{ name: rate, rate: 1/1h }], backlog: { requests: 200000, perKey: 200000, bytes: 1GiB }, ttl: { default: 10m, max: 10m }';

/** The table; undefined: there is no nats-server. */
export async function waiterMemory(): Promise<string | undefined> {
  const nats = await startPinnedNats();
  if (nats === undefined) return undefined;
  try {
    const names = ['shut0', 'shut1'];
    const fleet = await startBenchFleet(nats, { groups: names.map((name) => `  ${name}: { ${LIMITS} }\n`).join(''), decided: names, collect: true });
    try {
      const rows: string[][] = [];
      for (const [index, group] of names.entries()) {
        const owner = fleet.ownerOf(group);
        const edge = index === 0 ? owner : (fleet.replicas.find((replica) => replica !== owner) as Replica);
        await (await fetch(`http://127.0.0.1:${owner.port}/v1/groups/${group}/acquire?ttl=0`, { method: 'POST' })).text();
        rows.push(await held(group, owner, edge));
      }
      return table([`${WAITERS} waiters over HTTP`, 'bytes each at the replica that has their connections', 'at the one that decides'], rows);
    } finally {
      await fleet.stop();
    }
  } finally {
    await nats.clean();
  }
}

async function held(group: string, owner: Replica, edge: Replica): Promise<string[]> {
  const collect = async (): Promise<void> => {
    for (const { pid } of new Set([owner, edge])) process.kill(pid, 'SIGUSR2');
    await sleep(2_000);
  };
  const hold = async (count: number): Promise<() => Promise<void>> => {
    const running = holder(HTTP_HOLDER, [String(edge.port), `/v1/groups/${group}/acquire?ttl=10m`, String(count), '0', '/dev/null', '10']);
    await running.held;
    await sleep(1_500);
    await collect();
    return running.stop;
  };
  // The first fifth is what makes heaps grow to their usual size; the others are what is measured.
  const first = await hold(WAITERS / 5);
  const before = [residentBytes([edge.pid]), residentBytes([owner.pid])] as const;
  const second = await hold(WAITERS);
  const bytes = [(residentBytes([edge.pid]) - before[0]) / WAITERS, (residentBytes([owner.pid]) - before[1]) / WAITERS].map(Math.round) as [number, number];
  await first();
  await second();
  const where = owner === edge ? 'at the replica that decides' : 'at another';
  progress(`  ${where}: ${bytes}`);
  return [where, String(bytes[0]), owner === edge ? 'the same' : String(bytes[1])];
}
