import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { restartRequired } from '../../src/config/watch.ts';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts';
import { compileAllRoutes } from '../../src/server/deferred-routes.ts';

const BASE = `listen: { proxy: 8000 }
backends: { shop: { urls: [ http://10.0.0.1:7780 ] } }
groups: { erp: { limits: [ { name: pace, spacing: 3s } ] }, other: {} }
`;

const SECRET = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;

function load(route: string, more = ''): Config | readonly string[] {
  const loaded = loadConfig({ text: `${BASE}${more}routes: [ { backend: shop, ${route} } ]\n`, name: 'f.yaml', env: {}, flags: [] });
  return loaded.kind === 'config' ? loaded.config : loaded.mistakes.map(formatError);
}

function read(route: string, more = ''): Config {
  const config = load(route, more);
  if (!('groups' in config)) throw new Error(config.join('\n'));
  return config;
}

const compiled = (route: string, env: Record<string, string> = {}, more = '') =>
  compileAllRoutes(read(route, more), { env, readFile: (path) => (path === 'secret' ? Promise.resolve('shh\n') : Promise.reject(new Error('ENOENT'))) });

test('the deferred route of docs/semantics.md is read and compiled', async () => {
  const { deferred, proxy } = await compiled(`match: { path: '/shopify/*' }, group: erp, mode: deferred, answer: 200, verify: { shopify: { file: secret } },
    dedupe: header x-shopify-webhook-id, key: header x-shopify-shop-domain, order: key, success: 2xx, retry: { for: 3d, first: 1s, max: 10m }, keep: { results: 1h, dead: 30d }`);
  expect(deferred.get('/shopify/*')).toMatchObject({
    name: '/shopify/*',
    group: 'erp',
    backend: 'shop',
    forward: { backend: 'shop', admission: undefined, attemptsMax: 1 },
    timeoutMs: 60_000,
    success: '2xx',
    retry: { forMs: 3 * 86_400_000, firstMs: 1_000, maxMs: 600_000, delaysMs: undefined, attemptsMax: undefined },
    keep: { resultsMs: 3_600_000, deadMs: 30 * 86_400_000, dedupeMs: 600_000 },
    order: 'key',
    onDead: 'continue',
    pushback: 'group',
    resultBytesMax: 256 << 10,
    sign: undefined,
    callback: undefined,
  });
  expect(proxy[0]?.deferred).toEqual({
    when: 'always',
    heldMax: 10 * MINUTE,
    answer: { status: 200, shape: 'ticket' },
    verify: { sender: 'shopify', keys: [Buffer.from('shh')], toleranceMs: 300_000, hmac: undefined },
    dedupe: { from: 'header', name: 'x-shopify-webhook-id' },
  });
});

test('a route that stores on request is compiled for both ways, under its own name', async () => {
  const { deferred, proxy } = await compiled(
    'name: orders, group: erp, respondAsync: true, timeout: 5s, success: [ 200, 404 ], retry: { delays: [ 1s, 1m ] }, results: 1KiB',
  );
  expect([...deferred.keys()]).toEqual(['orders']);
  expect(deferred.get('orders')).toMatchObject({ success: new Set([200, 404]), retry: { delaysMs: [1_000, 60_000] }, timeoutMs: 5_000, resultBytesMax: 1_024 });
  expect(proxy[0]).toMatchObject({ route: { name: 'orders', attemptsMax: 3, admission: { group: 'erp' } }, deferred: { when: 'preferred' } });
});

test('defaults of all routes are those of docs/semantics.md', () => {
  expect(read('group: erp').deferred).toEqual({
    floor: { after: 10 * MINUTE, every: 20 },
    inFlight: 256,
    inFlightBytes: 256 * 2 ** 20,
    down: { after: 5, probe: 3 * SECOND },
    results: 256 << 10,
  });
  expect(read('group: erp, mode: deferred').routes[0]?.keep).toEqual({ results: HOUR, dead: 30 * DAY, dedupe: 10 * MINUTE });
});

test('only groups with stored requests have a floor, and a reload takes another', () => {
  const floors = (config: Config) => config.groups.map(({ spec }) => spec.floor);
  const before = read('group: erp, mode: deferred');
  const after = read('group: erp, mode: deferred', 'deferred: { floor: { after: 1m, every: 5 } }\n');
  expect([floors(before), floors(after)]).toEqual([
    [{ after: 10 * MINUTE, every: 20 }, undefined],
    [{ after: MINUTE, every: 5 }, undefined],
  ]);
  expect(floors(read('group: erp'))).toEqual([undefined, undefined]);
  expect(restartRequired(before, after)).toEqual([]);
});

