import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* LN-D10, X3: a caller that leaves frees its place or its slot at every stage: long before its wait or its lease would end. */

const CONFIG = `backends:
  shop: { urls: [ BACKEND ] }
  firm: { urls: [ BACKEND ], onAbort: finish }
groups:
  slots: { limits: [ { name: slots, concurrency: 1 } ], ttl: { default: 10m, max: 10m } }
  spent: { limits: [ { name: one, window: 1/1h } ] }
routes:
  - { match: { path: /slots }, group: slots, backend: shop }
  - { match: { path: /streamed }, group: slots, backend: shop, charge: headers }
  - { match: { path: /firm }, group: slots, backend: firm }
  - { match: { path: /spent }, group: spent, backend: shop }
`;

let rig: ProxyRig;
beforeEach(async () => {
  rig = await proxyRig(CONFIG, () => {});
});
afterEach(() => rig.stop());

test('within its head: nothing was taken', async () => {
  const wire = await rig.wire();
  wire.write('GET /slots HTTP/1.1\r\nHost: h\r\nX: ');
  wire.destroy();
  await rig.shows('slots', { waiting: 0, leases: 0 });
  expect(rig.backend.seen).toEqual([]);
});

test('within its body: nothing was charged, and the backend saw nothing', async () => {
  const wire = await rig.wire();
  wire.write('POST /spent HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
  const metrics = async (): Promise<string> => (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  while (!(await metrics()).includes('sluice_forward_held_bytes{where="memory"} 3')) await new Promise((resolve) => setImmediate(resolve));
  wire.destroy();
  while (!(await metrics()).includes('sluice_forward_held_bodies 0')) await new Promise((resolve) => setImmediate(resolve));
  const answered = rig.ask({ path: '/spent' });
  await rig.backend.until(() => rig.backend.seen.length === 1);
  expect(rig.backend.seen.map(({ method }) => method)).toEqual(['GET']);
  rig.backend.respond = () => {};
  await Promise.all([rig.stop(), answered.catch(() => {})]);
});

test('while it waits: its place is free, and the next one goes', async () => {
  const holder = await rig.wire();
  holder.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  const waiter = await rig.wire();
  waiter.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { waiting: 1 });
  waiter.destroy();
  await rig.shows('slots', { waiting: 0, leases: 1 });
  expect(rig.backend.seen).toHaveLength(1);
});

test('while it is forwarded: the request at the backend is given up, and the slot is free', async () => {
  const wire = await rig.wire();
  wire.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.backend.until(() => rig.backend.seen.length === 1);
  wire.destroy();
  await rig.shows('slots', { leases: 0 });
  await rig.backend.until(() => rig.backend.abandoned === 1);
});

test('with onAbort: finish the slot is kept until the backend has answered', async () => {
  const wire = await rig.wire();
  wire.write('POST /firm HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi');
  let answer = (): void => {};
  rig.backend.respond = (_request, socket) => {
    answer = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  };
  await rig.backend.until(() => rig.backend.seen[0]?.whole === true);
  wire.destroy();
  await rig.shows('slots', { leases: 1 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await rig.shows('slots', { leases: 1 });
  answer();
  await rig.shows('slots', { leases: 0 });
  expect(rig.backend.abandoned).toBe(0);
});

test('while its body streams to the backend: the backend does not take it for whole', async () => {
  const wire = await rig.wire();
  wire.write('POST /streamed HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
  await rig.backend.until(() => rig.backend.seen.length === 1);
  wire.destroy();
  await rig.shows('slots', { leases: 0 });
  await rig.backend.until(() => rig.backend.cut === 1);
  expect(rig.backend.seen[0]?.whole).toBe(false);
});

test('while it is answered: the slot is free', async () => {
  rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun');
  const wire = await rig.wire();
  wire.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await wire.until((received) => received.endsWith('begun'));
  wire.destroy();
  await rig.shows('slots', { leases: 0 });
});

test('two hundred who wait and leave together spend nothing', async () => {
  const holder = await rig.wire();
  holder.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  const wires = await Promise.all(Array.from({ length: 200 }, () => rig.wire()));
  for (const wire of wires) wire.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { waiting: 200 });
  for (const wire of wires) wire.destroy();
  await rig.shows('slots', { waiting: 0 });
  expect(rig.backend.seen).toHaveLength(1);
});
