import { request as httpRequest } from 'node:http';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/* What a page of another site can send to the listener of operators, and what it must not come to. */

const GROUPS = 'groups: { g: { limits: [ { name: r, rate: 10/1s } ] } }\n';
const KEY = '2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b'; // of `secret`

function load(listen: string, more = '') {
  return loadConfig({
    text: `listen: { api: "127.0.0.1:0", grpc: none, health: none, ${listen} }\nhttp: { engine: node }\nstore: memory\ndrain: { delay: 0, grace: 0 }\n${more}${GROUPS}`,
    name: 'f.yaml',
    env: {},
    flags: [],
  });
}

async function start(listen: string, more = ''): Promise<RunningServer> {
  const loaded = load(listen, more);
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  return serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
}

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

function send(address: string, { method = 'POST', path = '/v1/groups/g/pause', headers = {}, body = '' }: Sent): Promise<number> {
  const [host, port] = [address.slice(0, address.lastIndexOf(':')), Number(address.slice(address.lastIndexOf(':') + 1))];
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, method, path, headers: { 'Content-Length': String(Buffer.byteLength(body)), ...headers } }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    request.on('error', reject).end(body);
  });
}

let running: RunningServer;
let admin = '';
let port = '';

beforeAll(async () => {
  running = await start('admin: { address: "127.0.0.1:0", hosts: [ Sluice.internal ] }');
  admin = running.addresses['admin'] ?? '';
  port = admin.split(':')[1] ?? '';
});

afterAll(() => running.drain(true));

const JSON_TYPE = { 'Content-Type': 'application/json' };
const BODY = '{"duration":"1ms"}';

describe('a page of another site changes nothing on admin', () => {
  test.each([
    ['text, as a form sends it', { headers: { 'Content-Type': 'text/plain' }, body: BODY }, 415],
    ['a form', { headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'duration=1ms' }, 415],
    ['a form with a parameter and capitals', { headers: { 'Content-Type': 'Text/Plain ; charset=UTF-8' }, body: BODY }, 415],
    ['no type at all', { path: '/v1/groups/g/pause?duration=1ms' }, 415],
    ['a foreign origin', { headers: { ...JSON_TYPE, Origin: 'http://evil.example' }, body: BODY }, 403],
    ['an opaque origin', { headers: { ...JSON_TYPE, Origin: 'null' }, body: BODY }, 403],
    ['another port of this machine', { headers: { ...JSON_TYPE, Origin: 'http://127.0.0.1:3000' }, body: BODY }, 403],
    ['an origin that only begins alike', { headers: { ...JSON_TYPE, Origin: 'http://127.0.0.1.evil.example' }, body: BODY }, 403],
    ['a browser that says so itself', { headers: { ...JSON_TYPE, 'Sec-Fetch-Site': 'cross-site' }, body: BODY }, 403],
    ['a name of its own', { headers: { ...JSON_TYPE, Host: 'evil.example' }, body: BODY }, 421],
    ['a name of its own, read', { method: 'GET', path: '/v1/groups', headers: { Host: 'evil.example:9091' } }, 421],
    ['a name of its own with the same origin', { headers: { ...JSON_TYPE, Host: 'evil.example', Origin: 'http://evil.example' }, body: BODY }, 421],
    ['a name that ends in one of loopback', { method: 'GET', path: '/v1/groups', headers: { Host: '127.0.0.1.evil.example' } }, 421],
    ['a Host with a user in it', { method: 'GET', path: '/v1/groups', headers: { Host: 'localhost@evil.example' } }, 400],
    ['a form to Connect', { path: '/sluice.v1.GroupService/Pause', headers: { 'Content-Type': 'text/plain' }, body: '{"group":"g"}' }, 415],
    ['a deletion', { method: 'DELETE', path: '/v1/groups/g/waiters/w0-0', headers: { Origin: 'http://evil.example' } }, 403],
  ] satisfies readonly (readonly [string, Sent, number])[])('%s', async (_name, sent, status) => {
    expect(await send(admin, sent)).toBe(status);
    const group = (await (await fetch(`http://${admin}/v1/groups/g`)).json()) as Record<string, unknown>;
    expect(group).not.toHaveProperty('pausedFor');
  });
});

