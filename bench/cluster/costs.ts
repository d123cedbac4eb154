/**
 * B10, what a decision costs among replicas: asked at the owner's replica, at another one, and spread over all; beside one
 * replica without NATS, one compare-and-set per admission and Envoy's ratelimit, in one run. `npm run bench -- cluster`
 */
import { resolve } from 'node:path';
import type { NatsServer } from '../../test/support/fakes/nats-server.ts';
import type { Effort } from '../api/acquire.ts';
import { freeGroups, startSluice } from '../api/servers.ts';
import { median, type Spread, short, spread, table } from '../lib/figures.ts';
import { figuresOf } from '../lib/paired.ts';
import { cpuSeconds, LOAD_CPU, progress, runPinned, sleep } from '../lib/pinned.ts';
import { type BenchFleet, GROUPS, startBenchFleet, startPinnedNats, type Traffic, trafficOf, ZIPF } from './fleet.ts';
import { startCas, startRatelimit } from './peers.ts';

const LUA = resolve('bench/cluster/zipf.lua');

/** What is loaded: these addresses with these groups (all, where none are named). */
interface Target {
  readonly name: string;
  readonly pids: readonly number[];
  readonly ports: readonly number[];
  readonly kind: string;
  readonly groups?: readonly string[];
  readonly connections: number;
  /** It is the fleet, whose idle traffic is known. */
  readonly ours: boolean;
}

interface Round {
  readonly cpuMicros: number;
  readonly natsMicros: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly messages: number;
  readonly registers: number;
  readonly ledger: number;
}

/** Per second, of a fleet nobody asks. */
interface Idle extends Traffic {
  readonly cpu: number;
  readonly natsCpu: number;
}

