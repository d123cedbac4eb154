import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { type Acknowledged, checkDeliveries, type Delivered, outOfOrder } from '../deferred/delivery-checker.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { until } from '../support/fakes/until.ts';
import { check, inParallel, type Ordeal } from './ordeal.ts';

/** How a run is played. */
export interface KillRun {
  readonly requests: number;
  readonly kills: number;
  /** Submitters at once. */
  readonly atOnce: number;
  /** true: the server acknowledges before it commits, and the run has to find it out. */
  readonly broken?: boolean;
}

const BROKEN = fileURLToPath(new URL('broken-deferred-process.ts', import.meta.url));
/** A request is submitted again under its key for so long. */
const SUBMIT_FOR_MS = 60_000;

/** A server with deferred requests is killed while it stores and delivers; clients and a backend write down what they saw. */
export const deferredKills: Ordeal = {
  name: 'deferred-kills',
  about: '10,000 deferred requests while the server is killed 20 times: none acknowledged is lost',
  lacks: () => undefined,
  run: (say) => playKills({ requests: 10_000, kills: 20, atOnce: 64 }, say),
};

/** Plays a run and throws what the checker finds. */
export async function playKills({ requests, kills, atOnce, broken = false }: KillRun, say: (text: string) => void): Promise<void> {
  const delivered: Delivered[] = [];
  const backend = await startBackend(delivered);
  const port = await freePort();
  const health = await freePort();
  const configuration = configured(port, health, (backend.address() as AddressInfo).port);
  const ways = broken ? { main: BROKEN } : {};
  let server = new ServerProcess(configuration, undefined, ways);
  const { folder } = server;
  const killed: number[] = [];
  const acknowledged: Acknowledged[] = [];
  const agent = new Agent({ connections: atOnce, pipelining: 1 });
  let submitting = true;
  try {
    await server.until('serving');
    const killer = (async () => {
      while (killed.length < kills && submitting) {
        const from = acknowledged.length;
        const share = Math.max(1, Math.floor(requests / (kills + 1)));
        await until('some were acknowledged', () => acknowledged.length >= Math.min(from + share * (0.5 + Math.random()), requests) || !submitting, 60_000);
        killed.push(performance.now());
        server.kill();
        await server.exit;
        server = new ServerProcess(configuration, folder, ways);
        await server.until('serving');
      }
    })();
    await inParallel(requests, atOnce, (index) => submit({ agent, index, acknowledged, url: () => `http://127.0.0.1:${port}` }));
    submitting = false;
    await killer;
    say(`${acknowledged.length} acknowledged, ${killed.length} kills`);
    check(acknowledged.length === requests, `only ${acknowledged.length} of ${requests} were acknowledged in time`);
    await untilDelivered(requests, delivered, broken ? 3_000 : 20_000);
    judgeDeliveries({ acknowledged, delivered, kills: killed }, atOnce, say);
  } finally {
    submitting = false;
    server.kill();
    await server.exit;
    rmSync(folder, { recursive: true, force: true });
    await agent.destroy();
    backend.closeAllConnections();
    backend.close();
  }
}

/** Waits until all requests are delivered, or none was for so long. */
export async function untilDelivered(requests: number, delivered: readonly Delivered[], idleMs: number): Promise<void> {
  const keys = (): number => new Set(delivered.map(({ key }) => key)).size;
  for (let last = -1; keys() < requests && keys() !== last; ) {
    last = keys();
    await until('more deliveries', () => keys() === requests || keys() > last, idleMs).catch(() => undefined);
  }
}

/** Says what happened, and throws what the checker finds. */
export function judgeDeliveries(history: Parameters<typeof checkDeliveries>[0], atOnce: number, say: (text: string) => void): void {
  const keys = new Set(history.delivered.map(({ key }) => key)).size;
  const wrong = checkDeliveries(history);
  say(`${keys} delivered, ${history.delivered.length - keys} of them again, ${outOfOrder(history, atOnce)} out of order`);
  check(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join('; ')}`);
}

/** Submits until it is acknowledged, under one key. `url`: where, asked before each try; `tookMs` is called with how long each answer took. */
export async function submit(ask: {
  readonly agent: Agent;
  readonly index: number;
  readonly acknowledged: Acknowledged[];
  readonly url: () => string;
  readonly tookMs?: (ms: number) => void;
}): Promise<boolean> {
  const { agent, index, acknowledged, url, tookMs } = ask;
  const key = `k${index}`;
  const body = `request ${index} ${'x'.repeat(index % 700)}`;
  const end = performance.now() + SUBMIT_FOR_MS;
  while (performance.now() < end) {
    const began = performance.now();
    try {
      const answer = await request(`${url()}/hook?n=${index}`, {
        method: 'POST',
        dispatcher: agent,
        headers: { 'content-type': 'text/plain', 'idempotency-key': `"${key}"` },
        body,
      });
      await answer.body.dump();
      tookMs?.(performance.now() - began);
      if (answer.statusCode === 202) {
        const location = String(answer.headers['location']);
        acknowledged.push({ key, id: location.slice(location.lastIndexOf('/') + 1), body, at: performance.now() });
        return true;
      }
      check(answer.statusCode === 503 || answer.statusCode === 502, `request ${index} was answered ${answer.statusCode}`);
      check(answer.statusCode !== 503 || answer.headers['retry-after'] !== undefined, `request ${index} was answered 503 without Retry-After`);
    } catch (cause) {
      if (!isConnection(cause)) throw cause;
    }
    await new Promise((resolve) => void setTimeout(resolve, 20));
  }
  return false;
}

function isConnection(cause: unknown): boolean {
  const { code } = cause as { code?: string };
  return code !== undefined && /^(ECONN|UND_ERR|EPIPE)/.test(code);
}

/** A backend that notes what it gets, and answers 200. */
export async function startBackend(delivered: Delivered[]): Promise<Server> {
  const backend = createServer((incoming, answer) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => {
      const key = String(incoming.headers['idempotency-key']).replaceAll('"', '');
      delivered.push({ key, attempt: Number(incoming.headers['sluice-attempt']), body: Buffer.concat(pieces).toString(), at: performance.now() });
      answer.end('ok');
    });
    incoming.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => void backend.listen(0, '127.0.0.1', resolve));
  return backend;
}

/** A port that was free a moment ago: restarts take callers at the same one. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  return port;
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
  - { match: { path: /hook }, group: hooks, backend: shop, mode: deferred }
`;
}
