import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { shardOf } from '../../src/core/sharding.ts';
import { findNatsServer } from '../../test/support/fakes/nats-binary.ts';
import { type NatsServer, startNats } from '../../test/support/fakes/nats-server.ts';
import { AS_STARTED, freePort, pinned, progress, SERVER_CPU, sleep } from '../lib/pinned.ts';

/** Replicas of every kind in these benches. */
export const REPLICAS = 3;
/** Groups that arrivals are spread over. */
export const GROUPS = 100;
/** How uneven: the second group is asked for 2^-1.1 as often as the first. */
export const ZIPF = 1.1;

const COLLECT = resolve('bench/api/collect-on-signal.ts');

/** A nats-server with JetStream on the servers' processor; undefined: there is none and none can be had. */
export async function startPinnedNats(): Promise<NatsServer | undefined> {
  const binary = await findNatsServer('newest').catch((cause: Error) => progress(`left out, for there is no nats-server: ${cause.message}`));
  if (binary === undefined) return undefined;
  const nats = await startNats({ binary: binary.path });
  spawnSync('taskset', ['-acp', String(SERVER_CPU), String(nats.pid)]);
  progress(`nats-server ${binary.version}`);
  return nats;
}

/** One replica that is up. */
export interface Replica {
  readonly pid: number;
  readonly port: number;
  readonly health: number;
}

/** Replicas over one nats-server, all on the servers' processor. */
export interface BenchFleet {
  readonly replicas: readonly Replica[];
  /** The replica that decides for a group without a parent. */
  readonly ownerOf: (group: string) => Replica;
  stop(): Promise<void>;
}

/** Starts {@link REPLICAS} of them; settles when each of `decided` is decided, asked at any replica. `groups` is YAML. */
export async function startBenchFleet(
  nats: Pick<NatsServer, 'port'>,
  { groups, decided, collect = false }: { readonly groups: string; readonly decided: readonly string[]; readonly collect?: boolean },
): Promise<BenchFleet> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const started: { readonly replica: Replica; readonly stop: () => Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    for (const each of started) await each.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (let index = 0; index < REPLICAS; index++) started.push(await startReplica(folder, index, nats.port, groups, collect));
    const replicas = started.map(({ replica }) => replica);
    await allDecided(replicas, decided);
    // Shards go on moving until each replica has its share.
    await sleep(4_000);
    await allDecided(replicas, decided);
    return { replicas, ownerOf: await owners(replicas), stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

async function startReplica(folder: string, index: number, nats: number, groups: string, collect: boolean) {
  const [port, health] = [await freePort(), await freePort()];
  const file = join(folder, `r${index}.yaml`);
  writeFileSync(
    file,
    `listen: { api: "127.0.0.1:${port}", health: "127.0.0.1:${health}", grpc: none, admin: none }
cluster: { nats: [ "nats://127.0.0.1:${nats}" ], name: r${index}, ledgerBytes: 64MiB }
log: { level: warn }
drain: { delay: 0s, grace: 0s }
revision: 1
groups:
${groups}`,
  );
  const flags = collect ? ['--expose-gc', '--import', COLLECT] : [];
  const profile = process.env['BENCH_PROFILE'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['BENCH_PROFILE']}/r${index}`];
  const main = resolve(process.env['BENCH_MAIN'] ?? 'src/main.ts');
  const command = [process.execPath, ...AS_STARTED, ...flags, ...profile, main, 'serve', '--config', file];
  const { pid, stop } = await pinned(SERVER_CPU, command, port);
  return { replica: { pid, port, health }, stop };
}

async function allDecided(replicas: readonly Replica[], groups: readonly string[]): Promise<void> {
  for (const { port } of replicas) {
    for (const group of groups) {
      for (let tries = 0; ; tries++) {
        const answer = await fetch(`http://127.0.0.1:${port}/v1/groups/${group}/explain`);
        const text = await answer.text();
        if (answer.status === 200) break;
        if (tries === 100) throw new Error(`${group} is decided by nobody: ${text}`);
        await sleep(100);
      }
    }
  }
}

async function owners(replicas: readonly Replica[]): Promise<(group: string) => Replica> {
  const shards = new Map<number, Replica>();
  for (const replica of replicas) {
    for (const [, shard] of (await metricsOf(replica)).matchAll(/^sluice_cluster_term\{shard="(\d+)"\}/gm)) shards.set(Number(shard), replica);
  }
  return (group) => {
    const owner = shards.get(shardOf(group));
    if (owner === undefined) throw new Error(`${group} has no owner.`);
    return owner;
  };
}

/** A replica's own metrics. */
export async function metricsOf({ health }: Replica): Promise<string> {
  return (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
}

/** Permits given by all replicas so far. */
export async function admittedBy(replicas: readonly Replica[]): Promise<number> {
  const texts = await Promise.all(replicas.map(metricsOf));
  return texts.flatMap((text) => [...text.matchAll(/^sluice_admitted_total\{[^}]*\} (\d+)$/gm)]).reduce((sum, [, count]) => sum + Number(count), 0);
}

/** What went over NATS so far. */
export interface Traffic {
  /** Published by clients, requests of JetStream among them. */
  readonly messages: number;
  /** Stored in streams: registers (sessions, ownership) and the ledger. */
  readonly registers: number;
  readonly ledger: number;
}

/** What went over it so far, by its own monitoring. */
export async function trafficOf(nats: Pick<NatsServer, 'monitor'>): Promise<Traffic> {
  const [varz, jsz] = (await Promise.all([nats.monitor('varz'), nats.monitor('jsz?streams=true')])) as [
    { in_msgs: number },
    { account_details?: readonly { stream_detail?: readonly { name: string; state: { last_seq: number } }[] }[] },
  ];
  let [registers, ledger] = [0, 0];
  for (const { name, state } of jsz.account_details?.flatMap(({ stream_detail = [] }) => stream_detail) ?? []) {
    if (name.includes('_LEDGER_')) ledger += state.last_seq;
    else registers += state.last_seq;
  }
  return { messages: varz.in_msgs, registers, ledger };
}
