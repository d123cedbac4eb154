import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BAD_FRAMING } from '../conformance/engine-bad-input.ts';
import { type ProxyRig, proxyRig } from './proxy-rig.ts';

/* The probes of proof.md 4.2 against the proxy, with a lax backend behind it: nothing reaches it that was not admitted, nothing twice, nothing cut. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { counted: { limits: [ { name: all, window: 100000/1h } ] } }
routes: [ { match: { path: /* }, group: counted, backend: shop, body: { max: 1KiB, receive: 1s } } ]
`;

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(CONFIG);
});
afterAll(() => rig.stop());

const charged = async (): Promise<number> => Number((await rig.group('counted')).limits[0]?.used ?? 0);

describe('framing in doubt is refused, and the backend sees none of it:', () => {
  // The bound for a head is 10 s here, and tried on the engine.
  const cases = BAD_FRAMING.filter(({ name }) => !name.includes('in time'));
  test.each(cases.map((each) => [each.name, each] as const))('%s', async (_name, { bytes, statuses }) => {
    const before = rig.backend.seen.length;
    const used = await charged();
    const wire = await rig.wire();
    wire.write(bytes);
    const text = await wire.untilClosed();
    const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(text) ?? [];
    expect([...statuses, 501, undefined].map(String)).toContain(String(status));
    expect(wire.answers).toBeLessThanOrEqual(1);
    expect(rig.backend.seen.length).toBe(before);
    expect(await charged()).toBe(used);
    expect(rig.backend.cut).toBe(0);
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
  const used = await charged();
  const wire = await rig.wire();
  wire.write('POST /stops HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 408 /);
  expect(await charged()).toBe(used);
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
