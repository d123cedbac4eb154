import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Agent } from 'undici';
import type { Acknowledged, DeliveryHistory } from '../deferred/delivery-checker.ts';
import { Fleet } from '../faults/fleet.ts';
import { findNatsServer } from '../support/fakes/nats-binary.ts';
import { dumpStreams } from '../support/fakes/nats-streams.ts';
import { until } from '../support/fakes/until.ts';
import { judgeDeliveries, RecordingBackend, submitUntilAcknowledged, untilDelivered } from './deferred-harness.ts';
import { check, inParallel, type Ordeal } from './ordeal.ts';
import { type Silence, silencesOf } from './replica-silences.ts';

/** How a run is played. */
export interface ClusterKillRun {
  readonly requests: number;
  /** Replicas and NATS servers that are killed, one after the other. */
  readonly kills: number;
  /** Submitters at once. */
  readonly atOnce: number;
  readonly nats: 1 | 3;
  /** One kill in so many is of a NATS server; 0: none is. */
  readonly natsEach: number;
  /** true: replicas acknowledge before they have stored, and the run has to find it out. */
  readonly broken?: boolean;
  /** A failed run leaves here what it takes to find its cause: logs of replicas and NATS, streams, what client and backend saw. */
  readonly artefacts?: string | undefined;
}

/** A kill as it was played; times of one monotonic clock, in milliseconds. */
interface Kill extends Silence {
  until: number;
}

const BROKEN = fileURLToPath(new URL('broken-cluster-process.ts', import.meta.url));
/** No submit may be without an answer for longer: NATS elects a leader in up to 10 s, and a caller is told before. */
const ANSWER_MS_MAX = 30_000;

/** Replicas and NATS servers are killed while they store and deliver; clients and a backend write down what they saw (RQ-13, C7 to C9). */
export const deferredClusterKills: Ordeal = {
  name: 'deferred-cluster-kills',
  about: '10,000 deferred requests over three NATS servers and three replicas, with 20 kills of any: none acknowledged is lost',
  lacks: () => undefined,
  run: (say) => playClusterKills({ requests: 10_000, kills: 20, atOnce: 64, nats: 3, natsEach: 4, artefacts: process.env['SLUICE_ARTEFACTS'] }, say),
};

/** Plays a run and throws what the checker finds. */
export async function playClusterKills(run: ClusterKillRun, say: (text: string) => void): Promise<void> {
  const { requests, kills, atOnce, nats, natsEach, broken = false } = run;
  const backend = await RecordingBackend.start();
  const { delivered } = backend;
  const more = `
http: { engine: node }
bounds: { perClient: 10000 }
backends: { shop: { urls: [ "http://127.0.0.1:${backend.port}" ] } }
routes: [ { match: { path: /hook }, group: hooks, backend: shop, mode: deferred } ]
`;
  const groups = '  hooks: { limits: [ { name: pace, rate: 2000/1s, burst: 100 } ] }';
  const { path } = await findNatsServer('newest');
  const logs = folderFor(run.artefacts ?? tmpdir());
  const fleet = await Fleet.start({ binary: { path }, nats, replicas: 3, groups, more, proxy: true, main: broken ? BROKEN : undefined, logs });
  const acknowledged: Acknowledged[] = [];
  const agent = new Agent({ connections: atOnce, pipelining: 1, headersTimeout: ANSWER_MS_MAX + 10_000 });
  const marks: number[] = [];
  const played: Kill[] = [];
  let longest = 0;
  let submitting = true;
  let keeps = false;
  try {
    await fleet.decided(['hooks']);
    // Requests come in as many parts as there are kills and one more, each kill in the middle of a part.
    const share = requests / (kills + 1);
    let killed = 0;
    const killer = (async () => {
      for (; killed < kills && submitting; killed++) {
        const enough = Math.floor(share * (killed + 0.2 + 0.6 * Math.random()));
        await until('some were acknowledged', () => acknowledged.length >= enough || !submitting, 120_000);
        if (natsEach > 0 && killed % natsEach === natsEach - 1) await killNats(fleet, marks, played);
        else await killReplica(fleet, marks, played);
      }
    })();
    const url = (): string => `http://127.0.0.1:${fleet.replicas[Math.floor(Math.random() * 3)]?.proxyPort}`;
    const tookMs = (ms: number): void => {
      longest = Math.max(longest, ms);
    };
    await inParallel(requests, atOnce, async (index) => {
      await until('the part of this request', () => index < share * (killed + 1), 120_000);
      return submitUntilAcknowledged(agent, url, { key: `k${index}`, body: `request ${index} ${'x'.repeat(index % 700)}` }, acknowledged, tookMs);
    });
    submitting = false;
    await killer;
    check(killed === kills, `only ${killed} of ${kills} kills were played`);
    say(`${acknowledged.length} acknowledged, ${killed} kills, the longest answer took ${Math.round(longest)} ms`);
    check(acknowledged.length === requests, `only ${acknowledged.length} of ${requests} were acknowledged in time`);
    check(longest < ANSWER_MS_MAX, `an answer took ${Math.round(longest)} ms`);
    await untilDelivered(backend, { requests }, broken ? 5_000 : 30_000);
    if (!broken) await sayMissing(fleet, acknowledged, delivered, say);
    judgeDeliveries({ acknowledged, delivered, kills: marks, silences: silencesIn(logs, played) }, atOnce, say);
  } catch (cause) {
    keeps = run.artefacts !== undefined;
    if (keeps) await keepArtefacts(logs, fleet, { acknowledged, delivered, kills: played, marks }, say);
    throw cause;
  } finally {
    submitting = false;
    await agent.destroy();
    await fleet.clean();
    await backend.stop();
    if (!keeps) rmSync(logs, { recursive: true });
  }
}

