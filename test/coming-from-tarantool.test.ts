import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatError } from '../src/config/errors.ts';
import { loadConfig } from '../src/config/load.ts';
import { type RunningServer, serve } from '../src/server/serve.ts';
import { until } from './support/fakes/until.ts';

/* Each row of the tables in docs/coming-from-tarantool.md, over HTTP, on a whole server with a worker behind it. */

const page = readFileSync(new URL('../docs/coming-from-tarantool.md', import.meta.url), 'utf8');

/** The first limit instances of a table of the page, without their code marks. */
function rowsOf(table: string): readonly string[] {
  const [, text = ''] = page.split(`<!-- rows: ${table} -->\n`);
  const [rows = ''] = text.split('\n\n');
  return rows
    .split('\n')
    .slice(2)
    .map((line) => (line.split(' | ')[0] ?? '').replaceAll(/[|`]/g, '').trim());
}

const CONFIG = `
listen: { api: "127.0.0.1:0", proxy: "127.0.0.1:0", admin: "127.0.0.1:0", grpc: none, health: none }
http: { engine: node }
store: memory
drain: { delay: 0, grace: 0 }
backends: { workers: { urls: [ WORKER ] } }
groups:
  fifo: { fairness: { by: none }, limits: [ { name: taken, concurrency: 1 } ], priority: { classes: { high: 0, low: 9 } } }
  windowed: { limits: [ { name: taken, concurrency: 1 }, { name: minute, window: 1/60s } ] }
  utube: { limits: [ { name: one, concurrency: 1, scope: key } ] }
  limfifo: { limits: [ { name: taken, concurrency: 1 } ], backlog: { requests: 1 } }
  stored: { limits: [ { name: taken, concurrency: 1 } ], priority: { classes: { high: 0, low: 9 } } }
  ordered: { limits: [ { name: taken, concurrency: 5 } ] }
routes:
  - { name: work, match: { path: '/jobs/*' }, group: stored, backend: workers, mode: deferred, pushback: none, retry: { first: 1ms, max: 1ms } }
  - { name: ordered, match: { path: '/ordered/*' }, group: ordered, backend: workers, mode: deferred, key: header x-tube, order: key, pushback: none }
`;

/** A worker that answers as a test says, and remembers what it got. */
interface Taken {
  readonly path: string;
  readonly attempt: number;
  readonly key: string;
  /** By the wall clock, as due times are. */
  readonly atMs: number;
}

let running: RunningServer;
let worker: Server;
const taken: Taken[] = [];
const behaviours = new Map<string, (attempt: number, response: ServerResponse) => void>();
const api = (): string => `http://${running.addresses['api']}`;
const admin = (): string => `http://${running.addresses['admin']}`;

beforeAll(async () => {
  worker = createServer((request: IncomingMessage, response) => {
    const path = request.url ?? '';
    const attempt = Number(request.headers['sluice-attempt']);
    taken.push({ path, attempt, key: String(request.headers['idempotency-key']), atMs: Date.now() });
    request.resume();
    const behave = behaviours.get(path);
    if (behave === undefined) response.end(`did ${path}`);
    else behave(attempt, response);
  });
  await new Promise<void>((resolve) => void worker.listen(0, '127.0.0.1', resolve));
  const { port } = worker.address() as { port: number };
  const loaded = loadConfig({ text: CONFIG.replace('WORKER', `http://127.0.0.1:${port}`), name: 'tarantool.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
});

afterAll(async () => {
  await running.drain(true);
  worker.closeAllConnections();
  worker.close();
});

/** An answer of the API as JSON, with its status. */
interface Answer {
  readonly status: number;
  readonly [name: string]: unknown;
}

async function call(method: string, url: string, body?: object): Promise<Answer> {
  const answer = await fetch(url, {
    method,
    redirect: 'manual',
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
  });
  const text = await answer.text();
  return { ...(text.startsWith('{') ? JSON.parse(text) : { text }), status: answer.status };
}

const acquire = (group: string, query = ''): Promise<Answer> => call('POST', `${api()}/v1/groups/${group}/acquire?ttl=20s&lease=20s${query}`);
const release = (permit: unknown, body: object): Promise<Answer> => call('POST', `${api()}/v1/permits/${permit}/release`, body);
const waiting = async (group: string): Promise<number> => Number((await call('GET', `${admin()}/v1/groups/${group}`))['waiting'] ?? 0);
const put = (path: string, more: object = {}): Promise<Answer> => call('POST', `${api()}/v1/requests`, { path, ...more });
const peek = (id: unknown): Promise<Answer> => call('GET', `${api()}/v1/requests/${id}?response=state`);
const of = (path: string): readonly Taken[] => taken.filter((each) => each.path === path);

async function state(id: unknown, wanted: string): Promise<Answer> {
  let found: Answer = { status: 0 };
  await until(`request ${id} to be ${wanted}`, async () => {
    found = await peek(id);
    return found['state'] === wanted;
  });
  return found;
}

/** Answers at once with a status, after `times` attempts with 200. */
function answers(path: string, status: number, headers: Readonly<Record<string, string>> = {}, times = Number.POSITIVE_INFINITY): void {
  behaviours.set(path, (attempt, response) => {
    if (attempt <= times) response.writeHead(status, headers).end('no');
    else response.end('yes');
  });
}

const PERMIT: Readonly<Record<string, () => Promise<void>>> = {
  'put, take': async () => {
    const permit = await acquire('fifo');
    expect(permit).toMatchObject({ status: 200, permit: expect.any(String) as string, fence: expect.any(String) as string, lease: '20s' });
    await release(permit['permit'], {});
  },
  ack: async () => {
    const first = await acquire('fifo');
    const second = acquire('fifo');
    await until('the second to wait', async () => (await waiting('fifo')) === 1);
    expect(await release(first['permit'], { outcome: 'used' })).toMatchObject({ status: 200, ended: true });
    const { status, permit } = await second;
    expect(status).toBe(200);
    expect(await release(permit, { outcome: 'used' })).toMatchObject({ ended: true });
    // A second ack ends nothing.
    expect(await release(permit, { outcome: 'used' })).toMatchObject({ ended: false });
  },
  release: async () => {
    const first = await acquire('windowed');
    await release(first['permit'], { outcome: 'unused' });
    // The minute has room for one: it was given back.
    const second = await call('POST', `${api()}/v1/groups/windowed/acquire?ttl=0&lease=20s`);
    expect(second.status).toBe(200);
    await release(second['permit'], { outcome: 'used' });
    expect(await call('POST', `${api()}/v1/groups/windowed/acquire?ttl=0`)).toMatchObject({ status: 429, limit: 'minute' });
  },
  'release with a delay': async () => {
    const { permit } = await acquire('utube', '&key=slow');
    await release(permit, { outcome: 'dropped', retryAfter: '10s' });
    expect(await call('POST', `${api()}/v1/groups/utube/acquire?ttl=0&key=slow`)).toMatchObject({ status: 429 });
    const other = await acquire('utube', '&key=quick');
    expect(other.status).toBe(200);
    await release(other['permit'], {});
  },
  touch: async () => {
    const { permit } = await acquire('fifo');
    expect(await call('POST', `${api()}/v1/permits/${permit}/renew?lease=600s`)).toMatchObject({ status: 200, lease: '600s' });
    await release(permit, {});
  },
  delete: async () => {
    const { permit } = await acquire('fifo');
    const left = new AbortController();
    const gone = fetch(`${api()}/v1/groups/fifo/acquire?ttl=20s`, { method: 'POST', signal: left.signal }).catch(() => 'gone');
    await until('it to wait', async () => (await waiting('fifo')) === 1);
    left.abort();
    await gone;
    await until('its place to be free', async () => (await waiting('fifo')) === 0);
    const named = call('POST', `${api()}/v1/groups/fifo/acquire?ttl=20s&requestId=task-7`);
    await until('the named one to wait', async () => (await waiting('fifo')) === 1);
    expect(await call('DELETE', `${api()}/v1/groups/fifo/requests/task-7`)).toMatchObject({ status: 200, ended: true });
    expect(await named).toMatchObject({ reason: 'cancelled' });
    await release(permit, {});
  },
  peek: async () => {
    const { permit } = await acquire('fifo');
    const next = acquire('fifo', '&holder=worker-2');
    await until('it to wait', async () => (await waiting('fifo')) === 1);
    const { waiters } = await call('GET', `${admin()}/v1/groups/fifo/waiters`);
    expect(waiters).toMatchObject([{ holder: 'worker-2', place: { place: '1' } }]);
    const { leases } = await call('GET', `${admin()}/v1/groups/fifo/leases`);
    expect(leases).toMatchObject([{ permit }]);
    await release(permit, {});
    await release((await next)['permit'], {});
  },
  statistics: async () => {
    const { permit } = await acquire('fifo');
    const group = await call('GET', `${admin()}/v1/groups/fifo`);
    expect(group).toMatchObject({ name: 'fifo', limits: [{ name: 'taken', used: '1' }] });
    await release(permit, {});
  },
};

const STORED: Readonly<Record<string, () => Promise<void>>> = {
  put: async () => {
    const stored = await put('/jobs/put', { body: 'task' });
    expect(stored).toMatchObject({ status: 202, id: expect.any(String) as string, existing: false });
    const direct = await fetch(`http://${running.addresses['proxy']}/jobs/direct`, { method: 'POST', body: 'task' });
    expect([direct.status, direct.headers.get('location')]).toEqual([202, expect.stringMatching(/^\/\.sluice\/requests\//)]);
    await state(stored['id'], 'done');
  },
  take: async () => {
    const { id } = await put('/jobs/take');
    await state(id, 'done');
    expect(of('/jobs/take')).toMatchObject([{ attempt: 1, key: expect.stringContaining(String(id)) as string }]);
  },
  ack: async () => {
    const { id } = await put('/jobs/ack');
    await state(id, 'done');
    expect(await call('GET', `${api()}/v1/requests/${id}/response`)).toMatchObject({ status: 200, text: 'did /jobs/ack' });
  },
  release: async () => {
    answers('/jobs/release', 503, { 'Retry-After': '0' }, 1);
    const { id } = await put('/jobs/release');
    await state(id, 'done');
    expect(of('/jobs/release').map(({ attempt }) => attempt)).toEqual([1, 2]);
  },
  'release with a delay': async () => {
    answers('/jobs/delayed', 503, { 'Retry-After': '1' }, 1);
    const { id } = await put('/jobs/delayed');
    await until('its first attempt', () => of('/jobs/delayed').length === 1);
    const other = await put('/jobs/other');
    await state(other['id'], 'done');
    expect(of('/jobs/delayed')).toHaveLength(1);
    await state(id, 'done');
    const [first, second] = of('/jobs/delayed');
    // Whole milliseconds at both ends.
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(999);
  },
  bury: async () => {
    answers('/jobs/bury', 400);
    const { id } = await put('/jobs/bury');
    expect(await state(id, 'dead')).toMatchObject({ error: 'status_400', attempts: 1 });
  },
  kick: async () => {
    answers('/jobs/kick', 422, {}, 1);
    const { id } = await put('/jobs/kick', { key: 'kicked' });
    await state(id, 'dead');
    expect(await call('POST', `${admin()}/v1/requests/redrive`, { group: 'stored', key: 'kicked', max: 1 })).toMatchObject({ status: 200, redriven: 1 });
    expect(await state(id, 'done')).toMatchObject({ id });
  },
  delete: async () => {
    const { id } = await put('/jobs/delete', { notBefore: new Date(Date.now() + 3_600_000).toISOString() });
    expect(await call('DELETE', `${api()}/v1/requests/${id}`)).toMatchObject({ status: 200, cancelled: true, aborted: false });
    behaviours.set('/jobs/held', () => {});
    const held = await put('/jobs/held');
    await until('it to be taken', () => of('/jobs/held').length === 1);
    expect(await call('DELETE', `${api()}/v1/requests/${held['id']}`)).toMatchObject({ cancelled: true, aborted: true });
    expect([(await peek(id))['state'], (await peek(held['id']))['state']]).toEqual(['cancelled', 'cancelled']);
  },
  peek: async () => {
    const { id } = await put('/jobs/peek', { notBefore: new Date(Date.now() + 3_600_000).toISOString() });
    const seen = await peek(id);
    expect(seen).toMatchObject({ status: 200, state: 'pending', path: '/jobs/peek' });
    expect((await peek(id))['state']).toBe('pending');
    await call('DELETE', `${api()}/v1/requests/${id}`);
  },
  statistics: async () => {
    const { id } = await put('/jobs/statistics', { notBefore: new Date(Date.now() + 3_600_000).toISOString(), key: 'counted' });
    const { requests } = await call('GET', `${admin()}/v1/requests?state=pending&group=stored&key=counted`);
    expect(requests).toMatchObject([{ id, state: 'pending' }]);
    await call('DELETE', `${api()}/v1/requests/${id}`);
  },
};

const OPTION: Readonly<Record<string, () => Promise<void>>> = {
  ttl: async () => {
    const { permit } = await acquire('fifo');
    expect(await call('POST', `${api()}/v1/groups/fifo/acquire?ttl=50ms`)).toMatchObject({ status: 429, reason: 'expired' });
    await release(permit, {});
    answers('/jobs/ttl', 500);
    const { id } = await put('/jobs/ttl', { deadline: '1s' });
    expect(await state(id, 'dead')).toMatchObject({ error: 'deadline' });
  },
  ttr: async () => {
    const { permit } = await call('POST', `${api()}/v1/groups/fifo/acquire?lease=100ms`);
    const next = await acquire('fifo');
    expect(next.status).toBe(200);
    expect((await release(permit, { outcome: 'used' })).status).toBe(409);
    await release(next['permit'], {});
    behaviours.set('/jobs/ttr', (attempt, response) => {
      if (attempt === 2) response.end();
    });
    const { id } = await put('/jobs/ttr', { timeout: '100ms' });
    await state(id, 'done');
    expect(of('/jobs/ttr').map(({ attempt }) => attempt)).toEqual([1, 2]);
  },
  pri: async () => {
    const { permit } = await acquire('fifo');
    const order: string[] = [];
    const low = acquire('fifo', '&class=low').then(async (answer) => {
      order.push('low');
      await release(answer['permit'], {});
    });
    await until('low to wait', async () => (await waiting('fifo')) === 1);
    const high = acquire('fifo', '&priority=0').then(async (answer) => {
      order.push('high');
      await release(answer['permit'], {});
    });
    await until('high to wait', async () => (await waiting('fifo')) === 2);
    await release(permit, {});
    await Promise.all([low, high]);
    expect(order).toEqual(['high', 'low']);

    let free = (): void => {};
    behaviours.set('/jobs/first', (_attempt, response) => {
      free = () => void response.end();
    });
    await put('/jobs/first');
    await until('the first to be taken', () => of('/jobs/first').length === 1);
    const last = await put('/jobs/low', { class: 'low' });
    await put('/jobs/high', { class: 'high' });
    free();
    await state(last['id'], 'done');
    expect(taken.map(({ path }) => path).filter((path) => path === '/jobs/low' || path === '/jobs/high')).toEqual(['/jobs/high', '/jobs/low']);
  },
  delay: async () => {
    const notBefore = Date.now() + 1_000;
    const { id } = await put('/jobs/later', { notBefore: new Date(notBefore).toISOString() });
    await state(id, 'done');
    expect(of('/jobs/later')[0]?.atMs).toBeGreaterThanOrEqual(notBefore);
  },
  utube: async () => {
    const one = await acquire('utube', '&key=a');
    expect(await call('POST', `${api()}/v1/groups/utube/acquire?ttl=0&key=a`)).toMatchObject({ status: 429 });
    const two = await acquire('utube', '&key=b');
    expect(two.status).toBe(200);
    for (const { permit } of [one, two]) await release(permit, {});

    let free = (): void => {};
    behaviours.set('/ordered/a1', (_attempt, response) => {
      free = () => void response.end();
    });
    await put('/ordered/a1', { key: 'a' });
    const second = await put('/ordered/a2', { key: 'a' });
    const other = await put('/ordered/b1', { key: 'b' });
    await state(other['id'], 'done');
    expect(of('/ordered/a2')).toHaveLength(0);
    free();
    await state(second['id'], 'done');
  },
  capacity: async () => {
    const { permit } = await acquire('limfifo');
    const held = acquire('limfifo');
    await until('it to wait', async () => (await waiting('limfifo')) === 1);
    const shed = await call('POST', `${api()}/v1/groups/limfifo/acquire?ttl=20s`);
    expect(shed).toMatchObject({ status: 429, reason: 'shed', limit: 'backlog.requests' });
    await release(permit, {});
    await release((await held)['permit'], {});
  },
};

describe.each([
  ['permit', PERMIT],
  ['stored', STORED],
  ['option', OPTION],
] as const)('%s', (table, tests) => {
  test(`each row of the table has a test, and each test a row`, () => {
    expect(Object.keys(tests)).toEqual(rowsOf(table));
  });

  test.each(Object.keys(tests))(`${table}: %s`, (row) => tests[row]?.());
});
