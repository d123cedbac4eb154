import { execFile, spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';

/*
 * The client of examples/twilight, whose `Queue` is that of twilight-gateway-queue, built by cargo. What it builds is kept beside
 * what other tests fetched; where cargo is missing, or its crates cannot be had, the test is left out and says so.
 */

const EXAMPLE = fileURLToPath(new URL('../../examples/twilight/', import.meta.url));
const TARGET = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sluice-tests', 'twilight');

const built = spawnSync('cargo', ['build', '--locked', '--quiet'], {
  ...{ cwd: EXAMPLE, encoding: 'utf8', timeout: 400_000 },
  env: { ...process.env, CARGO_TARGET_DIR: TARGET },
});
const isBuilt = built.status === 0;
const play = test.runIf(isBuilt);
if (!isBuilt) test.skip(`twilight: left out, since cargo did not build the example: ${built.error?.message ?? built.stderr.split('\n')[0]}`, () => undefined);

let server: ServerProcess | undefined;
afterEach(() => server?.clean());

play('Shards of twilight are let go one per period, and queue again where the server is killed and started anew', async () => {
  const port = await freePort();
  const ways = {
    args: ['gateway-queue', '--listen.health=none', '--gatewayQueue.period=4s', '--gatewayQueue.slack=2s'],
    env: { HOST: '127.0.0.1', PORT: String(port) },
  };
  const first = new ServerProcess('', undefined, ways);
  server = first;
  await first.until('serving');
  setTimeout(() => {
    first.kill();
    server = new ServerProcess('', first.folder, ways);
  }, 1_500);
  const { stdout: out } = await promisify(execFile)(join(TARGET, 'debug', 'sluice-example-twilight'), [`http://127.0.0.1:${port}`, '3'], { timeout: 100_000 });
  const at = [...out.matchAll(/shard (\d) may identify after ([\d.]+) s/g)].map(([, shard, seconds]) => [Number(shard), Number(seconds)] as const);
  expect(at.map(([shard]) => shard).toSorted()).toEqual([0, 1, 2]);
  const times = at.map(([, seconds]) => seconds).toSorted((a, b) => a - b);
  expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(4);
  expect(times[2]! - times[1]!).toBeGreaterThanOrEqual(4);
});
