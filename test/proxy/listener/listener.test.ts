import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ProxyRig, proxyRig } from './rig.ts';

/* A whole server with a proxy, before real sockets and a backend that records every byte. */

const CONFIG = `backends:
  shop: { urls: [ BACKEND ] }
  dead: { urls: [ http://127.0.0.1:9 ], timeout: { connect: 500ms } }
  slow: { urls: [ BACKEND ], timeout: { firstByte: 300ms } }
groups:
  free: {}
  full: { limits: [ { name: one, spacing: 1h } ], refusal: { status: 529, contentType: text/x-own, body: not now } }
  plain: { limits: [ { name: one, spacing: 1h } ] }
  slots: { limits: [ { name: slots, concurrency: 1 } ] }
  shadow: { limits: [ { name: one, spacing: 1h } ], enforce: false }
routes:
  - { match: { path: /free/* }, group: free, backend: shop, body: { max: 1MiB } }
  - { match: { path: /full }, group: full, backend: shop }
  - { match: { path: /plain }, group: plain, backend: shop }
  - { match: { path: /slots/* }, group: slots, backend: shop }
  - { match: { path: /own }, group: plain, backend: shop, refusal: { status: 503, body: the route says so } }
  - { match: { path: /shadow }, group: shadow, backend: shop }
  - { match: { path: /dead }, group: free, backend: dead }
  - { match: { path: /slow }, group: free, backend: slow }
  - { match: { path: /direct/* }, backend: shop }
`;

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(CONFIG);
});
afterAll(() => rig.stop());

const fresh = (): void => {
  rig.backend.seen.length = 0;
};

describe('a request', () => {
  test('goes to its backend and comes back with the answer', async () => {
    fresh();
    const answer = await rig.ask({ path: '/free/x?a=1&a=2' });
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(rig.backend.seen.map(({ method, target }) => [method, target])).toEqual([['GET', '/free/x?a=1&a=2']]);
  });

  test('without a group passes straight through', async () => {
    fresh();
    expect(await rig.ask({ method: 'POST', path: '/direct/x', body: 'hello' })).toMatchObject({ status: 200 });
    expect(rig.backend.seen[0]?.body.toString()).toBe('hello');
  });

  test('without a route is 404, and the backend sees nothing', async () => {
    fresh();
    const answer = await rig.ask({ path: '/nowhere' });
    expect(answer).toMatchObject({ status: 404, headers: { 'content-type': 'application/problem+json', 'sluice-reason': 'no_route' } });
    expect(rig.backend.seen).toEqual([]);
  });

  test('is compared on the path its backend would come to', async () => {
    expect((await rig.ask({ path: '/full/' })).status).toBe(200);
    expect((await rig.ask({ path: '/%66ull', headers: { prefer: 'wait=0' } })).status).toBe(529);
  });
});

describe('a refusal', () => {
  test('LN-D18: is in the words of its group, and says why and when to come', async () => {
    fresh();
    await rig.ask({ path: '/full', headers: { prefer: 'wait=0' } });
    fresh();
    const answer = await rig.ask({ path: '/full', headers: { prefer: 'wait=0' } });
    expect(answer).toMatchObject({ status: 529, body: 'not now', headers: { 'content-type': 'text/x-own', 'sluice-reason': 'infeasible' } });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(3000);
    expect(answer.headers['ratelimit']).toContain('"one";r=0;t=');
    expect(rig.backend.seen).toEqual([]);
  });

  test('is a problem where the group says nothing, and the route may say something else', async () => {
    await rig.ask({ path: '/plain', headers: { prefer: 'wait=0' } });
    const answer = await rig.ask({ path: '/plain', headers: { prefer: 'wait=0' } });
    expect(answer).toMatchObject({ status: 429, headers: { 'content-type': 'application/problem+json' } });
    expect(JSON.parse(answer.body)).toMatchObject({ reason: 'infeasible', limit: 'one', status: 429 });
    expect(await rig.ask({ path: '/own', headers: { prefer: 'wait=0' } })).toMatchObject({ status: 503, body: 'the route says so' });
  });

  test('of a body over the maximum is 413 before anything is charged, however it is framed', async () => {
    fresh();
    const body = Buffer.alloc(2 ** 20 + 1);
    expect(
      await rig.ask({ method: 'POST', path: '/free/x', headers: { 'content-length': String(body.length) }, body: 'x' }).catch(() => undefined),
    ).toMatchObject({
      status: 413,
      headers: { 'sluice-reason': 'too_large' },
    });
    const chunked = await rig.ask({ method: 'POST', path: '/free/x', headers: { 'transfer-encoding': 'chunked' }, body }).catch((cause: Error) => cause);
    if (!(chunked instanceof Error)) expect(chunked.status).toBe(413);
    expect(rig.backend.seen).toEqual([]);
  });

  test('of a backend that cannot be reached is 503, and 504 where it does not answer: it may have seen that one', async () => {
    const answer = await rig.ask({ path: '/dead' });
    expect(answer).toMatchObject({ status: 503, headers: { 'sluice-reason': 'backend_unreachable', 'retry-after': '1' } });
    rig.backend.respond = () => {};
    expect(await rig.ask({ method: 'POST', path: '/slow', body: 'x' })).toMatchObject({ status: 504, headers: { 'sluice-reason': 'backend_late' } });
    rig.backend.respond = (_request, socket) => void socket.destroy();
    expect(await rig.ask({ method: 'POST', path: '/free/x', body: 'x' })).toMatchObject({ status: 502, headers: { 'sluice-reason': 'backend_failed' } });
  });
});

