import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { type DeferredServer, keyFor, startDeferred } from '../api/deferred/server.ts';
import { type FakeWorld, fakeWorld } from './world.ts';

/* `sluice requests`, and the client under it, against every listener before fakes. */

let server: DeferredServer;
const folder = mkdtempSync(join(tmpdir(), 'sluice-requests-'));

beforeEach(async () => {
  server = await startDeferred({ keys: [keyFor('all', { can: ['acquire', 'read', 'manage'] }), keyFor('asker', {})] });
});
afterEach(() => server.stop());
afterAll(() => rmSync(folder, { recursive: true }));

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function begin(args: readonly string[], more: Partial<FakeWorld> = {}, token = 'all'): { world: FakeWorld; code: Promise<number> } {
  const world = { ...fakeWorld({ SLUICE_URL: server.api, SLUICE_TOKEN: token }), ...more };
  return { world, code: dispatch(['requests', ...args], world) };
}

async function sluice(...args: string[]): Promise<Ran> {
  const { world, code } = begin(args);
  return { code: await code, out: world.out(), err: world.err() };
}

async function submitted(...args: string[]): Promise<string> {
  const { code, out, err } = await sluice('submit', '/erp/1', ...args);
  expect([code, err]).toEqual([0, '']);
  return out.trim();
}

const DONE = { status: 200, headers: ['Content-Type', 'text/plain'], body: Buffer.from([0x6f, 0x6b, 0x00, 0xff]), truncated: false };

describe('sluice requests submit', () => {
  test('prints the id, and sends every option', async () => {
    const file = join(folder, 'body');
    writeFileSync(file, Buffer.from([1, 2, 255]));
    const options = [
      '--route',
      'erp',
      '--key=acme',
      '--class',
      'urgent',
      '--host',
      'erp.example.com',
      '--method',
      'PUT',
      '--header',
      'X-A: 1',
      '--header',
      'X-A: 2',
    ];
    const more = ['--body-file', file, '--idempotency-key', 'k', '--not-before', '2001-09-10T00:00:00Z', '--deadline', '2d', '--timeout', '30s'];
    const id = await submitted(...options, ...more, '--retry-delays', '1s,10s', '--cost', '2', '--cost.tokens=9', '--callback', 'https://me.example.com/');
    expect(id).toBe(server.requests.all[0]?.view.id);
    expect(server.requests.all[0]?.submission).toMatchObject({
      ...{
        route: 'erp',
        key: 'acme',
        priorityClass: 'urgent',
        host: 'erp.example.com',
        method: 'PUT',
        target: '/erp/1',
        headers: ['X-A', '1', 'X-A', '2', 'Idempotency-Key', '"k"'],
      },
      ...{ idempotencyKey: 'k', notBeforeMs: 1_000_080_000_000, deadlineMs: 172_800_000, timeoutMs: 30_000, retries: { delaysMs: [1_000, 10_000] } },
      ...{ costs: { requests: 2, tokens: 9 }, callback: 'https://me.example.com/', caller: 'all' },
    });
    expect([...(server.requests.all[0]?.bytes ?? [])]).toEqual([1, 2, 255]);
  });

  test('reads a body from standard input, and gives the request a key by itself', async () => {
    const { world, code } = begin(['submit', '/erp/1', '--body-file', '-', '--json'], { stdin: Readable.from([Buffer.from('from '), Buffer.from('stdin')]) });
    expect(await code).toBe(0);
    expect(JSON.parse(world.out())).toMatchObject({ id: expect.any(String), existing: false });
    expect(server.requests.all[0]?.bytes.toString()).toBe('from stdin');
    expect(server.requests.all[0]?.submission.idempotencyKey).toMatch(/^[0-9a-f-]{36}$/);
  });

  test.each([
    ['done', 0],
    ['dead', 1],
    ['cancelled', 1],
  ] as const)('waits for the end: %s is %i', async (state, code) => {
    const asked = begin(['submit', '/erp/1', '--wait', '30s']);
    await expect.poll(() => server.requests.waiting).toBe(1);
    server.requests.change(server.requests.all[0]?.view.id ?? '', { state, attempts: 1, ...(state === 'done' && { response: DONE }) });
    expect(await asked.code).toBe(code);
    expect(asked.world.out()).toContain(`state         ${state}\n`);
  });

  test('a wait that is over before the end is 75', async () => {
    const { code, out } = await sluice('submit', '/erp/1', '--wait', '1ms');
    expect([code, out.includes('state         pending')]).toEqual([75, true]);
  });
});

