import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/*
 * The threats to the listener that forwards, and where each is tried.
 *
 * | threat | tried in |
 * | --- | --- |
 * | two lengths, lists, signs, bad codings and chunks, two Hosts, none, NUL, bare CR and LF, folds, `CONNECT`, `TRACE`, authority form, other versions | framing (before a lax and a strict backend) |
 * | all of these mutated, in pieces, behind each other, left in the middle | garden |
 * | bytes of a body or trailer taken for a request | framing, garden, here |
 * | fields of one connection, fields of ours, forged X-Forwarded-*, header injection both ways | fidelity, test/proxy/headers, test/proxy/fidelity.property |
 * | absolute form, Host against the target | framing; where it may go is the configuration's: listener, test/proxy/upstream/guarded-lookup |
 * | slow heads, slow bodies, bodies that stop | attack, framing, test/proxy/body/body-store |
 * | slow readers | attack |
 * | many connections; callers that leave at any moment | attack, leaks, abort |
 * | bodies that are too large, or too many | listener, test/proxy/body/body-store |
 * | large heads, long request lines, many fields; from backends too | here |
 * | floods of pipelined requests | here, listener |
 * | chunk extensions, tiny chunks, trailers | here |
 * | `Expect` without an end | here |
 * | HTTP/2 by upgrade or at once | framing, here |
 * | abuse of websocket upgrades | here, tunnel-socket |
 */

const CONFIG = `bounds: { receive: 1s }
backends: { shop: { urls: [ BACKEND ] } }
groups: { counted: { limits: [ { name: all, window: 1000000/1h }, { name: slots, concurrency: 4 } ] } }
routes:
  - { match: { path: /streamed/* }, group: counted, backend: shop, charge: headers, body: { max: 64KiB } }
  - { match: { path: /* }, group: counted, backend: shop, body: { max: 64KiB, receive: 1s } }
`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

let rig: ProxyRig;
beforeEach(async () => {
  rig = await proxyRig(CONFIG);
});
afterEach(async () => {
  // Whatever was tried: nothing is held any more, and a good caller is served.
  rig.backend.respond = (_request, socket) => void socket.write(OK);
  await rig.shows('counted', { waiting: 0, leases: 0 });
  expect((await rig.ask({ path: '/after' })).body).toBe('ok');
  expect(await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text()).toContain('sluice_forward_held_bodies 0');
  expect(rig.logged()).not.toContain('"event":"unexpected_error"');
  await rig.stop();
});

const used = async (): Promise<number> => Number((await rig.group('counted')).limits[0]?.used);
const targets = (): readonly string[] => rig.backend.seen.map(({ target }) => target);

/** Sends bytes, and answers everything that came until the connection was closed. */
async function closedAfter(bytes: string): Promise<string> {
  const wire = await rig.wire();
  wire.write(bytes);
  return wire.untilClosed();
}

