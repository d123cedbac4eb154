import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/* What looks at a server, or is mistyped, spends nothing. The one permit of the hour is asked for last. */

const CONFIG = `
listen: { api: "127.0.0.1:0", proxy: "127.0.0.1:0", health: "127.0.0.1:0", admin: "127.0.0.1:0", grpc: none }
http: { engine: node }
store: memory
drain: { delay: 0, grace: 0 }
backends: { shop: { urls: [ http://127.0.0.1:1 ] } }
groups: { identify: { limits: [ { name: hour, window: 1/1h, unit: requests } ], ttl: { default: 0s } } }
routes: [ { match: { path: /shop }, group: identify, backend: shop } ]
`;

let running: RunningServer;
const at = (listener: string): string => `http://${running.addresses[listener]}`;

beforeAll(async () => {
  const loaded = loadConfig({ text: CONFIG, name: 'probes.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
});

afterAll(() => running.drain(true));

describe('X12: probes and typing errors spend no slot', () => {
  test.each([
    ['health', 'GET', '/livez', 200],
    ['health', 'GET', '/readyz', 200],
    ['health', 'GET', '/metrics', 200],
    ['api', 'GET', '/', 404],
    ['api', 'GET', '/favicon.ico', 404],
    ['api', 'GET', '/v1/groups/identify/explain', 200],
    ['api', 'HEAD', '/v1/groups/identify/acquire', 405],
    ['api', 'POST', '/v1/groups/identfy/acquire', 404],
    ['api', 'POST', '/v1/groups/identify/acquire?shard=1', 400],
    ['api', 'POST', '/v1/groups/identify/acquire?cost=abc', 400],
    ['api', 'POST', '/v1/groups/identify/acquire?cost=-1', 400],
    ['api', 'POST', '/v1/groups/identify/acquire?ttl=5', 400],
    ['proxy', 'GET', '/', 404],
    ['proxy', 'GET', '/shopp', 404],
  ])('%s %s %s: %i', async (listener, method, path, status) => {
    for (let index = 0; index < 20; index++) expect((await fetch(`${at(listener)}${path}`, { method })).status).toBe(status);
  });

  test('the only permit of the hour is still there', async () => {
    expect((await fetch(`${at('api')}/v1/groups/identify/acquire`, { method: 'POST' })).status).toBe(200);
    expect((await fetch(`${at('api')}/v1/groups/identify/acquire`, { method: 'POST' })).status).toBe(429);
  });
});
