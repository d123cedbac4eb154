import { describe, expect, it } from 'vitest';
import { toOverride } from '../../src/api/group-validation.ts';
import { parseAcquire } from '../../src/api/validation.ts';
import { loadConfig } from '../../src/config/load.ts';
import { LEASE_MAX, PER_MAX, SLACK_MAX, TTL_MAX, UNITS_MAX } from '../../src/core/bounds.ts';
import type { Quota } from '../../src/core/group.ts';
import { SECOND } from '../../src/core/time.ts';
import { computeCosts } from '../../src/proxy/costs.ts';

function mistakes(text: string): readonly string[] {
  const loaded = loadConfig({ text, name: 'sluice.yaml', env: {}, flags: [] });
  return loaded.kind === 'config' ? [] : loaded.mistakes.map(({ path, problem, remedy }) => `${path}: ${problem}. ${remedy}`);
}

const groups = (own: string) => `
groups:
  provider: { limits: [ { name: tpm, window: 2000/60s, unit: tokens } ] }
  llm: { parent: { group: provider }, limits: [ { name: rpm, rate: 10/1s } ]${own} }
`;

describe('units in the file', () => {
  it.each([
    ['a cost of a unit above the group', ', costs: { tokens: { default: 2000 } }', []],
    ['a required cost', ', costs: { tokens: { required: true } }', []],
    ['a misspelt unit', ', costs: { tokns: { default: 1 } }', [/costs\.tokns: no limit of group llm, or above it, counts "tokns".*Did you mean tokens/]],
    ['a default that is never used', ', costs: { tokens: { default: 1, required: true } }', [/required: a cost that must be named needs no default/]],
    ['a default above the limit', ', costs: { tokens: { default: 2001 } }', [/default: limit tpm can never pass 2001 at once/]],
    ['a default for requests', ', costs: { requests: { default: 2 } }', [/requests/]],
  ])('reports %s as it should', (_what, own, expected) => {
    const found = mistakes(groups(own));
    expect(found).toHaveLength(expected.length);
    for (const [index, pattern] of expected.entries()) expect(found[index]).toMatch(pattern);
  });

  it('refuses a route that asks in a unit that its group does not count', () => {
    const text = `${groups('')}
listen: { proxy: 0 }
backends: { b: { urls: [ http://127.0.0.1:1 ] } }
routes:
  - { match: { path: /a }, group: llm, backend: b, costs: { tokens: 5 } }
  - { match: { path: /b }, group: llm, backend: b, costs: { token: 5 } }
`;
    const found = mistakes(text.replace('proxy: 0', 'proxy: 127.0.0.1:8000'));
    expect(found).toEqual([expect.stringMatching(/routes\[1\]\.costs\.token: no limit of group llm, or above it, counts "token".*Did you mean tokens/)]);
  });
});

describe('bounds', () => {
  const file = (limit: string, more = '') => mistakes(`groups: { g: { limits: [ { name: l, ${limit} } ]${more} } }`).length === 0;
  const overridden = (quota: Quota) => !('reason' in toOverride({ group: 'g', limits: new Map([['l', quota]]), enforce: undefined, duration: SECOND }));
  const asked = (fields: object) => !('reason' in parseAcquire({ group: 'g', ...fields }, { caller: '', remaining: undefined }));

  it.each([UNITS_MAX, UNITS_MAX + 1])('of %d units are the same in the file, in an override, in an ask and in a route', (units) => {
    const fits = units === UNITS_MAX;
    const route = (value: unknown) =>
      computeCosts(
        [{ unit: 't', ask: { from: 'json', path: ['t'] }, fallback: 7, settle: undefined }],
        () => value,
        () => undefined,
      )['t'] === units;
    expect({
      rate: file(`rate: ${units}/1s, burst: 1`),
      burst: file(`rate: 1/1s, burst: ${units}`),
      window: file(`window: ${units}/1s`),
      concurrency: file(`concurrency: ${units}`),
      exception: file(`concurrency: 1, scope: key, keys: { a: ${units} }`),
      defaultCost: file(`window: ${UNITS_MAX}/1s, unit: tokens`, `, costs: { tokens: { default: ${units} } }`),
      rateOverride: overridden({ kind: 'rate', permits: units, per: SECOND, burst: units }),
      windowOverride: overridden({ kind: 'window', permits: units, per: SECOND }),
      concurrencyOverride: overridden({ kind: 'concurrency', max: units }),
      ask: asked({ costs: { tokens: units } }),
      route: route(units),
    }).toEqual(
      Object.fromEntries(
        'rate burst window concurrency exception defaultCost rateOverride windowOverride concurrencyOverride ask route'.split(' ').map((name) => [name, fits]),
      ),
    );
  });

  it.each([0, 1])('of time are the same in the file and in calls, at the bound and %d s above it', (above) => {
    const seconds = (micros: number) => `${micros / SECOND + above}s`;
    const more = above * SECOND;
    const fits = above === 0;
    expect({
      per: file(`window: 1/${seconds(PER_MAX)}`),
      perOverride: overridden({ kind: 'window', permits: 1, per: PER_MAX + more }),
      slack: file(`spacing: 1s, slack: ${seconds(SLACK_MAX)}`),
      slackOverride: overridden({ kind: 'spacing', spacing: SECOND, slack: SLACK_MAX + more }),
      ttl: file('spacing: 1s', `, ttl: { max: ${seconds(TTL_MAX)} }`),
      ttlAsked: asked({ ttl: TTL_MAX + more }),
      lease: file('concurrency: 1', `, lease: { max: ${seconds(LEASE_MAX)} }`),
      leaseAsked: asked({ lease: LEASE_MAX + more }),
    }).toEqual(Object.fromEntries('per perOverride slack slackOverride ttl ttlAsked lease leaseAsked'.split(' ').map((name) => [name, fits])));
  });
});
