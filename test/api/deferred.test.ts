import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { decode } from '../../src/api/connect/codec.ts';
import { SubmitRequestSchema } from '../../src/gen/sluice/v1/deferred_pb.ts';
import { restRequestsRunner } from '../protocol/rest-requests-runner.ts';
import { grpcRunner, wholeRunner } from '../protocol/runners.ts';
import type { Answer, Runner } from '../protocol/table.ts';
import { type DeferredServer, keyFor, ROUTES, startDeferred } from './deferred/server.ts';

/* DeferredService, the same over every protocol. */

const PROTOCOLS: Readonly<Record<string, (server: DeferredServer, key?: string) => Runner>> = {
  'plain HTTP': (server, key) => restRequestsRunner(server.api, key && `Bearer ${key}`),
  'Connect JSON': (server, key) => wholeRunner(server.api, 'Connect JSON', key && `Bearer ${key}`),
  'Connect proto': (server, key) => wholeRunner(server.api, 'Connect proto', key && `Bearer ${key}`),
  'gRPC-Web': (server, key) => wholeRunner(server.api, 'gRPC-Web', key && `Bearer ${key}`),
  gRPC: (server, key) => grpcRunner(server.grpc, key && `Bearer ${key}`),
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const said = (answer: Answer): string => (answer.ok ? 'passes' : (answer.reason ?? answer.message));

describe.each(Object.keys(PROTOCOLS))('over %s', (protocol) => {
  let server: DeferredServer;
  let runner: Runner;
  beforeEach(async () => {
    // Lists answer on api, too, where there are credentials.
    server = await startDeferred({ keys: [keyFor('all', { can: ['acquire', 'read', 'manage'] })] });
    runner = (PROTOCOLS[protocol] as (typeof PROTOCOLS)[string])(server, 'all');
  });
  afterEach(async () => {
    await runner.close();
    await server.stop();
  });
  const call = async (name: string, fields: object): Promise<Record<string, unknown>> => {
    const answer = await runner.call(name, fields as Record<string, unknown>);
    if (!answer.ok) throw new Error(`${name}: ${answer.reason} ${answer.message}`);
    return answer.fields;
  };

  test('a request is stored with every option, waited for, and its response read', async () => {
    const fields = {
      ...{ route: 'erp', method: 'PUT', path: '/erp/7', host: 'erp.example.com', key: 'acme', priorityClass: 'urgent', idempotencyKey: 'k-1' },
      ...{ headers: [{ name: 'X-A', value: '1' }], body: base64('{"n":5}'), notBefore: '2001-09-10T00:00:00Z', deadline: '172800s', timeout: '30s' },
      ...{ attemptsMax: 4, costs: { tokens: 9 }, callback: 'https://me.example.com/' },
    };
    const { id } = await call('Submit', fields);
    expect(server.requests.all[0]?.submission).toMatchObject({
      ...{ route: 'erp', group: 'slots', key: 'acme', priorityClass: 'urgent', host: 'erp.example.com', method: 'PUT', target: '/erp/7', caller: 'all' },
      ...{
        headers: ['X-A', '1', 'Idempotency-Key', '"k-1"'],
        idempotencyKey: 'k-1',
        dedupeId: '',
        notBeforeMs: 1_000_080_000_000,
        deadlineMs: 172_800_000,
        timeoutMs: 30_000,
      },
      ...{ retries: { attemptsMax: 4 }, costs: { tokens: 9 }, callback: 'https://me.example.com/' },
    });
    expect(server.requests.all[0]?.bytes.toString()).toBe('{"n":5}');
    expect(await call('Submit', fields)).toMatchObject({ id, existing: true, expiresAt: expect.stringMatching(/^2030-03-17T17:46:40(\.000)?Z$/) });
    const waits = call('GetRequest', { id, wait: '30s' });
    await expect.poll(() => server.requests.waiting).toBe(1);
    const response = { status: 201, headers: ['X-Made', 'a', 'X-Made', 'b'], body: Buffer.from('made'), truncated: true };
    const tries = [{ number: 1, at: 1_800_000_001_000, status: 201, error: '', firstBytes: Buffer.from('made'), nextAt: 0 }];
    server.requests.change(String(id), { state: 'done', attempts: 1, response, tries, goneAt: 1_800_003_600_000, callback: 'pending' });
    expect(await waits).toMatchObject({
      request: {
        ...{ id, state: 'REQUEST_STATE_DONE', group: 'slots', key: 'acme', route: 'erp', method: 'PUT', path: '/erp/7', bodyBytes: '7', attempts: 1 },
        ...{
          acceptedAt: expect.stringMatching(/^2027-01-15T08:00:00\.001/),
          notBefore: expect.stringMatching(/^2001-09-10/),
          callbackState: 'CALLBACK_STATE_PENDING',
        },
        tries: [{ number: 1, status: 201, firstBytes: base64('made') }],
        response: {
          status: 201,
          headers: [
            { name: 'X-Made', value: 'a' },
            { name: 'X-Made', value: 'b' },
          ],
          body: base64('made'),
          truncated: true,
        },
      },
    });
  });

  test('delays, dedupe and the next attempt', async () => {
    const { id } = await call('Submit', { path: '/hooks/a', retryDelays: { delays: ['1s', '0.5s'] }, dedupeId: 'd' });
    expect(server.requests.all[0]?.submission).toMatchObject({ route: 'hooks', group: 'open', key: 'a', retries: { delaysMs: [1_000, 500] }, dedupeId: 'd' });
    expect(await call('Submit', { path: '/hooks/a', body: base64('other'), dedupeId: 'd' })).toMatchObject({ id, existing: true });
    server.requests.change(String(id), { attempts: 1, error: 'connect', nextAttemptAt: Date.UTC(2001, 8, 9, 2), waitsFor: 'backend' });
    const { request } = (await call('GetRequest', { id })) as { request: { failure: string; nextAttemptAfter: string; waitsFor: string } };
    expect([request.failure, Number.parseFloat(request.nextAttemptAfter)]).toEqual(['connect', expect.closeTo(800, -2)]);
    expect(request.waitsFor).toBe('REQUEST_WAIT_BACKEND');
  });

  test('cancel, list and redrive', async () => {
    const ids: string[] = [];
    for (const key of ['a', 'b', 'a']) ids.push(String((await call('Submit', { path: '/erp/1', key }))['id']));
    server.requests.change(ids[0] as string, { state: 'sending' });
    expect(await call('CancelRequest', { id: ids[0] })).toEqual({ cancelled: true, aborted: true });
    for (const id of ids.slice(1)) server.requests.change(id, { state: 'dead', error: 'status_400', tries: [] });
    const list = async (fields: object) => {
      const { requests = [], nextPageToken = '' } = (await call('ListRequests', fields)) as { requests?: { id: string }[]; nextPageToken?: string };
      return [requests.map(({ id }) => id), nextPageToken];
    };
    expect(await list({ state: 'REQUEST_STATE_DEAD', group: 'slots', key: 'a', failure: 'status_400', since: '2027-01-01T00:00:00Z' })).toEqual([[ids[2]], '']);
    expect(await list({ state: 'REQUEST_STATE_DEAD', until: '2027-01-01T00:00:00Z' })).toEqual([[], '']);
    const [first, token] = await list({ state: 'REQUEST_STATE_DEAD', pageSize: 1 });
    expect([first, await list({ state: 'REQUEST_STATE_DEAD', pageSize: 1, pageToken: token })]).toEqual([[ids[1]], [[ids[2]], '']]);
    expect(await call('Redrive', { id: ids[1] })).toMatchObject({ redriven: 1 });
    expect(await call('Redrive', { group: 'slots', failure: 'status_400', max: 10 })).toMatchObject({ redriven: 1 });
    expect(await list({ state: 'REQUEST_STATE_PENDING' })).toEqual([ids.slice(1), '']);
  });

  test.each<[string, string, object, string, string]>([
    ['no path', 'Submit', {}, 'MALFORMED', 'invalid_argument'],
    ['a retry of no attempts', 'Submit', { path: '/erp/1', attemptsMax: 0 }, 'MALFORMED', 'invalid_argument'],
    ['a negative deadline', 'Submit', { path: '/erp/1', deadline: '-1s' }, 'MALFORMED', 'invalid_argument'],
    ['an unknown route', 'Submit', { path: '/erp/1', route: 'none' }, 'UNKNOWN_GROUP', 'not_found'],
    ['a body above the maximum of its route', 'Submit', { path: '/only/1', body: base64('12345678901') }, 'TOO_LARGE', 'resource_exhausted'],
    ['an unknown id', 'GetRequest', { id: '1-0' }, 'UNKNOWN_REQUEST', 'not_found'],
    ['to cancel an unknown id', 'CancelRequest', { id: '1-0' }, 'UNKNOWN_REQUEST', 'not_found'],
    ['a page of 1001', 'ListRequests', { pageSize: 1001 }, 'MALFORMED', 'invalid_argument'],
    ['a page token that is not one of ours', 'ListRequests', { pageToken: 'abc' }, 'MALFORMED', 'invalid_argument'],
    ['to redrive from a token that is not one of ours', 'Redrive', { max: 1, pageToken: 'abc' }, 'MALFORMED', 'invalid_argument'],
    ['a redrive without end', 'Redrive', { group: 'slots' }, 'MALFORMED', 'invalid_argument'],
  ])('refuses %s', async (_name, method, fields, reason, code) => {
    expect(await runner.call(method, fields as Record<string, unknown>)).toMatchObject({
      ok: false,
      reason,
      code,
      message: expect.stringMatching(/^[A-Z`].*\.$/s),
    });
  });

  test('conflict, gone and unstored have their codes, and unstored its pause', async () => {
    const { id } = await call('Submit', { path: '/erp/1', idempotencyKey: 'k' });
    const answers = [await runner.call('Submit', { path: '/erp/2', idempotencyKey: 'k' }), await runner.call('Redrive', { id })];
    server.requests.gone.add(String(id));
    answers.push(await runner.call('GetRequest', { id }));
    server.requests.script = () => ({ reason: 'unstored' });
    answers.push(await runner.call('Submit', { path: '/erp/3' }));
    expect(answers.map((answer) => !answer.ok && [answer.reason, answer.code, answer.retry])).toEqual([
      ['CONFLICT', 'already_exists', false],
      ['CONFLICT', 'already_exists', false],
      ['GONE', 'not_found', false],
      ['UNSTORED', 'unavailable', true],
    ]);
  });
});

test.each(['notBefore', 'not_before'])('Connect in JSON takes no %s of a day that does not exist', (name) => {
  const decoded = (time: unknown) => decode(SubmitRequestSchema, Buffer.from(JSON.stringify({ path: '/erp/1', [name]: time })), true);
  expect(decoded('2027-02-28T00:00:00Z')).toMatchObject({ notBefore: { seconds: 1_803_772_800n } });
  for (const time of ['2027-02-30T00:00:00Z', '2027-01-01T24:00:00Z', '2027-02-30', 7]) expect(decoded(time)).toMatchObject({ reason: 'malformed' });
});

describe('messages', () => {
  let server: DeferredServer;
  beforeAll(async () => {
    server = await startDeferred({ routes: ROUTES });
  });
  afterAll(() => server.stop());

  test.each(Object.keys(PROTOCOLS).slice(1))('over %s Submit takes a body of 1 MiB and no more, other calls 64 KiB', async (protocol) => {
    const runner = (PROTOCOLS[protocol] as (typeof PROTOCOLS)[string])(server);
    const submit = (bytes: number) => runner.call('Submit', { path: '/erp/1', body: Buffer.alloc(bytes, 'x').toString('base64') });
    expect(said(await submit(1 << 20))).toBe('passes');
    expect(server.requests.all.at(-1)?.bytes.byteLength).toBe(1 << 20);
    expect(await submit((1 << 20) + 1)).toMatchObject({
      ok: false,
      code: 'resource_exhausted',
      reason: 'TOO_LARGE',
      message: expect.stringContaining('POST /v1/requests'),
    });
    expect(await runner.call('GetRequest', { id: 'x'.repeat(70_000) })).toMatchObject({ ok: false, code: 'resource_exhausted' });
    expect(await submit(3 << 20)).toMatchObject({ ok: false, code: 'resource_exhausted' });
    await runner.close();
  });

  test('twelve submissions of 1 MiB on one gRPC connection are no flood', async () => {
    const runner = grpcRunner(server.grpc);
    const body = Buffer.alloc(1 << 20, 'x').toString('base64');
    const answers = await Promise.all(Array.from({ length: 12 }, () => runner.call('Submit', { path: '/erp/1', body })));
    expect(answers.map(said)).toEqual(Array.from({ length: 12 }, () => 'passes'));
    await runner.close();
  });
});

test.each(Object.keys(PROTOCOLS))('over %s every call says that no route is deferred, where none is', async (protocol) => {
  const server = await startDeferred({ off: true });
  const runner = (PROTOCOLS[protocol] as (typeof PROTOCOLS)[string])(server);
  for (const [method, fields] of [
    ['Submit', { path: '/erp/1' }],
    ['GetRequest', { id: '1-0' }],
    ['CancelRequest', { id: '1-0' }],
    ['ListRequests', {}],
    ['Redrive', { id: '1-0' }],
  ] as const) {
    const answer = await runner.call(method, fields);
    expect(answer).toMatchObject({ ok: false, message: expect.stringContaining('none of its routes has `mode: deferred`') });
    if (protocol !== 'plain HTTP') expect(answer).toMatchObject({ code: 'unimplemented' });
    else expect(answer).toMatchObject({ http: 404 });
  }
  await runner.close();
  await server.stop();
});
