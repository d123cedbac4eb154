import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { folder } from '../support/fakes/folder.ts';

const filler = fileURLToPath(new URL('../support/fakes/filler.ts', import.meta.url));

it.skipIf(process.platform === 'win32')('a full disk refuses at once, keeps what was acknowledged, and takes again after a trim', async () => {
  const { path, end } = await folder();
  // 2,000 blocks of 1 KiB at most in any file this process writes.
  const { stdout } = await promisify(execFile)('bash', ['-c', 'ulimit -f 2000; exec "$0" "$1" "$2"', process.execPath, filler, path], { timeout: 15_000 });
  const said = JSON.parse(stdout);
  expect(said.failures).toEqual(Array(4).fill('DiskUnavailable'));
  expect(said.acknowledged).toBeGreaterThan(5);
  expect(said.readable).toBe(said.acknowledged);
  expect(said.after).toBe(said.acknowledged + 1);
  await end();
});
