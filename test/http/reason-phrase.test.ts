import { STATUS_CODES } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reasonPhrase } from '../../src/http/reason-phrase.ts';
import { type ProxyRig, proxyRig } from '../proxy/listener/rig.ts';

/* What a backend writes behind its status never breaks out of the status line, and never costs the caller its answer. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { slots: { limits: [ { name: slots, concurrency: 1 } ] } }
routes: [ { match: { path: /* }, group: slots, backend: shop } ]
`;

/** Bytes of a phrase, each as one Latin-1 character. */
const utf8 = (text: string): string => Buffer.from(text).toString('latin1');

/** By name: the phrase on the wire, and the one the caller gets for 404. */
const PHRASES: readonly (readonly [name: string, came: string, told: string])[] = [
  ['ASCII', 'No Such Thing', 'No Such Thing'],
  ['nothing', '', ''],
  ['Latin-1', 'Nicht verf\xfcgbar', 'Not Found'],
  ['Cyrillic', utf8('Не найдено'), 'Not Found'],
  ['UTF-8 within Latin-1', utf8('Déplacé'), 'Not Found'],
  ['U+010D U+010A, which cut down to bytes are CR LF', `x${utf8('\u010d\u010a')}X-Injected: 1`, 'Not Found'],
  ['a control character', 'x\x07y', 'Not Found'],
  ['a delete', 'x\x7fy', 'Not Found'],
  ['300 characters', 'y'.repeat(300), 'Not Found'],
];

let rig: ProxyRig;
let answer = '';
beforeEach(async () => {
  rig = await proxyRig(CONFIG, (_request, socket) => void socket.write(Buffer.from(answer, 'latin1')));
});
afterEach(() => rig.stop());

const GET = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n';
const UPGRADE = 'GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n';

describe.each(PHRASES)('a reason phrase of %s', (_name, came, told) => {
  test('leaves the answer whole', async () => {
    answer = `HTTP/1.1 404 ${came}\r\nContent-Length: 2\r\n\r\nno`;
    const wire = await rig.wire();
    wire.write(GET);
    const text = await wire.until((received) => received.endsWith('\r\n\r\nno'));
    expect(text.split('\r\n')[0]).toBe(`HTTP/1.1 404 ${told}`);
    expect(text).not.toMatch(/X-Injected/);
  });

  test('adds nothing to an interim answer', async () => {
    answer = `HTTP/1.1 103 ${came}\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`;
    const wire = await rig.wire();
    wire.write(GET);
    const text = await wire.until((received) => received.endsWith('\r\n\r\nok'));
    expect(text.split('\r\n').slice(0, 3)).toEqual([`HTTP/1.1 103 ${told === 'Not Found' ? 'Early Hints' : told}`, 'Link: a', '']);
    expect(wire.answers).toBe(1);
  });

  test('leaves the answer to a refused upgrade whole', async () => {
    answer = `HTTP/1.1 404 ${came}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno`;
    const wire = await rig.wire();
    wire.write(UPGRADE);
    const text = await wire.until((received) => received.endsWith('no'));
    expect(text.split('\r\n')[0]).toBe(`HTTP/1.1 404 ${told}`);
    expect(text).not.toMatch(/\r\nX-Injected/);
  });
});

test('a forged answer within the phrase of a 103 stays one line', async () => {
  const split = utf8('\u010d\u010a');
  answer = `HTTP/1.1 103 x${split}${split}HTTP/1.1 200 OK${split}Content-Length: 5${split}${split}evil!\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`;
  const wire = await rig.wire();
  wire.write(GET);
  await wire.until((received) => received.endsWith('\r\n\r\nok'));
  expect([wire.answers, wire.received.includes('evil!')]).toEqual([1, false]);
  expect(rig.logged()).not.toMatch(/"event":"fault"/);
});

test.each(['\x00', '\x07', '\x7f'])('an upgrade whose answer holds %j in a field is refused with 502, and its slot is free', async (byte) => {
  answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: a${byte}b\r\n\r\n`;
  const wire = await rig.wire();
  wire.write(UPGRADE);
  expect(await wire.untilClosed()).toMatch(/^HTTP\/1\.1 502 /);
  await rig.shows('slots', { leases: 0 });
});

test.each([
  ['a request', GET],
  ['an upgrade', UPGRADE],
])('%s whose backend answers with a status of 099 is answered 502', async (_name, asked) => {
  answer = 'HTTP/1.1 099 Odd\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno';
  rig.backend.respond = (_request, socket) => void socket.end(Buffer.from(answer, 'latin1'));
  const wire = await rig.wire();
  wire.write(asked);
  expect(await wire.until((received) => /\r\n\r\n/.test(received))).toMatch(/^HTTP\/1\.1 502 /);
  await rig.shows('slots', { leases: 0 });
});

test('only tabs and visible ASCII of at most 256 characters are kept', () => {
  for (let code = 0; code < 0x300; code++) {
    const text = `a${String.fromCharCode(code)}b`;
    const kept = code === 9 || (code >= 0x20 && code < 0x7f);
    expect(reasonPhrase(404, text)).toBe(kept ? text : STATUS_CODES[404]);
  }
  expect(reasonPhrase(200, 'y'.repeat(256))).toBe('y'.repeat(256));
  expect(reasonPhrase(200, 'y'.repeat(257))).toBe('OK');
  expect(reasonPhrase(299, '\xfc')).toBe('');
});
