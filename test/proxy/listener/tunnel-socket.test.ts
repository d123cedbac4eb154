import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Upgrades: admitted like any request, then two sockets joined, the slot held as long. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ] }, dead: { urls: [ http://127.0.0.1:9 ], timeout: { connect: 500ms } } }
groups:
  slots: { limits: [ { name: slots, concurrency: 1 } ] }
  brief: { limits: [ { name: slots, concurrency: 1 } ], lease: { default: 300ms } }
routes:
  - { match: { path: /ws }, group: slots, backend: shop }
  - { match: { path: /brief }, group: brief, backend: shop }
  - { match: { path: /dead }, group: slots, backend: dead }
  - { match: { path: /straight }, backend: shop }
`;

const upgrade = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n`;

let rig: ProxyRig;
let sockets: Socket[] = [];
beforeEach(async () => {
  sockets = [];
  rig = await proxyRig(CONFIG, (_request, socket) => {
    sockets.push(socket);
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello from behind',
    );
  });
});
afterEach(() => rig.stop());

test('a websocket is joined with its backend, both ways, and the slot is free when it ends', async () => {
  const wire = await rig.wire();
  wire.write(upgrade('/ws'));
  const text = await wire.until((received) => received.endsWith('hello from behind'));
  expect(text).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
  const head = rig.backend.seen[0]?.head ?? '';
  expect(head).toContain('Sec-WebSocket-Protocol: chat');
  expect(head).toMatch(/Upgrade: websocket/i);
  expect(head).toMatch(/Sluice-Fence: \d+/);
  await rig.shows('slots', { leases: 1 });
  const heard: string[] = [];
  sockets[0]?.on('data', (bytes: Buffer) => heard.push(bytes.toString('latin1')));
  wire.write('\x81\x05hello');
  sockets[0]?.write('\x81\x02hi');
  await wire.until((received) => received.endsWith('hi'));
  while (heard.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(heard.join('')).toBe('\x81\x05hello');
  wire.destroy();
  await rig.shows('slots', { leases: 0 });
});

test('the slot is free when the backend ends', async () => {
  const wire = await rig.wire();
  wire.write(upgrade('/ws'));
  await wire.until((received) => received.endsWith('behind'));
  sockets[0]?.end('bye');
  expect(await wire.untilClosed()).toMatch(/bye$/);
  await rig.shows('slots', { leases: 0 });
});

test('a second one waits its turn, and leaves its place when its caller goes', async () => {
  const first = await rig.wire();
  first.write(upgrade('/ws'));
  await first.until((received) => received.includes('101'));
  const second = await rig.wire();
  second.write(upgrade('/ws'));
  await rig.shows('slots', { waiting: 1 });
  const third = await rig.wire();
  third.write(upgrade('/ws'));
  await rig.shows('slots', { waiting: 2 });
  second.destroy();
  await rig.shows('slots', { waiting: 1 });
  first.destroy();
  await third.until((received) => received.includes('101'));
});

test('LN-D17: its lease is renewed for as long as it is open', async () => {
  const first = await rig.wire();
  first.write(upgrade('/brief'));
  await first.until((received) => received.includes('101'));
  const second = await rig.wire();
  second.write('GET /brief HTTP/1.1\r\nHost: h\r\nPrefer: wait=1\r\n\r\n');
  expect(await second.until((received) => received.includes('\r\n\r\n'))).toMatch(/^HTTP\/1\.1 429 /);
  expect(first.closed).toBe(false);
});

test('a backend that would rather not is heard, and one that is not there is 503', async () => {
  rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: no\r\n\r\nno');
  const wire = await rig.wire();
  wire.write(upgrade('/ws'));
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\nX-Why: no\r\n[\s\S]*no$/);
  await rig.shows('slots', { leases: 0 });
  const dead = await rig.wire();
  dead.write(upgrade('/dead'));
  expect(await dead.untilClosed()).toMatch(/^HTTP\/1\.1 503 [\s\S]*Sluice-Reason: backend_unreachable/);
  await rig.shows('slots', { leases: 0 });
});

test('without a group it is joined at once; without a route it is 404', async () => {
  const wire = await rig.wire();
  wire.write(upgrade('/straight'));
  await wire.until((received) => received.includes('101'));
  const nowhere = await rig.wire();
  nowhere.write(upgrade('/nowhere'));
  expect(await nowhere.untilClosed()).toMatch(/^HTTP\/1\.1 404 /);
});

test('one that the backend refuses with 429 and Retry-After pauses its group as any answer does', async () => {
  const paused = await proxyRig(
    `backends: { shop: { urls: [ BACKEND ] } }
groups: { g: { limits: [ { name: slots, concurrency: 2 } ], ttl: { default: 0s } } }
routes: [ { match: { path: /* }, group: g, backend: shop, attempts: 1 } ]
`,
    (_request, socket) => void socket.write('HTTP/1.1 429 Slow Down\r\nRetry-After: 30\r\nContent-Length: 4\r\n\r\nlate'),
  );
  try {
    const wire = await paused.wire();
    wire.write(upgrade('/ws'));
    expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 429 Slow Down\r\nRetry-After: 30\r\n[\s\S]*\r\n\r\nlate$/);
    await paused.shows('g', { leases: 0 });
    const next = await paused.ask();
    expect([next.status, next.headers['sluice-reason'], Number(next.headers['retry-after']) > 25]).toEqual([429, 'infeasible', true]);
    expect(paused.backend.seen.length).toBe(1);
  } finally {
    await paused.stop();
  }
});
