import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';

/* `sluice serve` as a process of its own: signals, exit codes, and the file under its feet. */

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const LISTEN = 'listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: none }\nhttp: { engine: node }\nstore: memory\n';
const ONE = 'groups: { slots: { limits: [ { name: one, concurrency: 1 } ] } }\n';

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

let child: ChildProcess | undefined;
const folders: string[] = [];

afterEach(() => {
  child?.kill('SIGKILL');
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

async function start(text: string) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-process-'));
  folders.push(folder);
  const file = join(folder, 'sluice.yaml');
  writeFileSync(file, text);
  const started = spawn(process.execPath, [MAIN, 'serve', '--config', file], { stdio: ['ignore', 'pipe', 'inherit'], env: {} });
  child = started;
  const lines: AsyncIterator<string> = createInterface({ input: started.stdout })[Symbol.asyncIterator]();
  /** Reads the log on to the next line of this event. */
  const until = async (event: string): Promise<Line> => {
    for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
      const line = JSON.parse(next.value) as Line;
      if (line.event === event) return line;
    }
    throw new Error(`the process ended without ${event}`);
  };
  const { api } = await until('serving');
  const exit = once(started, 'exit') as Promise<[number | null, string | null]>;
  const acquire = (ttl: string) => fetch(`http://${String(api)}/v1/groups/slots/acquire?ttl=${ttl}`, { method: 'POST' });
  /** As editors do: another file in its place. */
  const replace = (next: string): void => {
    writeFileSync(`${file}.new`, next);
    renameSync(`${file}.new`, file);
  };
  return { process: started, until, exit, acquire, replace };
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
