import { createServer, type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { processorTakenMs } from '../../support/fakes/processor.ts';
import { Wire } from '../../support/fakes/wire.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Callers that want to hurt: slow ones, many that leave, bytes at random. */

/** `SLUICE_SCALE=4` plays 2,000 slow sockets, `=10` ten thousand callers that leave. */
const SCALE = Number(process.env['SLUICE_SCALE'] ?? 1);

let rig: ProxyRig;
afterEach(() => rig?.stop());

const CONFIG = `bounds: { unread: 1s }
backends: { shop: { urls: [ BACKEND ] } }
groups: { counted: { limits: [ { name: all, window: 1000000/1h } ] }, slots: { limits: [ { name: slots, concurrency: 4 } ] } }
routes:
  - { match: { path: /slots/* }, group: slots, backend: shop }
  - { match: { path: /* }, group: counted, backend: shop, body: { max: 64KiB } }
`;

test(`${500 * SCALE} slow senders of heads and bodies do not keep a good caller`, async () => {
  rig = await proxyRig(CONFIG);
  const slow = await Promise.all(Array.from({ length: 500 * SCALE }, () => rig.wire()));
  for (const [index, wire] of slow.entries())
    wire.write(index % 2 === 0 ? 'GET /slow HTTP/1.1\r\nHost: h\r\nX' : 'POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx');
  let dripping = true;
  const drip = (async () => {
    while (dripping) {
      for (const wire of slow.slice(0, 50)) wire.write('x');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  for (let each = 0; each < 100; each++) expect((await rig.ask({ path: '/good' })).status).toBe(200);
  dripping = false;
  await drip;
  // Each of the good ones went as it came, and no slow one was charged.
  expect(await rig.metric('sluice_wait_seconds_count{group="counted"}')).toBe(100);
  expect(await rig.metric('sluice_wait_seconds_sum{group="counted"}')).toBe(0);
  expect(rig.backend.seen.every(({ target }) => target === '/good')).toBe(true);
});

test('a caller that does not read its answer is cut, and its slot is free', async () => {
  rig = await proxyRig(CONFIG, (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
    socket.write(Buffer.alloc(50_000_000));
  });
  const wire = await rig.wire();
  wire.socket.pause();
  wire.write('GET /slots/x HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.shows('slots', { leases: 1 });
  await rig.shows('slots', { leases: 0 });
});

test(`${1000 * SCALE} callers that leave at any moment leave nothing behind`, async () => {
  rig = await proxyRig(CONFIG, (_request, socket) => void setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone'), 2));
  const request = Buffer.from('POST /slots/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789');
  for (let round = 0; round < 20 * SCALE; round++) {
    await Promise.all(
      Array.from({ length: 50 }, async (_each, index) => {
        const wire = await Wire.open(rig.port);
        wire.write(request.subarray(0, index % 3 === 0 ? (index * 7) % request.length : request.length));
        await new Promise((resolve) => setTimeout(resolve, (index * 13) % 20));
        wire.destroy();
      }),
    );
  }
  await rig.shows('slots', { waiting: 0, leases: 0 });
  expect((await rig.ask({ path: '/slots/after' })).body).toBe('done');
  for (const { body, whole } of rig.backend.seen) if (whole) expect(body.toString()).toMatch(/^(0123456789)?$/);
});

describe('bytes at random, before a lax and a strict backend:', () => {
  const PIECES = [
    'Host: h\r\n',
    'Content-Length: 3\r\n',
    'Content-Length: 0\r\n',
    'Content-Length: 03\r\n',
    'Content-Length: 3\r\nContent-Length: 3\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: Chunked\r\n',
    'Transfer-Encoding:\tchunked \r\n',
    'Transfer-Encoding: x, chunked\r\n',
    'transfer-encoding : chunked\r\n',
    'Connection: close, Content-Length\r\n',
    'Connection: Transfer-Encoding\r\n',
    'Trailer: X\r\n',
    'Expect: 100-continue\r\n',
    'X: y\r\n',
    ' folded\r\n',
    '\r\n',
    '\r\n',
    '\n',
    '\r',
    '\0',
    'abc',
    '3\r\nabc\r\n0\r\n\r\n',
    '3\r\nabc\r\n',
    '0\r\n\r\n',
    '0\r\nX: y\r\n\r\n',
    '3;x="\r\n\r\n"\r\nabc\r\n',
    '00003\r\nabc\r\n',
    'GET /TAG/hidden HTTP/1.1\r\nHost: h\r\n\r\n',
    'GET /TAG/old HTTP/1.0\r\n',
    'POST http://h/TAG/absolute HTTP/1.1\r\n',
  ];
  const STARTS = [
    'GET /TAG/a HTTP/1.1\r\nHost: h\r\n',
    'POST /TAG/b HTTP/1.1\r\nHost: h\r\n',
    'POST /TAG/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n',
    'GET /TAG/d HTTP/1.1\r\n',
  ];

  test('both take them for the same requests, and for no more than were charged', async () => {
    const strictly: string[] = [];
    const strict = createServer((request: IncomingMessage, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        strictly.push(`${request.method} ${request.url} ${Buffer.concat(chunks)}`);
        response.end('ok');
      });
    });
    await new Promise<void>((resolve) => strict.listen(0, '127.0.0.1', resolve));
    rig = await proxyRig(`backends: { lax: { urls: [ BACKEND ] }, strict: { urls: [ "http://127.0.0.1:${(strict.address() as { port: number }).port}" ] } }
groups: { counted: { limits: [ { name: all, window: 1000000/1h } ] } }
routes: [ { match: { path: /lax/* }, group: counted, backend: lax }, { match: { path: /strict/* }, group: counted, backend: strict } ]
`);
    let state = Number(process.env['SLUICE_SEED'] ?? 7);
    const draw = <T>(list: readonly T[]): T => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return list[Math.floor((state / 2 ** 32) * list.length)] as T;
    };
    const send = async (text: string): Promise<void> => {
      const wire = await Wire.open(rig.port);
      wire.write(text);
      // As long again, where others had the processor meanwhile.
      for (let taken = Number.NEGATIVE_INFINITY; processorTakenMs() - taken > 10; ) {
        taken = processorTakenMs();
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      wire.destroy();
    };
    for (let round = 0; round < 60; round++) {
      const texts = Array.from({ length: 20 }, (_each, at) => {
        const pieces = Array.from({ length: draw([0, 1, 1, 1, 2, 2, 3, 5]) }, () => draw(PIECES));
        return `${draw(STARTS)}${pieces.join('')}\r\n\r\n`.replaceAll('TAG/', `TAG/${round}-${at}-`);
      });
      await Promise.all(texts.flatMap((text) => [send(text.replaceAll('TAG', 'lax')), send(text.replaceAll('TAG', 'strict'))]));
    }
    await rig.shows('counted', { waiting: 0 });
    const used = Number((await rig.group('counted')).limits[0]?.used);
    const laxly = rig.backend.seen.map(({ method, target, body }) => `${method} ${target.replace('/lax/', '/strict/')} ${body}`);
    expect(laxly.length).toBeGreaterThan(150);
    expect([...laxly].sort()).toEqual([...strictly].sort());
    expect(new Set(laxly.map((each) => each.split(' ').slice(0, 2).join(' '))).size).toBeGreaterThan(laxly.length / 2);
    expect(laxly.length + strictly.length).toBeLessThanOrEqual(used);
    expect(rig.backend.cut).toBe(0);
    for (const { headers } of rig.backend.seen) {
      expect(headers.filter(([name]) => /^(content-length|transfer-encoding)$/i.test(name)).length).toBeLessThanOrEqual(1);
    }
    strict.closeAllConnections();
    await new Promise((resolve) => strict.close(resolve));
  });
});
