import { describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { restartRequired } from '../../src/config/watch.ts';
import { MILLISECOND, NEVER, SECOND } from '../../src/core/time.ts';

const load = (text: string) => loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });

function read(text: string): Config {
  const loaded = load(text);
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

const queue = (options = '{}'): string => `listen: { gatewayQueue: 8000 }\ngatewayQueue: ${options}\n`;

describe('The gateway queue in the file', () => {
  test('needs nothing but its listener: one bucket, 5 s and a slack, waits without end, and a file without groups', () => {
    const [group, ...others] = read('listen: { gatewayQueue: 8000 }').groups;
    expect(others).toEqual([]);
    expect(group?.spec).toMatchObject({
      name: 'gateway-queue',
      limits: [{ name: 'identify', scope: 'key', quota: { kind: 'spacing', spacing: 5 * SECOND, slack: 250 * MILLISECOND } }],
    });
    expect(group?.wait).toEqual({ default: NEVER, max: NEVER });
  });

  test('with a token limits session starts as they are reported', () => {
    const [group] = read(queue('{ token: { env: DISCORD_TOKEN } }')).groups;
    expect(group?.spec.limits.map(({ name, quota }) => [name, quota.kind === 'fixed' && quota.align])).toEqual([
      ['identify', false],
      ['session_starts', 'reported'],
    ]);
  });

  test.each([
    ['{ token: T }', /a token does not stand in this file/],
    ['{ token: { env: T }, maxConcurrency: 4 }', /maxConcurrency has no meaning with a token/],
    ['{ limitsUrl: "ftp://x/" }', /is not the URL of session limits/],
    ['{ limitsUrl: "https://me:secret@x/" }', /this URL is not the URL of session limits/],
    ['{ shards: sloppy }', /sloppy/],
    ['{ period: 0 }', /period/],
    ['{ refresh: 1s }', /refresh/],
  ])('refuses %s', (options, why) => {
    const loaded = load(queue(options));
    expect(loaded.kind === 'mistakes' && loaded.mistakes.map(formatError).join('\n')).toMatch(why);
  });

  test('refuses a group of its name, and options without a listener', () => {
    const clash = load(`${queue()}groups: { gateway-queue: {} }`);
    expect(clash.kind === 'mistakes' && clash.mistakes.map(formatError)).toEqual([expect.stringMatching(/f\.yaml:3:\d+: .*is made by listen\.gatewayQueue/)]);
    const off = load('gatewayQueue: { slack: 0 }\ngroups: { a: {} }');
    expect(off.kind === 'mistakes' && off.mistakes.map(formatError)).toEqual([
      expect.stringMatching(/f\.yaml:1:\d+: gatewayQueue: a gateway queue without a listener/),
    ]);
  });

  test('lets a credential name its group', () => {
    const keys = `auth: { keys: [ { name: ops, sha256: ${'ab'.repeat(32)}, can: [ manage ], groups: [ gateway-queue ] } ] }`;
    expect(read(queue() + keys).auth.keys).toHaveLength(1);
    expect(load(`groups: { a: {} }\n${keys}`).kind).toBe('mistakes');
  });

  test('changes buckets, spacing and backlog in a reload; the rest takes a restart', () => {
    const before = read(queue());
    expect(restartRequired(before, read(queue('{ maxConcurrency: 4, period: 6s, slack: 1s, backlog: 5 }')))).toEqual([]);
    expect(restartRequired(before, read(queue('{ variant: pluralkit, closeAfter: 0 }')))).toEqual(['gatewayQueue.variant', 'gatewayQueue.closeAfter']);
  });
});
