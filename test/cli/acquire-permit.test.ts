import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { ENDING_SIGNALS } from '../../src/cli/command.ts';
import { createSluice } from '../../src/client/client.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { type FakeWorld, fakeWorld } from './world.ts';

/* `sluice acquire` and `sluice run`, and the client under them, against a whole server on loopback. */

const FILE = `
listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: "127.0.0.1:0" }
http: { engine: node }
store: memory
drain: { delay: 0s, grace: 0s }
groups:
  open: { limits: [ { name: rpm, rate: 1000/1s, burst: 1000 }, { name: tpm, window: 100/1h, unit: tokens } ] }
  pace: { limits: [ { name: pace, spacing: 1h } ] }
  slots: { limits: [ { name: one, concurrency: 1 } ] }
  classes: { limits: [ { name: one, concurrency: 100 } ], priority: { classes: { production: 1 } } }
`;

const CLEAR = '\r\u001b[K';

let running: RunningServer;
let address: string;
let admin: string;
const folder = mkdtempSync(join(tmpdir(), 'sluice-asking-'));

beforeAll(async () => {
  const loaded = loadConfig({ text: FILE, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
  address = `http://${running.addresses['api']}`;
  admin = `http://${running.addresses['admin']}`;
});
afterEach(async () => {
  // Whatever a test left behind on the one slot would hold up the next.
  const held = (await get('/v1/groups/slots/leases')) as { leases: { permit: string }[] };
  for (const { permit } of held.leases) await fetch(`${admin}/v1/groups/slots/leases/${permit}`, { method: 'DELETE' });
});
afterAll(async () => {
  await running.drain(true);
  rmSync(folder, { recursive: true });
});

async function get(path: string): Promise<unknown> {
  return (await fetch(admin + path)).json();
}

async function waiting(group: string): Promise<number> {
  return Number(((await get(`/v1/groups/${group}`)) as { waiting: string }).waiting);
}

/** Looks until it is so. */
function becomes(what: () => unknown, wanted: unknown): Promise<void> {
  return expect.poll(what).toBe(wanted);
}

function begin(...args: string[]): { world: FakeWorld; code: Promise<number> } {
  const world = fakeWorld({ SLUICE_URL: address, PATH: process.env['PATH'] ?? '' });
  return { world, code: dispatch(args, world) };
}

async function sluice(...args: string[]) {
  const { world, code } = begin(...args);
  return { code: await code, out: world.out(), err: world.err() };
}

const slots = () => createSluice({ address }).acquire('slots', { ttl: '0' });

describe('sluice explain', () => {
  test('tells in sentences what a request would meet, and takes nothing', async () => {
    expect(await sluice('explain', 'open', '--cost.tokens', '5')).toEqual({ code: 0, out: 'It would be admitted at once.\n', err: '' });
    const large = await sluice('explain', 'open', '--cost.tokens=500');
    expect(large.out).toMatch(/^It would be refused as OVERSIZED: .*\n- Ask for 100 tokens at most at once\.\n$/);
    const permit = await slots();
    const held = await sluice('explain', 'slots', '--ttl', '5m', '--key', 'a');
    expect(held.out).toMatch(
      /^It would wait at place 1, for a time that is not known\. Held up by limit one: .* holds the only slot for .*\n- Ask .* to release what it holds; .*\n$/,
    );
    const { help, place } = JSON.parse((await sluice('explain', 'slots', '--json')).out) as { help: string[]; place: { place: string } };
    expect([help.length, place.place]).toEqual([1, '1']);
    await permit.release();
  });

  test('says what is wrong with the call, and with the group', async () => {
    expect(await sluice('explain')).toMatchObject({ code: 64, err: expect.stringContaining('name one group') });
    expect(await sluice('explain', 'nowhere')).toMatchObject({ code: 65, err: expect.stringContaining('unknown_group') });
    expect((await sluice('explain', '--help')).out).toContain('Example: sluice explain');
  });
});

describe('sluice acquire', () => {
  test('prints the permit as one line of JSON', async () => {
    const { code, out, err } = await sluice('acquire', 'slots', '--lease', '7s', '--holder', 'me', '--key=a');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out.endsWith('\n')).toBe(true);
    const permit = JSON.parse(out) as Record<string, string>;
    expect(permit).toEqual({
      permit: expect.any(String),
      fence: expect.stringMatching(/^\d+$/),
      fenceFloor: permit['fence'],
      lease: '7s',
      waited: expect.stringMatching(/^[\d.]+s$/),
    });
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [{ permit: permit['permit'], holder: 'me', key: 'a' }] });
  });

  test('spends what it is told to', async () => {
    expect((await sluice('acquire', 'open', '--cost', '2', '--cost.tokens', '60', '--ttl', '0')).code).toBe(0);
    expect(await sluice('acquire', 'open', '--cost.tokens=60', '--ttl', '0')).toMatchObject({
      code: 75,
      out: '',
      err: expect.stringContaining('Limit: tpm') as string,
    });
  });

  test.each([
    [65, ['none']],
    [65, ['open', '--cost.tokens', '101']],
    [65, ['classes', '--class', 'nobody']],
    [0, ['classes', '--class', 'production']],
    [0, ['classes', '--priority-class', 'production']],
    [64, ['classes', '--priority-class', 'production', '--class', 'production']],
    [0, ['classes', '--priority', '7']],
    [64, []],
    [64, ['open', 'pace']],
    [64, ['open', '--ttl', '30']],
    [64, ['open', '--cost', '-1']],
    [64, ['open', '--cost.tokens', 'many']],
    [64, ['open', '--priority', 'high']],
    [64, ['open', '--priority', '1', '--class', 'production']],
    [64, ['open', '--nonsense']],
    [64, ['open', '--address', 'nowhere']],
    [64, ['open', '--token-file', '/no/such/file']],
    [69, ['open', '--address', 'http://127.0.0.1:1']],
  ])('ends with %i: %j', async (code, args) => expect((await sluice('acquire', ...args)).code).toBe(code));

  test.each([
    ['http://127.0.0.1:1', /^sluice: http:\/\/127\.0\.0\.1:1 does not answer: .*; name the server with --address or SLUICE_URL\n$/],
    ['nowhere', /^sluice: nowhere is no address; name the server with --address or SLUICE_URL\n$/],
  ])('says how another server is named when %s is none', async (wrong, text) =>
    expect((await sluice('acquire', 'open', '--address', wrong)).err).toMatch(text),
  );

  test('says why, by which limit, and when to come back', async () => {
    await sluice('acquire', 'pace');
    const { code, err } = await sluice('acquire', 'pace', '--ttl', '1s');
    expect(code).toBe(75);
    expect(err).toMatch(/^sluice: infeasible: .*\(Limit: pace\.\); try again in 3600 s\n$/);
  });

  test('shows the place while it waits', async () => {
    const first = await slots();
    const { world, code } = begin('acquire', 'slots');
    await expect.poll(world.err).toMatch(/^sluice: place 1 in slots, (about (\d+ to )?\d+ s|time unknown), behind limit one\n$/);
    await first.release();
    expect(await code).toBe(0);
  });

  test('on a terminal in one line, which is empty at the end', async () => {
    const first = await slots();
    const world: FakeWorld = { ...fakeWorld({ SLUICE_URL: address }), interactive: true };
    const code = dispatch(['acquire', 'slots'], world);
    await becomes(() => waiting('slots'), 1);
    await becomes(() => world.err().includes('place 1'), true);
    await first.release();
    expect(await code).toBe(0);
    const [before, line, after] = world.err().split(CLEAR);
    expect({ before, line, after }).toEqual({ before: '', line: expect.stringMatching(/^sluice: place 1 in slots, .*behind limit one$/) as string, after: '' });
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGQUIT', 131],
  ] as const)('%s frees the place at once', async (signal, code) => {
    const first = await slots();
    const asked = begin('acquire', 'slots', '--quiet');
    await becomes(() => waiting('slots'), 1);
    asked.world.signal(signal);
    expect(await asked.code).toBe(code);
    expect(await waiting('slots')).toBe(0);
    expect(asked.world.err()).toBe('');
    // Nobody stands in the way of the next: the place was not only passed over.
    const next = createSluice({ address }).acquire('slots');
    await first.release();
    await (await next).release();
  });
});

