import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createAuth } from '../../../src/api/auth.ts';
import { plus } from '../../../src/core/time.ts';
import { Wire } from '../../support/fakes/wire.ts';
import { type RestServer, startRest } from './server.ts';

const QUIET = { status: 503, contentType: 'text/plain', body: 'Later, please.' };
let server: RestServer;
const json = async (response: Response): Promise<Record<string, unknown>> => (await response.json()) as Record<string, unknown>;
const post = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${server.baseUrl}${path}`, { method: 'POST', ...init });
const postJson = (path: string, body: unknown): Promise<Response> =>
  post(path, { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

beforeAll(async () => {
  server = await startRest({ random: () => 0.5, refusalOf: (group) => (group === 'spaced' ? QUIET : undefined) });
});
afterAll(() => server.stop());
afterEach(() => {
  server.admission.script = undefined;
});

describe('plain HTTP: a permit', () => {
  it('is answered as docs/semantics.md shows it, with its id in a header and the RateLimit fields', async () => {
    const response = await post('/v1/groups/slots/acquire?key=shape&ttl=1s&lease=30s');
    const body = await json(response);
    expect(response.status).toBe(200);
    expect(body).toMatchObject({ permit: expect.any(String), lease: '30s', waited: expect.stringMatching(/^[\d.]+s$/) });
    expect(body['fence']).toMatch(/^\d{13,}$/);
    expect(body['fenceFloor']).toBe(body['fence']);
    expect(response.headers.get('sluice-permit')).toBe(body['permit']);
    expect(response.headers.get('ratelimit')).toBe('"slots";r=0;pk=:c2hhcGU=:');
    expect(response.headers.get('ratelimit-policy')).toBe('"slots";q=1;qu="concurrent-requests";pk=:c2hhcGU=:');
    expect(server.admission.everybody.at(-1)?.state).toBe('delivered');
  });

  it('takes query and JSON together where they agree', async () => {
    const path = '/v1/groups/open/acquire?key=both&cost=2&cost.tokens=400&ttl=250ms&request_id=r1';
    expect((await postJson(path, { key: 'both', costs: { requests: 2, images: 1 }, requestId: 'r1', group: 'open', holder: null })).status).toBe(200);
    expect(server.admission.everybody.at(-1)?.ask).toMatchObject({
      key: 'both',
      costs: { requests: 2, tokens: 400, images: 1 },
      wait: 250_000,
      requestId: 'r1',
    });
  });

  it.each([
    ['?class=urgent', {}],
    ['?priority_class=urgent', {}],
    ['?priorityClass=urgent', {}],
    ['?class=urgent', { priority_class: 'urgent' }],
    ['', { class: 'urgent' }],
    ['', { priority_class: 'urgent' }],
  ])('takes a class in every spelling: %s %j', async (query, body) => {
    expect((await postJson(`/v1/groups/open/acquire${query}`, body)).status).toBe(200);
    expect(server.admission.everybody.at(-1)?.ask.priorityClass).toBe('urgent');
  });

  it('ends every answer with a newline, so that a shell has its prompt on a line of its own', async () => {
    const permit = (await json(await post('/v1/groups/open/acquire'))) as { permit: string };
    const answers = [
      await post('/v1/groups/open/acquire'),
      await post('/v1/groups/nothing/acquire'),
      await post(`/v1/permits/${permit.permit}/release`),
      await fetch(`${server.baseUrl}/v1/groups/open/explain`),
      await fetch(`${server.baseUrl}/v1/groups/open/acquire`),
      await fetch(`${server.baseUrl}/v1/nothing`),
      await fetch(`${server.baseUrl}/v1/groups/open/acquire`, { method: 'BREW' }),
    ];
    for (const answer of answers) expect(await answer.text()).toMatch(/^\{.*\}\n$/);
    expect(answers.map(({ status }) => status)).toEqual([200, 404, 200, 200, 405, 404, 400]);
  });

  it.each([
    ['a class in two spellings that differ', '?class=a', { priorityClass: 'b' }, /`priorityClass` says one thing/],
    ['a JSON field against the query', '?key=a', { key: 'b' }, /`key` says one thing/],
    ['a group against the path', '', { group: 'slots' }, /`group` says one thing/],
    ['a cost against the query', '?cost.tokens=1', { costs: { tokens: 2 } }, /`costs.tokens` says one thing/],
    ['one field in two spellings', '', { requestId: 'a', request_id: 'a' }, /twice/],
    ['a duration without a unit', '', { ttl: 30 }, /`ttl` needs a unit/],
    ['a duration without a unit as text', '', { ttl: '30' }, /`ttl` needs a unit/],
    ['costs as a list', '', { costs: [1] }, /`costs` must be an object/],
    ['a cost with decimals', '', { costs: { requests: 1.5 } }, /whole number/],
    ['a key that is no text', '', { key: 7 }, /`key` must be a text/],
    ['a priority with decimals', '', { priority: 1.5 }, /whole number/],
    ['an unknown field', '', { grupo: 'x' }, /No field `grupo`/],
    ['a field named like the prototype', '', JSON.parse('{"__proto__": {"key": "x"}}') as object, /No field `__proto__`/],
    ['a JSON array', '', [1], /must be a JSON object/],
  ])('refuses %s', async (_name, query, body, detail) => {
    const before = server.admission.everybody.length;
    const response = await postJson(`/v1/groups/open/acquire${query}`, body);
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await json(response)).toMatchObject({ status: 400, reason: 'malformed', title: 'Malformed request', detail: expect.stringMatching(detail) });
    expect(server.admission.everybody.length).toBe(before);
  });

  it.each([
    ['a query field twice', '?key=a&key=a', /`key` is there twice/],
    ['a cost twice', '?cost=1&cost.requests=1', /twice/],
    ['a bare number as ttl', '?ttl=30', /needs a unit/],
    ['an unknown query field', '?tll=30s', /No field `tll`/],
    ['a broken percent sign', '?key=%zz', /percent sign/],
    ['bytes that are no UTF-8', '?key=%ff', /percent sign/],
  ])('refuses %s', async (_name, query, detail) => {
    const response = await post(`/v1/groups/open/acquire${query}`);
    expect(response.status).toBe(400);
    expect((await json(response))['detail']).toMatch(detail);
  });

  it('refuses a form, as curl -d sends it, saying what to send', async () => {
    const response = await post('/v1/groups/open/acquire', { headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'ttl=30s' });
    expect(response.status).toBe(415);
    expect(await json(response)).toMatchObject({ reason: 'malformed', detail: expect.stringContaining('application/json') });
  });

  it('frees the place of a caller who leaves', async () => {
    await post('/v1/groups/slots/acquire?key=leaver');
    const wire = await Wire.open(server.port);
    wire.write('POST /v1/groups/slots/acquire?key=leaver&holder=second HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n');
    await expect.poll(() => server.admission.waiting.some(({ ask }) => ask.holder === 'second')).toBe(true);
    wire.destroy();
    await expect.poll(() => server.admission.waiting.some(({ ask }) => ask.holder === 'second')).toBe(false);
  });
});

describe('plain HTTP: a refusal', () => {
  it('for lack of quota is a problem of IANA’s type, with Retry-After never early and the policies that said no', async () => {
    server.admission.script = () => ({ reason: 'infeasible', limit: 'slots', retryAt: plus(server.admission.now(), 10_000_000) });
    const response = await post('/v1/groups/slots/acquire?key=quota');
    const body = await json(response);
    expect(response.status).toBe(429);
    expect(body).toMatchObject({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      status: 429,
      reason: 'infeasible',
      limit: 'slots',
      'violated-policies': ['slots'],
    });
    expect(body['retryAfter']).toMatch(/^9\.9\d*s$/);
    // 10 s, a twentieth more by jitter, rounded up.
    expect(response.headers.get('retry-after')).toBe('11');
    expect(response.headers.get('ratelimit')).toMatch(/^"slots";r=1/);
  });

  it('for lack of capacity is temporary-reduced-capacity', async () => {
    server.admission.script = () => ({ reason: 'draining' });
    const response = await post('/v1/groups/open/acquire');
    expect(response.status).toBe(503);
    expect((await json(response))['type']).toBe('https://iana.org/assignments/http-problem-types#temporary-reduced-capacity');
  });

  it('of a full backlog names the bound, which is no policy', async () => {
    server.admission.script = () => ({ reason: 'shed', limit: 'backlog.requests' });
    const body = await json(await post('/v1/groups/open/acquire'));
    expect(body).toMatchObject({ status: 429, reason: 'shed', limit: 'backlog.requests', type: 'https://sluice.dev/problems/shed' });
    expect(body).not.toHaveProperty('violated-policies');
  });

  it('is the group’s own where it has one, and a problem for who asks for one', async () => {
    server.admission.script = () => ({ reason: 'shed', limit: 'backlog.requests' });
    const own = await post('/v1/groups/spaced/acquire');
    expect([own.status, own.headers.get('content-type'), await own.text()]).toEqual([503, 'text/plain', 'Later, please.']);
    const asked = await post('/v1/groups/spaced/acquire', { headers: { Accept: 'application/problem+json' } });
    expect(asked.status).toBe(503);
    expect(await json(asked)).toMatchObject({ status: 503, reason: 'shed' });
    server.admission.script = () => ({ reason: 'draining' });
    expect((await post('/v1/groups/spaced/acquire')).headers.get('content-type')).toBe('application/problem+json');
  });

  it('asks for a credential where there must be one', async () => {
    const closed = await startRest({
      auth: createAuth([{ name: 'a', sha256: '0'.repeat(64), can: ['acquire'], groups: undefined, key: undefined, classes: undefined }]),
    });
    const response = await fetch(`${closed.baseUrl}/v1/groups/open/acquire`, { method: 'POST' });
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    await closed.stop();
  });

  it('of groups on an address that is not for operators says where they are', async () => {
    const open = await startRest({ operators: false });
    const response = await fetch(`${open.baseUrl}/v1/groups`);
    expect(response.status).toBe(403);
    expect((await json(response))['detail']).toContain('admin');
    await open.stop();
  });
});

describe('plain HTTP: groups', () => {
  it('are shown with who decides for them in which term, and with the replicas that live; on one node with neither', async () => {
    const look = async (path: string) => json(await fetch(`${server.baseUrl}${path}`));
    expect(await look('/v1/groups/slots')).not.toHaveProperty('placement');
    expect(await look('/v1/groups')).toMatchObject({ replicas: [] });
    server.admission.placement = { shard: 7, replica: 'r1', term: 2n ** 60n };
    server.admission.alive = [
      { name: 'r0', revision: 3, hash: '0123456789abcdef', shards: 0, self: true },
      { name: 'r1', revision: 4, hash: 'f', shards: 64, self: false },
    ];
    const placement = { shard: 7, replica: 'r1', term: '1152921504606846976' };
    expect(await look('/v1/groups/slots')).toMatchObject({ name: 'slots', placement });
    expect(await look('/v1/groups?page_size=1')).toMatchObject({
      groups: [{ name: 'open', placement }],
      replicas: [
        { name: 'r0', revision: '3', hash: '0123456789abcdef', shards: 0, self: true },
        { name: 'r1', revision: '4', hash: 'f', shards: 64, self: false },
      ],
    });
    server.admission.placement = undefined;
    server.admission.alive = [];
  });
});

describe('plain HTTP: pages', () => {
  const lists = ['/v1/groups', '/v1/groups/slots/waiters', '/v1/groups/slots/leases'];
  const forged = ['abc', '-1', '9e20', '__proto__', '0', '1', '9'.repeat(30), '.', 'open', 'a.b.c', 'x'.repeat(600), '%00'];

  it.each(lists.flatMap((path) => forged.map((token) => [path, token])))('%s refuses %s, which is not one of ours', async (path, token) => {
    const answered = await fetch(`${server.baseUrl}${path}?page_token=${token}`);
    expect([answered.status, await json(answered)]).toMatchObject([400, { reason: 'malformed', detail: expect.stringContaining('page_token') }]);
  });

  it('follow by the token of the page before, which no other list takes', async () => {
    const page = async (query: string) => json(await fetch(`${server.baseUrl}${query}`));
    const first = await page('/v1/groups?page_size=1');
    const token = encodeURIComponent(String(first['nextPageToken']));
    const names = async (query: string) => ((await page(query))['groups'] as { name: string }[]).map(({ name }) => name);
    expect(await names(`/v1/groups?page_token=${token}`)).toEqual((await names('/v1/groups')).slice(1));
    expect(await page(`/v1/groups/slots/leases?page_token=${token}`)).toMatchObject({ status: 400, reason: 'malformed' });
    expect(await page(`/v1/groups?page_token=x${token}`)).toMatchObject({ status: 400, reason: 'malformed' });
  });
});

describe('plain HTTP: paths and methods', () => {
  it('says 404 to unknown paths and 405 with Allow to wrong methods', async () => {
    const unknown = await fetch(`${server.baseUrl}/v1/nowhere`);
    expect([unknown.status, (await json(unknown))['status']]).toEqual([404, 404]);
    const wrong = await fetch(`${server.baseUrl}/v1/groups/open/acquire`);
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST, OPTIONS']);
  });

  it('answers OPTIONS with what there is, and HEAD like GET without the body', async () => {
    const options = await fetch(`${server.baseUrl}/v1/groups`, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
    const head = await fetch(`${server.baseUrl}/v1/groups`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  it('releases by request id, evicts and revokes by path', async () => {
    const got = await json(await post('/v1/groups/slots/acquire?key=paths&request_id=mine'));
    const remove = (path: string): Promise<Response> => fetch(`${server.baseUrl}${path}`, { method: 'DELETE' });
    expect(await json(await remove('/v1/groups/slots/requests/mine'))).toEqual({ ended: true });
    expect((await remove('/v1/groups/slots/requests/nobodys')).status).toBe(404);
    expect((await remove('/v1/groups/slots/waiters/nobody')).status).toBe(404);
    expect(await json(await remove(`/v1/groups/slots/leases/${String(got['permit'])}`))).toMatchObject({ before: { name: 'slots' }, after: { name: 'slots' } });
  });

  it('takes an override as the file and proto say it, durations with any unit', async () => {
    const body = { limits: { rpm: { rate: { permits: 5, per: '1m30s' } } }, enforce: false, duration: '10m' };
    expect((await postJson('/v1/groups/open/override', body)).status).toBe(200);
    expect(server.admission.overrides.at(-1)).toMatchObject({ enforce: false, for: 600_000_000 });
    expect(server.admission.overrides.at(-1)?.limits.get('rpm')).toEqual({ kind: 'rate', permits: 5, per: 90_000_000, burst: 1 });
    const wrong = await postJson('/v1/groups/open/override', { ...body, duration: 600 });
    expect((await json(wrong))['detail']).toMatch(/`duration` needs a unit/);
    expect((await post('/v1/groups/open/override?enforce=false&duration=10m')).status).toBe(200);
    expect(server.admission.overrides.at(-1)).toMatchObject({ enforce: false, for: 600_000_000 });
  });

  it.each([
    [
      'a field that is none',
      { for: '1h' },
      'There is no field `for`; name `group`, `limits`, `enforce`, `duration`, `forgiveDebt`, `reason`, `dryRun` or `expect`.',
    ],
    [
      'a quota without its kind',
      { limits: { rpm: { max: 2 } } },
      'There is no field `max` in `limits.rpm`; name `rate`, `spacing`, `window` or `concurrency`.',
    ],
    ['a quota that is none', { limits: { rpm: '500/60s' } }, '`limits.rpm` must be an object with `rate`, `spacing`, `window` or `concurrency`.'],
    [
      'a quota of nothing',
      { limits: { rpm: {} }, duration: '1h' },
      'The limit `rpm` has no quota; name one of `rate`, `spacing`, `window` or `concurrency` in it.',
    ],
    ['limits that are none', { limits: 'rpm' }, '`limits` must be an object.'],
    ['a truth that is none', { enforce: 'maybe', duration: '1h' }, '`enforce` cannot be read: expected boolean, got "maybe".'],
    ['nothing to change', { duration: '1h' }, 'Nothing to change; name `limits`, `enforce` or `forgiveDebt`, or a `duration` of 0 to end a running override.'],
  ])('says of an override with %s which fields there are', async (_what, body, detail) => {
    const refused = await postJson('/v1/groups/open/override', body);
    expect([refused.status, (await json(refused))['detail']]).toEqual([400, detail]);
  });
});