describe('an operator is answered on admin', () => {
  test.each([
    ['with JSON', () => ({ headers: JSON_TYPE, body: BODY })],
    ['with the header', () => ({ path: '/v1/groups/g/pause?duration=1ms', headers: { 'Sluice-Operator': '1' } })],
    ['with its former name', () => ({ path: '/v1/groups/g/pause?duration=1ms', headers: { 'Sluice-Request': '1' } })],
    ['as localhost through a tunnel', () => ({ headers: { ...JSON_TYPE, Host: 'LOCALHOST:12345' }, body: BODY })],
    ['as [::1]', () => ({ headers: { ...JSON_TYPE, Host: '[::1]:9091' }, body: BODY })],
    ['by a name of listen.admin.hosts', () => ({ headers: { ...JSON_TYPE, Host: 'sluice.internal:9091' }, body: BODY })],
    ['from a page of its own', () => ({ headers: { ...JSON_TYPE, Origin: `http://127.0.0.1:${port}`, 'Sec-Fetch-Site': 'same-origin' }, body: BODY })],
    ['reading', () => ({ method: 'GET', path: '/v1/groups' })],
  ] satisfies readonly (readonly [string, () => Sent])[])('%s', async (_name, sent) => {
    expect(await send(admin, sent())).toBe(200);
  });
});

test('with keys any Host is taken, since a page has no key; a foreign origin is not', async () => {
  const other = await start('admin: "127.0.0.1:0"', `auth: { keys: [ { name: ops, sha256: ${KEY}, can: [ read, manage ] } ] }\n`);
  const [address, Authorization] = [other.addresses['admin'] ?? '', 'Bearer secret'];
  expect(await send(address, { path: '/v1/groups/g/pause?duration=1ms', headers: { Authorization, Host: 'sluice.prod.svc' } })).toBe(200);
  expect(await send(address, { path: '/v1/groups/g/pause?duration=1ms', headers: { Authorization, Origin: 'http://evil.example' } })).toBe(403);
  expect(await send(address, { headers: { ...JSON_TYPE, Host: 'sluice.prod.svc' }, body: BODY })).toBe(401);
  await other.drain(true);
});

test('without keys the API port shows and changes no group, whatever is sent', async () => {
  const api = running.addresses['api'] ?? '';
  for (const [method, path] of [
    ['GET', ''],
    ['GET', '/g'],
    ['GET', '/g/waiters'],
    ['GET', '/g/leases'],
    ['POST', '/g/pause'],
    ['POST', '/g/resume'],
    ['DELETE', '/g/waiters/w0-0'],
    ['DELETE', '/g/leases/g~1'],
  ] as const) {
    expect(await send(api, { method, path: `/v1/groups${path}`, headers: JSON_TYPE })).toBe(403);
  }
  for (const call of ['ListGroups', 'GetGroup', 'ListWaiters', 'ListLeases', 'Pause', 'Resume', 'Override', 'EvictWaiter', 'RevokeLease']) {
    expect(await send(api, { path: `/sluice.v1.GroupService/${call}`, headers: JSON_TYPE, body: call === 'ListGroups' ? '{}' : '{"group":"g"}' })).toBe(403);
  }
});

describe('operators open to a network are a mistake in the file', () => {
  const mistakes = (admin: string, more = '') => {
    const loaded = load(`admin: ${admin}`, more);
    return loaded.kind === 'mistakes' ? loaded.mistakes.map(formatError).join('\n') : '';
  };

  test.each(['9091', '"0.0.0.0:9091"', '"[::]:9091"', '"10.0.0.1:9091"', '"sluice.internal:9091"', '"127.0.0.1.evil.example:1"'])(
    '%s without keys',
    (admin) => {
      expect(mistakes(admin)).toContain('listen.admin');
      expect(mistakes(admin)).toContain('auth.keys');
    },
  );

  test.each(['"127.0.0.1:9091"', '"127.8.8.8:9091"', '"[::1]:9091"', '"localhost:9091"', 'none'])('not %s', (admin) => {
    expect(mistakes(admin)).toBe('');
  });

  test('nor any with keys, or where callers show a certificate', () => {
    expect(mistakes('9091', `auth: { keys: [ { name: ops, sha256: ${KEY} } ] }\n`)).toBe('');
    expect(mistakes('{ address: 9091, tls: { cert: a.pem, key: b.pem, clientCa: c.pem } }')).toBe('');
  });
});
