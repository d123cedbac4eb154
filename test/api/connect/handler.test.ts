import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAuth } from '../../../src/api/auth.ts';
import { ErrorInfoSchema } from '../../../src/gen/google/rpc/error_details_pb.ts';
import { AdmissionService, WatchRequestSchema } from '../../../src/gen/sluice/v1/admission_pb.ts';
import { selectEngine } from '../../../src/http/select-engine.ts';
import { startApi } from '../../protocol/servers.ts';

let started: Awaited<ReturnType<typeof startApi>>;

beforeEach(async () => {
  started = await startApi();
});
afterEach(() => started.stop());

const PATH = '/sluice.v1.AdmissionService';

async function post(
  call: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) };
  const response = await fetch(`${started.baseUrl}${call.startsWith('/') ? call : `${PATH}/${call}`}`, init);
  const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
  return { status: response.status, headers: response.headers, body: isJson ? ((await response.json()) as Record<string, unknown>) : {} };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('Connect over HTTP/1.1', () => {
  it('answers a permit as proto3 JSON, fences as strings', async () => {
    const { status, headers, body } = await post('Acquire', { group: 'slots', lease: '30s' });
    expect([status, headers.get('content-type'), headers.get('cache-control')]).toEqual([200, 'application/json', 'no-store']);
    expect(body).toMatchObject({ permit: 'p1', fence: '1099511627777', fenceFloor: '1099511627777', lease: '30s' });
  });

  it.each([
    ['Acquire', { group: 'open', class: 'urgent' }],
    ['Acquire', { class: 'urgent', group: 'open', costs: { class: 1 }, key: 'class' }],
    ['Acquire', { group: 'open', priority_class: 'urgent' }],
    ['Acquire', { group: 'open', priorityClass: 'urgent' }],
    ['Explain', { ask: { group: 'open', class: 'urgent', costs: { class: 1 } } }],
  ])('%s takes a class as `class` too: %j', async (call, fields) => {
    expect((await post(call, fields)).status).toBe(200);
    if (call === 'Acquire') expect(started.admission.everybody.at(-1)?.ask.priorityClass).toBe('urgent');
  });

  it.each([
    ['twice in two spellings', '{"group":"open","class":"a","priorityClass":"b"}'],
    ['where no message has it', '{"group":"open","ttl":{"class":"a"}}'],
    ['in 64 KB that never end', `{"class":"${'\\"'.repeat(30_000)}`],
    ['8,000 times', `{${'"class":1,'.repeat(6_000)}"group":"open"}`],
  ])('a class %s is refused', async (_name, body) => {
    expect((await post('Acquire', body)).status).toBe(400);
  });

  it('ends JSON answers and errors with a newline', async () => {
    const ask = (group: string) =>
      fetch(`${started.baseUrl}${PATH}/Acquire`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ group }) });
    for (const group of ['open', 'nothing']) expect(await (await ask(group)).text()).toMatch(/^\{.*\}\n$/);
  });

  it.each([
    ['application/json; charset=utf-8', 200],
    ['APPLICATION/JSON', 200],
    ['application/json; charset=latin1', 415],
    ['text/plain', 415],
    ['application/connect+json', 415],
    ['application/grpc-web-text', 415],
  ])('content type %s of a unary call: %i', async (type, expected) => {
    const { status, headers } = await post('Acquire', { group: 'open' }, { 'Content-Type': type });
    expect(status).toBe(expected);
    expect(headers.get('content-type')).toBe(expected === 415 ? 'text/plain; charset=utf-8' : 'application/json');
    if (expected === 415) expect(headers.get('accept-post')).toContain('application/proto');
  });

  it.each([
    [{ 'Content-Encoding': 'gzip' }, 501, 'unimplemented'],
    [{ 'Content-Encoding': 'identity' }, 200, undefined],
    [{ 'Connect-Protocol-Version': '1' }, 200, undefined],
    [{ 'Connect-Protocol-Version': '2' }, 400, 'invalid_argument'],
    [{ 'Connect-Timeout-Ms': 'soon' }, 400, 'invalid_argument'],
    [{ 'Connect-Timeout-Ms': '12345678901' }, 400, 'invalid_argument'],
    [{ 'Connect-Timeout-Ms': '1000' }, 200, undefined],
  ])('headers %o: %i', async (headers: Record<string, string>, status, code) => {
    expect(await post('Acquire', { group: 'open' }, headers)).toMatchObject({ status, body: code === undefined ? {} : { code } });
  });

  it('ends an ask before the deadline in Connect-Timeout-Ms', async () => {
    await post('Acquire', { group: 'slots' });
    const { status, headers, body } = await post('Acquire', { group: 'slots' }, { 'Connect-Timeout-Ms': '100' });
    expect([status, body['code'], headers.get('retry-after')]).toEqual([429, 'resource_exhausted', '1']);
    expect(started.admission.everybody[1]?.ask.waitMax).toBe(50_000);
  });

  it('looks by GET where a call has no side effects, and nowhere else', async () => {
    const query = new URLSearchParams({ connect: 'v1', encoding: 'json', message: JSON.stringify({ ask: { group: 'open' } }) });
    const explained = await fetch(`${started.baseUrl}${PATH}/Explain?${query}`);
    expect([explained.status, await explained.json()]).toEqual([200, expect.objectContaining({ admitted: true })]);
    const acquired = await fetch(`${started.baseUrl}${PATH}/Acquire?${query}`);
    expect([acquired.status, acquired.headers.get('allow')]).toEqual([405, 'POST']);
    expect(started.admission.everybody).toEqual([]);
  });

  it('a real client reads by GET, too', async () => {
    const transport = createConnectTransport({ baseUrl: started.baseUrl, useHttpGet: true });
    expect((await createClient(AdmissionService, transport).explain({ ask: { group: 'open' } })).admitted).toBe(true);
  });

  it('knows no call of that name, and says of others why not', async () => {
    expect(await post('Acquired', {})).toMatchObject({ status: 404, body: { code: 'unimplemented' } });
    expect(await post('/sluice.v1.DeferredService/Submit', {})).toMatchObject({
      status: 501,
      body: { code: 'unimplemented', message: expect.stringContaining('mode: deferred') },
    });
    const session = await fetch(`${started.baseUrl}${PATH}/Session`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/connect+json' },
      body: Buffer.alloc(5),
    });
    expect(Buffer.from(await session.arrayBuffer()).toString()).toContain('use gRPC');
  });

  it('a caller that hangs up leaves at once', async () => {
    await post('Acquire', { group: 'slots' });
    const hangUp = new AbortController();
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"group":"slots"}', signal: hangUp.signal };
    const gone = fetch(`${started.baseUrl}${PATH}/Acquire`, init).catch(() => 'gone');
    await until(() => started.admission.waiting.length === 1);
    hangUp.abort();
    await until(() => started.admission.everybody[1]?.state === 'left');
    expect(await gone).toBe('gone');
  });
});