/** Says how a replica shows what was acknowledged and not delivered: a request that waits is another fault than one that is gone. */
async function sayMissing(
  fleet: Fleet,
  acknowledged: readonly Acknowledged[],
  delivered: DeliveryHistory['delivered'],
  say: (text: string) => void,
): Promise<void> {
  const seen = new Set(delivered.map(({ key }) => key));
  for (const { key, id } of acknowledged.filter((each) => !seen.has(each.key)).slice(0, 3)) {
    const answer = await fetch(`${fleet.replicas[0]?.url}/v1/requests/${id}?response=state`);
    say(`${key} is shown as ${answer.status} ${(await answer.text()).slice(0, 300)}`);
  }
  if (seen.size === acknowledged.length) return;
  for (const { index, metrics } of await Promise.all(fleet.replicas.map(async (each) => ({ index: each.index, metrics: (await each.metrics()) ?? '' }))))
    say(
      `r${index}: ${metrics
        .split('\n')
        .filter((line) => /^sluice_deferred_(pending|sending|delayed|backend_down)/.test(line))
        .join(' ')}`,
    );
}

/** A folder of one run, its parent made if needed. */
function folderFor(parent: string): string {
  mkdirSync(parent, { recursive: true });
  return mkdtempSync(join(parent, 'cluster-kills-'));
}

/** CLOCK_MONOTONIC at 0 of `performance.now()`, in milliseconds. */
function originOfMs(): number {
  return Number(process.hrtime.bigint()) / 1e6 - performance.now();
}

/** When a replica was taken for dead that was not killed, on the clock of `performance.now()`. */
function silencesIn(folder: string, played: readonly Kill[]): readonly Silence[] {
  const origin = originOfMs();
  const files = [0, 1, 2].map((index) => join(folder, `r${index}.log`)).filter((file) => existsSync(file));
  const down = played.map((kill) => ({ ...kill, from: kill.from + origin, until: kill.until + origin }));
  const logs = files.map((file) => readFileSync(file, 'utf8'));
  return silencesOf(logs, down).map((silence) => ({ ...silence, from: silence.from - origin, until: silence.until - origin }));
}

/** Replicas have written their logs all along. Times of `history.json` are those of CLOCK_MONOTONIC, as in the logs. */
async function keepArtefacts(folder: string, fleet: Fleet, history: object, say: (text: string) => void): Promise<void> {
  const originMs = originOfMs();
  writeFileSync(join(folder, 'history.json'), JSON.stringify({ originMs, ...history }));
  for (const server of fleet.nats) writeFileSync(join(folder, `${server.name}.log`), server.log);
  const streams = await dumpStreams(fleet.nats.map(({ url }) => url)).catch((cause: unknown) => [String(cause)]);
  writeFileSync(join(folder, 'streams.txt'), streams.join('\n'));
  say(`logs, streams and history are in ${folder}`);
}

async function killReplica(fleet: Fleet, marks: number[], played: Kill[]): Promise<void> {
  const replica = fleet.replicas[Math.floor(Math.random() * fleet.replicas.length)] as (typeof fleet.replicas)[number];
  const kill = { replica: `r${replica.index}`, from: performance.now(), until: Number.POSITIVE_INFINITY };
  played.push(kill);
  marks.push(kill.from);
  replica.process.kill();
  await replica.process.exit;
  // What it had written is read from the sockets after its end, on a busy machine long after the signal.
  marks.push(performance.now());
  await wait(Math.random() * 1_000);
  await replica.start();
  kill.until = performance.now();
}

/** While streams have no leader what is delivered may not be recorded, and shards may change hands: that is a kill as long as it lasts. */
async function killNats(fleet: Fleet, marks: number[], played: Kill[]): Promise<void> {
  const server = fleet.nats[Math.floor(Math.random() * fleet.nats.length)] as (typeof fleet.nats)[number];
  const kill = { replica: server.name, from: performance.now(), until: Number.POSITIVE_INFINITY };
  played.push(kill);
  const marking = setInterval(() => marks.push(performance.now()), 100);
  try {
    marks.push(performance.now());
    await server.kill();
    await wait(500 + Math.random() * 2_000);
    await server.start();
    await fleet.natsSettled();
    kill.until = performance.now();
    await wait(2_000);
  } finally {
    clearInterval(marking);
  }
}
