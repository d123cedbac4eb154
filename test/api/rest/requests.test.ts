import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { submitRoute } from '../../support/fakes/deferred.ts';
import { type DeferredServer, keyFor, startDeferred } from '../deferred/server.ts';

/* Deferred requests over plain HTTP, on a whole set of listeners before fakes. */

let server: DeferredServer;

beforeEach(async () => {
  server = await startDeferred();
});
afterEach(() => server.stop());

interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, base = server.api): Promise<Answered> {
  const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
  const type: Record<string, string> = body === undefined ? {} : { 'Content-Type': 'application/json' };
  const response = await fetch(base + path, { method, ...sent, headers: { ...type, ...headers }, redirect: 'manual' });
  const text = await response.text();
  const isJson = /json/.test(response.headers.get('content-type') ?? '') && !/ndjson/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, json: isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {} };
}

const submit = (fields: object = {}, headers: Record<string, string> = {}) => ask('POST', '/v1/requests', { path: '/erp/orders', ...fields }, headers);
const stored = () => server.requests.all.at(-1)?.submission;

async function ticket(fields: object = {}): Promise<string> {
  const { json } = await submit(fields);
  return String(json['id']);
}

describe('POST /v1/requests', () => {
  test('answers 202, a Location and the ticket as a line of JSON', async () => {
    const { status, headers, text, json } = await submit({ headers: { 'X-Tenant': 'acme', 'X-Many': ['a', 'b'] }, body: '{"n":3}' });
    expect([status, headers.get('location'), text.endsWith('\n')]).toEqual([202, `/v1/requests/${json['id']}`, true]);
    expect(json).toEqual({ id: expect.any(String), existing: false, location: `/v1/requests/${json['id']}` });
    expect(headers.get('ratelimit-policy')).toContain('"slots"');
    expect(stored()).toMatchObject({
      ...{ route: 'erp', group: 'slots', key: 'acme', method: 'POST', target: '/erp/orders', costs: { tokens: 3 }, caller: '', priorityClass: undefined },
      headers: ['X-Tenant', 'acme', 'X-Many', 'a', 'X-Many', 'b'],
    });
    expect(server.requests.all[0]?.bytes.toString()).toBe('{"n":3}');
  });

  test('takes every option, in camelCase and in snake_case', async () => {
    const options = {
      ...{ route: 'erp', key: 'zeta', class: 'urgent', host: 'erp.example.com', method: 'PUT', body_base64: 'AAECAw==', not_before: '2001-09-09T02:00:00Z' },
      ...{ deadline: '1h', timeout: '1500ms', retry_delays: ['1s', '5s'], costs: { tokens: 9 }, dedupe_id: 'd-1', callback: 'https://me.example.com/done?x=1' },
    };
    expect((await submit(options)).status).toBe(202);
    expect(stored()).toMatchObject({
      ...{ key: 'zeta', priorityClass: 'urgent', host: 'erp.example.com', method: 'PUT', notBeforeMs: 1_000_000_800_000 },
      ...{ deadlineMs: 3_600_000, timeoutMs: 1_500, retries: { delaysMs: [1_000, 5_000] }, costs: { tokens: 9 }, dedupeId: 'd-1' },
      callback: 'https://me.example.com/done?x=1',
    });
    expect([...(server.requests.all[0]?.bytes ?? [])]).toEqual([0, 1, 2, 3]);
    expect((await submit({ retries: 3 })).status).toBe(202);
    expect(stored()?.retries).toEqual({ attemptsMax: 3 });
    expect((await submit({ retries: ['0', '1m'] })).status).toBe(202);
    expect(stored()?.retries).toEqual({ delaysMs: [0, 60_000] });
  });

  test.each([
    ['by its path alone', { path: '/hooks/acme' }, { route: 'hooks', group: 'open', key: 'acme' }],
    ['by its group', { group: 'open', path: '/hooks/b', headers: { 'x-class': 'urgent' } }, { route: 'hooks', key: 'b', priorityClass: 'urgent' }],
    ['a class that the group does not have counts as none', { path: '/hooks/b', headers: { 'x-class': 'gold' } }, { priorityClass: undefined }],
    ['the host of its route', { path: '/only/x' }, { route: 'hosted', host: 'shop.example.com' }],
    ['an other spelling of its path', { path: '/ERP/orders' }, { route: 'erp' }],
  ])('finds the route %s', async (_name, fields, expected) => {
    expect((await submit(fields)).status).toBe(202);
    expect(stored()).toMatchObject(expected);
  });

  test.each<[string, object, number, string]>([
    ['no path', { path: '' }, 400, '`path` is missing'],
    ['a path that is no path', { path: 'erp' }, 400, '`path` must begin'],
    ['a path with a line break', { path: '/erp/a\r\nX: y' }, 400, '`path` must begin'],
    ['a path of 8,193 bytes', { path: `/erp/${'a'.repeat(8188)}` }, 400, '8192'],
    ['a path that servers read in different ways', { path: '/erp/%2e%2e/admin' }, 400, 'dot'],
    ['a path to another route of the backend', { route: 'erp', path: '/admin' }, 400, 'does not take'],
    ['a path that no route takes', { path: '/admin' }, 404, 'No deferred route takes'],
    ['a route that is not there', { route: 'none' }, 404, 'is called "none"'],
    ['a group without deferred routes', { group: 'spaced' }, 404, 'group "spaced"'],
    ['a group that is no name', { group: 'a/b' }, 400, '`group` must be'],
    ['route and group', { route: 'erp', group: 'slots' }, 400, 'not both'],
    ['another host', { path: '/only/x', host: 'evil.example.com' }, 404, 'No deferred route'],
    ['a host that is none', { host: 'user@host' }, 400, '`host`'],
    ['CONNECT', { method: 'CONNECT' }, 400, 'CONNECT'],
    ['a method that is none', { method: 'P T' }, 400, '`method`'],
    ['a header that frames', { headers: { 'Content-Length': '3' } }, 400, 'Content-Length'],
    ['a header of a connection', { headers: { connection: 'x-a' } }, 400, 'connection'],
    ['a header of ours', { headers: { 'Sluice-Fence': '9' } }, 400, 'Sluice-Fence'],
    ['a header that says who it came from', { headers: { 'X-Forwarded-For': '1.1.1.1' } }, 400, 'X-Forwarded-For'],
    ['a header that says whom it came through', { headers: { via: '1.1 x' } }, 400, 'via'],
    ['a header with a line break', { headers: { 'x-a': 'a\r\nb: c' } }, 400, 'x-a'],
    ['a header that is no name', { headers: { 'x a': 'b' } }, 400, 'token'],
    ['101 headers', { headers: Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`x-${n}`, 'v'])) }, 400, '100'],
    ['a header of a number', { headers: { 'x-a': 1 } }, 400, '`headers`'],
    ['66 KB of headers', { headers: Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`x-${n}`, 'v'.repeat(7_400)])) }, 400, '65536'],
    ['a body that is an object', { body: { a: 1 } }, 400, '`body` must be a text'],
    ['two bodies', { body: 'a', bodyBase64: 'YQ==' }, 400, 'not both'],
    ['base64 that is none', { bodyBase64: 'a*==' }, 400, 'base64'],
    ['a body above the maximum of its route', { path: '/only/x', body: '12345678901' }, 413, 'at most 10 bytes'],
    ['a key of 257 bytes', { key: 'k'.repeat(257) }, 400, '`key`'],
    ['a key that does not print', { key: 'a\u0007' }, 400, '`key`'],
    ['a header as key that cannot be one', { headers: { 'x-tenant': 'k'.repeat(300) } }, 400, 'key'],
    ['a cost of less than nothing', { costs: { tokens: -1 } }, 400, 'tokens'],
    ['a cost that is no number', { costs: { tokens: 'many' } }, 400, 'tokens'],
    ['a time without zone', { notBefore: '2030-01-01T00:00:00' }, 400, '`not_before`'],
    ['a day that does not exist', { notBefore: '2001-09-31T00:00:00Z' }, 400, '`not_before`'],
    ['the hour 24', { notBefore: '2001-09-10T24:00:00Z' }, 400, '`not_before`'],
    ['a time far away', { notBefore: '2030-01-01T00:00:00Z' }, 400, '365 days'],
    ['a deadline without unit', { deadline: 30 }, 400, 'unit'],
    ['a deadline of half a second', { deadline: '500ms' }, 400, '`deadline`'],
    ['a deadline of 366 days', { deadline: '366d' }, 400, '`deadline`'],
    ['a timeout of 99 ms', { timeout: '99ms' }, 400, '`timeout`'],
    ['no attempts', { retries: 0 }, 400, '`attempts_max`'],
    ['retries twice', { retries: 2, retryDelays: ['1s'] }, 400, 'not both'],
    ['101 delays', { retries: Array.from({ length: 101 }, () => '1s') }, 400, '100'],
    ['a callback to a file', { callback: 'file:///etc/passwd' }, 400, '`callback`'],
    ['a callback with a password', { callback: 'https://a:b@c.example.com/' }, 400, '`callback`'],
    ['a misspelt member', { pth: '/x' }, 400, '`pth`'],
    ['a key and a dedupe id', { idempotencyKey: 'a', dedupeId: 'b' }, 400, 'not both'],
  ])('refuses %s', async (_name, fields, status, detail) => {
    const answered = await submit(fields);
    expect(answered.json['detail']).toContain(detail);
    expect([answered.status, answered.headers.get('content-type'), answered.text.endsWith('\n')]).toEqual([status, 'application/problem+json', true]);
    expect(server.requests.all).toEqual([]);
  });

  test.each([
    ['no JSON', '{"path":', {}, 400],
    ['a list', '[]', {}, 400],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), {}, 400],
    ['another type', '{}', { 'Content-Type': 'text/plain' }, 415],
    ['compression', '{}', { 'Content-Encoding': 'gzip' }, 415],
    ['a key that is no text', '{}', { 'Idempotency-Key': '"a' }, 400],
    ['an empty key', '{}', { 'Idempotency-Key': '""' }, 400],
    ['two keys', '{}', { 'Idempotency-Key': '"a", "b"' }, 400],
  ])('refuses a body of %s', async (_name, body, headers: Record<string, string>, status) => {
    const response = await fetch(`${server.api}/v1/requests`, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body });
    expect([response.status, response.headers.get('content-type')]).toEqual([status, 'application/problem+json']);
  });

  test('the same Idempotency-Key and request answers the same ticket, another request under it 422', async () => {
    const first = await submit({ body: 'a' }, { 'Idempotency-Key': '"k\\"1"' });
    const again = await submit({ body: 'a' }, { 'Idempotency-Key': '"k\\"1"' });
    expect(stored()).toMatchObject({ idempotencyKey: 'k"1', headers: ['Idempotency-Key', '"k\\"1"'] });
    expect([again.status, again.json]).toEqual([202, { ...first.json, existing: true, expiresAt: '2030-03-17T17:46:40.000Z' }]);
    const other = await submit({ body: 'b' }, { 'Idempotency-Key': '"k\\"1"' });
    expect([other.status, other.json['reason'], other.json['status']]).toEqual([422, 'conflict', 422]);
    // Without its quotes it is the same key, as in the body.
    await submit({}, { 'Idempotency-Key': 'plain-1' });
    expect((await submit({ idempotencyKey: 'plain-1' })).json['existing']).toBe(true);
    expect((await submit({ idempotencyKey: 'x' }, { 'Idempotency-Key': 'y' })).status).toBe(400);
  });

  test('a route whose senders sign takes no request here without credentials, and its own id of a delivery', async () => {
    await server.stop();
    const route = { ...submitRoute('shop', '/shop/*', { group: 'open' }), signed: true, dedupe: { from: 'header', name: 'x-id' } as const };
    server = await startDeferred({ routes: [route] });
    expect(await submit({ path: '/shop/1' })).toMatchObject({ status: 403, json: { reason: 'forbidden', detail: expect.stringContaining('signed') } });
    await server.stop();
    server = await startDeferred({ routes: [route], keys: [keyFor('me', {})] });
    const mine = (fields: object) => submit({ path: '/shop/1', headers: { 'X-Id': 'd-1' }, ...fields }, { Authorization: 'Bearer me' });
    const { json } = await mine({});
    expect(stored()?.dedupeId).toBe('d-1');
    expect((await mine({ body: 'again' })).json).toMatchObject({ id: json['id'], existing: true });
  });

  test.each([
    ['unstored', 503, '1'],
    ['draining', 503, null],
    ['oversized', 400, null],
  ] as const)('a refusal of the store, %s, is %i', async (reason, status, retry) => {
    server.requests.script = () => ({ reason });
    const answered = await submit();
    expect([answered.status, answered.json['reason'], answered.headers.get('retry-after')]).toEqual([
      status,
      reason,
      retry === null ? null : expect.stringMatching(/^[12]$/),
    ]);
  });

  test('takes a body of 4 MiB, and refuses one above its bound as a problem', async () => {
    expect((await submit({ body: 'x'.repeat(4 << 20) })).status).toBe(202);
    expect(server.requests.all[0]?.bytes.byteLength).toBe(4 << 20);
    const over = await ask('POST', '/v1/requests', `{"body":"${'x'.repeat(16 << 20)}"}`);
    expect([over.status, over.json['reason']]).toEqual([413, 'too_large']);
    // Other paths keep their own bound.
    expect((await ask('POST', '/v1/groups/slots/pause', `{"key":"${'x'.repeat(70_000)}"}`, {}, server.admin)).status).toBe(413);
  });
});

