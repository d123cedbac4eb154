import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { Recorder } from '../../support/fakes/recorder.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/* Backends and routes change while the server runs: all of a file or nothing, and nobody loses a request by it. */

const CONFIG = `backends: { shop: { urls: [ BACKEND ] } }
groups: { a: { limits: [ { name: slots, concurrency: 1 } ] } }
routes: [ { match: { path: /one }, group: a, backend: shop } ]
`;

let rig: ProxyRig;
let other: Recorder;
beforeEach(async () => {
  other = await Recorder.start();
  rig = await proxyRig(CONFIG);
});
afterEach(async () => {
  await rig.stop();
  await other.stop();
});

function reload(text: string): Promise<readonly string[]> {
  const listen =
    'listen: { api: "127.0.0.1:0", grpc: none, health: "127.0.0.1:0", admin: "127.0.0.1:0", proxy: "127.0.0.1:0" }\nhttp: { engine: node }\nstore: memory\n';
  const loaded = loadConfig({ text: listen + text.replaceAll('BACKEND', rig.backend.url).replaceAll('OTHER', other.url), name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  return rig.running.reload(loaded.config);
}

const seen = (): readonly (readonly string[])[] => [rig.backend, other].map((backend) => backend.seen.map(({ target }) => target));

test('routes change, and backends come and go', async () => {
  expect(await reload(CONFIG.replace('/one', '/two'))).toEqual([]);
  expect([(await rig.ask({ path: '/one' })).status, (await rig.ask({ path: '/two' })).status]).toEqual([404, 200]);
  const both = CONFIG.replace('shop: {', 'new: { urls: [ OTHER ] }, shop: {').replace('routes: [', 'routes: [ { match: { path: /new }, backend: new },');
  expect(await reload(both)).toEqual([]);
  expect([(await rig.ask({ path: '/one' })).status, (await rig.ask({ path: '/new' })).status]).toEqual([200, 200]);
  expect(await reload(CONFIG.replaceAll('shop', 'new').replace('BACKEND', 'OTHER'))).toEqual([]);
  expect((await rig.ask({ path: '/one' })).status).toBe(200);
  expect(seen()).toEqual([
    ['/two', '/one'],
    ['/new', '/one'],
  ]);
});

test('what cannot be had leaves everything as it was: backends, routes and groups', async () => {
  const without = CONFIG.replace('[ BACKEND ]', '[ "https://127.0.0.1:1" ], ca: /nowhere/ca.pem')
    .replace('/one', '/two')
    .replace('concurrency: 1', 'concurrency: 7');
  expect(await reload(without)).toEqual(['backends.shop.ca: /nowhere/ca.pem cannot be read.']);
  expect([(await rig.ask({ path: '/one' })).status, (await rig.ask({ path: '/two' })).status]).toEqual([200, 404]);
  expect((await rig.group('a')).limits).toMatchObject([{ capacity: 1 }]);
});

test('what is on its way ends where it is, and what waits goes to the new one; then the old connections are closed', async () => {
  let answer = (): void => {};
  rig.backend.respond = (_request, socket) => {
    answer = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold');
  };
  const first = rig.ask({ path: '/one' });
  await rig.backend.until(() => rig.backend.seen.length === 1);
  const second = rig.ask({ path: '/one', method: 'POST', body: 'held' });
  await rig.shows('a', { waiting: 1 });
  expect(await reload(CONFIG.replace('BACKEND', 'OTHER'))).toEqual([]);
  expect(rig.backend.open).toBe(1);
  answer();
  expect([(await first).body, (await second).body]).toEqual(['old', 'ok']);
  expect(other.seen.map(({ body }) => body.toString())).toEqual(['held']);
  await rig.backend.until(() => rig.backend.open === 0);
});

test('a backend that stays as it is keeps its connections', async () => {
  await rig.ask({ path: '/one' });
  expect(await reload(CONFIG.replace('/one', '/two'))).toEqual([]);
  await rig.ask({ path: '/two' });
  expect(rig.backend.seen.map(({ connection }) => connection)).toEqual([1, 1]);
});

test('what waits for a backend that is gone is still sent to it', async () => {
  let answer = (): void => {};
  rig.backend.respond = (_request, socket) => {
    answer = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold');
  };
  const first = rig.ask({ path: '/one' });
  await rig.backend.until(() => rig.backend.seen.length === 1);
  const second = rig.ask({ path: '/one' });
  await rig.shows('a', { waiting: 1 });
  // Its successor goes too, before it was ever used.
  expect(await reload(CONFIG.replace('BACKEND', 'OTHER'))).toEqual([]);
  expect(await reload(CONFIG.replaceAll('shop', 'new').replace('BACKEND', 'OTHER'))).toEqual([]);
  answer();
  await rig.backend.until(() => rig.backend.seen.length === 2);
  answer();
  expect([(await first).body, (await second).body]).toEqual(['old', 'old']);
  await rig.backend.until(() => rig.backend.open === 0);
});

test('a request whose group is taken out while it waits, or while its body comes in, gets a 503 to be sent again, not a 404', async () => {
  let answer = (): void => {};
  rig.backend.respond = (_request, socket) => {
    answer = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold');
  };
  const holder = rig.ask({ path: '/one' });
  await rig.backend.until(() => rig.backend.seen.length === 1);
  const waits = rig.ask({ path: '/one' });
  await rig.shows('a', { waiting: 1 });
  const slow = await rig.wire();
  slow.write('POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo');
  // The head has arrived when a later request of its route has.
  const later = rig.ask({ path: '/one' });
  await rig.shows('a', { waiting: 2 });
  expect(await reload(CONFIG.replace('groups: { a:', 'groups: { b:').replace('group: a', 'group: b'))).toEqual([]);
  for (const refused of [await waits, await later]) expect([refused.status, refused.headers['retry-after']]).toEqual([503, expect.stringMatching(/^[12]$/)]);
  slow.write('dy');
  expect((await slow.until((got) => got.includes('undecided'))).startsWith('HTTP/1.1 503 ')).toBe(true);
  expect(rig.logged()).toContain('"event":"group_withdrawn"');
  answer();
  expect((await holder).status).toBe(200);
});