describe.each([
  ['Connect', createConnectTransport],
  ['gRPC-Web', createGrpcWebTransport],
])('Watch over %s', (_name, transport) => {
  it('shows the place, then the permit, and ends', async () => {
    const client = createClient(AdmissionService, transport({ baseUrl: started.baseUrl }));
    const { permit } = await client.acquire({ group: 'slots' });
    const news: (string | undefined)[] = [];
    for await (const message of client.watch(create(WatchRequestSchema, { ask: { group: 'slots' } }))) {
      news.push(message.news.case);
      if (message.news.case === 'place') await client.release({ permit });
    }
    expect(news).toEqual(['place', 'admitted']);
    expect(started.admission.everybody[1]?.state).toBe('delivered');
  });

  it('ends with the refusal as an error', async () => {
    const client = createClient(AdmissionService, transport({ baseUrl: started.baseUrl }));
    const failed = (async () => {
      for await (const _news of client.watch({ ask: { group: 'nobody' } })) throw new Error('there is no news');
    })();
    await expect(failed).rejects.toSatisfy((error) => error.findDetails(ErrorInfoSchema)[0]?.reason === 'UNKNOWN_GROUP');
  });

  it('a watcher that hangs up leaves', async () => {
    const client = createClient(AdmissionService, transport({ baseUrl: started.baseUrl }));
    await client.acquire({ group: 'slots' });
    const hangUp = new AbortController();
    const watching = (async () => {
      for await (const _news of client.watch({ ask: { group: 'slots' } }, { signal: hangUp.signal })) hangUp.abort();
    })();
    await expect(watching).rejects.toThrow('canceled');
    await until(() => started.admission.everybody[1]?.state === 'left');
  });
});

for (const engineName of ['node', 'uws'] as const) {
  const engine = await selectEngine(engineName, { clientCa: false }).catch((cause: Error) => cause);
  describe(`Watch on the engine ${engineName}, body sent whole`, () => {
    it.skipIf(engine instanceof Error)('places, the permit, the end; and a caller that hangs up leaves', async () => {
      if (engine instanceof Error) return;
      await started.stop();
      started = await startApi({ make: engine.make });
      const message = Buffer.from('{"ask":{"group":"slots"}}');
      const head = Buffer.from([0, 0, 0, 0, message.length]);
      const watched = (signal?: AbortSignal): Promise<Response> =>
        fetch(`${started.baseUrl}${PATH}/Watch`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/connect+json' },
          body: Buffer.concat([head, message]),
          ...(signal === undefined ? {} : { signal }),
        });
      const { permit } = (await post('Acquire', { group: 'slots' })).body as { permit: string };
      const waiting = watched();
      await until(() => started.admission.waiting.length === 1);
      await post('Release', { permit });
      const text = await (await waiting).text();
      expect(text).toMatch(/"place":\{"place":"1".*"admitted":\{"permit":"p2".*\{\}$/s);
      const hangUp = new AbortController();
      const gone = watched(hangUp.signal).catch(() => undefined);
      await until(() => started.admission.waiting.length === 1);
      hangUp.abort();
      await until(() => started.admission.everybody[2]?.state === 'left');
      await gone;
    });
  });
}

describe('credentials', () => {
  const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');

  it('are asked of every call, and operators need more than callers', async () => {
    await started.stop();
    started = await startApi({
      auth: createAuth([{ name: 'app', sha256: sha256('k1'), can: ['acquire', 'read'], groups: undefined, key: undefined, classes: undefined }]),
    });
    const mine = { Authorization: 'Bearer k1' };
    expect(await post('Acquire', { group: 'open' })).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
    expect(await post('Acquire', { group: 'open' }, mine)).toMatchObject({ status: 200 });
    expect(started.admission.everybody[0]?.ask.caller).toBe('app');
    expect(await post('/sluice.v1.GroupService/GetGroup', { group: 'open' }, mine)).toMatchObject({ status: 200 });
    expect(await post('/sluice.v1.GroupService/Pause', { group: 'open' }, mine)).toMatchObject({ status: 403, body: { code: 'permission_denied' } });
  });

  it('without them GroupService answers where operators are only', async () => {
    await started.stop();
    started = await startApi({ operators: false });
    expect(await post('/sluice.v1.GroupService/ListGroups', {})).toMatchObject({ status: 403, body: { message: expect.stringContaining('admin address') } });
  });
});