describe('GET /v1/requests/{id}', () => {
  const RESPONSE = {
    status: 201,
    headers: ['Content-Type', 'text/plain', 'X-Made', 'a', 'Set-Cookie', 's=1', 'Content-Length', '99', 'Connection', 'close'],
    body: Buffer.from('made'),
    truncated: false,
  };

  test('shows a pending request with Retry-After', async () => {
    const id = await ticket();
    const { status, headers, json } = await ask('GET', `/v1/requests/${id}`);
    expect([status, headers.get('retry-after')]).toEqual([200, '1']);
    expect(json).toEqual({
      ...{ id, state: 'pending', group: 'slots', key: '', route: 'erp', method: 'POST', path: '/erp/orders', bodyBytes: 0 },
      ...{ acceptedAt: '2027-01-15T08:00:00.001Z', attempts: 0 },
    });
  });

  test('waits for the end where Prefer says so, 60 s at most, and leaves with its caller', async () => {
    const id = await ticket();
    const waits = ask('GET', `/v1/requests/${id}`, undefined, { Prefer: 'wait=30' });
    await expect.poll(() => server.requests.waiting).toBe(1);
    server.requests.change(id, { state: 'done', attempts: 1, response: RESPONSE });
    const { status, headers } = await waits;
    expect([status, headers.get('preference-applied'), headers.get('location')]).toEqual([303, 'wait=30', `/v1/requests/${id}/response`]);
    const other = await ticket({ path: '/erp/2' });
    const left = new AbortController();
    const gone = fetch(`${server.api}/v1/requests/${other}`, { headers: { Prefer: 'wait=500' }, signal: left.signal }).catch(() => 'left');
    await expect.poll(() => server.requests.waiting).toBe(1);
    left.abort();
    expect(await gone).toBe('left');
    await expect.poll(() => server.requests.waiting).toBe(0);
  });

  test('a drain answers those who wait with the state', async () => {
    const id = await ticket();
    const waits = ask('GET', `/v1/requests/${id}`, undefined, { Prefer: 'wait=60' });
    await expect.poll(() => server.requests.waiting).toBe(1);
    await server.stop(10_000);
    expect(await waits).toMatchObject({ status: 200, json: { state: 'pending' } });
  });

  test('a done request redirects to its response, or gives it directly, or its state', async () => {
    const id = await ticket();
    server.requests.change(id, { state: 'done', attempts: 2, response: RESPONSE, goneAt: 1_800_003_600_000 });
    const redirect = await ask('GET', `/v1/requests/${id}`);
    expect([redirect.status, redirect.headers.get('location'), redirect.json['state']]).toEqual([303, `/v1/requests/${id}/response`, 'done']);
    for (const path of [`/v1/requests/${id}/response`, `/v1/requests/${id}?response=direct`]) {
      const direct = await ask('GET', path);
      expect([direct.status, direct.text]).toEqual([201, 'made']);
      expect(Object.fromEntries(direct.headers)).toMatchObject({
        ...{ 'content-type': 'text/plain', 'x-made': 'a', 'content-length': '4', 'sluice-request-id': id, 'sluice-attempts': '2' },
        ...{ 'cache-control': 'no-store', 'content-security-policy': 'sandbox', 'x-content-type-options': 'nosniff' },
      });
      expect(direct.headers.get('set-cookie')).toBeNull();
    }
    const state = await ask('GET', `/v1/requests/${id}?response=state`);
    expect([state.status, state.json['response'], state.json['goneAt']]).toEqual([
      200,
      expect.objectContaining({ status: 201, bytes: 4, location: `/v1/requests/${id}/response` }),
      '2027-01-15T09:00:00.000Z',
    ]);
    expect((await ask('GET', `/v1/requests/${id}?response=xml`)).status).toBe(400);
    expect((await fetch(`${server.api}/v1/requests/${id}/response`, { method: 'HEAD' })).status).toBe(201);
  });

  test.each([
    [204, '', 'made'],
    [304, '', 'made'],
    [199, 'made', 'made'],
  ])('a stored answer of %i is passed on as HTTP can', async (status, text) => {
    const id = await ticket();
    server.requests.change(id, { state: 'done', attempts: 1, response: { ...RESPONSE, status, truncated: true } });
    const answered = await ask('GET', `/v1/requests/${id}/response`);
    expect([answered.status, answered.text, answered.headers.get('sluice-truncated')]).toEqual([status === 199 ? 502 : status, text, 'true']);
  });

  test('explains a dead letter with every attempt', async () => {
    const id = await ticket();
    const tries = [
      { number: 1, at: 1_800_000_001_000, status: 0, error: 'connect', firstBytes: Buffer.alloc(0), nextAt: 1_800_000_002_000 },
      { number: 2, at: 1_800_000_002_000, status: 400, error: 'status_400', firstBytes: Buffer.from('no such order'), nextAt: 0 },
    ];
    server.requests.change(id, { state: 'dead', attempts: 2, error: 'status_400', tries });
    const { status, headers, json } = await ask('GET', `/v1/requests/${id}`);
    expect([status, headers.get('retry-after'), json['error']]).toEqual([200, null, 'status_400']);
    expect(json['tries']).toEqual([
      { number: 1, at: '2027-01-15T08:00:01.000Z', error: 'connect', nextAt: '2027-01-15T08:00:02.000Z' },
      { number: 2, at: '2027-01-15T08:00:02.000Z', status: 400, error: 'status_400', firstBytes: 'no such order' },
    ]);
  });

  test('a response that is not there yet is 409 with Retry-After, one that is not kept 410', async () => {
    const id = await ticket();
    const early = await ask('GET', `/v1/requests/${id}/response`);
    expect([early.status, early.json['reason'], early.headers.get('retry-after')]).toEqual([409, 'conflict', expect.stringMatching(/^[12]$/)]);
    server.requests.change(id, { state: 'cancelled' });
    expect(await ask('GET', `/v1/requests/${id}/response`)).toMatchObject({ status: 410, json: { reason: 'gone' } });
  });

  test('an unknown id is 404, one that is no longer kept 410', async () => {
    const id = await ticket();
    server.requests.gone.add(id);
    expect(await ask('GET', `/v1/requests/${id}`)).toMatchObject({ status: 410, json: { reason: 'gone' } });
    for (const path of ['/v1/requests/1-00', `/v1/requests/${'x'.repeat(128)}`, '/v1/requests/zz/response']) {
      expect(await ask('GET', path)).toMatchObject({ status: 404, json: { reason: 'unknown_request' } });
    }
    expect((await ask('GET', `/v1/requests/${'x'.repeat(129)}`)).status).toBe(400);
  });
});

