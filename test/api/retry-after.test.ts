import fc from 'fast-check';
import { expect, test } from 'vitest';
import { endOfStream, errorOf, sendError } from '../../src/api/connect/response.ts';
import { statusOf } from '../../src/api/grpc/codec.ts';
import { retrySeconds } from '../../src/api/problem.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import type { Instant } from '../../src/core/time.ts';
import type { EngineReply } from '../../src/http/engine.ts';

const NOW = 5_000_000 as Instant;

/** The same refusal as plain HTTP, Connect, gRPC and gRPC-Web state when to come back; undefined: not at all. */
function waitsOf(refusal: Refusal): { readonly seconds: readonly (number | undefined)[]; readonly millis: readonly (number | undefined)[] } {
  const error = errorOf(refusal, NOW);
  let connect: number | undefined;
  const send = (_status: number, headers: readonly (readonly [string, string])[]): boolean => {
    const found = headers.find(([name]) => name === 'Retry-After')?.[1];
    if (found !== undefined) connect = Number(found);
    return true;
  };
  sendError({ send } as unknown as EngineReply, { protocol: 'unary', json: true, contentType: 'application/json' }, error);
  const [grpc] = statusOf(refusal, NOW).metadata?.get('retry-after-ms') ?? [];
  const [, web] =
    /retry-after-ms: (\d+)/.exec(endOfStream({ protocol: 'web', json: false, contentType: 'application/grpc-web' }, error).toString('latin1')) ?? [];
  return {
    seconds: [retrySeconds(refusal, NOW, 0, 0), connect],
    millis: [grpc, web].map((text) => (text === undefined ? undefined : Number(text))),
  };
}

test('plain HTTP, Connect, gRPC and gRPC-Web state the same wait for the same refusal, never shorter than it is', () => {
  fc.assert(
    fc.property(fc.integer({ min: -10_000_000, max: 100_000_000 }), (wait) => {
      const { seconds, millis } = waitsOf({ reason: 'shed', limit: 'rpm', retryAt: (NOW + wait) as Instant });
      const left = Math.max(0, wait);
      expect(seconds).toEqual([Math.ceil(left / 1_000_000), Math.ceil(left / 1_000_000)]);
      expect(millis).toEqual([Math.ceil(left / 1_000), Math.ceil(left / 1_000)]);
    }),
  );
});

test('a refusal that passes without a known instant is tried again after a second on every protocol', () => {
  expect(waitsOf({ reason: 'undecided' })).toEqual({ seconds: [1, 1], millis: [1_000, 1_000] });
});

test('a refusal without an end states no wait on any protocol', () => {
  expect(waitsOf({ reason: 'malformed' })).toEqual({ seconds: [undefined, undefined], millis: [undefined, undefined] });
});
