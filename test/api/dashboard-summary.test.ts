import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterEach, expect, test, vi } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/* What the strip of the dashboard is told about stored requests, by a whole server. */

let running: RunningServer | undefined;

afterEach(() => running?.drain(true));

const keys = ['ops', 'tenant', 'team'].map((name) => {
  const bound = { ops: '', tenant: ', key: acme', team: ', groups: [ erp ]' }[name];
  return `{ name: ${name}, sha256: ${createHash('sha256').update(name).digest('hex')}, can: [ acquire, read ]${bound} }`;
});
const DEFERRED = `backends: { shop: { urls: [ "http://127.0.0.1:9" ] } }
routes: [ { name: later, match: { path: /later/* }, backend: shop, group: erp, mode: deferred } ]
`;

async function start(more: string): Promise<(who: string) => Promise<Record<string, unknown>>> {
  const listen = 'listen: { api: "127.0.0.1:0", grpc: none, health: none, PROXY admin: "127.0.0.1:0" }'.replace(
    'PROXY',
    !more.includes('routes') ? '' : 'proxy: "127.0.0.1:0",',
  );
  const text = `${listen}\nhttp: { engine: node }\nstore: memory\ndrain: { delay: 0, grace: 0 }\nauth: { keys: [ ${keys.join(', ')} ] }\ngroups:\n  erp: { limits: [ { name: one, rate: 1/1h } ] }\n${more}`;
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
  const { admin } = running.addresses;
  return async (who) =>
    (await (await fetch(`http://${admin}/v1/ui/summary`, { headers: { Authorization: `Bearer ${who}` } })).json()) as Record<string, unknown>;
}

test('where no route is deferred the figure is null, which is another thing than missing', async () => {
  const summary = await start('');
  expect(await summary('ops')).toMatchObject({ deferred: null });
});

test('where one is, pending requests and dead letters are counted, for those who may see them all', async () => {
  const summary = await start(DEFERRED);
  expect(await summary('ops')).toMatchObject({ deferred: { pending: 0, dead: 0 } });
  await fetch(`http://${running?.addresses['proxy']}/later/1`, { method: 'POST', body: 'x' });
  await fetch(`http://${running?.addresses['proxy']}/later/2`, { method: 'POST', body: 'x' });
  const { deferred } = (await summary('ops')) as { readonly deferred: { readonly pending: number; readonly dead: number } };
  expect(deferred.pending + deferred.dead).toBe(2);
  for (const who of ['tenant', 'team']) expect(await summary(who)).not.toHaveProperty('deferred');
});

test('figures of all groups are added up, and are of those that a caller may see', async () => {
  const summary = await start('  web: { limits: [ { name: one, rate: 1/1h } ] }\n');
  expect(await summary('ops')).toMatchObject({ firstRun: true, counts: { all: 2, open: 2, stuck: 0 }, recent: { refused: {} } });
  for (const group of ['erp', 'web', 'web']) {
    const url = `http://${running?.addresses['api']}/v1/groups/${group}/acquire?ttl=0`;
    await fetch(url, { method: 'POST', headers: { Authorization: 'Bearer ops' } });
  }
  await vi.waitFor(async () => expect(await summary('ops')).toMatchObject({ firstRun: false, recent: { refused: { infeasible: 1 } } }), 5_000);
  expect(await summary('team')).toMatchObject({ firstRun: false, counts: { all: 1 }, recent: { refused: {} } });
});
