import { performance } from 'node:perf_hooks';
import { afterAll, expect, test } from 'vitest';
import { ServerProcess } from '../support/fakes/server-process.ts';

/* kill -9 of a real process on a real disk: what was spent stays spent, leases live on, fences only grow. */

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: none }
http: { engine: node }
store: { path: ./data }
drain: { delay: 0, grace: 0 }
groups:
  short: { limits: [ { name: pace, spacing: 2s } ] }
  long: { limits: [ { name: pace, spacing: 4s } ] }
  slots: { limits: [ { name: one, concurrency: 1 } ], lease: { default: 30s } }
`;

let server = new ServerProcess(CONFIGURATION);
afterAll(() => server.clean());

interface Answer {
  readonly status: number;
  readonly body: { readonly permit: string; readonly fence: string; readonly waited: string };
  /** The admission lies between these, in milliseconds. */
  readonly earliest: number;
  readonly latest: number;
}

async function post(address: string, path: string): Promise<Answer> {
  const sent = performance.now();
  const answer = await fetch(`http://${address}/v1/${path}`, { method: 'POST' });
  const latest = performance.now();
  const body = (await answer.json()) as Answer['body'];
  return { status: answer.status, body, earliest: sent + Number.parseFloat(body.waited ?? '0') * 1_000, latest };
}

async function restart(signal: 'SIGKILL' | 'SIGTERM'): Promise<string> {
  server.child.kill(signal);
  await server.exit;
  server = new ServerProcess(CONFIGURATION, server.folder);
  return String((await server.until('serving'))['api']);
}

test('GQ-15: killed and started again: spacing, leases and fences hold (and after a clean stop, too)', async () => {
  const first = String((await server.until('serving'))['api']);
  const before = await Promise.all([post(first, 'groups/short/acquire'), post(first, 'groups/long/acquire'), post(first, 'groups/slots/acquire')]);
  expect(before.map((answer) => answer.status)).toEqual([200, 200, 200]);
  const second = await restart('SIGKILL');
  const [short, long, slot] = await Promise.all([
    post(second, 'groups/short/acquire?ttl=20s'),
    post(second, 'groups/long/acquire?ttl=20s'),
    post(second, 'groups/slots/acquire?ttl=0s'),
  ]);
  expect(slot.status).toBe(429);
  expect(short.latest - before[0].earliest).toBeGreaterThanOrEqual(2_000);
  expect(long.latest - before[1].earliest).toBeGreaterThanOrEqual(4_000);
  expect((await post(second, `permits/${encodeURIComponent(before[2].body.permit)}/release`)).status).toBe(200);
  const next = await post(second, 'groups/slots/acquire');
  expect(BigInt(next.body.fence)).toBeGreaterThan(BigInt(before[2].body.fence));
  const third = await restart('SIGTERM');
  const last = await post(third, 'groups/long/acquire?ttl=20s');
  expect(last.latest - long.earliest).toBeGreaterThanOrEqual(4_000);
  expect((await post(third, 'groups/slots/acquire?ttl=0s')).status).toBe(429);
});