describe('a route is refused:', () => {
  const cases: readonly (readonly [name: string, route: string, says: string])[] = [
    ['deferred without a group', 'mode: deferred', 'routes[0].mode: requests are stored for a group'],
    ['on request without a group', 'respondAsync: true', 'routes[0].respondAsync: requests are stored for a group'],
    ['deferred, and on request', 'group: erp, mode: deferred, respondAsync: true', 'respondAsync: every request of a deferred route is stored'],
    ['with retries where nothing is stored', 'group: erp, retry: { for: 1h }', 'routes[0].retry: retry has no meaning where nothing is stored'],
    ['with an answer where nothing is stored', 'group: erp, answer: 200', 'answer has no meaning where nothing is stored'],
    ['that verifies and forwards', 'group: erp, verify: { github: { env: S } }', 'verify has no meaning on a forward route'],
    ['with attempts of live requests', 'group: erp, mode: deferred, attempts: 2', 'attempts has no meaning on a deferred route. Take retry.attempts'],
    ['ordered without a key', 'group: erp, mode: deferred, order: key', 'routes[0].order: order: key needs a key'],
    ['that holds dead heads without order', 'group: erp, mode: deferred, onDead: hold', 'onDead has no meaning without order: key'],
    ['with an answer that is no success', 'group: erp, mode: deferred, answer: 404', '404 is out of bounds'],
    ['with backoff beside delays', 'group: erp, mode: deferred, retry: { delays: [ 1s ], max: 1m }', 'retry.max: max has no meaning beside delays'],
    ['with a first pause above the longest', 'group: erp, mode: deferred, retry: { first: 20m }', 'first (20m) is above max (10m)'],
    [
      'with ids kept longer than results',
      'group: erp, mode: deferred, keep: { results: 1m, dedupe: 2m }',
      'keep.dedupe: ids are forgotten with their results (1m)',
    ],
    ['with two senders', 'group: erp, mode: deferred, verify: { github: { env: S }, stripe: { env: S } }', 'verify.stripe: verify names github and stripe'],
    ['with no sender', 'group: erp, mode: deferred, verify: { tolerance: 1m }', 'verify: verify names no sender'],
    ['with a secret in the file', 'group: erp, mode: deferred, verify: { github: hunter2 }', 'a secret does not stand in this file'],
    ['with three secrets', 'group: erp, mode: deferred, sign: { secrets: [ { env: A }, { env: B }, { env: C } ] }', '3 secrets are not one or two'],
    [
      'with a time that is signed and nowhere',
      'group: erp, mode: deferred, verify: { hmac: { secrets: { env: A }, header: x-sig, content: "{timestamp}.{body}" } }',
      '{timestamp} and the header that holds it go together',
    ],
    ['with statuses that are none', 'group: erp, mode: deferred, success: [ 200, 99 ]', 'routes[0].success: a list names no statuses'],
    ['with an id of the caller', 'group: erp, mode: deferred, dedupe: caller', 'routes[0].dedupe: "caller" says of no id where it is'],
    ['with a callback to nowhere', 'group: erp, mode: deferred, callback: { secrets: { env: A } }', 'hosts is missing'],
  ];
  test.each(cases)('%s', (_name, route, says) => {
    const found = load(route);
    expect(found).toHaveLength(1);
    expect((found as readonly string[])[0]).toContain(says);
  });

  test('whose name another has, since stored requests know their route by name', () => {
    const found = load(
      'group: erp, mode: deferred, match: { path: /a, methods: [ GET ] } }, { backend: shop, group: erp, mode: deferred, match: { path: /a, methods: [ PUT ] }',
    );
    expect(found).toEqual([expect.stringContaining('routes[0] is called "/a" too. Stored requests know their route by name')]);
  });

  test('in a cluster that does not say whether what NATS has taken survives', () => {
    const cluster = (more: string) => load('group: erp, mode: deferred', `cluster: { nats: [ a ]${more} }\n`);
    expect(cluster('')).toEqual([expect.stringContaining('routes[0].mode: nothing says that NATS syncs what it has taken')]);
    expect('groups' in cluster(', durability: acknowledged')).toBe(true);
    expect('groups' in cluster(', monitor: [ "http://a:8222" ]')).toBe(true);
  });
});

test('secrets that cannot be had, or are none, are named without being shown', async () => {
  await expect(compiled('group: erp, mode: deferred, verify: { github: { env: NOT_THERE } }')).rejects.toThrow(
    'routes[0].verify.github: the variable NOT_THERE is not there',
  );
  await expect(compiled('group: erp, mode: deferred, sign: { secrets: [ { env: A }, { env: B } ] }', { A: SECRET, B: 'hunter2!' })).rejects.toThrow(
    /^routes\[0\]\.sign\.secrets: a secret is not `whsec_` and base64 of 24 to 64 bytes$/,
  );
  await expect(compiled('group: erp, mode: deferred, sign: { secrets: { env: A } }', { A: ' ' })).rejects.toThrow('the variable A is empty');
  const { deferred } = await compiled('group: erp, mode: deferred, sign: { secrets: { env: A } }', { A: SECRET });
  expect(deferred.get('routes[0]')?.sign).toBeTypeOf('function');
});
