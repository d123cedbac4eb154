import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Recorded } from '../../support/fakes/recorder.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* RQ-6, RQ-D2, X15: what the backend sees is what the caller sent, byte for byte, but for the documented fields. */

const CONFIG = `http: { engine: node, ambiguousPaths: match }
backends: { shop: { urls: [ BACKEND ] } }
groups: { held: {}, streamed: {} }
routes:
  - { match: { path: /held/* }, group: held, backend: shop }
  - { match: { path: /streamed/* }, group: streamed, backend: shop, charge: headers }
  - { match: { path: /* }, backend: shop }
`;

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(CONFIG);
});
afterAll(() => rig.stop());

/** What Sluice adds to a request, in lower case (docs/forward.md). */
const ADDED = new Set(['forwarded', 'via', 'traceparent', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'sluice-attempt']);
/** `Host` is written in small letters (undici). */
const AS_SEEN = (fields: readonly (readonly [string, string])[]) => fields.map(([name, value]) => [name === 'Host' ? 'host' : name, value] as const);
/** What frames: each connection has its own. */
const FRAMING = new Set(['connection', 'content-length', 'transfer-encoding', 'keep-alive']);

function endToEnd({ headers }: Recorded): readonly (readonly [string, string])[] {
  return headers.filter(([name]) => !ADDED.has(name.toLowerCase()) && !FRAMING.has(name.toLowerCase()));
}

/** Sends bytes as they are, and answers what the backend saw of them. */
async function sent(head: string, body: Uint8Array): Promise<Recorded> {
  const before = rig.backend.seen.length;
  const wire = await rig.wire();
  wire.write(head);
  wire.write(body);
  await wire.until((received) => received.endsWith('ok'));
  expect(rig.backend.seen).toHaveLength(before + 1);
  const seen = rig.backend.seen.at(-1);
  if (seen === undefined) throw new Error('nothing was seen');
  return seen;
}

const FIELDS: readonly (readonly [string, string])[] = [
  ['Host', 'api.example.com'],
  ['Content-Type', 'application/octet-stream; x="y z"'],
  ['X-Repeat', 'one'],
  ['x-repeat', 'two'],
  ['X-REPEAT', 'one'],
  ['Cookie', 'a=1'],
  ['Cookie', 'b=2'],
  ['Accept', '*/*;q=0.1'],
  ['Accept', 'text/plain'],
  ['X-Empty', ''],
  ['X-Latin', 'caf\xe9 \xff'],
  ['X-Odd!#$%&', '\'"\\,;='],
  ['X-Long', 'v'.repeat(4000)],
  ['Authorization', 'Bearer of-the-backend'],
  ['User-Agent', 'test  two spaces'],
  ['Prefer', 'wait=5'],
  ['X-Lunar-Consumer-Tag', 'production'],
  ['If-None-Match', 'W/"x"'],
  ['Range', 'bytes=0-1'],
  ['Idempotency-Key', '"k"'],
  ['X-Last', 'end'],
];

const HOP: readonly string[] = [
  'Connection: X-Mine, keep-alive',
  'X-Mine: secret',
  'Keep-Alive: timeout=5',
  'Proxy-Connection: keep-alive',
  'Proxy-Authorization: Basic x',
  'TE: trailers',
  'Sluice-Fence: 7',
  'sluice_fence_floor: 7',
  'Sluice-Permit: x',
  'X-Forwarded-For: 6.6.6.6',
  'Forwarded: for=6.6.6.6',
];

describe.each(['held', 'streamed', 'straight'])('RQ-6, X15: a request that is %s', (way) => {
  const target = `/${way}/%7Ex/a%2Fb;p=1/caf%C3%A9?a=1&a=2&b=%20+&c=[]{}|^'()*`;

  test('reaches its backend with the same method, path, query, fields and 1 MiB of bytes', async () => {
    const body = randomBytes(2 ** 20);
    const fields = FIELDS.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const seen = await sent(`PUT ${target} HTTP/1.1\r\n${fields}${HOP.join('\r\n')}\r\nContent-Length: ${body.length}\r\n\r\n`, body);
    expect([seen.method, seen.target]).toEqual(['PUT', target]);
    expect(seen.body.equals(body)).toBe(true);
    expect(endToEnd(seen)).toEqual(AS_SEEN(FIELDS));
    const text = seen.head.toLowerCase();
    for (const gone of ['x-mine', 'proxy-connection', 'proxy-authorization', '\r\nte:', 'sluice-fence', 'sluice_fence', 'sluice-permit', '6.6.6.6'])
      expect(text).not.toContain(gone);
    expect(text).toContain('x-forwarded-for: 127.0.0.1');
    expect(text).toContain('via: 1.1 sluice');
  });

  test('in chunks arrives with the same bytes; its trailers are lost, as documented', async () => {
    const body = randomBytes(70_000);
    const chunks = Buffer.concat([
      Buffer.from('10000\r\n'),
      body.subarray(0, 65_536),
      Buffer.from(`\r\n${(body.length - 65_536).toString(16)};ext=1\r\n`),
      body.subarray(65_536),
      Buffer.from('\r\n0\r\nX-Trailer: t\r\n\r\n'),
    ]);
    const seen = await sent(`POST /${way}/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n`, chunks);
    expect(seen.body.equals(body)).toBe(true);
    expect(seen.trailers).toBe('');
    expect(seen.head).not.toContain('X-Trailer');
  });

  test('without a body has none', async () => {
    const seen = await sent(`DELETE /${way}/none HTTP/1.1\r\nHost: h\r\n\r\n`, Buffer.alloc(0));
    expect(seen.head.toLowerCase()).not.toMatch(/content-length|transfer-encoding/);
  });

  test('with an empty body says so', async () => {
    const seen = await sent(`POST /${way}/empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n`, Buffer.alloc(0));
    expect(seen.head.toLowerCase()).toContain('content-length: 0');
  });

  test.each(['PROPFIND', 'REPORT', 'QUERY', 'PURGE', 'M-SEARCH'])('may have the method %s', async (method) => {
    expect((await sent(`${method} /${way}/m HTTP/1.1\r\nHost: h\r\n\r\n`, Buffer.alloc(0))).method).toBe(method);
  });
});

test('an answer of 4 MiB comes back byte for byte to a caller that reads slowly', async () => {
  const body = randomBytes(4 * 2 ** 20);
  const before = rig.backend.respond;
  rig.backend.respond = (_request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
    socket.write(body);
  };
  const wire = await rig.wire();
  wire.socket.pause();
  wire.write('GET /held/big HTTP/1.1\r\nHost: h\r\n\r\n');
  await rig.backend.until(() => rig.backend.seen.at(-1)?.target === '/held/big');
  wire.socket.resume();
  const text = await wire.until((received) => received.length >= body.length + received.indexOf('\r\n\r\n') + 4);
  expect(Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1').equals(body)).toBe(true);
  rig.backend.respond = before;
});
