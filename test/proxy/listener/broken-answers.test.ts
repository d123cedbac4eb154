import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { BrokenBackend, expectNothingLeft, until } from '../../http/broken-rig.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Backends that answer wrongly: the caller gets the right answer or an honest failure, the work is bounded, nothing is left. */

let rig: ProxyRig;
let backend: BrokenBackend;
afterEach(async () => {
  await rig.stop();
  await backend.stop();
});

async function served(onHead: (socket: Socket, head: string) => void, more = ''): Promise<void> {
  backend = await BrokenBackend.start(onHead);
  rig = await proxyRig(`backends: { shop: { urls: [ ${backend.url} ], ${more} } }
groups: { g: { limits: [ { name: slots, concurrency: 4 } ], ttl: { default: 5s } } }
routes: [ { match: { path: /stream/* }, group: g, backend: shop, charge: headers }, { match: { path: /* }, group: g, backend: shop } ]
`);
}

/** Sends one request on a connection of its own, and resolves with all that came back. */
async function sent(method = 'GET', path = '/x', body = ''): Promise<string> {
  const wire = await rig.wire();
  const length = method === 'POST' || body !== '' ? `Content-Length: ${body.length}\r\n` : '';
  wire.write(`${method} ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n${length}\r\n${body}`);
  return wire.untilClosed();
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

test('a 204 with a Content-Length is passed on without it', async () => {
  await served((socket) => void socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX-A: b\r\n\r\n'));
  const text = await sent();
  expect(text).toContain('HTTP/1.1 204 No Content');
  expect(text).toContain('X-A: b');
  expect(text.toLowerCase()).not.toContain('content-length');
});

describe('1xx that nobody asked for', () => {
  test.each([
    ['100', 'HTTP/1.1 100 Continue\r\n\r\n', []],
    ['100 twice, with fields', 'HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 100 \r\n\r\n', []],
    ['102 and 103 around 100', 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', ['102', '103']],
    ['one nobody knows', 'HTTP/1.1 199 What\r\n\r\n', ['199']],
  ])('are read past: %s', async (_what, interim, passed) => {
    await served((socket) => void socket.write(interim + OK));
    for (const [method, body] of [
      ['GET', ''],
      ['POST', 'hi'],
      ['HEAD', ''],
    ] as const) {
      const before = backend.heads.length;
      const text = await sent(method, '/x', body);
      expect([...text.matchAll(/HTTP\/1\.1 (1\d\d)/g)].map(([, status]) => status)).toEqual(passed);
      expect(text).toContain('HTTP/1.1 200 OK');
      expect(backend.heads.length - before).toBe(1);
    }
    await expectNothingLeft(rig, [backend], 1);
  });

  test('are read past before each answer of a connection, wherever their bytes are cut', async () => {
    const answer = `HTTP/1.1 100 Continue\r\n\r\n${OK}`;
    let cut = 0;
    await served((socket) => {
      socket.write(answer.slice(0, cut));
      setImmediate(() => socket.write(answer.slice(cut)));
    });
    for (cut = 1; cut < answer.length; cut += 3) expect(await rig.ask({ method: 'POST', body: 'hi' })).toMatchObject({ status: 200, body: 'ok' });
    expect(backend.dials).toBe(1);
    await expectNothingLeft(rig, [backend], 1);
  });

  test('also before a refused upgrade and a tunnel', async () => {
    let tunnels = false;
    await served((socket) =>
      socket.write(
        `HTTP/1.1 100 Continue\r\n\r\n${tunnels ? 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello' : OK}`,
      ),
    );
    for (tunnels of [false, true]) {
      const wire = await rig.wire();
      wire.write('GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      const text = await wire.until((received) => received.endsWith(tunnels ? 'hello' : 'ok'));
      expect(text.startsWith(tunnels ? 'HTTP/1.1 101 ' : 'HTTP/1.1 200 ')).toBe(true);
      wire.destroy();
    }
    await expectNothingLeft(rig, [backend]);
  });

  test.each([
    ['100', 'HTTP/1.1 100 Continue\r\n\r\n'],
    ['103', `HTTP/1.1 103 Early Hints\r\nLink: ${'a'.repeat(1000)}\r\n\r\n`],
  ])('that never end are cut after 64 KiB for each time the request is sent: %s', async (_what, interim) => {
    let bytes = 0;
    await served((socket) => {
      const more = (): void => {
        while (!socket.destroyed && bytes < 16 << 20) {
          bytes += interim.length;
          if (!socket.write(interim)) return void socket.once('drain', more);
        }
      };
      more();
    });
    const text = await sent('GET');
    expect(text).toMatch(/HTTP\/1\.1 502 [\s\S]*Sluice-Reason: backend_failed/);
    expect(text.length).toBeLessThan(3 * (64 << 10) + 4096);
    expect(backend.heads.length).toBe(3);
    await expectNothingLeft(rig, [backend]);
  });
});

describe('a head that is slow', () => {
  test('in pieces of a byte is read as any', async () => {
    await served((socket) => {
      let at = 0;
      const next = (): void => {
        socket.write(OK[at++] ?? '');
        if (at < OK.length) setImmediate(next);
      };
      next();
    });
    expect(await rig.ask()).toMatchObject({ status: 200, body: 'ok' });
    await expectNothingLeft(rig, [backend], 1);
  });

  test.each([
    ['never comes', ''],
    ['does not end', 'HTTP/1.1 200 OK\r\nX-A: '],
  ])('and %s is 504 after timeout.firstByte, sent once, its connection closed', async (_what, start) => {
    await served((socket) => void socket.write(start), 'timeout: { firstByte: 200ms }');
    expect(await rig.ask()).toMatchObject({ status: 504, headers: { 'sluice-reason': 'backend_late' } });
    expect([backend.dials, backend.heads.length]).toEqual([1, 1]);
    await expectNothingLeft(rig, [backend]);
  });

  test('behind 1xx that trickle is 504 after twice timeout.firstByte', async () => {
    const timers = new Set<NodeJS.Timeout>();
    await served((socket) => {
      timers.add(setInterval(() => socket.writable && socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 50));
    }, 'timeout: { firstByte: 300ms }');
    const text = await sent('POST', '/x', 'hi');
    for (const timer of timers) clearInterval(timer);
    expect(text).toMatch(/HTTP\/1\.1 504 [\s\S]*Sluice-Reason: backend_late/);
    expect(backend.heads.length).toBe(1);
    await expectNothingLeft(rig, [backend]);
  });
});

describe('the head of an answer', () => {
  test.each(['/x', '/stream/x'])('is there before the first byte of its body (%s)', async (path) => {
    let socket: Socket | undefined;
    await served((each) => {
      socket = each;
      each.write(Buffer.from('HTTP/1.1 200 OK\r\nX-Latin: caf\xe9\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n', 'latin1'));
    });
    const wire = await rig.wire();
    wire.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
    const head = await wire.until((text) => text.includes('\r\n\r\n'));
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\nX-Latin: caf\xe9\r\n[\s\S]*\r\n\r\n$/);
    socket?.write('9\r\ndata: 1\n\n\r\n0\r\n\r\n');
    expect(await wire.until((text) => text.endsWith('0\r\n\r\n'))).toContain('data: 1');
    await expectNothingLeft(rig, [backend], 1);
  });
});

describe('a reason phrase', () => {
  test.each([
    ['none', ''],
    ['an empty one', ' '],
    ['Latin-1', ' caf\xe9'],
    ['bytes whose UTF-8 ends in CR and LF', ' \xc4\x8d\xc4\x8aX-Forged: 1'],
    ['a long one', ` ${'x'.repeat(5_000)}`],
  ])('does not change what is answered: %s', async (_what, phrase) => {
    await served((socket) => void socket.write(Buffer.from(`HTTP/1.1 200${phrase}\r\nContent-Length: 2\r\n\r\nok`, 'latin1')));
    const text = await sent('POST', '/x', 'hi');
    expect(text).toMatch(/^HTTP\/1\.1 200 [ -~]*\r\nContent-Length: 2\r\n[\s\S]*\r\n\r\nok$/);
    expect(text).not.toMatch(/^X-Forged/m);
    await expectNothingLeft(rig, [backend], 1);
  });
});

describe('an answer that breaks', () => {
  const bodies: readonly (readonly [string, string])[] = [
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'],
  ];

  test.each(bodies.flatMap(([name, answer]) => [false, true].map((reset) => [name, reset ? 'a reset' : 'an end', answer, reset] as const)))(
    'at each byte, with %s, by %s: never taken for whole, sent no more often than attempts',
    async (_name, _how, answer, reset) => {
      let upTo = 0;
      await served((socket) => {
        socket.write(answer.slice(0, upTo), () => (reset ? socket.resetAndDestroy() : socket.end()));
      });
      for (upTo = 0; upTo < answer.length; upTo++) {
        for (const method of ['GET', 'POST']) {
          const before = backend.heads.length;
          const text = await sent(method, '/x');
          const headThere = upTo >= answer.indexOf('\r\n\r\n') + 4;
          // A reset may overtake the bytes before it.
          if (text.startsWith('HTTP/1.1 502')) expect(headThere && !reset).toBe(false);
          else expect(text.endsWith('\r\n0\r\n\r\n') || /\r\n\r\nabcde$/.test(text)).toBe(false);
          expect(backend.heads.length - before).toBeLessThanOrEqual(method === 'GET' ? 3 : 1);
        }
      }
      await expectNothingLeft(rig, [backend]);
    },
  );

  test.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 502],
    ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nab', 502],
    ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n', 502],
    ['another protocol', 'HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', 502],
    ['a head of 70 KB', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(70_000)}\r\n\r\n`, 502],
    ['no HTTP', 'SSH-2.0-x\r\n\r\n', 502],
  ])('by %s is 502', async (_what, answer, status) => {
    await served((socket) => void socket.write(answer));
    expect(await rig.ask({ method: 'POST', body: 'hi' })).toMatchObject({ status, headers: { 'sluice-reason': 'backend_failed' } });
    expect(backend.heads.length).toBe(1);
    await expectNothingLeft(rig, [backend]);
  });

  test('by more bytes than its length: the rest reaches nobody', async () => {
    await served((socket) => void socket.write(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`));
    for (let i = 0; i < 4; i++) expect((await rig.ask()).body).toBe('ok');
    await expectNothingLeft(rig, [backend]);
  });

  test('by silence is cut after timeout.idle', async () => {
    await served((socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'), 'timeout: { idle: 200ms }');
    expect(await sent('GET')).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nab$/);
    expect(backend.heads.length).toBe(1);
    await expectNothingLeft(rig, [backend]);
  });

  test('within the answer to an upgrade resets the caller, who has no length to see it by', async () => {
    await served((socket) => {
      socket.write('HTTP/1.1 400 No\r\nContent-Length: 5\r\n\r\nab', () => setTimeout(() => socket.resetAndDestroy(), 50));
    });
    const wire = await rig.wire();
    let reset = false;
    wire.socket.on('error', (error: NodeJS.ErrnoException) => {
      reset = error.code === 'ECONNRESET';
    });
    wire.write('GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await wire.untilClosed();
    expect(reset).toBe(true);
    await expectNothingLeft(rig, [backend]);
  });
});

describe('an answer before the end of the request', () => {
  test.each(['HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n'])(
    'reaches the caller, and the connection of the backend ends: %j',
    async (answer) => {
      await served((socket) => void socket.write(answer));
      const wire = await rig.wire();
      wire.write('POST /stream/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc');
      expect(await wire.until((text) => text.includes('no'))).toMatch(/^HTTP\/1\.1 (413|200) /);
      await expectNothingLeft(rig, [backend]);
      wire.destroy();
    },
  );
});

describe('a half-open backend', () => {
  test('whose side has ended before its answer has not answered', async () => {
    await served((socket) => void socket.end());
    expect(await rig.ask({ method: 'POST', body: 'hi' })).toMatchObject({ status: 502 });
    expect(backend.heads.length).toBe(1);
    await expectNothingLeft(rig, [backend]);
  });

  test('that takes a connection and ends it at once is dialled once for each time the request is sent', async () => {
    await served(() => {});
    backend.onConnection = (socket) => void socket.resetAndDestroy();
    expect((await rig.ask()).status).toBeGreaterThanOrEqual(502);
    expect(backend.dials).toBeLessThanOrEqual(3);
    await until(() => backend.open.size === 0);
    await expectNothingLeft(rig, [backend]);
  });
});
