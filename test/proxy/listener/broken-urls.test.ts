import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { BrokenBackend, ejected, expectNothingLeft, failedDials, until } from '../../http/broken-rig.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* URLs that are down, half there, or back again: each is dialled once for a request, and none stays out for a stream. */

const GROUP = 'groups: { g: { limits: [ { name: slots, concurrency: 4 } ], ttl: { default: 500ms } } }';

let rig: ProxyRig;
let backends: BrokenBackend[] = [];
afterEach(async () => {
  await rig.stop();
  for (const backend of backends) await backend.stop();
  backends = [];
});

async function broken(...args: Parameters<typeof BrokenBackend.start>): Promise<BrokenBackend> {
  const backend = await BrokenBackend.start(...args);
  backends.push(backend);
  return backend;
}

function served(urls: readonly string[], more = '', route = ''): Promise<ProxyRig> {
  return proxyRig(`backends: { shop: { urls: [ ${urls.join(', ')} ], ${more} } }
${GROUP}
routes: [ { match: { path: /g/* }, group: g, backend: shop${route} }, { match: { path: /* }, backend: shop } ]
`);
}

const upgrade = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('all URLs down', () => {
  test.each(['/g/x', '/x'])('each is dialled once for a request, also when all but one are ejected (%s)', async (path) => {
    const ports = await Promise.all([1, 2, 3].map(() => BrokenBackend.closedPort()));
    rig = await served(
      ports.map((port) => `http://127.0.0.1:${port}`),
      'ejection: { failures: 1, for: 1h }',
    );
    for (let i = 0; i < 5; i++) {
      const before = await failedDials(rig);
      expect(await rig.ask({ path, method: 'POST', body: 'hi' })).toMatchObject({ status: 503, headers: { 'sluice-reason': 'backend_unreachable' } });
      const dials = (await failedDials(rig)) - before;
      expect(dials).toBeGreaterThan(0);
      expect(dials).toBeLessThanOrEqual(3);
    }
    await expectNothingLeft(rig);
  });

  test('a hundred requests at once dial each URL at most once each', async () => {
    const ports = await Promise.all([1, 2].map(() => BrokenBackend.closedPort()));
    rig = await served(
      ports.map((port) => `http://127.0.0.1:${port}`),
      'ejection: { failures: 1, for: 1h }, concurrency: 1',
    );
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => rig.ask({ path: i % 2 === 0 ? '/x' : '/g/x' })));
    // Those with a group may run out of wait timeout first.
    expect(answers.filter(({ status }) => status !== 503 && status !== 429)).toEqual([]);
    expect(await failedDials(rig)).toBeLessThanOrEqual(200);
    await expectNothingLeft(rig);
  });

  test('URLs that let it wait are dialled while the wait timeout lasts: a second one in any case, not all of them', async () => {
    // TLS to a server that never answers: a connection that does not come to be.
    const silent = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => broken()));
    rig = await served(
      silent.map(({ port }) => `https://127.0.0.1:${port}`),
      'timeout: { connect: 300ms }',
    );
    expect(await rig.ask({ path: '/g/x' })).toMatchObject({ status: 503, headers: { 'sluice-reason': 'backend_unreachable' } });
    expect(silent.every(({ dials }) => dials <= 1)).toBe(true);
    const dials = silent.reduce((sum, backend) => sum + backend.dials, 0);
    expect(dials).toBeGreaterThanOrEqual(2);
    expect(dials).toBeLessThanOrEqual(3);
    await expectNothingLeft(rig, silent);
  });

  test('a URL that is ejected and back again is found as soon as the other refuses', async () => {
    const port = await BrokenBackend.closedPort();
    const other = await broken((socket) => void socket.write(OK));
    rig = await served([`http://127.0.0.1:${port}`, other.url], 'ejection: { failures: 1, for: 1h }');
    while ((await ejected(rig)) === 0 && (await failedDials(rig)) === 0) expect((await rig.ask()).status).toBe(200);
    await other.stop();
    const back = await broken((socket) => void socket.write(OK), port);
    const answer = await rig.ask();
    expect([answer.status, back.heads.length]).toEqual([200, 1]);
    await expectNothingLeft(rig, [back], 1);
  });

  test.each(['/g/ws', '/ws'])('an upgrade dials each URL once, and is told 503 (%s)', async (path) => {
    const ports = await Promise.all([1, 2].map(() => BrokenBackend.closedPort()));
    rig = await served(
      ports.map((port) => `http://127.0.0.1:${port}`),
      'ejection: { failures: 1, for: 1h }',
    );
    for (let i = 0; i < 3; i++) {
      const wire = await rig.wire();
      wire.write(upgrade(path));
      expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 503 [\s\S]*Sluice-Reason: backend_unreachable/);
    }
    await expectNothingLeft(rig);
  });

  test('an upgrade goes to the URL that is there', async () => {
    const port = await BrokenBackend.closedPort();
    const other = await broken((socket) => void socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello'));
    rig = await served([`http://127.0.0.1:${port}`, other.url]);
    for (let i = 0; i < 3; i++) {
      const wire = await rig.wire();
      wire.write(upgrade('/g/ws'));
      expect(await wire.until((text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 101 /);
      wire.destroy();
    }
    expect(other.heads.length).toBe(3);
    await expectNothingLeft(rig, [other]);
  });

  test('an upgrade to URLs that let it wait ends after timeout.connect for each, not after timeout.firstByte', async () => {
    const silent = await Promise.all([1, 2].map(() => broken()));
    rig = await served(
      silent.map(({ port }) => `https://127.0.0.1:${port}`),
      'timeout: { connect: 100ms, firstByte: 1h }',
    );
    const wire = await rig.wire();
    wire.write(upgrade('/g/ws'));
    expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 503 /);
    expect(silent.map(({ dials }) => dials)).toEqual([1, 1]);
    await expectNothingLeft(rig, silent);
  });
});