test('a shadow group forwards everything and says what it would have done', async () => {
  rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await rig.ask({ path: '/shadow' });
  const answer = await rig.ask({ path: '/shadow' });
  expect(answer.status).toBe(200);
  expect(answer.headers['sluice-shadow']).toContain('one');
});

describe('an answer', () => {
  const cases: readonly (readonly [name: string, method: string, wire: string, status: number, body: string])[] = [
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', 204, ''],
    ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', 304, ''],
    ['to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', 200, ''],
    ['in chunks', 'GET', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n', 200, 'abcde'],
    ['of an unknown status', 'GET', 'HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx', 299, 'x'],
  ];
  test.each(cases)('%s is what the backend said', async (_name, method, wire, status, body) => {
    rig.backend.respond = (_request, socket) => void socket.write(wire);
    expect(await rig.ask({ method, path: '/free/x' })).toMatchObject({ status, body });
  });

  test('keeps the order and the repeats of its fields, and loses those of the connection', async () => {
    rig.backend.respond = (_request, socket) =>
      void socket.write(
        'HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n',
      );
    const { raw } = await rig.ask({ path: '/free/x' });
    expect(raw.slice(0, 6)).toEqual(['Set-Cookie', 'a', 'X-B', '1', 'set-cookie', 'b']);
    expect(raw).not.toContain('X-Hop');
    expect(raw.join('\n')).not.toContain('timeout=1');
  });

  test('has its trailers, where it is in chunks', async () => {
    rig.backend.respond = (_request, socket) =>
      void socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n');
    const wire = await rig.wire();
    wire.write('GET /free/x HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(await wire.until((received) => received.includes('\r\n0\r\n') && received.endsWith('\r\n\r\n'))).toMatch(/2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n$/);
  });

  test('that begins and breaks is cut, not ended', async () => {
    rig.backend.respond = (_request, socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
    await expect(rig.ask({ path: '/free/x' })).rejects.toThrow(/aborted|socket hang up/);
    rig.backend.respond = (_request, socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
    await expect(rig.ask({ path: '/free/x' })).rejects.toThrow(/aborted|socket hang up/);
  });

  test('1xx is passed on before it', async () => {
    rig.backend.respond = (_request, socket) =>
      void socket.write('HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const wire = await rig.wire();
    wire.write('GET /free/x HTTP/1.1\r\nHost: h\r\n\r\n');
    const text = await wire.until((received) => received.endsWith('ok'));
    expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nLink: <\/x>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  });
});

describe('Expect: 100-continue', () => {
  beforeAll(() => {
    rig.backend.respond = (_request, socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });

  test('is answered when the body is wanted', async () => {
    const wire = await rig.wire();
    wire.write('POST /free/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    await wire.until((received) => received === 'HTTP/1.1 100 Continue\r\n\r\n');
    wire.write('hello');
    expect(await wire.until((received) => received.endsWith('ok'))).toContain('HTTP/1.1 200 OK');
    expect(rig.backend.seen.at(-1)?.headers.some(([name]) => name.toLowerCase() === 'expect')).toBe(false);
  });

  test('is not where the request is refused', async () => {
    const wire = await rig.wire();
    wire.write('POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 404 /);
    const large = await rig.wire();
    large.write('POST /free/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n');
    expect(await large.untilClosed()).toMatch(/^HTTP\/1\.1 413 /);
  });
});

test('requests in one packet are passed on one after the other, and answered in order', async () => {
  fresh();
  rig.backend.respond = ({ target }, socket) => void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`);
  const wire = await rig.wire();
  wire.write('GET /free/1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /free/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /free/3 HTTP/1.1\r\nHost: h\r\n\r\n');
  const text = await wire.until((received) => received.includes('/free/3'));
  expect(text.match(/\/free\/\d/g)).toEqual(['/free/1', '/free/2', '/free/3']);
  expect(rig.backend.seen.map(({ target, body }) => [target, body.toString()])).toEqual([
    ['/free/1', ''],
    ['/free/2', 'abc'],
    ['/free/3', ''],
  ]);
});
