import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { serveCommand } from '../../src/cli/serve.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';
import { fakeWorld } from './world.ts';

/* `sluice serve` as a process of its own: signals, exit codes, and the file under its feet. */

const LISTEN = 'listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: none }\nhttp: { engine: node }\nstore: memory\n';
const ONE = 'groups: { slots: { limits: [ { name: one, concurrency: 1 } ] } }\n';

let server: ServerProcess | undefined;

afterEach(() => server?.clean());

async function start(text: string) {
  const started = new ServerProcess(text);
  server = started;
  const { api } = await started.until('serving');
  const acquire = (ttl: string) => fetch(`http://${String(api)}/v1/groups/slots/acquire?ttl=${ttl}`, { method: 'POST' });
  /** As editors do: another file in its place. */
  const replace = (next: string): void => {
    writeFileSync(`${started.file}.new`, next);
    renameSync(`${started.file}.new`, started.file);
  };
  return { process: started.child, until: (event: string) => started.until(event), exit: started.exit, file: started.file, acquire, replace };
}

test('a changed file is taken, a bad one is refused with its line, SIGHUP reads again, SIGTERM drains and exits 0', async () => {
  const { process: running, until, exit, acquire, replace } = await start(`${LISTEN}drain: { delay: 0, grace: 0 }\n${ONE}`);
  expect((await acquire('0')).status).toBe(200);
  expect((await acquire('0')).status).toBe(429);
  replace(`${LISTEN}revision: 2\n${ONE.replace('concurrency: 1', 'concurrency: 2')}`);
  expect(await until('reloaded')).toMatchObject({ revision: 2, needRestart: ['drain.delay', 'drain.grace'] });
  expect((await acquire('0')).status).toBe(200);
  replace(`${LISTEN}revision: two\n`);
  expect(await until('reload_refused')).toMatchObject({ mistakes: [expect.stringMatching(/sluice\.yaml:4:11: revision: "two" is not a whole number/)] });
  running.kill('SIGHUP');
  expect(await until('reload_refused')).toMatchObject({ advice: 'Nothing was changed.' });
  running.kill('SIGTERM');
  await until('stopped');
  expect(await exit).toEqual([0, null]);
});

test('a second signal ends it at once', async () => {
  const { process: running, until, exit } = await start(`${LISTEN}drain: { delay: 10m }\n${ONE}`);
  running.kill('SIGINT');
  await until('draining');
  running.kill('SIGTERM');
  expect(await exit).toEqual([143, null]);
});

test('a file that is emptied and written again in place drops no group, and its waiters go on to wait', async () => {
  const { until, acquire, file } = await start(`${LISTEN}${ONE}`);
  const { permit } = (await (await acquire('0')).json()) as { permit: string };
  const waiting = acquire('60s');
  truncateSync(file);
  expect(await until('reload_refused')).toMatchObject({ mistakes: [expect.stringContaining('there are no groups')] });
  writeFileSync(file, `${LISTEN}revision: 2\n${ONE.replace('concurrency: 1', 'concurrency: 2')}`);
  expect(await until('reloaded')).toMatchObject({ revision: 2, groups: 1 });
  expect((await waiting).status).toBe(200);
  expect(permit).toBeDefined();
});

test('a file that is swapped as a ConfigMap of Kubernetes is, by a symbolic link beside it, is taken', async () => {
  const { until, file } = await start(`${LISTEN}${ONE}`);
  const folder = dirname(file);
  const version = (name: string, text: string): void => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'sluice.yaml'), text);
    symlinkSync(name, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  };
  version('..1', `${LISTEN}revision: 1\n${ONE}`);
  rmSync(file);
  symlinkSync(join('..data', 'sluice.yaml'), file);
  expect(await until('reloaded')).toMatchObject({ revision: 1 });
  version('..2', `${LISTEN}revision: 2\n${ONE}`);
  expect(await until('reloaded')).toMatchObject({ revision: 2 });
});

test.each([true, false])(
  'at a terminal (%s) Ctrl-C says what is waited for and that a second one ends at once; elsewhere nothing is said',
  async (interactive) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-terminal-'));
    const file = join(folder, 'sluice.yaml');
    writeFileSync(file, `${LISTEN}drain: { delay: 50ms, grace: 1s }\n${ONE}`);
    const world = { ...fakeWorld(), interactive };
    const ended = serveCommand.run(['--config', file], world);
    await expect.poll(() => world.out()).toContain('"event":"serving"');
    world.signal('SIGINT');
    await expect.poll(() => world.out()).toContain('"event":"draining"');
    const said =
      'Stopping: serves on for 0.05 s while balancers learn of it (drain.delay), then waits up to 1 s for callers that are held (drain.grace). Press Ctrl-C again to end at once.\n';
    expect(world.err()).toBe(interactive ? said : '');
    world.signal('SIGINT');
    expect(world.exits).toEqual([130]);
    expect(await ended).toBe(0);
    rmSync(folder, { recursive: true });
  },
);
