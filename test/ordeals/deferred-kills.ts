import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Agent } from 'undici';
import { type Acknowledged, checkCallbacks } from '../deferred/delivery-checker.ts';
import { ServerProcess, type ServerProcessOptions } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { freePort, judgeDeliveries, RecordingBackend, submitUntilAcknowledged, untilDelivered } from './deferred-harness.ts';
import { check, inParallel, type Ordeal } from './ordeal.ts';

export type KillPoint = 'random' | 'C1' | 'C2' | 'C3' | 'C4' | 'C5' | 'C6';

/** How a run is played. */
export interface KillRun {
  readonly requests: number;
  /** Where the server is killed, one after the other: at a crash point of docs/decisions/0022, or at random. */
  readonly kills: readonly KillPoint[];
  /** Submitters at once. */
  readonly atOnce: number;
  /** One request of so many names a callback. */
  readonly callbackEvery: number;
  /** The server is broken on purpose, and the run has to find it out: it acknowledges before it commits, or stores callbacks after their ends. */
  readonly broken?: 'early' | 'callbacks' | undefined;
}

const EARLY = fileURLToPath(new URL('broken-deferred-process.ts', import.meta.url));
const CRASHING = fileURLToPath(new URL('crash-point-process.ts', import.meta.url));
/** Every crash point of one node. */
export const POINTS: readonly KillPoint[] = ['C1', 'C2', 'C3', 'C4', 'C5', 'C6'];
const RANDOM: readonly KillPoint[] = ['random', 'random', 'random', 'random'];
/** A crash point that is not passed for so long is given up: the server is killed where it is. */
const POINT_WITHIN_MS = 20_000;
const HOOK_SECRET = `whsec_${Buffer.alloc(24, 3).toString('base64')}`;

/** A server with deferred requests is killed while it stores and delivers; clients and a backend write down what they saw. */
export const deferredKills: Ordeal = {
  name: 'deferred-kills',
  about: '10,000 deferred requests while the server is killed 20 times, at random and at C1 to C6: none acknowledged is lost, nor a callback',
  lacks: () => undefined,
  run: (say) => playKills({ requests: 10_000, kills: [...RANDOM, ...POINTS, ...RANDOM, ...POINTS], atOnce: 64, callbackEvery: 10 }, say),
};

/** Plays a run and throws what the checkers find. */
export async function playKills(run: KillRun, say: (text: string) => void): Promise<void> {
  const { requests, kills, atOnce, broken } = run;
  const backend = await RecordingBackend.start();
  const port = await freePort();
  const configuration = configured(port, await freePort(), backend.port);
  let server = new ServerProcess(configuration, undefined, waysOf(run, 0));
  const { folder } = server;
  const killed: number[] = [];
  const at: string[] = [];
  const acknowledged: Acknowledged[] = [];
  const agent = new Agent({ connections: atOnce, pipelining: 1 });
  let submitting = true;
  try {
    await server.until('serving');
    const killer = (async () => {
      while (killed.length < kills.length && submitting) {
        at.push(await die(server, run, killed, () => (submitting ? acknowledged.length : requests)));
        const next = new ServerProcess(configuration, folder, waysOf(run, killed.length));
        server = next;
        // One that has a backlog may come to its crash point before it serves.
        await next.until('serving').catch(async (cause: unknown) => {
          await next.exit;
          if (next.child.signalCode !== 'SIGKILL') throw cause;
        });
      }
    })();
    killer.catch(() => undefined);
    await inParallel(requests, atOnce, (index) => {
      const callback = index % run.callbackEvery === 0 ? `http://127.0.0.1:${backend.port}/callback` : undefined;
      const body = `request ${index} ${'x'.repeat(index % 700)}`;
      return submitUntilAcknowledged(agent, () => `http://127.0.0.1:${port}`, { key: `k${index}`, body, callback, target: `/hook?n=${index}` }, acknowledged);
    });
    submitting = false;
    await killer;
    // The last one may have died at its crash point since, or come to it yet.
    if (server.child.signalCode !== null || killed.length < kills.length) {
      killed.push(performance.now());
      server.kill();
      await server.exit;
      server = new ServerProcess(configuration, folder, { env: { HOOK_SECRET } });
      await server.until('serving');
    }
    say(`${acknowledged.length} acknowledged, ${killed.length} kills: ${at.join(' ')}`);
    check(acknowledged.length === requests, `only ${acknowledged.length} of ${requests} were acknowledged in time`);
    const asked = acknowledged.filter(({ key }) => Number(key.slice(1)) % run.callbackEvery === 0);
    await untilDelivered(backend, { requests, callbacks: asked.length }, broken === undefined ? 20_000 : 3_000);
    judgeDeliveries({ acknowledged, delivered: backend.delivered, kills: killed }, atOnce, say);
    const reported = new Set(backend.reported.map(({ id }) => id)).size;
    say(`${reported} of ${asked.length} callbacks, ${backend.reported.length - reported} of them again`);
    const wrong = checkCallbacks(asked, backend.reported);
    check(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`);
  } finally {
    submitting = false;
    server.kill();
    await server.exit;
    rmSync(folder, { recursive: true, force: true });
    await agent.destroy();
    await backend.stop();
  }
}

/** Kills the server, or lets it die at its crash point; `count` says how many were acknowledged. Resolves with where it died. */
async function die(server: ServerProcess, { requests, kills }: KillRun, killed: number[], count: () => number): Promise<string> {
  const point = kills[killed.length];
  const enough = Math.min(count() + (requests / (kills.length + 1)) * (0.5 + Math.random()), requests);
  let gone = false;
  void server.exit.then(() => {
    gone = true;
  });
  if (point === 'random') await until('some were acknowledged', () => count() >= enough, 60_000).catch(() => undefined);
  else await until(`crash point ${point}`, () => gone, POINT_WITHIN_MS).catch(() => undefined);
  killed.push(performance.now());
  const byItself = gone;
  server.kill();
  await server.exit;
  return `${point}${point === 'random' || byItself ? '' : ' (not passed)'}`;
}

/** How the server is started after so many kills. */
function waysOf({ requests, kills, callbackEvery, broken }: KillRun, kill: number): ServerProcessOptions {
  const env: Record<string, string> = { HOOK_SECRET };
  if (broken === 'early') return { env, main: EARLY };
  if (broken === 'callbacks') env['SPLIT_CALLBACKS'] = '1';
  const point = kills[kill] ?? 'random';
  const half = requests / (kills.length + 1) / 2;
  const times = Math.max(1, Math.floor(point === 'C6' ? half / callbackEvery : half));
  if (point !== 'random') env['CRASH_POINT'] = `${point}:${times}`;
  return point === 'random' && broken === undefined ? { env } : { env, main: CRASHING };
}

function configured(port: number, health: number, backend: number): string {
  return `
listen: { api: none, grpc: none, proxy: "127.0.0.1:${port}", health: "127.0.0.1:${health}", admin: none }
http: { engine: node }
drain: { delay: 0, grace: 0 }
bounds: { perClient: 10000 }
groups:
  hooks: { limits: [ { name: pace, rate: 2000/1s, burst: 100 } ] }
backends:
  shop: { urls: [ "http://127.0.0.1:${backend}" ] }
routes:
  - match: { path: /hook }
    group: hooks
    backend: shop
    mode: deferred
    callback: { hosts: [ 127.0.0.1 ], http: true, addresses: [ 127.0.0.0/8 ], secrets: { env: HOOK_SECRET }, retry: { first: 100ms, max: 1s } }
`;
}