/** The table; undefined: there is no nats-server. */
export async function clusterCosts(effort: Effort): Promise<string | undefined> {
  const nats = await startPinnedNats();
  if (nats === undefined) return undefined;
  const stops: (() => Promise<void>)[] = [() => nats.clean()];
  try {
    const all = Array.from({ length: GROUPS }, (_, at) => `g${at}`);
    const fleet = await startBenchFleet(nats, { groups: freeGroups(GROUPS), decided: all });
    stops.push(fleet.stop);
    const idle = await idleOf(fleet, nats);
    const alone = await startSluice('node', freeGroups(GROUPS));
    stops.push(alone.stop);
    const cas = await startCas(nats, 1e6, 1e6);
    stops.push(cas.stop);
    const ratelimit = await startRatelimit();
    if (ratelimit !== undefined) stops.push(ratelimit.stop);
    await sleep(2_500);
    const peers = [cas, ...(ratelimit === undefined ? [] : [ratelimit])].map((peer) => ({ ...peer, connections: 96, ours: false }));
    const one = { name: 'Sluice alone, embedded store', pids: [alone.process.pid], ports: [alone.http], kind: 'sluice', connections: 96, ours: false };
    const hot = { ...peers[0], name: `${cas.name}, one group`, groups: ['g0'] } as Target;
    const targets = [...targetsOf(fleet, all), one, ...peers, hot];
    return `${idleTable(idle)}\n\n${roundsTable(targets, await roundsOf(targets, nats, idle, effort))}`;
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

function targetsOf({ replicas, ownerOf }: BenchFleet, all: readonly string[]): readonly Target[] {
  const [first, second] = replicas as readonly [(typeof replicas)[0], (typeof replicas)[0]];
  const groups = all.filter((group) => ownerOf(group) === first);
  progress(`of ${all.length} groups the first replica decides ${groups.length}`);
  const fleet = { pids: replicas.map(({ pid }) => pid), kind: 'sluice', connections: 96, ours: true };
  return [
    { ...fleet, name: "Sluice x3, at the owner's", ports: [first.port], groups },
    { ...fleet, name: 'Sluice x3, at another', ports: [second.port], groups },
    { ...fleet, name: 'Sluice x3, spread', ports: replicas.map(({ port }) => port) },
    { ...fleet, name: 'Sluice x3, spread, one group', ports: replicas.map(({ port }) => port), groups: ['g0'] },
  ];
}

function load({ ports, kind, groups = [], connections }: Target, seconds: number): readonly string[] {
  const numbers = groups.map((group) => group.slice(1));
  const count = String(groups.length === 0 ? GROUPS : groups.length);
  const wrk = ['wrk', `-t${ports.length}`, `-c${connections}`, `-d${seconds}s`, '--latency', '-s', LUA, `http://127.0.0.1:${ports[0]}`];
  return ['env', `PORTS=${ports.join(',')}`, ...wrk, '--', kind, String(ZIPF), 'g', count, ...numbers];
}

async function idleOf({ replicas }: BenchFleet, nats: NatsServer): Promise<Idle> {
  const pids = replicas.map(({ pid }) => pid);
  const read = async () => ({ ...(await trafficOf(nats)), cpu: cpuSeconds(pids), natsCpu: cpuSeconds([nats.pid ?? 0]), at: performance.now() / 1_000 });
  const before = await read();
  await sleep(10_000);
  const after = await read();
  const rate = (name: keyof Idle): number => (after[name] - before[name]) / (after.at - before.at);
  return { messages: rate('messages'), registers: rate('registers'), ledger: rate('ledger'), cpu: rate('cpu') / replicas.length, natsCpu: rate('natsCpu') };
}

async function roundsOf(targets: readonly Target[], nats: NatsServer, idle: Idle, { rounds, seconds, warm }: Effort): Promise<Map<string, Round[]>> {
  const found = new Map<string, Round[]>(targets.map(({ name }) => [name, []]));
  for (const target of targets) await roundOf(target, nats, idle, warm);
  for (let round = 0; round < rounds; round++) {
    for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
      const figures = await roundOf(target, nats, idle, seconds);
      found.get(target.name)?.push(figures);
      progress(
        `  round ${round + 1}/${rounds} ${target.name}: ${JSON.stringify(figures, (_key, value) => (typeof value === 'number' ? Number(value.toPrecision(3)) : value))}`,
      );
    }
  }
  return found;
}

/** What the idle fleet does beside is taken off what went over NATS, and off NATS's processor time. */
async function roundOf(target: Target, nats: NatsServer, idle: Idle, seconds: number): Promise<Round> {
  const read = async () => ({ traffic: await trafficOf(nats), cpu: cpuSeconds(target.pids), nats: cpuSeconds([nats.pid ?? 0]), at: performance.now() / 1_000 });
  const before = await read();
  const { out } = await runPinned(LOAD_CPU, load(target, seconds), seconds + 20);
  const after = await read();
  const { requests, perSecond, p50Ms, p99Ms } = figuresOf(out);
  const took = after.at - before.at;
  const beyond = (name: keyof Traffic): number => (after.traffic[name] - before.traffic[name] - idle[name] * took) / requests;
  const natsMicros = ((after.nats - before.nats - idle.natsCpu * took) / requests) * 1e6;
  const cpuMicros = ((after.cpu - before.cpu) / requests) * 1e6;
  return { cpuMicros, natsMicros, perSecond, p50Ms, p99Ms, messages: beyond('messages'), registers: beyond('registers'), ledger: beyond('ledger') };
}

function idleTable({ cpu, natsCpu, messages, registers, ledger }: Idle): string {
  return table(
    ['nobody asks', 'CPU of a replica', 'CPU of NATS', 'messages/s', 'writes/s: registers', 'ledger'],
    [['3 replicas, 64 shards', percent(cpu), percent(natsCpu), short(messages), short(registers), short(ledger)]],
  );
}

function roundsTable(targets: readonly Target[], found: ReadonlyMap<string, readonly Round[]>): string {
  const spreadRows = found.get('Sluice x3, spread') ?? [];
  const total = ({ cpuMicros, natsMicros }: Round): number => cpuMicros + Math.max(0, natsMicros);
  return table(
    [
      'server',
      'decisions/s',
      'server CPU us, with NATS',
      'NATS alone us',
      'CPU beside Sluice spread: median (95 %; range)',
      'decisions/s of Sluice spread beside it',
      'p50 / p99 ms',
      'messages each',
      'writes each: registers / ledger',
    ],
    targets.map(({ name, ours }) => {
      const rounds = found.get(name) ?? [];
      const each = (read: (round: Round, at: number) => number): Spread => spread(rounds.map(read));
      const ratio = each((round, at) => total(round) / total(spreadRows[at] as Round));
      const faster = each((round, at) => (spreadRows[at] as Round).perSecond / round.perSecond);
      const middle = (read: (round: Round) => number): number => median(rounds.map(read));
      const onNats = ours || middle(({ messages }) => messages) > 0.01;
      return [
        name,
        String(Math.round(middle(({ perSecond }) => perSecond))),
        short(middle(total)),
        onNats ? short(middle(({ natsMicros }) => natsMicros)) : '-',
        spreadText(ratio),
        spreadText(faster),
        `${short(middle(({ p50Ms }) => p50Ms))} / ${short(middle(({ p99Ms }) => p99Ms))}`,
        onNats ? middle(({ messages }) => messages).toFixed(4) : '-',
        onNats ? `${middle(({ registers }) => registers).toFixed(4)} / ${middle(({ ledger }) => ledger).toFixed(4)}` : '-',
      ];
    }),
  );
}

function spreadText({ median: middle, low, high, least, most }: Spread): string {
  return `${middle.toFixed(2)} (${low.toFixed(2)}-${high.toFixed(2)}; ${least.toFixed(2)}-${most.toFixed(2)})`;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}
