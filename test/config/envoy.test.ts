import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';

/* Options of Envoy's rate limit service. */

const GROUPS = `groups:
  chat: { limits: [ { name: tpm, window: 1000/60s, unit: tokens } ], priority: { classes: { paid: 1 } } }
  slots: { limits: [ { name: held, concurrency: 3 } ] }
  below: { parent: { group: slots } }
  demanding: { limits: [ { name: tpm, window: 1000/60s, unit: tokens } ], costs: { tokens: { required: true } } }
  under: { parent: { group: demanding } }
`;

function mistakesOf(envoy: string, before = ''): readonly string[] {
  const loaded = loadConfig({ text: `${before}${GROUPS}envoy: ${envoy}\n`, name: 'f', env: {}, flags: [] });
  return loaded.kind === 'mistakes' ? loaded.mistakes.map((each) => `${each.path}: ${formatError(each)}`) : [];
}

const item = (rest: string) => `{ descriptors: [ { entries: [ a ], group: chat, ${rest} } ] }`;

describe('a good one', () => {
  test('is taken with every option, and as short as can be', () => {
    expect(mistakesOf('{ descriptors: [ { entries: [ remote_address ], group: chat } ] }')).toEqual([]);
    expect(mistakesOf('{ descriptors: [ { entries: [ remote_address ], group: under, unit: tokens } ] }')).toEqual([]);
    const whole = '{ domain: edge, entries: [ { key: a, value: 1 }, b ], group: chat, key: entry b, class: entry a, unit: tokens, ttl: 10s }';
    expect(mistakesOf(`{ unmatched: refuse, rateLimitFields: never, descriptors: [ ${whole} ] }`)).toEqual([]);
  });

  test('may have a value before the same entries with any value', () => {
    expect(mistakesOf('{ descriptors: [ { entries: [ { key: a, value: x } ], group: chat }, { entries: [ a ], group: chat } ] }')).toEqual([]);
  });
});

describe('a bad one is refused at its place:', () => {
  test.each([
    ['no items', '{}', 'envoy', 'descriptors is missing'],
    ['an item without entries', '{ descriptors: [ { entries: [], group: chat } ] }', 'envoy.descriptors[0].entries', 'at least one entry'],
    ['an unknown group', '{ descriptors: [ { entries: [ a ], group: chta } ] }', 'envoy.descriptors[0].group', 'Did you mean chat?'],
    ['a group that holds slots', '{ descriptors: [ { entries: [ a ], group: slots } ] }', 'envoy.descriptors[0].group', 'does not report when a request ends'],
    ['a group below one that holds slots', '{ descriptors: [ { entries: [ a ], group: below } ] }', 'envoy.descriptors[0].group', 'limit held counts'],
    ['a key of an entry that is not there', item('key: entry b'), 'envoy.descriptors[0].key', 'entries has no "b"'],
    ['a key that is nothing', item('key: header x'), 'envoy.descriptors[0].key', 'Write open, none, or entry'],
    ['a class that the group does not have', item('class: gold'), 'envoy.descriptors[0].class', 'there is no class "gold"'],
    [
      'hits of requests where the group demands tokens',
      '{ descriptors: [ { entries: [ a ], group: demanding } ] }',
      'envoy.descriptors[0].unit',
      'demands a cost in tokens',
    ],
    ['the same below that group', '{ descriptors: [ { entries: [ a ], group: under } ] }', 'envoy.descriptors[0].unit', 'demands a cost in tokens'],
    ['a unit that no limit counts', item('unit: token'), 'envoy.descriptors[0].unit', 'Did you mean tokens?'],
    [
      'an item that never fits',
      '{ descriptors: [ { entries: [ a ], group: chat }, { domain: edge, entries: [ { key: a, value: x } ], group: chat } ] }',
      'envoy.descriptors[1].entries',
      'descriptors[0] takes all of these before',
    ],
  ])('%s', (_what, envoy, at, says) => {
    const mistakes = mistakesOf(envoy);
    expect(mistakes).toEqual([expect.stringContaining(says)]);
    expect(mistakes[0]?.split(': ')[0]).toBe(at);
  });

  test('without a listener', () => {
    expect(mistakesOf('{ descriptors: [ { entries: [ a ], group: chat } ] }', 'listen: { grpc: none }\n')).toEqual([
      expect.stringContaining('Give listen.grpc a port'),
    ]);
  });
});
