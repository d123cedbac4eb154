import { setTimeout as pause } from 'node:timers/promises';
import { Agent } from 'undici';
import { type Acknowledged, checkDeliveries, outOfOrder } from '../deferred/delivery-checker.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { freePort, RecordingBackend, submitUntilAcknowledged } from './deferred-harness.ts';
import { check, type Ordeal } from './ordeal.ts';

const POSTS = 501;
const INTERVAL_MS = 20;
const KILLS = 6;
/** A repeat was armed when the kill came: what was answered longer before is recorded. Generous, for a loaded machine. */
const ARMED_MS = 2_000;

/** RQ-3: the loop of reQue's README, in real time. */
export const deferredOrder: Ordeal = {
  name: 'deferred-order',
  about: 'RQ-3: the 501 posts of its README in real time, 20 ms apart, without a kill and with six: in order, none lost, repeats only of what was armed',
  lacks: () => undefined,
  run: async (say) => {
    await play(0, say);
    await play(KILLS, say);
  },
};

async function play(kills: number, say: (text: string) => void): Promise<void> {
  const backend = await RecordingBackend.start();
  const port = await freePort();
  const configuration = configured(port, backend.port);
  let server = new ServerProcess(configuration);
  const { folder } = server;
  const acknowledged: Acknowledged[] = [];
  const killed: number[] = [];
  const agent = new Agent({ connections: 1, pipelining: 1 });
  try {
    await server.until('serving');
    const killer = (async () => {
      for (let each = 1; each <= kills; each++) {
        const enough = ((POSTS * each) / (kills + 1)) * (0.9 + Math.random() / 10);
        await until('the next kill', () => backend.keys.length >= enough, 60_000);
        killed.push(performance.now());
        server.kill();
        await server.exit;
        server = new ServerProcess(configuration, folder);
        await server.until('serving');
      }
    })();
    killer.catch(() => undefined);
    for (let index = 0; index < POSTS; index++) {
      check(
        await submitUntilAcknowledged(agent, () => `http://127.0.0.1:${port}`, { key: `k${index}`, body: String(index), target: '/delay/3/' }, acknowledged),
        `${index} was not taken`,
      );
    }
    await killer;
    await until('all deliveries', () => backend.keys.length === POSTS, 60_000);
    // Whatever would be sent twice has some time for it.
    await pause(20 * INTERVAL_MS);
    judge(backend, acknowledged, killed, say);
  } finally {
    server.clean();
    await server.exit;
    await agent.destroy();
    await backend.stop();
  }
}

function judge({ delivered, keys }: RecordingBackend, acknowledged: readonly Acknowledged[], kills: readonly number[], say: (text: string) => void): void {
  const history = { acknowledged, delivered, kills };
  const wrong = checkDeliveries(history);
  check(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`);
  check(outOfOrder(history, 0) === 0, `${outOfOrder(history, 0)} first deliveries out of order`);
  check(
    keys.every((key, index) => key === `k${index}`),
    'first deliveries are not in the order of the posts',
  );
  const repeats = delivered.length - keys.length;
  if (kills.length === 0) {
    check(repeats === 0, `${repeats} were delivered twice without a kill`);
    check(
      delivered.every(({ attempt }) => attempt === 1),
      'an attempt above 1 without a kill',
    );
  }
  let longestMs = 0;
  const last = new Map<string, number>();
  for (const { key, at } of delivered) {
    const before = last.get(key);
    if (before !== undefined) longestMs = Math.max(longestMs, (kills.find((kill) => kill >= before - 50 && kill <= at) ?? Number.POSITIVE_INFINITY) - before);
    last.set(key, at);
  }
  check(longestMs <= ARMED_MS, `one that was answered ${Math.round(longestMs)} ms before the kill was sent again`);
  const span = (delivered.at(-1)?.at ?? 0) - (delivered[0]?.at ?? 0);
  check(span >= (POSTS - 1) * INTERVAL_MS - 250, `${POSTS} took ${Math.round(span)} ms`);
  const gaps = delivered.slice(1).map(({ at }, index) => at - (delivered[index]?.at ?? 0));
  const told = `first to last ${(span / 1_000).toFixed(2)} s, shortest gap ${Math.min(...gaps).toFixed(1)} ms at the backend`;
  say(`${kills.length} kills: ${acknowledged.length} acknowledged, all delivered in order, ${repeats} of them again (attempt 2 or more, same key); ${told}`);
}

function configured(port: number, backend: number): string {
  return `
listen: { api: none, grpc: none, proxy: "127.0.0.1:${port}", health: none, admin: none }
http: { engine: node }
drain: { delay: 0, grace: 0 }
groups:
  requeue: { limits: [ { name: interval, spacing: ${INTERVAL_MS}ms } ] }
backends:
  shop: { urls: [ "http://127.0.0.1:${backend}" ] }
routes:
  - { match: { path: '/delay/*' }, group: requeue, backend: shop, mode: deferred }
`;
}
