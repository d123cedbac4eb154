import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { freePort } from '../support/fakes/ports.ts';
import { ServerProcess } from '../support/fakes/server-process.ts';

/*
 * The adapter of examples/discord-js with the real WebSocketManager of @discordjs/ws, before a fake gateway. Its packages are the
 * example's own, and come from the registry that npm is set up for; without one the test is left out, and says so.
 */

const EXAMPLE = fileURLToPath(new URL('../../examples/discord-js/', import.meta.url));
const PLAY = join(fileURLToPath(new URL('.', import.meta.url)), 'discord-js-play.mjs');

const folder = mkdtempSync(join(tmpdir(), 'sluice-discord-js-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

cpSync(EXAMPLE, folder, { recursive: true, filter: (file) => !file.includes('node_modules') });
cpSync(PLAY, join(folder, 'play.mjs'));
const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: folder, encoding: 'utf8', timeout: 120_000 });
const isThere = existsSync(join(folder, 'node_modules', '@discordjs', 'ws'));
const play = test.runIf(isThere);
if (!isThere) test.skip(`discord.js: left out, since npm ci of the example failed: ${installed.stderr.split('\n')[0]}`, () => undefined);

play('Shards of the real WebSocketManager identify one per period and bucket, over two managers', async () => {
  const port = await freePort();
  // The slack is what a busy machine may take from an answer to the identify.
  const args = ['gateway-queue', '--listen.health=none', '--gatewayQueue.period=500ms', '--gatewayQueue.slack=2s'];
  const server = new ServerProcess('', undefined, { args, env: { HOST: '127.0.0.1', PORT: String(port) } });
  try {
    await server.until('serving');
    const out = execFileSync(process.execPath, ['play.mjs', `http://127.0.0.1:${port}`], { cwd: folder, encoding: 'utf8', timeout: 100_000 });
    const { identifies } = JSON.parse(out) as { identifies: readonly { readonly shard: number; readonly at: number }[] };
    expect(identifies.map(({ shard }) => shard).toSorted()).toEqual([0, 1, 2, 3]);
    const gaps = identifies.slice(1).map(({ at }, index) => at - (identifies[index]?.at ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(500);
  } finally {
    server.clean();
  }
});
