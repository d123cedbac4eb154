import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { DAY, HOUR, MILLISECOND, MINUTE, SECOND } from '../../src/core/time.ts';

const file = (name: string) => readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8');

function read(text: string): Config {
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

/** The quotas of group `a` with these limits. */
function quotas(limits: string): readonly unknown[] {
  return read(`groups: { a: { limits: [ ${limits} ] } }`).groups[0]?.spec.limits.map(({ quota }) => quota) ?? [];
}

const FIXED = { kind: 'fixed', align: 'epoch', day: 1, time: 0, timezone: 'UTC', spill: 0 };

const ADAPT = { floor: 1, tolerance: 1.5, backoff: 0.9, slow: undefined };

describe('a limit in its short form is the quota it says:', () => {
  const cases: readonly (readonly [says: string, quota: object])[] = [
    ['rate: 500/60s, burst: 20', { kind: 'rate', permits: 500, per: 60 * SECOND, burst: 20 }],
    ['rate: 1/1ms', { kind: 'rate', permits: 1, per: MILLISECOND, burst: 1 }],
    ['rate: 200_000/1h30m', { kind: 'rate', permits: 200_000, per: 90 * MINUTE, burst: 1 }],
    ['window: 200000/60s', { kind: 'window', permits: 200_000, per: MINUTE }],
    ['window: 1000000000000/400d', { kind: 'window', permits: 1e12, per: 400 * DAY }],
    ['window: 1000/24h, kind: fixed, align: first', { ...FIXED, permits: 1000, per: DAY, align: 'first' }],
    ['window: 1000/90s, kind: fixed', { ...FIXED, permits: 1000, per: 90 * SECOND }],
    [
      'window: 1000/month, kind: fixed, align: calendar, day: 31, time: "23:30", timezone: Europe/Berlin, spill: 200',
      { ...FIXED, permits: 1000, per: 'month', align: 'calendar', day: 31, time: 23 * HOUR + 30 * MINUTE, timezone: 'Europe/Berlin', spill: 200 },
    ],
    ['window: 7/7d, kind: fixed, align: calendar, day: 7', { ...FIXED, permits: 7, per: 7 * DAY, align: 'calendar', day: 7 }],
    ['window: 7/1w, kind: fixed, align: calendar, time: 06:00:30', { ...FIXED, permits: 7, per: 7 * DAY, align: 'calendar', time: 6 * HOUR + 30 * SECOND }],
    ['spacing: 5s, slack: 250ms', { kind: 'spacing', spacing: 5 * SECOND, slack: 250 * MILLISECOND }],
    ['spacing: 1.5s', { kind: 'spacing', spacing: 1500 * MILLISECOND, slack: 0 }],
    ['concurrency: 8', { kind: 'concurrency', max: 8 }],
    ['concurrency: { max: 8 }', { kind: 'concurrency', max: 8 }],
    ['concurrency: { max: 200, adapt: gradient }', { kind: 'concurrency', max: 200, adapt: { ...ADAPT, by: 'gradient', initial: 10 } }],
    ['concurrency: { max: 4, adapt: aimd }', { kind: 'concurrency', max: 4, adapt: { ...ADAPT, by: 'aimd', initial: 4 } }],
    [
      'concurrency: { max: 90, adapt: gradient, floor: 20, initial: 30, tolerance: 2.5, backoff: 50%, slow: 2s }',
      { kind: 'concurrency', max: 90, adapt: { by: 'gradient', floor: 20, initial: 30, tolerance: 2.5, backoff: 0.5, slow: 2 * SECOND } },
    ],
  ];
  test.each(cases)('%s', (says, quota) => {
    expect(quotas(`{ name: x, ${says} }`)).toEqual([quota]);
  });
});

test('an exception says in place of its limit what it names, and keeps the rest', () => {
  const limits = read(`groups:
  a:
    limits:
      - { name: slots, concurrency: 8, scope: key, keys: { acme: 32, "0": 1 } }
      - { name: found, concurrency: { max: 8, adapt: aimd }, scope: key, keys: { acme: 32 } }
      - { name: pace, spacing: 5s, slack: 1s, scope: key, keys: { acme: 2s } }
      - { name: rate, rate: 5/1s, burst: 3, scope: key, keys: { acme: 50/2s, __proto__: 6/1s } }
      - { name: day, window: 10/1d, kind: fixed, align: calendar, spill: 5, scope: key, keys: { acme: 100/month } }
`).groups[0]?.spec.limits.map(({ keys }) => [...keys]);
  expect(limits).toEqual([
    [
      ['acme', { kind: 'concurrency', max: 32 }],
      ['0', { kind: 'concurrency', max: 1 }],
    ],
    [['acme', { kind: 'concurrency', max: 32, adapt: { ...ADAPT, by: 'aimd', initial: 10 } }]],
    [['acme', { kind: 'spacing', spacing: 2 * SECOND, slack: SECOND }]],
    [
      ['acme', { kind: 'rate', permits: 50, per: 2 * SECOND, burst: 3 }],
      ['__proto__', { kind: 'rate', permits: 6, per: SECOND, burst: 3 }],
    ],
    [['acme', { ...FIXED, permits: 100, per: 'month', align: 'calendar', spill: 5 }]],
  ]);
});

test('a group that says nothing has every default of docs/semantics.md', () => {
  expect(read('groups: { a: {} }').groups).toEqual([
    {
      spec: {
        name: 'a',
        limits: [],
        parent: undefined,
        settleMax: 10,
        enforce: true,
        backlog: { requests: 10_000, bytes: 256 * 2 ** 20, perKey: 1000, keys: 100_000, wait: undefined, onFull: 'leastUrgent' },
        aging: undefined,
        fairness: { by: 'key', weights: new Map() },
      },
      wait: { default: 30 * SECOND, max: 10 * MINUTE },
      lease: { default: 30 * SECOND, max: 10 * MINUTE },
      priority: { classes: new Map(), default: 999 },
      pushback: { scope: 'key', max: 60 * SECOND },
      refusal: undefined,
      costs: new Map(),
      unreachable: 'closed',
    },
  ]);
});

test('a group that says everything is what it says', () => {
  const [, a] = read(
    `groups:
  p: { limits: [ { name: all, window: 10/1s } ] }
  a:
    limits: [ { name: tpm, window: 5/1s, unit: tokens, scope: key } ]
    parent: { group: p, share: 62.5% }
    enforce: false
    ttl: { default: 0, max: 1h }
    backlog: { requests: 5, bytes: 1MB, perKey: 2, keys: 7, wait: 3s, onFull: newest }
    priority: { classes: { production: 1, staging: 2 }, default: staging, aging: 10s }
    fairness: { by: key, weights: { acme: 4 } }
    lease: { default: 5s, max: 7d }
    pushback: { scope: group, max: 5m }
    refusal: { status: 503, contentType: application/json, body: "{}" }
    unreachable: share
`,
  ).groups;
  expect(a).toEqual({
    spec: {
      name: 'a',
      limits: [{ name: 'tpm', unit: 'tokens', scope: 'key', quota: { kind: 'window', permits: 5, per: SECOND }, keys: new Map() }],
      parent: { group: 'p', share: 0.625 },
      settleMax: 10,
      enforce: false,
      backlog: { requests: 5, bytes: 1_000_000, perKey: 2, keys: 7, wait: 3 * SECOND, onFull: 'newest' },
      aging: 10 * SECOND,
      fairness: { by: 'key', weights: new Map([['acme', 4]]) },
    },
    wait: { default: 0, max: HOUR },
    costs: new Map(),
    lease: { default: 5 * SECOND, max: 7 * DAY },
    priority: {
      classes: new Map([
        ['production', 1],
        ['staging', 2],
      ]),
      default: 2,
    },
    pushback: { scope: 'group', max: 5 * MINUTE },
    refusal: { status: 503, contentType: 'application/json', body: '{}' },
    unreachable: 'share',
  });
});

test('a file that is to be empty is a server with no groups on the usual ports', () => {
  const { listen, store, drain, groups, revision } = read('allowEmpty: true\n');
  expect({ groups, revision, store, drain }).toEqual({
    groups: [],
    revision: 0,
    store: { kind: 'disk', path: './data', bytes: 10 * 2 ** 30, takeOver: false },
    drain: { delay: 5 * SECOND, grace: 20 * SECOND },
  });
  expect([listen.api, listen.grpc, listen.health, listen.admin].map(({ address }) => address)).toEqual([
    { host: '0.0.0.0', port: 8080 },
    { host: '0.0.0.0', port: 9090 },
    { host: '0.0.0.0', port: 9092 },
    { host: '127.0.0.1', port: 9091 },
  ]);
});

test('a listener is a port, host:port, none, or a map with tls', () => {
  const { listen } = read(
    'listen: { api: "[::1]:1", grpc: none, health: localhost:0, admin: { address: 7, tls: { cert: c, key: k, clientCa: a } }, proxy: none, gatewayQueue: none }\ngroups: { a: {} }',
  );
  expect(listen).toEqual({
    api: { address: { host: '::1', port: 1 }, tls: undefined },
    grpc: { address: 'none', tls: undefined },
    health: { address: { host: 'localhost', port: 0 }, tls: undefined },
    admin: { address: { host: '0.0.0.0', port: 7 }, tls: { cert: 'c', key: 'k', clientCa: 'a' }, hosts: [], dashboard: '/' },
    proxy: { address: 'none', tls: undefined },
    gatewayQueue: { address: 'none', tls: undefined },
  });
});

test('an API key is a hash, or where to find it', () => {
  const { auth } = read(`auth:
  keys:
    - { name: search, sha256: ${'A0'.repeat(32)}, groups: [ a ], key: acme, classes: [ staging ] }
    - { name: ops, sha256: { file: /run/ops }, can: [ read, manage ] }
    - { name: ci, sha256: { env: CI_HASH } }
groups: { a: { priority: { classes: { staging: 2 } } } }
`);
  expect(auth.keys).toEqual([
    { name: 'search', sha256: { from: 'here', value: 'a0'.repeat(32) }, can: ['acquire'], groups: ['a'], key: 'acme', classes: ['staging'] },
    { name: 'ops', sha256: { from: 'file', file: '/run/ops' }, can: ['read', 'manage'], groups: undefined, key: undefined, classes: undefined },
    { name: 'ci', sha256: { from: 'env', env: 'CI_HASH' }, can: ['acquire'], groups: undefined, key: undefined, classes: undefined },
  ]);
});

test('a value can be written once and named again', () => {
  const groups = read('groups:\n  a: &same { limits: [ { name: x, spacing: 5s } ] }\n  b: *same\n').groups;
  expect(groups[1]?.spec.limits).toEqual(groups[0]?.spec.limits);
});

test('a tree of eight groups above each other stands', () => {
  const text = [2, 3, 4, 5, 6, 7, 8].map((n) => `  g${n}: { parent: { group: g${n - 1} } }\n`).join('');
  expect(read(`groups:\n  g1: {}\n${text}`).groups).toHaveLength(8);
});

test('the example of the repository is good, and shows what the README promises', () => {
  const { groups } = read(file('sluice.yaml'));
  const byName = new Map(groups.map((group) => [group.spec.name, group.spec]));
  expect([...byName.keys()]).toEqual(['demo', 'llm', 'slots', 'jobs', 'provider', 'search', 'indexing']);
  expect(byName.get('demo')?.limits[0]?.quota).toEqual({ kind: 'spacing', spacing: 5 * SECOND, slack: 0 });
  expect(byName.get('slots')?.limits[0]?.quota).toEqual({ kind: 'concurrency', max: 1 });
});
