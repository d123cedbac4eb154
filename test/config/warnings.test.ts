import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { formatWarning } from '../../src/config/errors.ts';
import { loadConfig, loadWarnings } from '../../src/config/load.ts';
import { fakeWorld } from '../cli/world.ts';

function warnings(text: string): readonly string[] {
  const sources = { text, name: 'f', env: {}, flags: [] };
  expect(loadConfig(sources)).toMatchObject({ kind: 'config' });
  return loadWarnings(sources).map((each) => formatWarning(each));
}

const limits = (...all: string[]) => warnings(`groups:\n  g:\n    limits:\n${all.map((each, at) => `      - { name: l${at}, ${each} }\n`).join('')}`);

describe('a limit that can never bind is warned of', () => {
  test.each([
    ['a window that the rate before it never fills', ['rate: 10/1s, burst: 5', 'window: 605/60s'], 1],
    ['a longer window of as many', ['window: 10/60s', 'window: 20/90s'], 1],
    ['a spacing below the rate', ['rate: 1/5s', 'spacing: 2s'], 1],
    ['a rate that a spacing keeps', ['rate: 1/1s', 'spacing: 2s'], 0],
    ['a rate with more burst and speed', ['rate: 10/1s, burst: 9', 'rate: 5/1s, burst: 3'], 0],
    ['the second of two that are the same', ['concurrency: 3', 'concurrency: 3'], 1],
    ['a month that fixed days never fill', ['window: 10/24h, kind: fixed', 'window: 320/month, kind: fixed, align: calendar'], 1],
    ['one for each key that the whole group never fills', ['window: 10/60s', 'window: 10/60s, scope: key'], 1],
  ])('%s', (_what, all, which) =>
    expect(limits(...all)).toEqual([
      expect.stringContaining(`f:${4 + which}:9: warning: groups.g.limits[${which}]: l${which} can never bind: l${1 - which} always does first.`),
    ]),
  );

  test.each([
    ['a window that the rate can just fill', ['rate: 10/1s, burst: 5', 'window: 604/60s']],
    ['a longer window of fewer', ['window: 10/60s', 'window: 19/90s']],
    ['fixed windows that may pass twice at an edge', ['window: 10/60s, kind: fixed', 'window: 19/60s']],
    ['another unit', ['window: 10/60s', 'window: 20/60s, unit: tokens']],
    ['the whole beside each key', ['window: 10/60s, scope: key', 'window: 20/60s']],
    ['a number that adapts', ['concurrency: 3', 'concurrency: { max: 5, adapt: aimd }']],
    ['slots beside a rate', ['rate: 1/1s', 'concurrency: 100']],
    ['more burst at less speed', ['rate: 10/1s, burst: 1', 'rate: 5/1s, burst: 100']],
  ])('not %s', (_what, all) => expect(limits(...all)).toEqual([]));

  test('also under a parent, unless the parent is a shadow', () => {
    const file = (more: string) =>
      `groups:\n  p: { limits: [ { name: all, concurrency: 3 } ]${more} }\n  g: { parent: { group: p }, limits: [ { name: own, concurrency: 4 } ] }\n`;
    expect(warnings(file(''))).toEqual([expect.stringContaining('groups.g.limits[0]: own can never bind: p/all always does first.')]);
    expect(warnings(file(', enforce: false'))).toEqual([]);
  });
});

test('a group is warned of that no route and no key may name, once credentials are set', () => {
  const key = (more: string) => `auth: { keys: [ { name: a, sha256: ${'0'.repeat(64)}${more} } ] }\n`;
  const groups = 'groups: { top: {}, used: { parent: { group: top } }, lost: {} }\n';
  expect(warnings(groups)).toEqual([]);
  expect(warnings(`${groups}${key('')}`)).toEqual([]);
  expect(warnings(`${groups}${key(', groups: [ used ]')}`)).toEqual([
    expect.stringMatching(/^f:1:\d+: warning: groups\.lost: no caller can reach this group\. /),
  ]);
  expect(warnings(`${groups}${key(', can: [ read ], groups: [ used, lost ]')}`)).toHaveLength(2);
});

test('perKey is warned of where a route sends requests without a key, which it does not count', () => {
  const file = (perKey: string, key: string) =>
    `listen: { proxy: 8000 }\nbackends: { b: { urls: [ http://127.0.0.1:1 ] } }\nroutes: [ { backend: b, group: g${key} } ]\ngroups: { g: { backlog: { requests: 50${perKey} } } }\n`;
  expect(warnings(file(', perKey: 5', ''))).toEqual([
    expect.stringContaining('warning: groups.g.backlog.perKey: requests of routes[0] have no key, so up to 50 of them wait, not 5. Give the route a key'),
  ]);
  expect(warnings(file('', ''))).toEqual([]);
  expect(warnings(file(', perKey: 50', ''))).toEqual([]);
  expect(warnings(file(', perKey: 5', ', key: header X-Tenant'))).toEqual([]);
});

test('sluice check warns on stderr and ends with 0; of sluice.yaml there is nothing to warn', async () => {
  expect(warnings(readFileSync(new URL('../../sluice.yaml', import.meta.url), 'utf8'))).toEqual([]);
  const file = new URL('two-limits.yaml', import.meta.url).pathname;
  const world = fakeWorld();
  expect([await dispatch(['check', file], world), world.out(), world.err()]).toEqual([
    0,
    expect.stringContaining('is good'),
    expect.stringMatching(/two-limits\.yaml:3:\d+: warning: groups\.g\.limits\[1\]: b can never bind: a always does first\. Lower it/),
  ]);
});
