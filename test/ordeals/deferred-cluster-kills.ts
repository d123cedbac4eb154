import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Agent } from 'undici';
import type { Acknowledged, DeliveryHistory } from '../deferred/delivery-checker.ts';
import { Fleet } from '../faults/fleet.ts';
import { findNatsServer } from '../support/fakes/nats-binary.ts';
import { until } from '../support/fakes/until.ts';
import { judgeDeliveries, RecordingBackend, submitUntilAcknowledged, untilDelivered } from './deferred-harness.ts';
import { check, inParallel, type Ordeal } from './ordeal.ts';

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
}

const BROKEN = fileURLToPath(new URL('broken-cluster-process.ts', import.meta.url));
/** No submit may be without an answer for longer: NATS elects a leader in up to 10 s, and a caller is told before. */
const ANSWER_MS_MAX = 30_000;

/** Replicas and NATS servers are killed while they store and deliver; clients and a backend write down what they saw (RQ-13, C7 to C9). */
export const deferredClusterKills: Ordeal = {
  name: 'deferred-cluster-kills',
  about: '10,000 deferred requests over three NATS servers and three replicas, with 20 kills of any: none acknowledged is lost',
  lacks: () => undefined,
  run: (say) => playClusterKills({ requests: 10_000, kills: 20, atOnce: 64, nats: 3, natsEach: 4 }, say),
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
  const fleet = await Fleet.start({ binary: { path }, nats, replicas: 3, groups, more, proxy: true, main: broken ? BROKEN : undefined });
  const acknowledged: Acknowledged[] = [];
  const agent = new Agent({ connections: atOnce, pipelining: 1, headersTimeout: ANSWER_MS_MAX + 10_000 });
  const marks: number[] = [];
  let longest = 0;
  let submitting = true;
  try {
    await fleet.decided(['hooks']);
    // Requests come in as many parts as there are kills and one more, each kill in the middle of a part.
    const share = requests / (kills + 1);
    let killed = 0;
    const killer = (async () => {
      for (; killed < kills && submitting; killed++) {
        const enough = Math.floor(share * (killed + 0.2 + 0.6 * Math.random()));
        await until('some were acknowledged', () => acknowledged.length >= enough || !submitting, 120_000);
        if (natsEach > 0 && killed % natsEach === natsEach - 1) await killNats(fleet, marks);
        else await killReplica(fleet, marks);
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
    judgeDeliveries({ acknowledged, delivered, kills: marks }, atOnce, say);
  } finally {
    submitting = false;
    await agent.destroy();
    await fleet.clean();
    await backend.stop();
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

async function killReplica(fleet: Fleet, marks: number[]): Promise<void> {
  const replica = fleet.replicas[Math.floor(Math.random() * fleet.replicas.length)] as (typeof fleet.replicas)[number];
  marks.push(performance.now());
  replica.process.kill();
  await replica.process.exit;
  await wait(Math.random() * 1_000);
  await replica.start();
}

/** While streams have no leader what is delivered may not be recorded, and shards may change hands: that is a kill as long as it lasts. */
async function killNats(fleet: Fleet, marks: number[]): Promise<void> {
  const server = fleet.nats[Math.floor(Math.random() * fleet.nats.length)] as (typeof fleet.nats)[number];
  const marking = setInterval(() => marks.push(performance.now()), 100);
  try {
    marks.push(performance.now());
    await server.kill();
    await wait(500 + Math.random() * 2_000);
    await server.start();
    await fleet.natsSettled();
    await wait(2_000);
  } finally {
    clearInterval(marking);
  }
}
