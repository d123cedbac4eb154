import { describe, expect, test } from 'vitest';
import type { GroupSettings } from '../../src/admission/admission.ts';
import { createAuth } from '../../src/api/auth.ts';
import { runHeldCall } from '../../src/api/call.ts';
import { rateLimitCall } from '../../src/api/rate-limit-service.ts';
import { SECOND } from '../../src/core/time.ts';
import { RateLimitResponse_Code as Code, type RateLimitResponse } from '../../src/gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { compileRateLimitRules } from '../../src/server/rate-limit-rules.ts';
import { type Rig, rigged } from '../admission/rig.ts';
import { settled } from '../support/fakes/clock.ts';
import { type Described, rateLimitConfig, rateLimitRequest } from './rate-limit-client.ts';

/* How one request of Envoy asks several groups, in virtual time, over real gates. */

/** A request on its way. */
interface Asked {
  response: RateLimitResponse | undefined;
  readonly leave: () => void;
}

async function rigOf(text: string): Promise<{ readonly rig: Rig; ask(descriptors: readonly Described[], remaining?: number): Asked }> {
  const config = rateLimitConfig(text);
  const rules = compileRateLimitRules(config);
  if (rules === undefined) throw new Error('the configuration has no `envoy`');
  const rig = await rigged(config.groups as readonly GroupSettings[], { recording: false });
  const { call } = rateLimitCall({
    admission: rig.admission,
    auth: createAuth([]),
    rules: () => rules,
    onAnswer: () => {},
    refusalOf: () => undefined,
    random: () => 0,
  });
  return {
    rig,
    ask: (descriptors, remaining) => {
      const asked: { response: RateLimitResponse | undefined; leave: () => void } = { response: undefined, leave: () => {} };
      asked.leave = runHeldCall(call, { caller: '', remaining }, rateLimitRequest(descriptors), (message) => {
        asked.response = message as RateLimitResponse | undefined;
        return true;
      });
      return asked;
    },
  };
}

const TWO = `groups:
  a: { limits: [ { name: a, window: 1/60s } ], ttl: { default: 5m } }
  b: { limits: [ { name: b, window: 1/60s } ], ttl: { default: 5m } }
envoy: { descriptors: [ { entries: [ a ], group: a, key: none }, { entries: [ b ], group: b, key: none } ] }
`;

describe('a request with several groups', () => {
  test('passes when all have agreed, and spends in each once', async () => {
    const { rig, ask } = await rigOf(TWO);
    expect(ask([[{ b: '1' }], [{ a: '1' }]]).response?.overallCode).toBe(Code.OK);
    expect([rig.used('a'), rig.used('b')]).toEqual([1, 1]);
  });

  test('gives back what one granted when another refuses, and says of which descriptor it was', async () => {
    const { rig, ask } = await rigOf(TWO);
    ask([[{ b: '1' }]]);
    const { response } = ask([[{ b: '1' }], [{ a: '1' }]], 10 * SECOND);
    await settled();
    expect(response?.overallCode).toBe(Code.OVER_LIMIT);
    expect(response?.statuses.map(({ code }) => code)).toEqual([Code.OVER_LIMIT, Code.OK]);
    expect([rig.used('a'), rig.used('b')]).toEqual([0, 1]);
  });

  test('gives back what one granted when its caller leaves while it waits for another', async () => {
    const { rig, ask } = await rigOf(TWO);
    ask([[{ b: '1' }]]);
    const waiting = ask([[{ a: '1' }], [{ b: '1' }]]);
    await settled();
    expect([waiting.response, rig.used('a'), rig.waiting('b')]).toEqual([undefined, 1, 1]);
    waiting.leave();
    await settled();
    expect([rig.used('a'), rig.waiting('b')]).toEqual([0, 0]);
    expect(ask([[{ a: '1' }]]).response?.overallCode).toBe(Code.OK);
  });

  test('waits for all of them within one deadline', async () => {
    const { rig, ask } = await rigOf(TWO);
    ask([[{ a: '1' }]]);
    await rig.pass(30);
    ask([[{ b: '1' }]]);
    // a opens at 60 s, b at 90 s, the caller stays until 80 s.
    const waiting = ask([[{ a: '1' }], [{ b: '1' }]], 50 * SECOND);
    await rig.pass(29.9);
    expect(waiting.response).toBeUndefined();
    await rig.pass(0.2);
    expect(waiting.response?.overallCode).toBe(Code.OVER_LIMIT);
    expect(rig.used('a')).toBe(0);
  });

  test('never waits for another that waits for it, in whatever order their descriptors stand', async () => {
    const { rig, ask } = await rigOf(TWO);
    const requests = Array.from({ length: 4 }, (_, index) => ask(index % 2 === 0 ? [[{ a: '1' }], [{ b: '1' }]] : [[{ b: '1' }], [{ a: '1' }]]));
    await rig.pass(181);
    expect(requests.map(({ response }) => response?.overallCode)).toEqual([Code.OK, Code.OK, Code.OK, Code.OK]);
  });

  test('of one tree is charged above once, by the lowest of them, and asks in one step', async () => {
    const { rig, ask } = await rigOf(`groups:
  top: { limits: [ { name: top, window: 10/60s } ] }
  low: { parent: { group: top }, limits: [ { name: low, window: 3/60s } ], ttl: { default: 0s } }
envoy: { descriptors: [ { entries: [ top ], group: top, key: none }, { entries: [ low ], group: low, key: none } ] }
`);
    for (let index = 0; index < 3; index++) expect(ask([[{ top: '1' }], [{ low: '1' }]]).response?.overallCode).toBe(Code.OK);
    expect([rig.used('top'), rig.used('low')]).toEqual([3, 3]);
    const { response } = ask([[{ top: '1' }], [{ low: '1' }]]);
    expect(response?.overallCode).toBe(Code.OVER_LIMIT);
    expect([rig.used('top'), rig.used('low')]).toEqual([3, 3]);
    // A cost that the lower one does not charge above is asked for by itself.
    expect(
      ask([
        [{ top: '1' }, { hits: 5 }],
        [{ low: '1' }, { hits: 0 }],
      ]).response?.overallCode,
    ).toBe(Code.OK);
    expect([rig.used('top'), rig.used('low')]).toEqual([8, 3]);
  });

  test('of one tree that counts per key above is asked there under its own key, too', async () => {
    const { rig, ask } = await rigOf(`groups:
  top: { limits: [ { name: top, window: 2/60s, scope: key } ], ttl: { default: 0s } }
  low: { parent: { group: top }, ttl: { default: 0s } }
envoy: { descriptors: [ { entries: [ address ], group: top }, { entries: [ tenant ], group: low } ] }
`);
    const both = (address: string, tenant: string) => ask([[{ address }], [{ tenant }]]).response?.overallCode;
    expect([both('10.0.0.1', 'acme'), both('10.0.0.1', 'zeta'), both('10.0.0.1', 'kilo'), both('10.0.0.2', 'kilo')]).toEqual([
      Code.OK,
      Code.OK,
      Code.OVER_LIMIT,
      Code.OK,
    ]);
    void rig;
  });
});

