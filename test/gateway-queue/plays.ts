import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SECOND } from '../../src/core/time.ts';
import { Fleet } from '../faults/fleet.ts';
import type { NatsBinary } from '../support/fakes/nats-binary.ts';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { Wire } from '../support/fakes/wire.ts';
import { queued } from './clients.ts';
import { DiscordServer } from './discord-server.ts';

/*
 * Whole plays against real processes, for tests and for ordeals: sixteen shards of a bot with max_concurrency 4, which behave as
 * twilight's reference client, before a fake of Discord that judges.
 */

const SHARDS = 16;
const BUCKETS = 4;
const LEFT = 40;

/** Above what a busy machine may take from an identify to the next. */
const SLACK = '2s';

/** What a play came to. */
export interface Played {
  readonly identifies: number;
  /** Session starts that Discord has left, and that the server has left. */
  readonly left: readonly [discord: number, server: number];
  /** Connections that ended without an answer. */
  readonly failures: number;
}

/** What its metrics say is left of the session starts. */
async function leftOf(healthPort: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
  const of = (name: string): number =>
    Number(new RegExp(`^sluice_limit_${name}\\{[^}]*limit="session_starts"[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  return of('capacity') - of('used');
}

/** Sixteen shards queue at these ports and identify; `trouble` happens in the middle. Judges what Discord saw. */
async function identifyAll(discord: DiscordServer, ports: readonly number[], trouble: () => Promise<void>): Promise<number> {
  let failures = 0;
  const shards = Array.from({ length: SHARDS }, async (_, shard) => {
    const status = await queued({ shard, ports, failed: () => failures++ });
    discord.discord.identify(shard);
    if (status !== 200) throw new Error(`shard ${shard} was answered ${status}`);
  });
  await Promise.all([...shards, trouble()]);
  discord.discord.judge(5 * SECOND);
  return failures;
}

/** One server by `sluice gateway-queue`, killed and started again in the middle. */
export async function killPlay(say: (text: string) => void): Promise<Played> {
  const discord = await DiscordServer.start({ total: 1000, remaining: LEFT, maxConcurrency: BUCKETS });
  const [port, health] = [await freePort(), await freePort()];
  const args = ['gateway-queue', `--gatewayQueue.limitsUrl=${discord.limitsUrl}`, `--gatewayQueue.slack=${SLACK}`, `--listen.health=127.0.0.1:${health}`];
  const ways = { args: [...args, '--gatewayQueue.countedWithin=1s'], env: { HOST: '127.0.0.1', PORT: String(port), DISCORD_TOKEN: 'T', RUST_LOG: 'debug' } };
  let server = new ServerProcess('', undefined, ways);
  try {
    await server.until('serving');
    const failures = await identifyAll(discord, [port], async () => {
      await until('half a dozen to have identified', () => discord.discord.identifies.length >= 6);
      say('six have identified: kill -9');
      server.kill();
      await server.exit;
      server = new ServerProcess('', server.folder, ways);
      await server.until('serving');
      say('it serves again');
    });
    const left = await leftOf(health);
    return { identifies: discord.discord.identifies.length, left: [discord.discord.remaining, left], failures };
  } finally {
    server.clean();
    await discord.stop();
  }
}

/** What became of many connections at once. */
export interface ManyConnections {
  /** Callers held: with all there, after a hundred left, and with a hundred new ones. */
  readonly held: readonly [all: number, left: number, again: number];
  /** Resident memory of the server for each caller held, in bytes. */
  readonly bytesEach: number;
  /** Connections that were closed. */
  readonly closed: number;
}

/** 2,048 shards of sixteen buckets wait on connections of their own; a hundred of them leave, and a hundred others come. */
export async function connectionsPlay(): Promise<ManyConnections> {
  const [port, health] = [await freePort(), await freePort()];
  const args = ['gateway-queue', '--gatewayQueue.maxConcurrency=16', '--gatewayQueue.period=1m', `--listen.health=127.0.0.1:${health}`];
  const server = new ServerProcess('', undefined, { args, env: { HOST: '127.0.0.1', PORT: String(port) } });
  const wires: Wire[] = [];
  const come = async (shard: number): Promise<void> => {
    const wire = await Wire.open(port);
    wires.push(wire);
    wire.write(`GET /?shard=${shard} HTTP/1.1\r\nHost: queue\r\n\r\n`);
  };
  const held = (): Promise<number> => metricOf(health, 'sluice_gateway_queue_held');
  try {
    await server.until('serving');
    for (let shard = 0; shard < 16; shard++) await come(shard);
    await until('sixteen to be answered', async () => (await metricOf(health, 'sluice_gateway_queue_admitted_total')) === 16);
    const before = await metricOf(health, 'process_resident_memory_bytes');
    for (let shard = 16; shard < 2048; shard++) await come(shard);
    await until('all others to be held', async () => (await held()) === 2032);
    const bytesEach = ((await metricOf(health, 'process_resident_memory_bytes')) - before) / 2032;
    const all = await held();
    for (const wire of wires.slice(1000, 1100)) wire.destroy();
    await until('a hundred to be gone', async () => (await held()) <= 1932);
    const left = await held();
    for (let shard = 0; shard < 100; shard++) await come(5_000 + shard);
    await until('a hundred to have come', async () => (await held()) >= 2032);
    return { held: [all, left, await held()], bytesEach, closed: wires.filter((wire, at) => wire.closed && (at < 1000 || at >= 1100)).length };
  } finally {
    for (const wire of wires) wire.destroy();
    server.clean();
  }
}

async function metricOf(healthPort: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

/** Three replicas over NATS; the one that decides is killed in the middle. */
export async function replicasPlay(binary: Pick<NatsBinary, 'path'>, say: (text: string) => void): Promise<Played> {
  const discord = await DiscordServer.start({ total: 1000, remaining: LEFT, maxConcurrency: BUCKETS });
  const folder = mkdtempSync(join(tmpdir(), 'sluice-token-'));
  writeFileSync(join(folder, 'token'), 'T\n');
  const options = `token: { file: ${join(folder, 'token')} }, limitsUrl: "${discord.limitsUrl}", slack: ${SLACK}, countedWithin: 1s, refresh: 5s`;
  let fleet: Fleet | undefined;
  try {
    fleet = await Fleet.start({ binary, nats: 1, replicas: 3, gatewayQueue: true, groups: '  spare: {}', more: `gatewayQueue: { ${options} }` });
    const { replicas } = fleet;
    await fleet.decided(['gateway-queue']);
    await until('every replica to know the limits', async () => {
      const ready = await Promise.all(replicas.map(({ healthPort }) => fetch(`http://127.0.0.1:${healthPort}/readyz`)));
      return ready.every(({ status }) => status === 200);
    });
    const ports = replicas.map(({ proxyPort }) => proxyPort);
    const failures = await identifyAll(discord, ports, async () => {
      await until('half a dozen to have identified', () => discord.discord.identifies.length >= 6);
      const owner = await ownerOf(replicas[0]?.adminUrl ?? '');
      say(`six have identified: kill -9 of ${owner}, which decides`);
      replicas[Number(owner.slice(1))]?.process.kill();
    });
    const living = replicas.find(({ process }) => process.child.exitCode === null && process.child.signalCode === null);
    let left = Number.NaN;
    await until('the limits to have been asked for again', async () => {
      left = await viewLeft(living?.adminUrl ?? '');
      return left === discord.discord.remaining;
    });
    return { identifies: discord.discord.identifies.length, left: [discord.discord.remaining, left], failures };
  } finally {
    await fleet?.clean();
    await discord.stop();
    rmSync(folder, { recursive: true });
  }
}

interface View {
  readonly placement?: { readonly replica?: string };
  readonly limits?: readonly { readonly name: string; readonly capacity?: string | number; readonly used?: string | number }[];
}

async function viewOf(adminUrl: string): Promise<View> {
  const answer = await fetch(`${adminUrl}/v1/groups/gateway-queue`);
  const body = (await answer.json()) as View & { readonly group?: View };
  return body.group ?? body;
}

async function ownerOf(adminUrl: string): Promise<string> {
  return (await viewOf(adminUrl)).placement?.replica ?? '';
}

async function viewLeft(adminUrl: string): Promise<number> {
  const limit = (await viewOf(adminUrl)).limits?.find(({ name }) => name === 'session_starts');
  return Number(limit?.capacity ?? 0) - Number(limit?.used ?? 0);
}
