import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BAD_FRAMING } from '../../conformance/engine-bad-input.ts';
import { ScriptedBackend } from '../../support/fakes/backend.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Probes of HTTP framing against the proxy, before a lax and a strict backend: nothing reaches them that was not admitted, nothing twice, nothing cut. */

const CONFIG = `bounds: { receive: 1s }
backends: { shop: { urls: [ BACKEND ] } }
groups: { counted: { limits: [ { name: all, window: 100000/1h } ] } }
routes: [ { match: { path: /* }, group: counted, backend: shop, body: { max: 1KiB, receive: 1s } } ]
`;

let rig: ProxyRig;
let strict: ScriptedBackend;
beforeAll(async () => {
  rig = await proxyRig(CONFIG);
});
afterAll(() => rig.stop());

const charged = async (of: ProxyRig): Promise<number> => Number((await of.group('counted')).limits[0]?.used ?? 0);

describe.each(['lax', 'strict'])('framing in doubt is refused, and a %s backend sees none of it:', (kind) => {
  let before: ProxyRig;
  beforeAll(async () => {
    strict = await ScriptedBackend.open();
    before = kind === 'lax' ? rig : await proxyRig(CONFIG, undefined, undefined, async () => ({ url: strict.url, stop: () => strict.close() }));
  });
  afterAll(() => (kind === 'lax' ? strict.close() : before.stop()));
  /** Heads, and connections that ended within a request or could not be read. */
  const reached = (): readonly number[] => [rig.backend.seen.length, rig.backend.cut, strict.begun, strict.anomalies.length];

  // Those that wait for a time-out do so side by side.
  test.concurrent.each(BAD_FRAMING.map((each) => [each.name, each] as const))('%s', async (name, { bytes, statuses }) => {
    const seen = reached();
    const used = await charged(before);
    const wire = await before.wire();
    wire.write(bytes);
    const text = await wire.untilClosed();
    const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(text) ?? [];
    expect([...statuses, 501, ...(name.includes('in time') ? [] : [undefined])].map(String)).toContain(String(status));
    expect(wire.answers).toBeLessThanOrEqual(1);
    expect(reached()).toEqual(seen);
    expect(await charged(before)).toBe(used);
  });

  test('a request behind them all arrives, once, and is charged, once', async () => {
    const [heads = 0, , begun = 0] = reached();
    const used = await charged(before);
    expect((await before.ask({ method: 'POST', path: '/good', body: 'whole' })).status).toBe(200);
    expect(reached()).toEqual([heads + (kind === 'lax' ? 1 : 0), 0, begun + (kind === 'strict' ? 1 : 0), 0]);
    expect(await charged(before)).toBe(used + 1);
  });
});

describe('a request that is well framed', () => {
  test('may come byte by byte', async () => {
    const before = rig.backend.seen.length;
    const wire = await rig.wire();
    for (const byte of 'POST /slowly HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n') {
      wire.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await wire.until((received) => received.endsWith('ok'));
    expect(rig.backend.seen.slice(before).map(({ target, body }) => [target, body.toString()])).toEqual([['/slowly', 'abc']]);
  });

  test('may name its host in absolute form, which goes no further', async () => {
    const wire = await rig.wire();
    wire.write('GET http://h/abs?x HTTP/1.1\r\nHost: h\r\n\r\n');
    await wire.until((received) => received.endsWith('ok'));
    expect(rig.backend.seen.at(-1)?.target).toBe('/abs?x');
  });

  test('may speak HTTP/1.0', async () => {
    const wire = await rig.wire();
    wire.write('GET /old HTTP/1.0\r\n\r\n');
    expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*ok$/);
  });

  test('whose body looks like a request is one request', async () => {
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n';
    const before = rig.backend.seen.length;
    const wire = await rig.wire();
    wire.write(`POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`);
    await wire.until((received) => received.endsWith('ok'));
    expect(rig.backend.seen.slice(before).map(({ target }) => target)).toEqual(['/one']);
  });
});

test('a body that stops is 408, and costs nothing', async () => {
  const used = await charged(rig);
  const wire = await rig.wire();
  wire.write('POST /stops HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 408 /);
  expect(await charged(rig)).toBe(used);
});

test('an upgrade to anything but websocket is a request like others; a body beside websocket is no upgrade', async () => {
  const wire = await rig.wire();
  wire.write('GET /h2 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n');
  await wire.until((received) => received.endsWith('ok'));
  expect(rig.backend.seen.at(-1)?.head.toLowerCase()).not.toMatch(/upgrade|http2/);
  const other = await rig.wire();
  other.write('POST /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi');
  await other.until((received) => received.endsWith('ok'));
  expect(rig.backend.seen.at(-1)?.body.toString()).toBe('hi');
});

describe('a request for another protocol that stays one is the last of its connection: nothing behind it is taken for a request', () => {
  const h2c = 'Host: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n';
  const next = (name: string): string => `GET /${name} HTTP/1.1\r\nHost: h\r\n\r\n`;
  const post = `POST /first HTTP/1.1\r\n${h2c}`;
  test.each([
    ['another in the same packet', [`GET /first HTTP/1.1\r\n${h2c}\r\n${next('lost')}`, next('taken')]],
    ['bytes of the other protocol', [`GET /first HTTP/1.1\r\n${h2c}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, next('taken')]],
    ['another behind its body', [`${post}Content-Length: 2\r\n\r\nhi${next('lost')}`, next('taken')]],
    ['another behind its chunks', [`${post}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n${next('lost')}`, next('taken')]],
    ['another behind the rest of its body', [`${post}Content-Length: 2\r\n\r\nh`, `i${next('lost')}`, next('taken')]],
    ['websocket, by POST', [`${post.replace('h2c', 'websocket')}Content-Length: 2\r\n\r\nhi${next('lost')}`, next('taken')]],
  ])('%s', async (_what, packets) => {
    const before = rig.backend.seen.length;
    const answer = rig.backend.respond;
    let go = (): void => {};
    rig.backend.respond = (request, socket) => {
      go = () => answer(request, socket);
    };
    const wire = await rig.wire();
    for (const packet of packets) {
      wire.write(packet);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await rig.backend.until(() => rig.backend.seen[before]?.whole === true);
    go();
    expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n[\s\S]*ok$/i);
    expect(wire.answers).toBe(1);
    expect(rig.backend.seen.slice(before).map(({ target }) => target)).toEqual(['/first']);
    rig.backend.respond = answer;
  });
});
