import { PassThrough } from 'node:stream';
import { create, fromBinary, fromJsonString, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { AcquireRequestSchema, AcquireResponseSchema, ExplainRequestSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { ask } from '../proxy/listener/rig.ts';
import { Recorder } from '../support/fakes/recorder.ts';

/*
 * One key is one budget, one exception of `keys:` and one weight, over every protocol and wherever it stands in a request
 * (src/proxy/text.ts, docs/forward.md "Text"). Bytes that are no UTF-8 are refused where text is said to be UTF-8.
 */

const KEY = 'café';
const UTF8 = Buffer.from(KEY).toString('latin1');
const LATIN1 = Buffer.from(KEY, 'latin1').toString('latin1');
const ESCAPED = 'caf%C3%A9';

const CONFIG = (backend: string) => `
listen: { api: "127.0.0.1:0", grpc: "127.0.0.1:0", health: none, admin: "127.0.0.1:0", proxy: "127.0.0.1:0" }
store: memory
drain: { delay: 0s, grace: 0s }
http: { engine: node }
backends: { shop: { urls: [ "${backend}" ] } }
groups:
  budget: { limits: [ { name: day, window: 1/24h, scope: key, keys: { ${KEY}: 11/24h } } ] }
  one: { limits: [ { name: slot, concurrency: 1 } ], fairness: { by: key, weights: { ${KEY}: 4 } } }
routes:
  - { match: { path: '/path/{tenant}' }, group: budget, key: path tenant, backend: shop }
  - { match: { path: /header }, group: budget, key: header x-tenant, backend: shop }
  - { match: { path: /query }, group: budget, key: query tenant, backend: shop }
  - { match: { path: /one }, group: one, key: header x-tenant, backend: shop }
`;

let running: RunningServer;
let backend: Recorder;
const client = () => new Client(running.addresses['grpc'] ?? '', credentials.createInsecure());
const api = (path: string) => `http://${running.addresses['api']}${path}`;
const proxyPort = () => Number(running.addresses['proxy']?.split(':').at(-1));

beforeEach(async () => {
  backend = await Recorder.start();
  const loaded = loadConfig({ text: CONFIG(backend.url), name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
});
afterEach(async () => {
  await running.drain(true);
  await backend.stop();
});

/** The permit of an answer, or `refused` with its reason. */
async function post(path: string, body?: string | Uint8Array, type = 'application/json'): Promise<string> {
  const response = await fetch(api(path), {
    method: 'POST',
    ...(body === undefined ? {} : { body: new Uint8Array(Buffer.from(body)), headers: { 'content-type': type } }),
  });
  const text = await response.text();
  return response.ok ? ((JSON.parse(text) as { permit: string }).permit ?? '') : `refused ${text}`;
}

const message = (group: string, ttl: string) => fromJsonString(AcquireRequestSchema, JSON.stringify({ group, key: KEY, ttl }));

function grpc(bytes: Uint8Array): Promise<string> {
  const calls = client();
  return new Promise((resolve) => {
    const path = '/sluice.v1.AdmissionService/Acquire';
    const done = (error: ServiceError | null, answer?: Buffer) => {
      calls.close();
      resolve(error === null ? fromBinary(AcquireResponseSchema, answer as Buffer).permit : `refused ${error.code} ${error.details}`);
    };
    calls.makeUnaryRequest(
      path,
      (each: Uint8Array) => Buffer.from(each),
      (each: Buffer) => each,
      bytes,
      done,
    );
  });
}

async function binary(path: string, type: string, bytes: Uint8Array): Promise<string> {
  const response = await fetch(api(path), { method: 'POST', body: new Uint8Array(bytes), headers: { 'content-type': type } });
  const answer = Buffer.from(await response.arrayBuffer());
  // A refusal of gRPC-Web is a frame of trailers alone.
  if (!response.ok || (type.includes('grpc') && answer[0] === 0x80))
    return `refused ${answer
      .subarray(type.includes('grpc') ? 5 : 0)
      .toString()
      .replace('grpc-status: ', '')}`;
  return fromBinary(AcquireResponseSchema, type.includes('grpc') ? answer.subarray(5, 5 + answer.readUInt32BE(1)) : answer).permit;
}

function framed(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

async function forwarded(path: string, tenant?: string): Promise<string> {
  const { status, body } = await ask(proxyPort(), { path, ...(tenant === undefined ? {} : { headers: { 'x-tenant': tenant } }) });
  return status === 200 ? 'forwarded' : `refused ${status} ${body}`;
}

/** Every way to name the key. */
const WAYS: readonly (readonly [name: string, acquire: (group: string, ttl: string) => Promise<string>])[] = [
  ['plain HTTP, in the query', (group, ttl) => post(`/v1/groups/${group}/acquire?ttl=${ttl}&key=${ESCAPED}`)],
  ['plain HTTP, in JSON', (group, ttl) => post(`/v1/groups/${group}/acquire`, JSON.stringify({ key: KEY, ttl }))],
  ['plain HTTP, in JSON with escapes', (group, ttl) => post(`/v1/groups/${group}/acquire`, `{"key":"caf\\u00e9","ttl":"${ttl}"}`)],
  ['Connect, in JSON', (group, ttl) => post('/sluice.v1.AdmissionService/Acquire', JSON.stringify({ group, key: KEY, ttl }))],
  ['Connect, binary', (group, ttl) => binary('/sluice.v1.AdmissionService/Acquire', 'application/proto', toBinary(AcquireRequestSchema, message(group, ttl)))],
  [
    'gRPC-Web',
    (group, ttl) => binary('/sluice.v1.AdmissionService/Acquire', 'application/grpc-web+proto', framed(toBinary(AcquireRequestSchema, message(group, ttl)))),
  ],
  ['gRPC', (group, ttl) => grpc(toBinary(AcquireRequestSchema, message(group, ttl)))],
];
const FORWARDED: readonly (readonly [name: string, send: () => Promise<string>])[] = [
  ['the proxy, in a header in UTF-8', () => forwarded('/header', UTF8)],
  ['the proxy, in a header in Latin-1', () => forwarded('/header', LATIN1)],
  ['the proxy, in the query', () => forwarded(`/query?tenant=${ESCAPED}`)],
  ['the proxy, in the path', () => forwarded(`/path/${ESCAPED}`)],
];

describe('the key café', () => {
  test('has one budget over every protocol, the one that keys: gives it', async () => {
    const admitted: [string, string][] = [];
    for (const [name, acquire] of WAYS) admitted.push([name, await acquire('budget', '0s')]);
    for (const [name, send] of FORWARDED) admitted.push([name, await send()]);
    expect(admitted.filter(([, outcome]) => outcome.startsWith('refused'))).toEqual([]);
    expect(admitted).toHaveLength(11);
    // The budget of eleven is used up, whoever asks; any other key has its own, of one.
    for (const [name, acquire] of WAYS) expect(await acquire('budget', '0s'), name).toMatch(/^refused/);
    for (const [name, send] of FORWARDED) expect(await send(), name).toMatch(/^refused 429/);
    expect(await post('/v1/groups/budget/acquire?ttl=0&key=cafe')).toMatch(/^budget~/);
    expect(await post('/v1/groups/budget/acquire?ttl=0&key=cafe')).toMatch(/^refused/);
  });

  test('has one place in the fair order, with its weight, over every protocol', async () => {
    const admin = `http://${running.addresses['admin']}/v1/groups/one`;
    const waiting = async (count: number) =>
      expect.poll(async () => Number(((await (await fetch(admin)).json()) as { waiting?: number }).waiting ?? 0)).toBe(count);
    const first = await post('/v1/groups/one/acquire?ttl=0&key=first');
    const order: string[] = [];
    const release = (permit: string) => post(`/v1/permits/${permit}/release`, '{"outcome":"used"}');
    const line: Promise<unknown>[] = [];
    const join = async (label: string, asked: Promise<string>) => {
      line.push(
        asked.then(async (outcome) => {
          order.push(outcome.startsWith('refused') ? `${label} ${outcome}` : label);
          if (outcome.includes('~')) await release(outcome);
        }),
      );
      await waiting(line.length);
    };
    for (const _ of [1, 2, 3]) await join('z', post('/v1/groups/one/acquire?ttl=20s&key=z'));
    for (const [, acquire] of WAYS) await join(KEY, acquire('one', '20s'));
    await join(KEY, forwarded('/one', UTF8));
    await release(first);
    await Promise.all(line);
    // Eight of café at a quarter each: two whole turns beside the three of z. Were it several keys, each would have a turn for each of z's.
    expect(order.slice(0, 6).filter((label) => label === KEY).length, order.join(' ')).toBeGreaterThanOrEqual(4);
    expect(order.toSorted()).toEqual([...Array<string>(8).fill(KEY), 'z', 'z', 'z'].toSorted());
  });
});

describe('bytes that are no UTF-8', () => {
  const bad = Buffer.from('caf\xe9', 'latin1');
  const bytes = Buffer.concat([Buffer.from([0x0a, 6]), Buffer.from('budget'), Buffer.from([0x12, bad.length]), bad]);
  const json = Buffer.concat([Buffer.from('{"group":"budget","key":"'), bad, Buffer.from('"}')]);
  const explain = (query: string) =>
    fetch(api(`/sluice.v1.AdmissionService/Explain?connect=v1&${query}`)).then(async (each) => `${each.status} ${await each.text()}`);

  const REFUSED: readonly (readonly [name: string, call: () => Promise<string>])[] = [
    ['plain HTTP, in the query', () => post('/v1/groups/budget/acquire?key=caf%E9')],
    ['plain HTTP, in JSON', () => post('/v1/groups/budget/acquire', json)],
    ['Connect, in JSON', () => post('/sluice.v1.AdmissionService/Acquire', json)],
    ['Connect, binary', () => binary('/sluice.v1.AdmissionService/Acquire', 'application/proto', bytes)],
    ['gRPC-Web', () => binary('/sluice.v1.AdmissionService/Acquire', 'application/grpc-web+proto', framed(bytes))],
    ['gRPC', () => grpc(bytes)],
    ['a lone surrogate in JSON', () => post('/v1/groups/budget/acquire', '{"key":"caf\\ud800"}')],
  ];
  test.each(REFUSED)('are refused, and nothing is charged: %s', async (_name, call) => {
    const outcome = await call();
    expect(outcome).toMatch(/^refused/);
    expect(outcome).toMatch(/malformed|invalid_argument|refused 3\s/);
    // Neither the key in Latin-1 nor the replacement character has been charged.
    for (const key of [ESCAPED, 'caf%EF%BF%BD']) expect(await post(`/v1/groups/budget/acquire?ttl=0&key=${key}`)).toMatch(/^budget~/);
  });

  test.each([
    ['JSON', 'encoding=json&message=%7B%22ask%22:%7B%22group%22:%22budget%22,%22key%22:%22caf%E9%22%7D%7D'],
    ['JSON in base64', `encoding=json&base64=1&message=${Buffer.concat([Buffer.from('{"ask":'), json, Buffer.from('}')]).toString('base64url')}`],
    ['binary', `encoding=proto&base64=1&message=${Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]).toString('base64url')}`],
    ['an escape that is none', 'encoding=json&message=%7B%22ask%22:%7B%22group%22:%22budget%22,%22key%22:%22caf%zz%22%7D%7D'],
  ])('are refused by a GET of Connect: %s', async (_name, query) => {
    expect(await explain(query)).toMatch(/^400 \{"code":"invalid_argument"/);
  });

  test('are taken as what they are by a GET of Connect that escapes UTF-8', async () => {
    const message = toBinary(ExplainRequestSchema, create(ExplainRequestSchema, { ask: { group: 'budget', key: KEY } }));
    expect(await explain(`encoding=proto&base64=1&message=${Buffer.from(message).toString('base64url')}`)).toMatch(/^200/);
    expect(await explain(`encoding=json&message=${encodeURIComponent(JSON.stringify({ ask: { group: 'budget', key: KEY } }))}`)).toMatch(
      /^200 .*"admitted":true/,
    );
  });
});
