import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../http/broken-rig.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* What an answer says of its costs, where it is compressed, giant or nonsense: settled or as asked, counted, passed on byte by byte. */

const ASKED = 500;

let rig: ProxyRig;
/** What the backend answers: type, body, and whether it is compressed though nobody accepts it. */
let answer: { readonly type: string; readonly body: string; readonly compress?: 'accepted' | 'always' };

beforeEach(async () => {
  rig = await proxyRig(
    `backends: { shop: { urls: [ BACKEND ] } }
groups: { g: { limits: [ { name: tpm, window: 1000/1h, unit: tokens }, { name: slots, concurrency: 4 } ], ttl: { default: 0 } } }
routes: [ { match: { path: /settled }, group: g, costs: { tokens: { default: ${ASKED}, settle: json usage.total_tokens } }, backend: shop }, { match: { path: /* }, backend: shop } ]
`,
    ({ headers }, socket) => {
      const accepts = headers.some(([name, value]) => name.toLowerCase() === 'accept-encoding' && value.includes('gzip'));
      const packed = answer.compress === 'always' || (answer.compress === 'accepted' && accepts);
      const bytes = packed ? gzipSync(answer.body) : Buffer.from(answer.body);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${answer.type}\r\n${packed ? 'Content-Encoding: gzip\r\n' : ''}Content-Length: ${bytes.length}\r\n\r\n`);
      socket.write(bytes);
    },
  );
});
afterEach(() => rig.stop());

const used = async (): Promise<number> => Number((await rig.group('g')).limits[0]?.used);
const missing = (): Promise<number> => rig.metric('sluice_forward_costs_missing_total{route="/settled",unit="tokens",stage="settle"}');
const ask = (path = '/settled') => rig.ask({ path, headers: { 'accept-encoding': 'gzip, br' } });

const JSON_TYPE = 'application/json';
const SSE = 'text/event-stream';
const usage = (more: object = {}): string => JSON.stringify({ ...more, usage: { total_tokens: 7 } });

describe('usage is settled', () => {
  test.each([
    ['of JSON that would be compressed', JSON_TYPE, usage(), 'accepted'],
    ['of JSON of 900 KB, at its end', JSON_TYPE, usage({ data: 'x'.repeat(900_000) }), undefined],
    ['of events that would be compressed', SSE, `data: {"delta":"x"}\n\ndata: ${usage()}\n\ndata: [DONE]\n\n`, 'accepted'],
    ['of the last events of 8 MB', SSE, `${`data: {"delta":"${'x'.repeat(1000)}"}\n\n`.repeat(8_000)}data: ${usage()}\n\ndata: [DONE]\n\n`, undefined],
    ['of an event of 60 KB', SSE, `data: {"delta":"x"}\n\ndata: ${usage({ data: 'x'.repeat(60_000) })}\n\n`, undefined],
  ] as const)('%s', async (_what, type, body, compress) => {
    answer = { type, body, ...(compress === undefined ? {} : { compress }) };
    const got = await ask();
    expect([got.status, got.headers['content-encoding'], got.body === body]).toEqual([200, undefined, true]);
    await until(async () => (await used()) === 7, used);
    expect([await missing(), (await rig.group('g')).leases]).toEqual([0, 0]);
  });

  test('routes that settle nothing leave to the caller what it accepts', async () => {
    answer = { type: JSON_TYPE, body: usage(), compress: 'accepted' };
    expect((await ask('/other')).headers['content-encoding']).toBe('gzip');
  });
});

describe('the ask stands, and is counted', () => {
  test.each([
    ['where a backend compresses all the same', JSON_TYPE, usage(), 'always'],
    ['with JSON of 2 MB', JSON_TYPE, usage({ data: 'x'.repeat(2_000_000) }), undefined],
    ['with an event of 1 MB', SSE, `data: {"delta":"x"}\n\ndata: ${usage({ data: 'x'.repeat(1_000_000) })}\n\n`, undefined],
    ['with half a million brackets', JSON_TYPE, '['.repeat(500_000), undefined],
    ['with events of nothing', SSE, '\n\n'.repeat(500_000), undefined],
    ['with a number below nought', JSON_TYPE, '{"usage":{"total_tokens":-1}}', undefined],
    ['with a number that is none', JSON_TYPE, '{"usage":{"total_tokens":1e999}}', undefined],
    ['with a broken one', JSON_TYPE, '{"usage":{"total_tok', undefined],
    ['with none', JSON_TYPE, '', undefined],
  ] as const)('%s', async (_what, type, body, compress) => {
    answer = { type, body, ...(compress === undefined ? {} : { compress }) };
    const got = await ask();
    expect([got.status, got.headers['content-encoding']]).toEqual([200, compress && 'gzip']);
    if (compress === undefined) expect(got.body === body).toBe(true);
    await until(async () => (await missing()) === 1, missing);
    expect([await used(), (await rig.group('g')).leases]).toEqual([ASKED, 0]);
  });
});
