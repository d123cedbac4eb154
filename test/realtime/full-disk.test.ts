import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import type { LogLine } from '../support/fakes/server-process.ts';

/*
 * A server whose files may not grow: to LMDB the same as a full disk (EFBIG in the place of ENOSPC), and no root is needed.
 * `npm run ordeals -- full-disk` does it with a file system that is really full.
 */

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

const CONFIGURATION = `
listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: none }
http: { engine: node }
store: { path: ./data }
drain: { delay: 0, grace: 0 }
groups:
  slots: { limits: [ { name: n, concurrency: 5 } ], lease: { default: 30s } }
  day: { limits: [ { name: n, window: 100/1h } ] }
`;

function limitFiles(pid: number | undefined, soft: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${soft}:unlimited`]);
}

/** Its log as parsed lines, and those of stderr as they are. */
function start(folder: string) {
  writeFileSync(join(folder, 'sluice.yaml'), CONFIGURATION);
  // SIGXFSZ would end the process before write(2) can answer EFBIG; what the shell ignores stays ignored.
  const command = 'trap "" XFSZ; exec "$0" "$1" serve';
  const child = spawn('bash', ['-c', command, process.execPath, MAIN], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: {} });
  onTestFinished(() => void child.kill('SIGKILL'));
  const log: LogLine[] = [];
  let heard = (): void => {};
  createInterface({ input: child.stdout }).on('line', (line) => {
    log.push(JSON.parse(line) as LogLine);
    heard();
  });
  child.stderr.resume();
  const exit = once(child, 'exit').then(([code]) => {
    heard();
    return code as number | null;
  });
  const until = (event: string): Promise<LogLine> =>
    new Promise((resolve, reject) => {
      heard = () => {
        const found = log.find((line) => line.event === event);
        if (found !== undefined) resolve(found);
        else if (child.exitCode !== null) reject(new Error(`ended with ${child.exitCode} before ${event}`));
      };
      heard();
    });
  return { child, log, until, exit };
}

async function acquire(address: unknown, group: string, ttl: string) {
  const answer = await fetch(`http://${address}/v1/groups/${group}/acquire?ttl=${ttl}`, { method: 'POST' });
  return { status: answer.status, retryAfter: answer.headers.get('retry-after') };
}

test('a server whose disk is full answers unstored, stays alive, and admits again when there is room', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-full-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const server = start(folder);
  const { api } = await server.until('serving');
  // Below its size: no page can be written from now on.
  limitFiles(server.child.pid, Math.max(4096, statSync(join(folder, 'data', 'data.mdb')).size - 16_384));
  const refused = await Promise.all(['slots', 'day', 'slots', 'day'].map((group) => acquire(api, group, '1s')));
  for (const answer of refused) expect(answer).toEqual({ status: 503, retryAfter: expect.stringMatching(/^[1-9]\d*$/) });
  expect(server.child.exitCode).toBe(null);
  limitFiles(server.child.pid, 'unlimited');
  const admitted = await Promise.all(['slots', 'day'].map((group) => acquire(api, group, '10s')));
  expect(admitted.map(({ status }) => status)).toEqual([200, 200]);
  expect(server.log.some(({ event }) => event === 'ledger_unavailable')).toBe(true);
  server.child.kill('SIGTERM');
  expect(await server.exit).toBe(0);
});