describe('heads', () => {
  test.each([
    ['a request line', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: h\r\n\r\n`],
    ['a request line without an end', `GET /${'x'.repeat(200_000)}`],
    ['a query', `GET /?${'q=1&'.repeat(10_000)} HTTP/1.1\r\nHost: h\r\n\r\n`],
    ['one field', `GET / HTTP/1.1\r\nHost: h\r\nX: ${'v'.repeat(20_000)}\r\n\r\n`],
    ['the name of a field', `GET / HTTP/1.1\r\nHost: h\r\n${'X'.repeat(20_000)}: v\r\n\r\n`],
    ['many fields', `GET / HTTP/1.1\r\nHost: h\r\n${'X: v\r\n'.repeat(10_000)}\r\n`],
    ['many fields without an end', `GET / HTTP/1.1\r\nHost: h\r\n${'X: v\r\n'.repeat(100_000)}`],
  ])('%s over 16 KiB: 431, the connection ends, nothing is charged', async (_what, bytes) => {
    expect(await closedAfter(bytes)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await used()).toBe(0);
    expect(targets()).toEqual([]);
  });

  test('two thousand fields pass, each of them; what frames is found behind them', async () => {
    const wire = await rig.wire();
    wire.write(`POST /many HTTP/1.1\r\nHost: h\r\n${'a:b\r\n'.repeat(2_000)}Content-Length: 2\r\n\r\nhi`);
    await wire.until((text) => text.endsWith('ok'));
    const [seen] = rig.backend.seen;
    expect(seen?.headers.filter(([name]) => name === 'a')).toHaveLength(2_000);
    expect(seen?.body.toString()).toBe('hi');
    expect(await closedAfter(`POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n${'a:b\r\n'.repeat(2_000)}Content-Length: 3\r\n\r\nhi`)).toMatch(
      /^HTTP\/1\.1 400 /,
    );
    expect(targets()).toEqual(['/many']);
  });

  test.each([
    ['fields of 200 kB', `HTTP/1.1 200 OK\r\n${'X: v\r\n'.repeat(35_000)}\r\n`],
    ['a field that breaks its line', 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n'],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
  ])('an answer with %s is 502', async (_what, bytes) => {
    rig.backend.respond = (_request, socket) => void socket.write(bytes);
    expect(await rig.ask({ method: 'POST', path: '/x', body: 'x' })).toMatchObject({ status: 502, headers: { 'sluice-reason': 'backend_failed' } });
  });

  test('what a backend sends behind its answer, or unasked, is nobody’s answer', async () => {
    rig.backend.respond = (request, socket) =>
      void socket.write(`${OK.replace('ok', request.target.slice(1, 3))}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
    for (const path of ['/a1', '/a2', '/a3', '/a4']) expect((await rig.ask({ path })).body).toBe(path.slice(1));
  });
});

describe('requests behind each other', () => {
  test('a flood behind one that is held: the connection ends, and only the first was sent', async () => {
    rig.backend.respond = () => {};
    const wire = await rig.wire();
    wire.write('GET /first HTTP/1.1\r\nHost: h\r\n\r\n');
    await rig.backend.until(() => rig.backend.seen.length === 1);
    wire.write('GET /flood HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(5_000));
    expect(await wire.untilClosed()).toBe('');
    expect(targets()).toEqual(['/first']);
    expect(await used()).toBe(1);
  });

  test('a flood whose caller reads nothing is not read without end', async () => {
    rig.backend.respond = (_request, socket) => void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n${'x'.repeat(50_000)}`);
    const wire = await rig.wire();
    wire.socket.pause();
    for (let each = 0; each < 60; each++) wire.write('GET /deaf HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(50));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    // What fits into the buffers of the sockets between them, and no more.
    expect(targets().length).toBeLessThan(300);
    wire.destroy();
  });
});

describe('chunks and trailers', () => {
  const post = 'POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n';
  test.each([
    ['an extension of 20 kB', `${post}1;${'e'.repeat(20_000)}\r\na\r\n0\r\n\r\n`],
    ['trailers of 20 kB', `${post}1\r\na\r\n0\r\n${'X: vvvv\r\n'.repeat(4_000)}\r\n`],
    ['a length in its trailers', `${post}1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n`],
    ['a coding in its trailers', `${post}1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n`],
  ])('a body with %s is refused, and costs nothing', async (_what, bytes) => {
    expect(await closedAfter(bytes)).toMatch(/^HTTP\/1\.1 (400|413|431) /);
    expect(targets()).toEqual([]);
    expect(await used()).toBe(0);
  });

  test('fields that name a host, a caller or a permit are lost with the other trailers', async () => {
    const wire = await rig.wire();
    wire.write(`${post}1\r\na\r\n0\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nSluice-Fence: 7\r\nAuthorization: x\r\n\r\n`);
    await wire.until((text) => text.endsWith('ok'));
    const [seen] = rig.backend.seen;
    expect(`${seen?.head}${seen?.trailers}`).not.toMatch(/evil|6\.6\.6\.6|Sluice-Fence: 7|Authorization/);
    expect(seen?.headers.filter(([name]) => name.toLowerCase() === 'host')).toEqual([['host', 'h']]);
  });

  test.each(['/held', '/streamed/x'])(
    'twenty thousand chunks of a byte arrive as the bytes they are, without what is written beside them (%s)',
    async (path) => {
      const wire = await rig.wire();
      wire.write(`${post.replace('/c', path)}${'1;e="x"\r\na\r\n'.repeat(20_000)}0\r\n\r\n`);
      await wire.until((text) => text.endsWith('ok'));
      expect(rig.backend.seen[0]?.body.equals(Buffer.alloc(20_000, 'a'))).toBe(true);
    },
  );
});

describe('expectations and upgrades', () => {
  test('who asks for 100-continue and then sends nothing is cut in time, and was never charged', async () => {
    const text = await closedAfter('POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 408 /);
    expect(await used()).toBe(0);
  });

  test('HTTP/2 at once is refused', async () => {
    expect(await closedAfter('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')).toMatch(/^HTTP\/1\.1 (400|505) /);
    expect(targets()).toEqual([]);
  });

  const upgrade =
    'GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n';

  test.each([101, 200, 403])('a request behind an upgrade is bytes of the tunnel, or nothing: the backend says %i', async (status) => {
    rig.backend.respond = ({ target }, socket) => {
      if (target !== '/ws') return void socket.write(OK);
      socket.write(
        status === 101 ? 'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n' : `HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nno`,
      );
    };
    const wire = await rig.wire();
    wire.write(`${upgrade}GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n`);
    await wire.until((text) => text.includes(String(status)));
    expect((await rig.ask({ path: '/other' })).body).toBe('ok');
    wire.destroy();
    await rig.shows('counted', { leases: 0 });
    // One place was charged for the upgrade, one for the other; what was hidden is never a request with fields of ours.
    expect(await used()).toBe(2);
    const hidden = rig.backend.seen.filter(({ target }) => target === '/hidden');
    expect(hidden.filter(({ headers }) => headers.some(([name]) => name.toLowerCase() === 'via'))).toEqual([]);
    expect(hidden).toHaveLength(status === 101 ? 1 : 0);
  });

  test('who floods before an upgrade is answered is cut, and gives its place back', async () => {
    let backend: Socket | undefined;
    rig.backend.respond = (_request, socket) => {
      backend = socket;
    };
    const wire = await rig.wire();
    wire.write(upgrade);
    await rig.backend.until(() => backend !== undefined);
    wire.write(Buffer.alloc(1_000_000));
    await wire.untilClosed();
    await rig.shows('counted', { leases: 0 });
  });

  test.each([
    ['with a body', upgrade.replace('\r\n\r\n', '\r\nContent-Length: 2\r\n\r\nhi')],
    ['by POST', upgrade.replace('GET', 'POST')],
    ['on HTTP/1.0', upgrade.replace('HTTP/1.1', 'HTTP/1.0')],
    ['to a list', upgrade.replace('Upgrade: websocket', 'Upgrade: websocket, h2c')],
  ])('an upgrade %s is a request like others, or refused: no tunnel', async (_what, bytes) => {
    const wire = await rig.wire();
    wire.write(bytes);
    const text = await wire.until((received) => received.endsWith('ok') || /^HTTP\/1\.1 [45]/.test(received));
    expect(text).not.toContain(' 101 ');
    expect(rig.backend.seen.every(({ head }) => !/upgrade/i.test(head))).toBe(true);
  });
});

test('a thousand connections that say nothing, or half a line, end in time', async () => {
  const sockets = await Promise.all(
    Array.from({ length: 1_000 }, async (_each, index) => {
      const socket = connect(rig.port, '127.0.0.1');
      socket.on('error', () => {}).resume();
      await new Promise((resolve) => socket.once('connect', resolve));
      if (index % 2 === 0) socket.write('GET / HT');
      return new Promise<void>((resolve) => socket.once('close', () => resolve()));
    }),
  );
  expect((await rig.ask({ path: '/beside' })).body).toBe('ok');
  await Promise.all(sockets);
  expect(targets()).toEqual(['/beside']);
});
