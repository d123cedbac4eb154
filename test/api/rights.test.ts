import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { create, fromBinary, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-web';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { AcquireRequestSchema, AdmissionService, SessionRequestSchema, SessionResponseSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { restRunner } from '../protocol/rest-runner.ts';
import { grpcRunner, wholeRunner } from '../protocol/runners.ts';
import type { Answer, Runner } from '../protocol/table.ts';

/* Credential x call x group x key, over every protocol, on api and admin: the list of what passes, and that nothing else does. */

const CREDENTIALS = {
  all: '{ can: [ acquire, read, manage ] }',
  asker: '{ can: [ acquire ], groups: [ llm ] }',
  reader: '{ can: [ read ], groups: [ llm ] }',
  manager: '{ can: [ manage ], groups: [ llm ] }',
  tenant: '{ can: [ acquire, read, manage ], groups: [ llm ], key: acme }',
  other: '{ can: [ acquire, read, manage ], groups: [ web ] }',
} as const;
type Name = keyof typeof CREDENTIALS;
const NAMES = Object.keys(CREDENTIALS) as Name[];

const keys = NAMES.map((name) => CREDENTIALS[name].replace('{', `{ name: ${name}, sha256: ${createHash('sha256').update(name).digest('hex')},`));
const CONFIG = `
listen: { api: "127.0.0.1:0", grpc: "127.0.0.1:0", health: none, admin: "127.0.0.1:0" }
http: { engine: node }
store: memory
drain: { delay: 0, grace: 0 }
auth: { keys: [ ${keys.join(', ')} ] }
groups:
  llm: { limits: [ { name: slots, concurrency: 100000 } ], backlog: { perKey: 1000 } }
  web: { limits: [ { name: slots, concurrency: 100000 } ] }
`;

let running: RunningServer;
const address = (name: string) => running.addresses[name] ?? '';
const http = (name: string) => `http://${address(name)}`;
const bearer = (name: Name) => `Bearer ${name}`;

beforeAll(async () => {
  const loaded = loadConfig({ text: CONFIG, name: 'rights.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
});

afterAll(() => running.drain(true));

const PROTOCOLS: Readonly<Record<string, (name: Name) => Runner>> = {
  'plain HTTP, JSON': (name) => restRunner(http('api'), false, bearer(name)),
  'plain HTTP, query': (name) => restRunner(http('api'), true, bearer(name)),
  'Connect JSON': (name) => wholeRunner(http('api'), 'Connect JSON', bearer(name)),
  'Connect proto': (name) => wholeRunner(http('api'), 'Connect proto', bearer(name)),
  'gRPC-Web': (name) => wholeRunner(http('api'), 'gRPC-Web', bearer(name)),
  gRPC: (name) => grpcRunner(address('grpc'), bearer(name)),
  'plain HTTP on admin': (name) => restRunner(http('admin'), false, bearer(name)),
  'Connect on admin': (name) => wholeRunner(http('admin'), 'Connect JSON', bearer(name)),
};

/** What is asked for, where the group and, with `keyed`, the key vary. */
const CALLS: Readonly<Record<string, { readonly keyed: boolean; readonly fields: (group: string, key: string) => object }>> = {
  Acquire: { keyed: true, fields: (group, key) => ({ group, key, ttl: '0s' }) },
  Explain: { keyed: true, fields: (group, key) => ({ ask: { group, key } }) },
  GetGroup: { keyed: false, fields: (group) => ({ group }) },
  ListWaiters: { keyed: false, fields: (group) => ({ group }) },
  ListLeases: { keyed: false, fields: (group) => ({ group }) },
  Pause: { keyed: true, fields: (group, key) => ({ group, duration: '0.000001s', ...(key !== '' && { key }) }) },
  Resume: { keyed: true, fields: (group, key) => ({ group, ...(key !== '' && { key }) }) },
  Override: { keyed: false, fields: (group) => ({ group, duration: '0s' }) },
  // Nothing has such a name: `unknown_...` of a group that exists says that the right was there.
  EvictWaiter: { keyed: false, fields: (group) => ({ group, waiter: 'w0-0' }) },
  RevokeLease: { keyed: false, fields: (group) => ({ group, permit: 'x~1' }) },
};

function outcome(answer: Answer): string {
  if (answer.ok) return 'passes';
  return answer.reason === 'UNKNOWN_REQUEST' || answer.reason === 'UNKNOWN_PERMIT' ? 'passes' : (answer.reason ?? answer.message);
}

/** A line for each credential and call: where it passes, and how it is refused elsewhere. */
async function matrix(make: (name: Name) => Runner): Promise<string[]> {
  const lines: string[] = [];
  for (const name of NAMES) {
    const runner = make(name);
    for (const [method, { keyed, fields }] of Object.entries(CALLS)) {
      const found = new Map<string, string[]>();
      for (const group of ['llm', 'web', 'nowhere']) {
        for (const key of keyed ? ['', 'acme', 'zeta'] : ['']) {
          const what = outcome(await runner.call(method, fields(group, key) as Record<string, unknown>));
          const place = key === '' ? group : `${group}/${key}`;
          found.set(what, [...(found.get(what) ?? []), place]);
        }
      }
      for (const [what, places] of found) lines.push(`${name} ${method} ${what}: ${places.join(' ')}`);
    }
    const listed = await runner.call('ListGroups', {});
    const names = listed.ok ? (listed.fields['groups'] as { name: string }[]).map((group) => group.name).join(' ') : listed.reason;
    lines.push(`${name} ListGroups: ${names}`);
    await runner.close();
  }
  return lines;
}

describe('what each credential may do with each group and key', () => {
  let first: string[] | undefined;

  test.each(Object.keys(PROTOCOLS))('over %s', async (protocol) => {
    const lines = await matrix(PROTOCOLS[protocol] as (name: Name) => Runner);
    first ??= lines;
    expect(lines).toEqual(first);
    if (protocol === 'plain HTTP, JSON')
      expect(lines.join('\n')).toMatchInlineSnapshot(`
      "all Acquire passes: llm llm/acme llm/zeta web web/acme web/zeta
      all Acquire UNKNOWN_GROUP: nowhere nowhere/acme nowhere/zeta
      all Explain passes: llm llm/acme llm/zeta web web/acme web/zeta
      all Explain UNKNOWN_GROUP: nowhere nowhere/acme nowhere/zeta
      all GetGroup passes: llm web
      all GetGroup UNKNOWN_GROUP: nowhere
      all ListWaiters passes: llm web
      all ListWaiters UNKNOWN_GROUP: nowhere
      all ListLeases passes: llm web
      all ListLeases UNKNOWN_GROUP: nowhere
      all Pause passes: llm llm/acme llm/zeta web web/acme web/zeta
      all Pause UNKNOWN_GROUP: nowhere nowhere/acme nowhere/zeta
      all Resume passes: llm llm/acme llm/zeta web web/acme web/zeta
      all Resume UNKNOWN_GROUP: nowhere nowhere/acme nowhere/zeta
      all Override passes: llm web
      all Override UNKNOWN_GROUP: nowhere
      all EvictWaiter passes: llm web
      all EvictWaiter UNKNOWN_GROUP: nowhere
      all RevokeLease passes: llm web
      all RevokeLease UNKNOWN_GROUP: nowhere
      all ListGroups: llm web
      asker Acquire passes: llm llm/acme llm/zeta
      asker Acquire FORBIDDEN: web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      asker Explain passes: llm llm/acme llm/zeta
      asker Explain FORBIDDEN: web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      asker GetGroup FORBIDDEN: llm web nowhere
      asker ListWaiters FORBIDDEN: llm web nowhere
      asker ListLeases FORBIDDEN: llm web nowhere
      asker Pause FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      asker Resume FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      asker Override FORBIDDEN: llm web nowhere
      asker EvictWaiter FORBIDDEN: llm web nowhere
      asker RevokeLease FORBIDDEN: llm web nowhere
      asker ListGroups: FORBIDDEN
      reader Acquire FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      reader Explain FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      reader GetGroup passes: llm
      reader GetGroup FORBIDDEN: web nowhere
      reader ListWaiters passes: llm
      reader ListWaiters FORBIDDEN: web nowhere
      reader ListLeases passes: llm
      reader ListLeases FORBIDDEN: web nowhere
      reader Pause FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      reader Resume FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      reader Override FORBIDDEN: llm web nowhere
      reader EvictWaiter FORBIDDEN: llm web nowhere
      reader RevokeLease FORBIDDEN: llm web nowhere
      reader ListGroups: llm
      manager Acquire FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      manager Explain FORBIDDEN: llm llm/acme llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      manager GetGroup FORBIDDEN: llm web nowhere
      manager ListWaiters FORBIDDEN: llm web nowhere
      manager ListLeases FORBIDDEN: llm web nowhere
      manager Pause passes: llm llm/acme llm/zeta
      manager Pause FORBIDDEN: web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      manager Resume passes: llm llm/acme llm/zeta
      manager Resume FORBIDDEN: web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      manager Override passes: llm
      manager Override FORBIDDEN: web nowhere
      manager EvictWaiter passes: llm
      manager EvictWaiter FORBIDDEN: web nowhere
      manager RevokeLease passes: llm
      manager RevokeLease FORBIDDEN: web nowhere
      manager ListGroups: FORBIDDEN
      tenant Acquire passes: llm llm/acme
      tenant Acquire FORBIDDEN: llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      tenant Explain passes: llm llm/acme
      tenant Explain FORBIDDEN: llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      tenant GetGroup passes: llm
      tenant GetGroup FORBIDDEN: web nowhere
      tenant ListWaiters passes: llm
      tenant ListWaiters FORBIDDEN: web nowhere
      tenant ListLeases passes: llm
      tenant ListLeases FORBIDDEN: web nowhere
      tenant Pause FORBIDDEN: llm llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      tenant Pause passes: llm/acme
      tenant Resume FORBIDDEN: llm llm/zeta web web/acme web/zeta nowhere nowhere/acme nowhere/zeta
      tenant Resume passes: llm/acme
      tenant Override FORBIDDEN: llm web nowhere
      tenant EvictWaiter passes: llm
      tenant EvictWaiter FORBIDDEN: web nowhere
      tenant RevokeLease passes: llm
      tenant RevokeLease FORBIDDEN: web nowhere
      tenant ListGroups: llm
      other Acquire FORBIDDEN: llm llm/acme llm/zeta nowhere nowhere/acme nowhere/zeta
      other Acquire passes: web web/acme web/zeta
      other Explain FORBIDDEN: llm llm/acme llm/zeta nowhere nowhere/acme nowhere/zeta
      other Explain passes: web web/acme web/zeta
      other GetGroup FORBIDDEN: llm nowhere
      other GetGroup passes: web
      other ListWaiters FORBIDDEN: llm nowhere
      other ListWaiters passes: web
      other ListLeases FORBIDDEN: llm nowhere
      other ListLeases passes: web
      other Pause FORBIDDEN: llm llm/acme llm/zeta nowhere nowhere/acme nowhere/zeta
      other Pause passes: web web/acme web/zeta
      other Resume FORBIDDEN: llm llm/acme llm/zeta nowhere nowhere/acme nowhere/zeta
      other Resume passes: web web/acme web/zeta
      other Override FORBIDDEN: llm nowhere
      other Override passes: web
      other EvictWaiter FORBIDDEN: llm nowhere
      other EvictWaiter passes: web
      other RevokeLease FORBIDDEN: llm nowhere
      other RevokeLease passes: web
      other ListGroups: web"
    `);
  });
});

test.each(Object.keys(PROTOCOLS))('over %s a permit is unknown to all but the credential that got it, whatever they may do', async (protocol) => {
  const runners = new Map(NAMES.map((name) => [name, PROTOCOLS[protocol]?.(name) as Runner]));
  const call = async (name: Name, method: string, fields: Record<string, unknown>) => {
    const answer = (await runners.get(name)?.call(method, fields)) as Answer;
    return answer.ok ? 'passes' : answer.reason;
  };
  const acquired = async (name: Name, group: string) => {
    const answer = (await runners.get(name)?.call('Acquire', { group, ttl: '0s', requestId: `${protocol}-${name}` })) as Answer;
    if (!answer.ok) throw new Error(answer.message);
    return String(answer.fields['permit']);
  };
  for (const [holder, group] of [
    ['all', 'llm'],
    ['all', 'web'],
    ['asker', 'llm'],
    ['tenant', 'llm'],
    ['other', 'web'],
  ] as const) {
    const permit = await acquired(holder, group);
    for (const name of NAMES) {
      if (name === holder) continue;
      const refused = name === 'reader' || name === 'manager' ? 'FORBIDDEN' : 'UNKNOWN_PERMIT';
      for (const made of [permit, `${group}~1`, 'nowhere~1~AAAAAAAAAAAA']) {
        expect([name, await call(name, 'Renew', { permit: made })]).toEqual([name, refused]);
        expect([name, await call(name, 'Release', { permit: made, outcome: 'OUTCOME_DROPPED', retryAfter: '60s' })]).toEqual([name, refused]);
      }
    }
    expect(await call(holder, 'Renew', { permit })).toBe('passes');
    expect(await call(holder, 'Release', { permit })).toBe('passes');
  }
  const group = (await runners.get('all')?.call('GetGroup', { group: 'llm' })) as Answer;
  expect(group.ok && group.fields['group']).not.toMatchObject({ pausedFor: expect.anything() });
  for (const runner of runners.values()) await runner.close();
});

test('a request id is given up by its credential alone, and by one that may name the group', async () => {
  const release = (name: Name, group: string) =>
    fetch(`${http('api')}/v1/groups/${group}/requests/job`, { method: 'DELETE', headers: { Authorization: bearer(name) } });
  const headers = { Authorization: bearer('asker') };
  expect((await fetch(`${http('api')}/v1/groups/llm/acquire?ttl=0&request_id=job`, { method: 'POST', headers })).status).toBe(200);
  expect([(await release('reader', 'llm')).status, (await release('other', 'llm')).status, (await release('other', 'nowhere')).status]).toEqual([
    403, 403, 403,
  ]);
  for (const [name, ended] of [
    ['all', false],
    ['tenant', false],
    ['asker', true],
  ] as const)
    expect(await (await release(name, 'llm')).json()).toEqual({ ended });
});

test('a stream of events and a watch are held to the same rights', async () => {
  const found: string[] = [];
  for (const name of NAMES) {
    for (const group of ['llm', 'web', 'nowhere']) {
      for (const key of ['', 'acme', 'zeta']) {
        const place = key === '' ? group : `${group}/${key}`;
        const headers = { Authorization: bearer(name), Accept: 'text/event-stream' };
        const events = await fetch(`${http('api')}/v1/groups/${group}/acquire?ttl=0&key=${key}`, { method: 'POST', headers });
        const text = await events.text();
        const reason = text.includes('event: admitted') || text.includes('"permit"') ? 'passes' : (JSON.parse(text) as { reason: string }).reason.toUpperCase();
        const transport = createConnectTransport({ baseUrl: http('api'), useBinaryFormat: true });
        const ask = create(AcquireRequestSchema, { group, key, ttl: { seconds: 0n, nanos: 0 } });
        let watched = 'passes';
        try {
          for await (const news of createClient(AdmissionService, transport).watch({ ask }, { headers: { Authorization: bearer(name) } })) void news;
        } catch (error) {
          watched = String(error).includes('There is no group') ? 'UNKNOWN_GROUP' : 'FORBIDDEN';
        }
        found.push(`${name} ${place} ${reason} ${watched}`);
      }
    }
  }
  const expected = NAMES.flatMap((name) =>
    ['llm', 'web', 'nowhere'].flatMap((group) =>
      ['', 'acme', 'zeta'].map((key) => {
        const mayGroup = name === 'all' || group === (name === 'other' ? 'web' : 'llm');
        const may = name !== 'reader' && name !== 'manager' && mayGroup && (name !== 'tenant' || key !== 'zeta');
        const what = !may ? 'FORBIDDEN' : group === 'nowhere' ? 'UNKNOWN_GROUP' : 'passes';
        return `${name} ${key === '' ? group : `${group}/${key}`} ${what} ${what}`;
      }),
    ),
  );
  expect(found).toEqual(expected);
});

/** Answers of one session, by id; each is an answer's case, or the reason of a refusal. */
async function session(name: Name, messages: readonly JsonObject[]): Promise<Record<string, string>> {
  const client = new Client(address('grpc'), credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('authorization', bearer(name));
  const same = (bytes: Buffer) => bytes;
  const stream = client.makeBidiStreamRequest('/sluice.v1.AdmissionService/Session', same, same, metadata);
  const answers: Record<string, string> = {};
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('data', (bytes: Buffer) => {
      const { id, answer } = fromBinary(SessionResponseSchema, bytes);
      answers[id] = answer.case === 'refused' ? answer.value.reason : String(answer.case);
      if (Object.keys(answers).length === messages.length) resolve();
    });
    for (const message of messages) stream.write(Buffer.from(toBinary(SessionRequestSchema, fromJson(SessionRequestSchema, message))));
  });
  stream.end();
  client.close();
  return answers;
}

test('what a session asks for, renews and ends is held to the same rights', async () => {
  const headers = { Authorization: bearer('all') };
  const answer = await fetch(`${http('api')}/v1/groups/llm/acquire?ttl=0`, { method: 'POST', headers });
  const { permit } = (await answer.json()) as { permit: string };
  const messages = [
    { id: 'start', start: {} },
    { id: 'own', acquire: { group: 'llm', ttl: '0s' } },
    { id: 'group', acquire: { group: 'web', ttl: '0s' } },
    { id: 'key', acquire: { group: 'llm', key: 'zeta', ttl: '0s' } },
    { id: 'renew', renew: { permit } },
    { id: 'release', release: { permit } },
    { id: 'request', release: { group: 'web', requestId: 'job' } },
  ];
  const all = (what: string) => Object.fromEntries(messages.map(({ id }) => [id, what]));
  expect(await session('reader', messages)).toEqual(all('FORBIDDEN'));
  expect(await session('manager', messages)).toEqual(all('FORBIDDEN'));
  const tenant = {
    start: 'started',
    own: 'admitted',
    group: 'FORBIDDEN',
    key: 'FORBIDDEN',
    renew: 'UNKNOWN_PERMIT',
    release: 'UNKNOWN_PERMIT',
    request: 'FORBIDDEN',
  };
  expect(await session('tenant', messages)).toEqual(tenant);
  expect(await session('all', messages)).toMatchObject({ group: 'admitted', key: 'admitted', renew: 'renewed', release: 'released', request: 'released' });
});
