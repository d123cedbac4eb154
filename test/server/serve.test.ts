import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/* A whole server in this process, on free ports of loopback, before real sockets. */

const LISTEN =
  'listen: { api: "127.0.0.1:0", grpc: "127.0.0.1:0", health: "127.0.0.1:0", admin: "127.0.0.1:0" }\nhttp: { engine: node }\ndrain: { delay: 0, grace: 0 }\n';
const GROUPS = 'groups:\n  slots: { limits: [ { name: one, concurrency: 1 } ] }\n  pace: { limits: [ { name: pace, spacing: 1h } ] }\n';

const folders: string[] = [];
const servers: RunningServer[] = [];

afterEach(async () => {
  for (const running of servers.splice(0)) await running.drain(true);
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'sluice-serve-'));
  folders.push(made);
  return made;
}

function config(text: string): Config {
  const listen = text.startsWith('drain:') ? LISTEN.replace(/^drain:.*\n/m, '') : LISTEN;
  const loaded = loadConfig({ text: listen + text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

async function start(text: string, env: Readonly<Record<string, string>> = {}): Promise<{ running: RunningServer; logged: () => string }> {
  const logTo = new PassThrough();
  let log = '';
  logTo.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const running = await serve(config(text), {
    env,
    clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' },
    logTo,
    version: '1.2.3',
    nodeVersion: '24',
  });
  servers.push(running);
  return { running, logged: () => log };
}

async function acquire(
  running: RunningServer,
  group: string,
  headers: Readonly<Record<string, string>> = {},
  query = 'ttl=0',
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(`http://${running.addresses['api']}/v1/groups/${group}/acquire?${query}`, { method: 'POST', headers });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

test('a server gives permits, and says at start where, with what, and who may come', async () => {
  const { running, logged } = await start(`store: memory\nrevision: 3\n${GROUPS}`);
  expect(Object.keys(running.addresses)).toEqual(['api', 'grpc', 'admin', 'health']);
  expect(await acquire(running, 'slots')).toMatchObject({ status: 200, body: { fence: expect.any(String) as string } });
  expect(await acquire(running, 'slots')).toMatchObject({ status: 429, body: { reason: 'expired', limit: 'one' } });
  expect(await acquire(running, 'none')).toMatchObject({ status: 404 });
  expect(logged()).toContain('"event":"auth_missing"');
  expect(logged()).toMatch(/"event":"serving".*"revision":3,"groups":2,.*"msg":"Sluice 1\.2\.3 serves 2 groups: api on /);
});

test('the health address says whether to send callers here, and what has happened', async () => {
  const { running } = await start(`store: memory\n${GROUPS}`);
  const look = async (path: string) => {
    const answer = await fetch(`http://${running.addresses['health']}${path}`);
    return { status: answer.status, body: await answer.text() };
  };
  await acquire(running, 'slots');
  await acquire(running, 'slots');
  expect(await look('/livez')).toMatchObject({ status: 200 });
  expect(await look('/readyz')).toMatchObject({ status: 200 });
  const { body } = await look('/metrics');
  expect(body).toContain('sluice_admitted_total{group="slots"} 1');
  expect(body).toContain('sluice_refused_total{group="slots",reason="expired"} 1');
  expect(body).toContain('sluice_build_info{version="1.2.3",node="24"} 1');
  expect(await look('/v1/groups')).toMatchObject({ status: 404 });
});

test('what was spent before a clean stop is spent after it', async () => {
  const store = `store: { path: ${folder()}, bytes: 16MiB }\n`;
  const first = await start(store + GROUPS);
  expect((await acquire(first.running, 'pace')).status).toBe(200);
  expect((await acquire(first.running, 'slots')).status).toBe(200);
  await servers.pop()?.drain();
  const second = await start(store + GROUPS);
  expect(await acquire(second.running, 'pace')).toMatchObject({ status: 429, body: { limit: 'pace' } });
  expect(await acquire(second.running, 'slots')).toMatchObject({ status: 429, body: { limit: 'one' } });
});

describe('a reload', () => {
  test('changes limits and keeps what was spent', async () => {
    const { running } = await start(`store: memory\n${GROUPS}`);
    expect((await acquire(running, 'slots')).status).toBe(200);
    expect(await running.reload(config(`store: memory\n${GROUPS.replace('concurrency: 1', 'concurrency: 2')}  more: {}\n`))).toEqual([]);
    expect((await acquire(running, 'slots')).status).toBe(200);
    expect((await acquire(running, 'slots')).status).toBe(429);
    expect((await acquire(running, 'more')).status).toBe(200);
  });

  test('answers a group in its new words', async () => {
    const { running } = await start(`store: memory\n${GROUPS}`);
    await acquire(running, 'slots');
    await running.reload(
      config(`store: memory\n${GROUPS.replace('slots: {', 'slots: { refusal: { status: 503, contentType: application/json, body: "{}" },')}`),
    );
    expect(await acquire(running, 'slots')).toEqual({ status: 503, body: {} });
  });

  test('does not admit operators without a key by taking the last key away', async () => {
    const key = `auth: { keys: [ { name: a, sha256: ${'a'.repeat(64)} } ] }\n`;
    const { running } = await start(`store: memory\n${key}${GROUPS}`);
    expect(await running.reload(config(`store: memory\n${GROUPS}`))).toEqual(['auth.keys: from no keys to some, or from some to none, takes a restart']);
    expect((await acquire(running, 'slots')).status).toBe(401);
  });
});

test('with keys in the file only their holders come in, each to its own groups; a changed hash counts after a reload', async () => {
  const hash = (key: string) => createHash('sha256').update(key).digest('hex');
  const file = join(folder(), 'key');
  writeFileSync(file, `${hash('old')}  -\n`);
  const text = `store: memory\nauth: { keys: [ { name: a, sha256: { file: ${file} }, groups: [ slots ] }, { name: b, sha256: { env: B } } ] }\n${GROUPS}`;
  const { running, logged } = await start(text, { B: hash('b') });
  const as = (key: string) => ({ authorization: `Bearer ${key}` });
  expect((await acquire(running, 'slots')).status).toBe(401);
  expect((await acquire(running, 'slots', as('wrong'))).status).toBe(401);
  expect((await acquire(running, 'pace', as('old'))).status).toBe(403);
  expect((await acquire(running, 'slots', as('old'))).status).toBe(200);
  expect((await acquire(running, 'pace', as('b'))).status).toBe(200);
  writeFileSync(file, hash('new'));
  expect(await running.reload(config(text))).toEqual([]);
  expect((await acquire(running, 'slots', as('old'))).status).toBe(401);
  expect((await acquire(running, 'slots', as('new'))).status).toBe(429);
  expect(logged()).not.toContain('auth_missing');
});

test('a server that cannot start says what to do, and leaves the store alone', async () => {
  const store = `store: { path: ${folder()}, bytes: 16MiB }\n`;
  const first = await start(store + GROUPS);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  const clash = store + GROUPS;
  const second = {
    ...config(clash),
    listen: { ...config(clash).listen, admin: { address: { host: '127.0.0.1', port }, tls: undefined, hosts: [], dashboard: 'none' } },
  };
  const parts = {
    env: {},
    clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' },
    logTo: new PassThrough(),
    version: '1.2.3',
    nodeVersion: '24',
  };
  await expect(serve(second, parts)).rejects.toThrow(/^listen\.admin: 127\.0\.0\.1:\d+ is not to be had; stop who has it, or choose another\.$/);
  expect((await acquire(first.running, 'slots')).status).toBe(200);
  await expect(serve(config(`auth: { keys: [ { name: a, sha256: { env: NONE } } ] }\n${GROUPS}`), parts)).rejects.toThrow('the variable NONE is not there');
  await expect(serve(config(`store: { path: /dev/null/x }\n${GROUPS}`), parts)).rejects.toThrow('The store at /dev/null/x cannot be opened');
  await new Promise((resolve) => taken.close(resolve));
});

test('a newer server that takes the same store over decides; the older one says that it is lost and refuses', async () => {
  const path = folder();
  const first = await start(`store: { path: ${path}, bytes: 16MiB }\n${GROUPS}`);
  await expect(start(`store: { path: ${path} }\n${GROUPS}`)).rejects.toThrow('cannot be opened');
  const second = await start(`store: { path: ${path}, takeOver: true }\n${GROUPS}`);
  // A decision asks for its slot, and finds it gone.
  const refused = acquire(first.running, 'slots', {}, 'ttl=5s');
  expect(await first.running.lost).toBeInstanceOf(Error);
  expect((await refused).status).toBe(503);
  expect((await acquire(second.running, 'slots', {}, 'ttl=5s')).status).toBe(200);
});

test('health and admin answer while a drain waits for those who are held', async () => {
  const { running } = await start(`drain: { delay: 0, grace: 60s }\nstore: memory\n${GROUPS}`);
  await acquire(running, 'slots');
  const held = acquire(running, 'slots', {}, 'ttl=60s');
  const look = async (name: string, path: string) => (await fetch(`http://${running.addresses[name]}${path}`)).status;
  const waiting = async () => ((await (await fetch(`http://${running.addresses['admin']}/v1/groups/slots`)).json()) as { waiting: string }).waiting;
  await expect.poll(waiting).toBe('1');
  const drained = servers.pop()?.drain();
  await expect.poll(() => look('api', '/v1/groups').catch(() => 'closed')).toBe('closed');
  expect([await look('health', '/metrics'), await look('health', '/readyz'), await waiting()]).toEqual([200, 503, '1']);
  const { leases } = (await (await fetch(`http://${running.addresses['admin']}/v1/groups/slots/leases`)).json()) as { leases: { permit: string }[] };
  await fetch(`http://${running.addresses['admin']}/v1/groups/slots/leases/${leases[0]?.permit}`, { method: 'DELETE' });
  expect(await held).toMatchObject({ status: 200 });
  await drained;
});

test('a drain refuses those who are held once its grace has ended', async () => {
  const { running, logged } = await start(`store: memory\n${GROUPS}`);
  await acquire(running, 'slots');
  const held = acquire(running, 'slots', {}, 'ttl=60s');
  // The ask has arrived when the group shows it.
  const waiting = async (): Promise<number> => {
    const answer = await fetch(`http://${running.addresses['admin']}/v1/groups/slots`);
    return Number(((await answer.json()) as { waiting?: number }).waiting);
  };
  for (let look = 0; look < 1000 && (await waiting()) !== 1; look++);
  await servers.pop()?.drain();
  expect(await held).toMatchObject({ status: 503, body: { reason: 'draining' } });
  expect(logged()).toContain('"event":"stopped"');
});

test('what operators do is logged, with who did it', async () => {
  const { running, logged } = await start(`store: memory\n${GROUPS}`);
  const admin = (path: string, body?: object, method = 'POST') =>
    fetch(`http://${running.addresses['admin']}/v1/groups/${path}`, {
      method,
      headers: { 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  expect((await admin('slots/pause', { duration: '1m' })).status).toBe(200);
  expect((await admin('slots/resume')).status).toBe(200);
  expect((await admin('nothing/pause')).status).toBe(404);
  const lines = logged()
    .split('\n')
    .filter((line) => /group_(paused|resumed)/.test(line))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([
    { level: 'info', event: 'group_paused', group: 'slots', caller: '', forMs: 60_000, msg: 'An operator paused group slots.' },
    { level: 'info', event: 'group_resumed', group: 'slots' },
    { level: 'warn', event: 'group_paused', group: 'nothing', refused: 'unknown_group' },
  ]);
  for (const line of logged().trim().split('\n')) expect((JSON.parse(line) as { msg?: string }).msg).toMatch(/^[A-Z].+/);
});
