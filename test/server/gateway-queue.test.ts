import { PassThrough } from 'node:stream';
import { afterEach, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { DiscordServer } from '../gateway-queue/discord-server.ts';
import { until } from '../support/fakes/until.ts';
import { Wire } from '../support/fakes/wire.ts';

/* The gateway queue in a whole server in this process: reloads, operators, readiness. */

const LISTEN =
  'listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: "127.0.0.1:0", gatewayQueue: "127.0.0.1:0" }\nstore: memory\ndrain: { delay: 0, grace: 0 }\n';

let running: RunningServer | undefined;
let discord: DiscordServer | undefined;
const wires: Wire[] = [];

afterEach(async () => {
  for (const wire of wires.splice(0)) wire.destroy();
  await running?.drain(true);
  await discord?.stop();
});

function config(queue: string): Config {
  const loaded = loadConfig({ text: `${LISTEN}gatewayQueue: { period: 1h, ${queue} }\n`, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

async function start(queue: string, env: Readonly<Record<string, string>> = {}): Promise<RunningServer> {
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(config(queue), { env, clocks, logTo: new PassThrough().resume(), version: '1', nodeVersion: '24' });
  return running;
}

/** A shard on a connection of its own. */
async function ask(server: RunningServer, shard: number): Promise<Wire> {
  const wire = await Wire.open(Number(server.addresses['gatewayQueue']?.split(':').at(-1)));
  wires.push(wire);
  wire.write(`GET /?shard=${shard} HTTP/1.1\r\nHost: queue\r\n\r\n`);
  return wire;
}

const admin = (server: RunningServer, path: string, method = 'GET') =>
  fetch(`http://${server.addresses['admin']}/v1/groups/gateway-queue${path}`, { method, headers: { 'sluice-request': '1' } });

async function waiting(server: RunningServer): Promise<number> {
  const { waiting: count = 0 } = (await (await admin(server, '')).json()) as { waiting?: number | string };
  return Number(count);
}

test('GQ-9: a reload with more buckets lets a shard that waits go in its new one', async () => {
  const server = await start('maxConcurrency: 1');
  await (await ask(server, 0)).until((text) => text.includes('200 OK'));
  const second = await ask(server, 1);
  await until('it to wait', async () => (await waiting(server)) === 1);
  expect(await server.reload(config('maxConcurrency: 2'))).toEqual([]);
  await second.until((text) => text.includes('200 OK'));
});

test('Operators see the shards that wait, and pause them', async () => {
  const server = await start('maxConcurrency: 4');
  await (await ask(server, 0)).until((text) => text.includes('200 OK'));
  await ask(server, 4);
  await until('it to wait', async () => (await waiting(server)) === 1);
  expect(await (await admin(server, '/waiters')).text()).toContain('shard 4');
  expect((await admin(server, '/pause', 'POST')).status).toBe(200);
  await ask(server, 1);
  await until('both to wait', async () => (await waiting(server)) === 2);
  expect((await admin(server, '/resume', 'POST')).status).toBe(200);
  await until('the idle bucket to be let go', async () => (await waiting(server)) === 1);
});

test('GQ-18: not ready while the limits cannot be had; shards are held, and the server is ready once they come', async () => {
  const made = await DiscordServer.start({ maxConcurrency: 2 });
  discord = made;
  made.discord.down = true;
  const server = await start(`token: { env: T }, limitsUrl: "${made.limitsUrl}"`, { T: 'T' });
  const ready = async () => (await fetch(`http://${server.addresses['health']}/readyz`)).status;
  expect(await ready()).toBe(503);
  const shard = await ask(server, 0);
  const metrics = async () => (await fetch(`http://${server.addresses['health']}/metrics`)).text();
  await until('it to be held, and the failure to be seen', async () => {
    const text = await metrics();
    return text.includes('sluice_gateway_queue_held 1\n') && text.includes('sluice_gateway_queue_limits_failing 1\n');
  });
  expect(shard.received).toBe('');
  made.discord.down = false;
  await shard.until((text) => text.includes('200 OK'));
  expect(await ready()).toBe(200);
  expect(await metrics()).toContain('sluice_gateway_queue_max_concurrency 2\n');
});

test('The session starts cannot be overridden: they are as Discord reports them', async () => {
  const made = await DiscordServer.start({});
  discord = made;
  const server = await start(`token: { env: T }, limitsUrl: "${made.limitsUrl}"`, { T: 'T' });
  const body = JSON.stringify({ duration: '60s', limits: { session_starts: { window: { permits: 5, per: '60s' } } } });
  const answer = await fetch(`http://${server.addresses['admin']}/v1/groups/gateway-queue/override`, {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' }, body },
  });
  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain('limit session_starts is as an authority outside reports it');
});