describe('a URL that is back after its ejection', () => {
  const STREAM = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n';
  const JOINED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello';

  test.each([
    ['an event stream', 'GET /stream HTTP/1.1\r\nHost: h\r\n\r\n', STREAM, 'data: 1'],
    ['an event stream without a byte of its body', 'GET /stream HTTP/1.1\r\nHost: h\r\n\r\n', STREAM.slice(0, STREAM.indexOf('7\r\n')), ''],
    ['a websocket', upgrade('/stream'), JOINED, 'hello'],
    ['a refused websocket whose answer does not end', upgrade('/stream'), 'HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\nhello', 'hello'],
  ])('is used again though its probe is %s that never ends', async (_what, request, answer, seen) => {
    let dead = true;
    const script = (name: string) => (socket: Socket, head: string) => {
      if (name === 'a' && dead) return void socket.destroy();
      socket.write(head.startsWith('GET /stream') ? answer : `HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${name}`);
    };
    const a = await broken(script('a'));
    const b = await broken(script('b'));
    rig = await served([a.url, b.url], 'ejection: { failures: 1, for: 100ms }');
    while (a.heads.length === 0) expect((await rig.ask()).status).toBe(200);
    expect(await ejected(rig)).toBe(1);
    dead = false;
    const before = a.heads.length;
    // Its time is over at some moment: the streams are sent until one of them is the probe.
    const wires = [];
    while (a.heads.length === before) {
      const wire = await rig.wire();
      wire.write(request);
      wires.push(wire);
      await until(() => a.heads.length > before || b.heads.filter((head) => head.startsWith('GET /stream')).length === wires.length);
    }
    if (seen !== '') await wires.at(-1)?.until((text) => text.includes(seen));
    await until(async () => (await ejected(rig)) === 0);
    // The URL with fewer requests under way is chosen: some that do not end come to both.
    const probed = a.heads.length;
    for (let i = 0; i < 4; i++) {
      const sent = a.heads.length + b.heads.length;
      const wire = await rig.wire();
      wire.write('GET /stream HTTP/1.1\r\nHost: h\r\n\r\n');
      wires.push(wire);
      await until(() => a.heads.length + b.heads.length > sent);
    }
    expect(a.heads.length).toBeGreaterThan(probed);
    for (const wire of wires) wire.destroy();
    await expectNothingLeft(rig, [a, b], 2);
  });
});
