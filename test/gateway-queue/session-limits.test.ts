import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { HOUR, SECOND } from '../../src/core/time.ts';
import { discordLimits, limitsIn } from '../../src/gateway-queue/discord-limits.ts';
import { LimitsUnavailable } from '../../src/gateway-queue/session-limits.ts';
import { readShard } from '../../src/gateway-queue/shard.ts';

const LIMIT = { total: 1000, remaining: 999, reset_after: 14_400_000, max_concurrency: 16 };
const body = (limit: object = LIMIT): string => JSON.stringify({ url: 'wss://gateway.discord.gg', shards: 9, session_start_limit: limit });

let server: Server | undefined;
afterEach(() => void server?.close());

/** What stands at the URL of the limits; answers that URL. */
async function at(answer: (authorization: string | undefined) => readonly [status: number, body: string, headers?: Record<string, string>]): Promise<string> {
  const made = createServer((request, response) => {
    const [status, text, headers] = answer(request.headers.authorization);
    response.writeHead(status, headers).end(text);
  });
  server = made;
  await new Promise<void>((resolve) => void made.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(made.address() as AddressInfo).port}/api/v10/gateway/bot`;
}

describe('The limits of Discord', () => {
  test.each(['T', 'Bot T'])('are asked for with the token %s, and read', async (token) => {
    let shown: string | undefined;
    const url = await at((authorization) => {
      shown = authorization;
      return [200, body()];
    });
    expect(await discordLimits({ url, token, version: '1' })()).toEqual({ total: 1000, remaining: 999, resetAfter: 4 * HOUR, maxConcurrency: 16 });
    expect(shown).toBe('Bot T');
  });

  test.each([
    [401, '{}', /the token is not accepted/],
    [500, '', /answered 500/],
    [302, '', /answered 302/],
    [200, 'nonsense', /without a session_start_limit/],
    [200, '{}', /without a session_start_limit/],
    [200, body({ ...LIMIT, max_concurrency: 0 }), /session_start_limit.max_concurrency` of 0/],
    [200, 'x'.repeat(100_000), /cannot be reached/],
  ])('that come with %s and %.10s are not to be had', async (status, text, why) => {
    const url = await at(() => [status, text, { location: 'http://127.0.0.1:1/' }]);
    const source = discordLimits({ url, token: 'T', version: '1' });
    await expect(source()).rejects.toThrow(LimitsUnavailable);
    await expect(source()).rejects.toThrow(why);
  });

  test('say when to ask again', async () => {
    const url = await at(() => [429, '{}', { 'retry-after': '7.5' }]);
    await expect(discordLimits({ url, token: 'T', version: '1' })()).rejects.toMatchObject({ retryAfter: 7.5 * SECOND });
  });

  test('that never come are given up', async () => {
    const made = createServer(() => {});
    server = made;
    await new Promise<void>((resolve) => void made.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(made.address() as AddressInfo).port}/`;
    await expect(discordLimits({ url, token: 'T', version: '1', timeoutMs: 50 })()).rejects.toThrow(/did not answer within 50 ms/);
    made.closeAllConnections();
  });

  test.each([
    [{ total: 0 }, 'total` of 0'],
    [{ total: 1.5 }, 'total` of 1.5'],
    [{ remaining: -1 }, 'remaining` of -1'],
    [{ reset_after: -1 }, 'reset_after` of -1'],
    [{ reset_after: '1' }, 'reset_after` of "1"'],
    [{ max_concurrency: 0 }, 'max_concurrency` of 0'],
    [{ max_concurrency: null }, 'max_concurrency` of null'],
    [{ max_concurrency: undefined }, 'no `session_start_limit.max_concurrency`'],
    [{ total: 2 ** 24 }, 'total` of 16777216'],
    [{ total: 'x'.repeat(60) }, `total\` of "${'x'.repeat(39)}…`],
  ])('that make no sense are refused by their name and value: %j', (wrong, said) => {
    expect(limitsIn(body({ ...LIMIT, ...wrong }))).toEqual(expect.stringContaining(said));
  });

  test('leave no more than there are', () => {
    expect(limitsIn(body({ ...LIMIT, remaining: 2000 }))).toMatchObject({ remaining: 1000 });
  });
});

test.each([
  ['', undefined],
  ['x=1', undefined],
  ['shard=0', 0],
  ['a=b&shard=17&c=d', 17],
  ['shard=4294967295', 4_294_967_295],
  ['shard=007', 7],
  ['%73hard=5', 5],
  ['Shard=5', undefined],
])('The shard of ?%s is %s', (query, shard) => expect(readShard(query)).toEqual({ shard }));

test.each([
  'shard=',
  'shard=abc',
  'shard=-1',
  'shard=4294967296',
  'shard=1&shard=2',
  'shard=1&shard=1',
  'shard=1.0',
  'shard=%201',
  'shard=１',
  `shard=${'9'.repeat(5_000)}`,
])('?%.40s names no shard', (query) => {
  const read = readShard(query);
  expect('wrong' in read && read.wrong.length).toBeLessThan(120);
});
