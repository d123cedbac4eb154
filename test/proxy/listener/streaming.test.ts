import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* A large body whose request passes at once goes straight through; one whose request waits is held. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ], timeout: { firstByte: 10s } }, digest: { urls: [ DIGEST ] } }
groups:
  rated: { limits: [ { name: many, window: 100/1h } ] }
  slots: { limits: [ { name: slots, concurrency: 1 } ], ttl: { default: 10s } }
routes:
  - { match: { path: /digest/* }, group: rated, backend: digest, body: { max: 64MiB } }
  - { match: { path: /rated/* }, group: rated, backend: shop, body: { max: 1MiB } }
  - { match: { path: /headers }, group: slots, backend: shop, charge: headers }
  - { match: { path: /slots }, group: slots, backend: shop }
drain: { delay: 0, grace: 5s }
`;

const LENGTH = 400_000;
const HALF = Buffer.alloc(LENGTH / 2, 'a');

let rig: ProxyRig;
let digest: Server;
beforeEach(async () => {
  digest = createServer((request, response) => {
    const hash = createHash('sha256');
    request.on('data', (piece: Buffer) => hash.update(piece)).on('end', () => response.end(hash.digest('hex')));
  });
  await new Promise<void>((resolve) => digest.listen(0, '127.0.0.1', resolve));
  const { port } = digest.address() as { port: number };
  rig = await proxyRig(CONFIG.replace('DIGEST', `http://127.0.0.1:${port}`), (request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n${String(request.body.length).padStart(7, ' ')}`);
  });
});
afterEach(async () => {
  await rig.stop();
  digest.closeAllConnections();
  digest.close();
});

const metric = async (name: string): Promise<number> => {
  const text = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1),
  );
};

const POST = (path: string, more = ''): string => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${LENGTH}\r\n${more}\r\n`;

test.each(['/rated/x', '/slots'])('the first byte reaches the backend before the last was sent: %s', async (path) => {
  const wire = await rig.wire();
  wire.write(Buffer.concat([Buffer.from(POST(path)), HALF]));
  await rig.backend.until(() => rig.backend.seen.length === 1);
  expect(rig.backend.seen[0]?.whole).toBe(false);
  wire.write(HALF);
  await wire.until((received) => received.endsWith(`${LENGTH}`));
  expect(rig.backend.seen[0]?.body.equals(Buffer.concat([HALF, HALF]))).toBe(true);
});

test('32 MiB come through byte for byte', async () => {
  const body = Buffer.alloc(32 << 20);
  for (let at = 0, seed = 1; at < body.length; at += 4) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    body.writeUInt32LE(seed, at);
  }
  const answer = await rig.ask({ method: 'POST', path: '/digest/x', headers: { 'content-length': String(body.length) }, body });
  expect([answer.status, answer.body]).toEqual([200, createHash('sha256').update(body).digest('hex')]);
});

test('where the slot is taken the body is held, and sent when it is free', async () => {
  const held: (() => void)[] = [];
  rig.backend.respond = (_request, socket) => void held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  const first = await rig.wire();
  first.write('GET /slots HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.backend.until(() => held.length === 1);
  const second = await rig.wire();
  second.write(Buffer.concat([Buffer.from(POST('/slots')), HALF, HALF]));
  await rig.shows('slots', { waiting: 1 });
  expect(await metric('sluice_forward_held_bodies')).toBe(1);
  held[0]?.();
  await rig.backend.until(() => held.length === 2);
  expect(rig.backend.seen[1]?.body.length).toBe(LENGTH);
  held[1]?.();
  await second.until((received) => received.startsWith('HTTP/1.1 200'));
});

test('a sender that trickles holds no slot', async () => {
  const slow = await rig.wire();
  slow.write(Buffer.concat([Buffer.from(POST('/slots')), HALF.subarray(0, 1_000)]));
  expect(await rig.ask({ path: '/slots' })).toMatchObject({ status: 200 });
  await rig.shows('slots', { leases: 0, waiting: 0 });
  slow.write(HALF.subarray(0, 1_000));
  expect(await rig.ask({ path: '/slots' })).toMatchObject({ status: 200 });
  expect(rig.backend.seen.map(({ method }) => method)).toEqual(['GET', 'GET']);
});

test('a caller that leaves in the middle: the backend does not take its request for whole, and nothing stays', async () => {
  const wire = await rig.wire();
  wire.write(Buffer.concat([Buffer.from(POST('/slots')), HALF]));
  await rig.backend.until(() => rig.backend.seen.length === 1);
  wire.destroy();
  await rig.backend.until(() => rig.backend.cut === 1);
  expect(rig.backend.seen[0]?.whole).toBe(false);
  await rig.shows('slots', { leases: 0, waiting: 0 });
  expect(await metric('sluice_forward_held_bodies')).toBe(0);
});

test('a server that stops lets a body that streams come to its end', async () => {
  const wire = await rig.wire();
  wire.write(Buffer.concat([Buffer.from(POST('/rated/x')), HALF]));
  await rig.backend.until(() => rig.backend.seen.length === 1);
  const stopped = rig.running.drain();
  wire.write(HALF);
  expect(await wire.until((received) => received.endsWith(`${LENGTH}`))).toMatch(/^HTTP\/1\.1 200 /);
  await stopped;
});

test.each(['/rated/x', '/headers', '/slots'])('who expects 100-continue hears it when the body is wanted, once: %s', async (path) => {
  const wire = await rig.wire();
  wire.write(POST(path, 'Expect: 100-continue\r\n'));
  expect(await wire.until((received) => received.endsWith('\r\n\r\n'))).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  wire.write(Buffer.concat([HALF, HALF]));
  expect(await wire.until((received) => received.endsWith(`${LENGTH}`))).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  expect(rig.backend.seen[0]?.head.toLowerCase()).not.toContain('expect');
});

test('who expects 100-continue and announces too much is not asked for its body', async () => {
  const wire = await rig.wire();
  wire.write('POST /rated/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n');
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 413 /);
  expect(rig.backend.seen).toEqual([]);
});