describe('sluice requests list', () => {
  test('shows a table for people, and JSON a line for each', async () => {
    const [one, two] = [await submitted('--key', 'acme'), await submitted()];
    const now = Date.now();
    server.requests.change(one, { state: 'dead', attempts: 3, error: 'status_400', acceptedAt: now - 300_000 });
    server.requests.change(two, { acceptedAt: now - 10_000, attempts: 1, nextAttemptAt: now + 60_500 });
    const table = await sluice('list');
    expect(table.code).toBe(0);
    const lines = table.out.split('\n').map((line) => line.split(/ {2,}/));
    expect(lines).toEqual([
      ['ID', 'STATE', 'GROUP', 'KEY', 'TRIES', 'AGE', 'NEXT', 'ERROR'],
      [one, 'dead', 'slots', 'acme', '3', '5m', 'status_400'],
      [two, 'pending', 'slots', '1', '10s', expect.stringMatching(/^(60|61)s$/)],
      [''],
    ]);
    const json = await sluice('list', '--state', 'dead', '--group', 'slots', '--key', 'acme', '--error=status_400', '--json');
    expect(json.out.split('\n').map((line) => (line === '' ? '' : (JSON.parse(line) as { id: string }).id))).toEqual([one, '']);
  });

  test('says what a request waits for: a backend that is down, and when it is probed next', async () => {
    const id = await submitted();
    server.requests.change(id, { attempts: 5, error: 'connect', nextAttemptAt: Date.now() + 2_500, waitsFor: 'backend' });
    expect((await sluice('list')).out).toMatch(/ probe [123]s +connect$/m);
    const { out } = await sluice('show', id);
    expect(out).toMatch(/^waits for +its backend, which is down: one request at a time probes it, and none spends an attempt$/m);
    expect(out).toMatch(/^next probe +\S+ \(in [123]s\)$/m);
  });

  test('goes through pages up to its limit, and says that there are more', async () => {
    for (let n = 0; n < 5; n++) await submitted();
    const { out, err } = await sluice('list', '--limit', '3', '--json');
    expect([out.trim().split('\n').length, err]).toEqual([3, 'sluice: there are more; raise --limit\n']);
    expect((await sluice('list', '--limit', '5', '--json')).err).toBe('');
  });

  test('what a backend or caller wrote moves no cursor', async () => {
    const id = await submitted();
    const tries = [{ number: 1, at: 1_800_000_001_000, status: 500, error: 'status_500', firstBytes: Buffer.from('a\u001b[2Jb\nc'), nextAt: 0 }];
    server.requests.change(id, { tries, attempts: 1, error: 'status_500' });
    const { out } = await sluice('show', id);
    expect(out).toMatch(/^ {3}1 {2}2027-01-15T08:00:01.000Z {2}500 \(status_500\): a \[2Jb c$/m);
    expect(out).not.toContain('\u001b');
  });
});

describe('sluice requests show', () => {
  test('shows a request and its attempts, or its response as it is kept', async () => {
    const id = await submitted('--body', 'abc');
    server.requests.change(id, {
      state: 'done',
      attempts: 2,
      response: DONE,
      tries: [{ number: 1, at: 1_800_000_000_500, status: 0, error: 'connect', firstBytes: Buffer.alloc(0), nextAt: 1_800_000_001_000 }],
    });
    const { out, code } = await sluice('show', id);
    expect(code).toBe(0);
    expect(out).toContain('request       POST /erp/1, 3 bytes\n');
    expect(out).toContain('response      200, 4 bytes\n');
    expect(out).toContain('   1  2027-01-15T08:00:00.500Z  no answer (connect), next 2027-01-15T08:00:01.000Z\n');
    expect(JSON.parse((await sluice('show', id, '--json')).out)).toMatchObject({ id, state: 'done' });
    const chunks: Buffer[] = [];
    const { world, code: shown } = begin(['show', id, '--response', '--wait', '1s']);
    world.stdout.on('pipe', () => {});
    (world.stdout as unknown as Readable).on('data', (chunk: Buffer) => chunks.push(chunk));
    expect(await shown).toBe(0);
    expect([...Buffer.concat(chunks)]).toEqual([0x6f, 0x6b, 0x00, 0xff]);
  });

  test('a response that is not there yet is 65, and says so', async () => {
    const id = await submitted();
    expect(await sluice('show', id, '--response')).toMatchObject({ code: 65, err: expect.stringMatching(/^sluice: conflict: .*no response yet/) });
  });
});

describe('sluice requests cancel and redrive', () => {
  test('each id by itself; one that is unknown fails alone', async () => {
    const [one, two] = [await submitted(), await submitted()];
    server.requests.change(two, { state: 'sending' });
    const { code, out, err } = await sluice('cancel', one, 'nothing', two);
    expect([code, out]).toEqual([66, `${one} cancelled\n${two} cancelled while it was sent: the backend may have acted\n`]);
    expect(err).toMatch(/^sluice: unknown_request: /);
    expect((await sluice('cancel', one)).out).toBe(`${one} had ended already\n`);
    expect(JSON.parse((await sluice('cancel', one, '--json')).out)).toEqual({ id: one, cancelled: false, aborted: false });
  });

  test('dead letters by id, or by a filter up to a bound', async () => {
    const ids = [await submitted(), await submitted(), await submitted()];
    for (const id of ids) server.requests.change(id, { state: 'dead', error: 'timeout' });
    expect(await sluice('redrive', ids[0] ?? '')).toEqual({ code: 0, out: `${ids[0]} is pending again\n`, err: '' });
    expect((await sluice('redrive', ids[0] ?? '')).code).toBe(65);
    expect(await sluice('redrive', '--group', 'slots', '--error', 'timeout', '--max', '1')).toMatchObject({
      code: 0,
      out: '1 pending again; there are more\n',
    });
    expect(JSON.parse((await sluice('redrive', '--max', '1', '--json')).out)).toEqual({ redriven: 1, more: false });
    expect(ids.map((id) => server.requests.all.find(({ view }) => view.id === id)?.view.state)).toEqual(['pending', 'pending', 'pending']);
  });
});

describe('how it is called', () => {
  test.each([
    [64, []],
    [64, ['lost']],
    [64, ['list', '--state', 'lost']],
    [64, ['list', '--limit', '0']],
    [64, ['list', 'id']],
    [64, ['show']],
    [64, ['show', 'a', 'b']],
    [64, ['show', 'a', '--wait', '30']],
    [64, ['cancel']],
    [64, ['redrive']],
    [64, ['redrive', '--group', 'slots']],
    [64, ['redrive', 'a', '--max', '1']],
    [64, ['submit']],
    [64, ['submit', '/a', '/b']],
    [64, ['submit', '/erp/1', '--body', 'a', '--body-file', 'b']],
    [64, ['submit', '/erp/1', '--body-file', '/no/such/file']],
    [64, ['submit', '/erp/1', '--retries', '0']],
    [64, ['submit', '/erp/1', '--retry-delays', '1,2']],
    [64, ['submit', '/erp/1', '--header', 'none']],
    [64, ['submit', '/erp/1', '--not-before', 'soon']],
    [64, ['submit', '/erp/1', '--not-before', '2027-02-30T00:00:00Z']],
    [64, ['submit', '/erp/1', '--cost.tokens', 'many']],
    [64, ['submit', '/erp/1', '--nonsense']],
    [64, ['list', '--address', 'nowhere']],
    [65, ['submit', 'erp']],
    [65, ['submit', '/erp/1', '--route', 'none']],
    [65, ['list', '--since', 'yesterday']],
    [66, ['show', '1-0']],
    [69, ['list', '--address', 'http://127.0.0.1:1']],
  ])('ends with %i: %j', async (code, args) => {
    const ran = await sluice(...args);
    expect([ran.code, ran.err === '']).toEqual([code, false]);
  });

  test('a credential that may not is 77, a store that cannot 69', async () => {
    const { code } = begin(['list'], {}, 'asker');
    expect(await code).toBe(77);
    server.requests.script = () => ({ reason: 'unstored' });
    expect((await sluice('submit', '/erp/1')).code).toBe(69);
  });

  test.each(['list', 'show', 'cancel', 'redrive', 'submit'])('%s --help has its flags, exit codes and an example', async (name) => {
    const { code, out } = await sluice(name, '--help');
    expect([code, out.startsWith(`Usage: sluice requests ${name}`), out.includes('Exit codes: 0;'), out.includes('Example: sluice requests ')]).toEqual([
      0,
      true,
      true,
      true,
    ]);
  });

  test('sluice help requests and --help list the commands', async () => {
    expect((await sluice('--help')).out).toContain('sluice requests redrive ID');
    const world = fakeWorld();
    expect([await dispatch(['help', 'requests'], world), world.out().includes('sluice requests submit PATH')]).toEqual([0, true]);
  });
});