describe('sluice run', () => {
  const run = (script: string, ...flags: string[]) => begin('run', '--group', 'slots', ...flags, '--', 'sh', '-c', script);
  const note = () => join(folder, `note-${Math.random()}`);

  test('runs one after the other where one may run, and releases', async () => {
    const file = note();
    const codes = await Promise.all([1, 2, 3].map((n) => run(`echo ${n} begins >> ${file}; echo ${n} ends >> ${file}`, '--quiet').code));
    expect(codes).toEqual([0, 0, 0]);
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    for (const at of [0, 2, 4]) expect(lines[at + 1]).toBe(lines[at]?.replace('begins', 'ends'));
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [] });
  });

  test('tells the command its permit and fence', async () => {
    const file = note();
    expect(await run(`echo $SLUICE_PERMIT $SLUICE_GROUP $SLUICE_FENCE $SLUICE_FENCE_FLOOR > ${file}`).code).toBe(0);
    expect(readFileSync(file, 'utf8')).toMatch(/^slots\S+ slots (\d+) \1\n$/);
  });

  test('is held under user@host:command unless --holder says another, so that a slot has a name', async () => {
    const holders = async () => ((await get('/v1/groups/slots/leases')) as { leases: { holder: string }[] }).leases.map(({ holder }) => holder);
    for (const [flags, holder] of [
      [[], `${userInfo().username}@${hostname()}:sh`],
      [['--holder', 'job-21'], 'job-21'],
    ] as const) {
      const file = note();
      const { world, code } = run(`trap 'exit 0' TERM; echo up > ${file}; while :; do sleep 0.02; done`, ...flags);
      await becomes(() => written(file), true);
      expect(await holders()).toEqual([holder]);
      world.signal('SIGTERM');
      expect(await code).toBe(0);
    }
    const permit = JSON.parse((await sluice('acquire', 'slots')).out) as { permit: string };
    expect([permit.permit !== '', await holders()]).toEqual([true, [`${userInfo().username}@${hostname()}`]]);
  });

  test('runs without a lease where none is needed', async () => {
    const file = note();
    writeFileSync(file, '');
    const { code } = begin('run', '--group', 'open', '--', 'sh', '-c', `env | grep SLUICE_FENCE > ${file}; exit 4`);
    expect(await code).toBe(4);
    expect(readFileSync(file, 'utf8')).toBe('');
  });

  test('passes on how the command ended', async () => {
    expect(await run('exit 3').code).toBe(3);
    expect(await run('kill -KILL $$').code).toBe(137);
    expect(await begin('run', '--group', 'slots', '--', 'no-such-command').code).toBe(127);
    expect(await begin('run', '--group', 'slots', '--', folder).code).toBe(126);
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [] });
  });

  test('passes signals on, and releases', async () => {
    const file = note();
    const { world, code } = run(`trap 'exit 9' TERM; echo up > ${file}; while :; do sleep 0.02; done`);
    await becomes(() => written(file), true);
    world.signal('SIGTERM');
    expect(await code).toBe(9);
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [] });
  });

  test.each(ENDING_SIGNALS)('passes %s on, and holds its permit until the command has ended', async (signal) => {
    const file = note();
    const { world, code } = run(
      `trap 'while [ ! -e ${file}.end ]; do sleep 0.02; done; exit 9' ${constants.signals[signal]}; echo up > ${file}; while :; do sleep 0.02; done`,
    );
    await becomes(() => written(file), true);
    world.signal(signal);
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [{}] });
    writeFileSync(`${file}.end`, '');
    expect(await code).toBe(9);
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [] });
  });

  test('as a process of its own it outlives SIGQUIT as long as its command does', async () => {
    const file = note();
    const script = `trap 'exit 9' QUIT; echo up > ${file}; while :; do sleep 0.02; done`;
    const child = spawn(process.execPath, ['src/main.ts', 'run', '--address', address, '--group', 'slots', '--', 'sh', '-c', script], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    await becomes(() => written(file), true);
    child.kill('SIGQUIT');
    expect(await ended).toEqual([9, null]);
    expect(await get('/v1/groups/slots/leases')).toMatchObject({ leases: [] });
  });

  test('a signal while it waits frees the place, and nothing is run', async () => {
    const first = await slots();
    const file = note();
    const { world, code } = run(`echo up > ${file}`);
    await becomes(() => waiting('slots'), 1);
    world.signal('SIGINT');
    expect(await code).toBe(130);
    await first.release();
    expect(written(file)).toBe(false);
  });

  test('ends the command when the lease is lost, the hard way if need be', async () => {
    const file = note();
    const { world, code } = run(`trap '' TERM; echo up > ${file}; while :; do sleep 0.02; done`, '--lease', '6s', '--grace', '50ms');
    await becomes(() => written(file), true);
    await revoke();
    expect(await code).toBe(79);
    expect(world.err()).toMatch(/^sluice: the lease on slots is lost \(.*lapsed or was revoked.*\); ending sh\n$/);
  });

  test('or warns only', async () => {
    const file = note();
    const { world, code } = run(`echo up > ${file}; while [ ! -e ${file}.end ]; do sleep 0.02; done`, '--lease', '6s', '--on-lost=warn');
    await becomes(() => written(file), true);
    await revoke();
    await becomes(() => world.err().includes('goes on without it'), true);
    writeFileSync(`${file}.end`, '');
    expect(await code).toBe(0);
  });

  test.each([
    [['--group', 'slots', 'true']],
    [['--group', 'slots', '--']],
    [['--', 'true']],
    [['--group', 'slots', 'more', '--', 'true']],
    [['--group', 'slots', '--on-lost', 'cry', '--', 'true']],
    [['--group', 'slots', '--grace', '5', '--', 'true']],
  ])('is called wrongly: %j', async (args) =>
    expect(await sluice('run', ...args)).toMatchObject({ code: 64, err: expect.stringContaining('Usage: sluice run') as string }),
  );

  function written(file: string): boolean {
    try {
      return readFileSync(file, 'utf8') === 'up\n';
    } catch {
      return false;
    }
  }

  async function revoke(): Promise<void> {
    const { leases } = (await get('/v1/groups/slots/leases')) as { leases: { permit: string }[] };
    await fetch(`${admin}/v1/groups/slots/leases/${leases[0]?.permit}`, { method: 'DELETE' });
  }
});
