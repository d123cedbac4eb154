import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

test.each([
  ['npm start', ['start', '--']],
  ['npx sluice serve', ['exec', '--', 'sluice', 'serve', '--config=sluice.yaml']],
])('a SIGTERM to `%s` reaches the server, which drains and ends', async (_command, args) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-npm-start-'));
  const listeners = ['api', 'grpc', 'health', 'admin'].map((name) => `--listen.${name}=127.0.0.1:0`);
  const child = spawn('npm', [...args, ...listeners, `--store.path=${folder}`, '--drain.delay=0s', '--drain.grace=0s'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child.stdout, 'close');
  const events: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const event = /"event":"(\w+)"/.exec(line)?.[1];
    if (event === undefined) continue;
    events.push(event);
    if (event === 'serving') child.kill('SIGTERM');
  }
  await closed;
  rmSync(folder, { recursive: true, force: true });
  // The pipe closes when the last process that holds it has ended: the server, not npm alone.
  expect(events.slice(-2)).toEqual(['draining', 'stopped']);
});
