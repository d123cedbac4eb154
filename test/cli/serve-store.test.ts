import { execFile } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { ServerProcess } from '../support/fakes/server-process.ts';

/* `sluice serve` on a store that another process holds, that is damaged, or that cannot be. */

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const LISTEN = 'listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: none }\nhttp: { engine: node }\ndrain: { delay: 0, grace: 0 }\n';
const ONE = 'groups: { slots: { limits: [ { name: one, concurrency: 9 } ] } }\n';

const servers: ServerProcess[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.clean();
});

function start(text: string, folder?: string): ServerProcess {
  const server = new ServerProcess(LISTEN + ONE + text, folder);
  servers.push(server);
  return server;
}

/** Runs to its end; answers the exit code and what it said to a person. */
function end(folder: string, text: string): Promise<{ code: number | null; said: string }> {
  const file = join(folder, 'other.yaml');
  writeFileSync(file, LISTEN + ONE + text);
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, 'serve', '--config', file], { cwd: folder, timeout: 30_000 }, (_error, _out, said) => {
      resolve({ code: child.exitCode, said });
    });
  });
}

async function acquire(address: unknown): Promise<number> {
  return (await fetch(`http://${String(address)}/v1/groups/slots/acquire?ttl=5s`, { method: 'POST' })).status;
}

test('a second process on one store is refused with process and address of the first, which goes on; kill -9 frees the store', async () => {
  const first = start('');
  const { api } = await first.until('serving');
  const { code, said } = await end(first.folder, '');
  expect(code).toBe(1);
  expect(said).toContain(`process ${first.child.pid} on host `);
  expect(said).toContain(`serving ${String(api)}, since `);
  expect(said).toContain('store.takeOver: true');
  expect(await acquire(api)).toBe(200);
  first.kill();
  await first.exit;
  const next = start('', first.folder);
  expect(await acquire((await next.until('serving'))['api'])).toBe(200);
});

test('a process that is stopped still holds its store', async () => {
  const first = start('');
  await first.until('serving');
  first.child.kill('SIGSTOP');
  expect(await end(first.folder, '')).toMatchObject({ code: 1, said: expect.stringContaining('It is in use by process') as string });
});

test('with store.takeOver the new process serves and the older process ends', async () => {
  const first = start('');
  const { api } = await first.until('serving');
  const next = start('store: { takeOver: true }\n', first.folder);
  expect(await acquire((await next.until('serving'))['api'])).toBe(200);
  // It finds out at its next decision.
  expect(await acquire(api)).toBe(503);
  expect(await first.exit).toEqual([1, null]);
});

test('a store that was cut short is refused with what to do, and the process ends by itself', async () => {
  const first = start('');
  expect(await acquire((await first.until('serving'))['api'])).toBe(200);
  first.child.kill('SIGTERM');
  await first.exit;
  for (const bytes of [4096, 12_288]) {
    truncateSync(join(first.folder, 'data', 'data.mdb'), bytes);
    const { code, said } = await end(first.folder, '');
    expect(code).toBe(1);
    expect(said).toMatch(/data\.mdb is damaged: .* Move the folder away/);
  }
});

test('a folder that cannot be made is refused at once', async () => {
  const first = start('');
  await first.until('serving');
  const { code, said } = await end(first.folder, 'store: { path: /proc/foo }\n');
  expect(code).toBe(1);
  expect(said).toMatch(/The store at \/proc\/foo cannot be opened\. Make the folder writable, or set store\.path\..*ENOENT/);
});
