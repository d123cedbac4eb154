import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ServerProcess } from '../support/fakes/server-process.ts';

/* kill -9 while requests are forwarded: their backend goes on with them, and must not be given more than it may have. */

const SLOTS = 4;
const LEASE_MS = 5_000;
/** Shorter than a lease: a backend that works longer than one after its proxy died is beyond the promise. */
const WORK_MS = 2_500;

/** Takes its time for each request, also when whoever sent it is gone. */
class Backend {
  readonly #server: Server;
  readonly #seen: (() => void)[] = [];
  working = 0;
  most = 0;
  arrivals = 0;

  constructor() {
    this.#server = createServer((_request, response) => {
      this.arrivals++;
      this.working++;
      this.most = Math.max(this.most, this.working);
      for (const look of this.#seen) look();
      setTimeout(() => {
        this.working--;
        response.end('done');
      }, WORK_MS);
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves with the moment at which so many more have come. */
  more(count: number): Promise<number> {
    const wanted = this.arrivals + count;
    return new Promise((resolve) => {
      const look = () => {
        if (this.arrivals >= wanted) resolve(performance.now());
      };
      this.#seen.push(look);
      look();
    });
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

const backend = new Backend();
let configuration = '';
let server: ServerProcess | undefined;

beforeAll(async () => {
  const url = await backend.start();
  configuration = `
listen: { api: none, grpc: none, health: "127.0.0.1:0", admin: none, proxy: "127.0.0.1:0" }
http: { engine: node }
store: { path: ./data }
drain: { delay: 0, grace: 5s }
backends: { slow: { urls: [ "${url}" ] } }
groups:
  slots: { limits: [ { name: slots, concurrency: ${SLOTS} } ], ttl: { default: 30s, max: 1m }, lease: { default: ${LEASE_MS}ms } }
routes: [ { match: { path: '/*' }, group: slots, backend: slow } ]
`;
});

afterAll(() => {
  server?.clean();
  backend.stop();
});

/** Ends the process before, if any, and starts the next one on its store; answers its addresses and when it served. */
async function next(signal?: 'SIGKILL' | 'SIGTERM'): Promise<{ readonly address: string; readonly health: string; readonly at: number }> {
  const before = server;
  if (signal !== undefined) {
    before?.child.kill(signal);
    await before?.exit;
  }
  server = new ServerProcess(configuration, before?.folder);
  const line = await server.until('serving');
  return { address: `http://${String(line['proxy'])}/`, health: String(line['health']), at: performance.now() };
}

/** So many requests at once; how many were answered. */
async function send(address: string, count: number): Promise<number> {
  const answers = await Promise.allSettled(Array.from({ length: count }, async () => (await fetch(address)).text()));
  return answers.filter((answer) => answer.status === 'fulfilled' && answer.value === 'done').length;
}

test('killed while it forwards, again and again: the backend never has more than it may; then all go on', async () => {
  const first = await next();
  let filled = backend.more(SLOTS);
  const lost = [send(first.address, 2 * SLOTS)];
  await filled;
  for (let kills = 0; kills < 2; kills++) {
    const again = await next('SIGKILL');
    filled = backend.more(SLOTS);
    lost.push(send(again.address, 2 * SLOTS));
    // Held back for one lease length at most; the rest is for a busy machine, and less than the wait timeout.
    expect((await filled) - again.at).toBeLessThan(LEASE_MS + 20_000);
  }
  const last = await next('SIGKILL');
  expect(await send(last.address, 2 * SLOTS)).toBe(2 * SLOTS);
  expect(backend.most).toBe(SLOTS);
  await Promise.all(lost);
});

test('stopped in order: the next one passes on at once', async () => {
  const { address, health } = await next('SIGTERM');
  expect(await send(address, SLOTS)).toBe(SLOTS);
  const metrics = await (await fetch(`http://${health}/metrics`)).text();
  expect(metrics).toContain(`sluice_wait_seconds_count{group="slots"} ${SLOTS}\n`);
  expect(metrics).toContain('sluice_wait_seconds_sum{group="slots"} 0\n');
});
