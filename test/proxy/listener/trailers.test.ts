import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { ok } from '../../support/fakes/recorder.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* RFC 9110 6.5: what comes behind a body is not what stands before it. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { held: {}, streamed: {} }
routes:
  - { match: { path: /held }, group: held, backend: shop }
  - { match: { path: /streamed }, group: streamed, backend: shop, charge: headers }
  - { match: { path: /* }, backend: shop }
`;

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(CONFIG);
});
beforeEach(() => {
  rig.backend.respond = ok();
});
afterAll(() => rig.stop());

const TRAILERS = ['X-Sum: 7', 'Host: elsewhere', 'Authorization: Bearer late', 'Sluice-Authorization: Bearer late', 'Sluice-Fence: 9', 'Expect: 100-continue'];

test.each(['/held', '/streamed', '/straight'])(
  'trailers of a request are read and lost, none becomes a header, and the next request is where it begins: %s',
  async (path) => {
    const before = rig.backend.seen.length;
    const wire = await rig.wire();
    const announced = 'TE: trailers\r\nTrailer: X-Sum, Authorization\r\n';
    wire.write(`POST ${path} HTTP/1.1\r\nHost: h\r\n${announced}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n${TRAILERS.join('\r\n')}\r\n\r\n`);
    wire.write(`GET ${path}?next HTTP/1.1\r\nHost: h\r\n\r\n`);
    await wire.until((received) => received.split('\r\n\r\nok').length === 3);
    const [first, second] = rig.backend.seen.slice(before);
    expect([first?.body.toString(), first?.trailers, second?.method, second?.target]).toEqual(['abc', '', 'GET', `${path}?next`]);
    for (const { head } of [first, second] as { head: string }[]) {
      expect(head.toLowerCase()).not.toMatch(/x-sum|\r\ntrailer:|\r\nte:|elsewhere|late|sluice-fence|expect/);
    }
    expect(first?.headers.filter(([name]) => /^(host|content-length)$/i.test(name)).map(([, value]) => value)).not.toContain('elsewhere');
  },
);

test.each(['Content-Length: 3', 'Transfer-Encoding: chunked'])('a trailer that would frame is beyond doubt an attack: %s', async (trailer) => {
  const before = rig.backend.seen.length;
  const wire = await rig.wire();
  wire.write(`POST /held HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n${trailer}\r\n\r\nGET /held HTTP/1.1\r\nHost: h\r\n\r\n`);
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 400 /);
  expect(rig.backend.seen).toHaveLength(before);
});

const ANSWER = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n2\r\nok\r\n0\r\n';
const LATE = 'X-Sum: 7\r\nx-sum: 8\r\nSet-Cookie: a=1\r\nSluice-Reason: shed\r\nConnection: X-Hop\r\nX-Hop: 1\r\nServer-Timing: db;dur=3\r\n\r\n';

test('trailers of an answer come through as they came, without what frames, rules or is Sluice’s', async () => {
  rig.backend.respond = (_request, socket) => void socket.write(ANSWER + LATE);
  const wire = await rig.wire();
  wire.write('GET /held HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n');
  const [head = '', ...rest] = (await wire.until((received) => received.endsWith('\r\n\r\n') && received.includes('\r\n0\r\n'))).split('\r\n\r\n');
  expect(head.toLowerCase()).not.toMatch(/x-sum|trailer:|set-cookie/);
  expect(rest.join('\r\n\r\n')).toBe('2\r\nok\r\n0\r\nX-Sum: 7\r\nx-sum: 8\r\nServer-Timing: db;dur=3\r\n\r\n');
});

test('to a caller of HTTP/1.0 the body comes without chunks, and without trailers', async () => {
  rig.backend.respond = (_request, socket) => void socket.write(ANSWER + LATE);
  const wire = await rig.wire();
  wire.write('GET /held HTTP/1.0\r\nHost: h\r\n\r\n');
  const received = await wire.untilClosed();
  expect(received.endsWith('\r\n\r\nok')).toBe(true);
  expect(received.toLowerCase()).not.toMatch(/x-sum|chunked/);
});