describe('what operators do', () => {
  test.each([
    ['DELETE', ''],
    ['POST', '/cancel'],
  ])('%s .../{id}%s cancels, and says whether the backend may have acted', async (method, tail) => {
    const id = await ticket();
    server.requests.change(id, { state: 'sending' });
    const cancel = () => ask(method, `/v1/requests/${id}${tail}`);
    expect(await cancel()).toMatchObject({ status: 200, json: { cancelled: true, aborted: true } });
    expect(await cancel()).toMatchObject({ status: 200, json: { cancelled: false, aborted: false } });
    expect((await ask(method, `/v1/requests/none${tail}`)).status).toBe(404);
  });

  test('lists by state and filter on the admin address, a page at a time', async () => {
    const ids = [];
    for (const key of ['a', 'b', 'a', 'a']) ids.push(await ticket({ key }));
    for (const id of ids.slice(1)) server.requests.change(id, { state: 'dead', error: 'status_400' });
    const list = async (query: string) => {
      const { json } = await ask('GET', `/v1/requests?${query}`, undefined, {}, server.admin);
      return [(json['requests'] as { id: string }[]).map(({ id }) => id), json['nextPageToken']];
    };
    expect(await list('state=dead')).toEqual([ids.slice(1), '']);
    expect(await list('state=dead&key=a&group=slots&error=status_400')).toEqual([[ids[2], ids[3]], '']);
    expect(await list('state=dead&error=timeout')).toEqual([[], '']);
    const since = encodeURIComponent(new Date(1_800_000_000_003).toISOString());
    expect(await list(`state=dead&since=${since}`)).toEqual([[ids[2], ids[3]], '']);
    expect(await list(`state=dead&until=${since}`)).toEqual([[ids[1]], '']);
    const [first, token] = await list('state=dead&page_size=2');
    expect(first).toEqual(ids.slice(1, 3));
    expect(await list(`state=dead&page_size=2&page_token=${token}`)).toEqual([[ids[3]], '']);
    // What a store keeps of an answer is in the request itself alone.
    server.requests.change(ids[1] ?? '', { response: { status: 500, headers: [], body: Buffer.alloc(0), truncated: false } });
    const { json } = await ask('GET', '/v1/requests?state=dead&page_size=1', undefined, {}, server.admin);
    expect(json['requests']).toEqual([expect.not.objectContaining({ response: expect.anything() })]);
    // Of any state.
    expect(await list('')).toEqual([ids, '']);
    const [some, more] = await list('page_size=1');
    expect([some, (await list(`page_size=9&page_token=${more}`))[0]]).toEqual([[ids[0]], ids.slice(1)]);
    expect((await list('error=status_400'))[0]).toEqual(ids.slice(1));
  });

  test.each([
    'state=lost',
    'since=yesterday',
    'page_size=1001',
    'page_size=x',
    'page_token=nonsense',
    'page_token=0',
    'state=pending&page_token=abc',
    `state=dead&page_token=${'9'.repeat(30)}`,
    'since=2001-02-30T00:00:00Z',
    'colour=red',
    'group=a/b',
    `error=${'e'.repeat(65)}`,
  ])('refuses a list by %s', async (query) => {
    const answered = await ask('GET', `/v1/requests?${query}`, undefined, {}, server.admin);
    expect([answered.status, answered.json['reason']]).toEqual([400, 'malformed']);
  });

  test('redrives one dead letter, or as many of a filter as it may', async () => {
    const ids = [];
    for (let n = 0; n < 4; n++) ids.push(await ticket());
    for (const id of ids) server.requests.change(id, { state: 'dead', error: 'timeout' });
    const post = (path: string, body: object = {}) => ask('POST', path, body, {}, server.admin);
    expect(await post(`/v1/requests/${ids[0]}/redrive`)).toMatchObject({ status: 200, json: { redriven: 1 } });
    expect(await post(`/v1/requests/${ids[0]}/redrive`)).toMatchObject({ status: 409, json: { reason: 'conflict' } });
    expect(await post('/v1/requests/redrive', { group: 'slots', error: 'timeout' })).toMatchObject({
      status: 400,
      json: { detail: expect.stringContaining('`max`') },
    });
    expect(await post('/v1/requests/redrive', { error: 'connect', max: 10 })).toMatchObject({ status: 200, json: { redriven: 0, nextPageToken: '' } });
    expect(await post('/v1/requests/redrive?group=slots&since=1d&max=2')).toMatchObject({
      json: { redriven: 2, nextPageToken: expect.stringMatching(/^more\./) },
    });
    expect(await post('/v1/requests/redrive', { group: 'slots', max: 2, pageToken: 'more' })).toMatchObject({ status: 400, json: { reason: 'malformed' } });
    expect(await post('/v1/requests/redrive', { max: 10_001 })).toMatchObject({ status: 400 });
    expect(server.operators).toEqual([
      { kind: 'requests_redriven', caller: '', group: '', request: ids[0], requests: 1, refused: undefined },
      { kind: 'requests_redriven', caller: '', group: '', request: ids[0], requests: 0, refused: 'conflict' },
      { kind: 'requests_redriven', caller: '', group: '', requests: 0, refused: undefined },
      { kind: 'requests_redriven', caller: '', group: 'slots', requests: 2, refused: undefined },
    ]);
  });

  test('without credentials lists and redrives are refused on api', async () => {
    const id = await ticket();
    for (const [method, path] of [
      ['GET', '/v1/requests?state=dead'],
      ['POST', '/v1/requests/redrive?max=1'],
      ['POST', `/v1/requests/${id}/redrive`],
    ] as const) {
      expect(await ask(method, path, method === 'POST' ? {} : undefined)).toMatchObject({
        status: 403,
        json: { detail: expect.stringContaining('admin address') },
      });
    }
  });
});

describe('a path that is there', () => {
  test.each([
    ['PUT', '/v1/requests', 'POST, GET, HEAD, OPTIONS'],
    ['GET', '/v1/requests/redrive', 'POST, OPTIONS'],
    ['POST', '/v1/requests/1-0123456789abcdef', 'GET, DELETE, HEAD, OPTIONS'],
  ])('%s %s is 405 with the methods there are', async (method, path, allow) => {
    const answered = await ask(method, path);
    expect([answered.status, answered.headers.get('allow')]).toEqual([405, allow]);
  });
});
