import { afterEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Promise 7 at the proxy; LN-23. */

const CONFIG = `drain: { delay: 0, grace: 60s }
backends: { shop: { urls: [ BACKEND ] } }
groups: { free: {}, slots: { limits: [ { name: slots, concurrency: 1 } ] } }
routes:
  - { match: { path: /free }, group: free, backend: shop }
  - { match: { path: /slots }, group: slots, backend: shop }
  - { match: { path: /straight }, backend: shop }
`;

let rig: ProxyRig;
afterEach(() => rig.stop());

const SLOW = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone';

test('LN-23: who is in transit at SIGTERM is answered; who comes later is told 503 and when to come', async () => {
  const held: (() => void)[] = [];
  rig = await proxyRig(CONFIG, (_request, socket) => void held.push(() => socket.write(SLOW)));
  const first = rig.ask({ path: '/free' });
  const straight = rig.ask({ path: '/straight' });
  await rig.backend.until(() => rig.backend.seen.length === 2);
  const drained = rig.running.drain();
  for (const path of ['/free', '/straight']) {
    const second = await rig.ask({ path });
    expect(second).toMatchObject({ status: 503, headers: { 'sluice-reason': 'draining', connection: 'close' } });
    expect(second.headers['retry-after']).toBeDefined();
  }
  for (const answer of held) answer();
  expect(await first).toMatchObject({ status: 200, body: 'done' });
  expect(await straight).toMatchObject({ status: 200, body: 'done' });
  await drained;
  expect(rig.backend.seen).toHaveLength(2);
});

test('who waits when the drain begins is still admitted, and sent on, within the grace', async () => {
  const held: (() => void)[] = [];
  rig = await proxyRig(CONFIG, (_request, socket) => void held.push(() => socket.write(SLOW)));
  const first = rig.ask({ path: '/slots' });
  await rig.shows('slots', { leases: 1 });
  const second = rig.ask({ path: '/slots' });
  await rig.shows('slots', { waiting: 1 });
  const drained = rig.running.drain();
  held[0]?.();
  await rig.backend.until(() => held.length === 2);
  held[1]?.();
  await drained;
  expect((await first).status).toBe(200);
  expect((await second).status).toBe(200);
});

test('who still waits when the grace ends is told 503', async () => {
  rig = await proxyRig(CONFIG.replace('grace: 60s', 'grace: 200ms'), () => {});
  const first = rig.ask({ path: '/slots' }).catch((cause: Error) => cause);
  await rig.shows('slots', { leases: 1 });
  const second = rig.ask({ path: '/slots' });
  await rig.shows('slots', { waiting: 1 });
  await rig.running.drain();
  expect(await second).toMatchObject({ status: 503, headers: { 'sluice-reason': 'draining' } });
  expect(await first).toBeInstanceOf(Error);
});

test('a backend that never answers, for a caller that has left, does not keep the server from stopping', async () => {
  rig = await proxyRig(CONFIG.replace('urls: [ BACKEND ]', 'urls: [ BACKEND ], onAbort: finish').replace('grace: 60s', 'grace: 100ms'), () => {});
  const wire = await rig.wire();
  wire.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  wire.destroy();
  const began = performance.now();
  // Far less than the minute after which the backend's silence itself would end it.
  await rig.running.drain();
  expect(performance.now() - began).toBeLessThan(30_000);
});