describe('the key of a descriptor', () => {
  const KEYED = (key: string) => `groups: { g: { limits: [ { name: each, window: 1/60s, scope: key } ], ttl: { default: 0s } } }
envoy: { descriptors: [ { entries: [ { key: generic_key, value: chat }, path, remote_address ], group: g, key: ${key} } ] }
`;
  const described = (path: string, remote: string): readonly Described[] => [[{ generic_key: 'chat', path, remote_address: remote }]];

  test('is made of the values that its item leaves open, so that no two are taken for one', async () => {
    const { ask } = await rigOf(KEYED('open'));
    const codes = [described('a|b', 'c'), described('a', 'b|c'), described('a%7Cb', 'c'), described('a|b', 'c')].map((each) => ask(each).response?.overallCode);
    expect(codes).toEqual([Code.OK, Code.OK, Code.OK, Code.OVER_LIMIT]);
  });

  test('is the value of one entry, as other calls name it', async () => {
    const { rig, ask } = await rigOf(KEYED('entry remote_address'));
    expect(ask(described('a', '10.0.0.1')).response?.overallCode).toBe(Code.OK);
    expect(ask(described('b', '10.0.0.1')).response?.overallCode).toBe(Code.OVER_LIMIT);
    expect((await rig.asked({ key: '10.0.0.1', wait: 0 })).refusal).toMatchObject({ limit: 'each' });
  });

  test('that is too long or does not print counts by its hash: no caller passes by sending one', async () => {
    const { ask } = await rigOf(KEYED('entry path'));
    for (const path of ['x'.repeat(1_000), 'ü'.repeat(200), 'line\nbreak', '\u0000']) {
      expect([ask(described(path, 'a')).response?.overallCode, ask(described(path, 'b')).response?.overallCode]).toEqual([Code.OK, Code.OVER_LIMIT]);
    }
    expect(ask(described(`${'x'.repeat(999)}y`, 'a')).response?.overallCode).toBe(Code.OK);
  });
});

describe('the class of a descriptor', () => {
  test('is read from an entry; one that the group does not have is the default', async () => {
    const { rig, ask } = await rigOf(`groups: { g: { limits: [ { name: pace, spacing: 1s } ], priority: { classes: { paid: 1, free: 5 } } } }
envoy: { descriptors: [ { entries: [ tier ], group: g, key: none, class: entry tier } ] }
`);
    const order: string[] = [];
    const asked = ['first', 'unheard', 'free', 'paid'].map((tier) => ({ tier, asked: ask([[{ tier }]]) }));
    for (let second = 0; second < 4; second++) {
      for (const each of asked) if (each.asked.response !== undefined && !order.includes(each.tier)) order.push(each.tier);
      await rig.pass(1);
    }
    expect(order).toEqual(['first', 'paid', 'free', 'unheard']);
  });
});
