import { describe, expect, test } from 'vitest';
import { DAY, MINUTE, SECOND } from '../../src/core/time.ts';
import { parseRetryAfter } from '../../src/proxy/retry-after.ts';

/** Sun, 06 Nov 1994 08:49:37 GMT, the moment of RFC 9110. */
const NOW = Date.parse('1994-11-06T08:49:37Z');
/** A moment of today, for seconds since 1970. */
const TODAY = 1_800_000_000_000;

const rows: [headers: readonly string[], hint: number | undefined, now?: number][] = [
  [['Retry-After', '7'], 7 * SECOND],
  [['retry-after', ' 7 '], 7 * SECOND],
  [['Retry-After', '0'], 0],
  [['Retry-After', '1.5'], 1.5 * SECOND],
  [['Retry-After', 'Sun, 06 Nov 1994 08:49:47 GMT'], 10 * SECOND],
  [['Retry-After', 'Sunday, 06-Nov-94 08:49:47 GMT'], 10 * SECOND],
  [['Retry-After', 'Sun Nov  6 08:49:47 1994'], 10 * SECOND],
  [['Retry-After', 'Sun, 06 Nov 1994 08:49:30 GMT'], 0],
  [['Retry-After', 'tomorrow'], undefined],
  [['Retry-After', ''], undefined],
  [['Retry-After', '-5'], undefined],
  [['Retry-After', '9'.repeat(15)], 30 * DAY, 0],
  [['Retry-After', '9'.repeat(16)], 30 * DAY],
  [['Retry-After', '1'.repeat(64)], 30 * DAY],
  [['Retry-After', '9'.repeat(8000)], 30 * DAY],
  [['Retry-After', `${'0'.repeat(20)}7`], 7 * SECOND],
  [['Retry-After', `7.${'0'.repeat(20)}`], 7 * SECOND],
  [['RateLimit', `"rpm";r=0;t=${'9'.repeat(20)}`], 30 * DAY],
  [['X-RateLimit-Reset', '9'.repeat(20)], 30 * DAY],
  [['X-RateLimit-Reset-Requests', `${'9'.repeat(12)}s`], 30 * DAY],
  [['Retry-After', 'x'.repeat(1000)], undefined],
  // What cannot be read gives way to what can.
  [['Retry-After', 'soon', 'X-RateLimit-Reset', '3'], 3 * SECOND],
  // Retry-After outranks the others (RFC 9110 10.2.3).
  [['RateLimit', '"rpm";r=0;t=12', 'Retry-After', '7'], 7 * SECOND],
  [['RateLimit', '"rpm";r=0;t=12'], 12 * SECOND],
  [['RateLimit', '"rpm";r=0;t=12, "tpm";r=0;t=30, "day";r=5;t=9000'], 30 * SECOND],
  [['RateLimit', '"rpm";r=0;t=12', 'RateLimit', '"tpm";r=0;t=13'], 13 * SECOND],
  [['RateLimit', '"a,b;r=0;t=99";r=1;t=12'], undefined],
  [['RateLimit', '"rpm";t=4;r=0'], 4 * SECOND],
  [['RateLimit', '"rpm";r=0'], undefined],
  [['RateLimit', '"rpm";r=10;t=5'], undefined],
  [['RateLimit-Reset', '20'], 20 * SECOND],
  [['X-RateLimit-Reset', '60'], 60 * SECOND],
  [['X-RateLimit-Reset', String(TODAY / 1000 + 5)], 5 * SECOND, TODAY],
  [['X-RateLimit-Reset', String(TODAY + 250)], 250_000, TODAY],
  [['X-RateLimit-Reset', String(TODAY / 1000 - 5)], 0, TODAY],
  [['X-RateLimit-Reset', '1994-11-06T08:49:57Z'], 20 * SECOND],
  [['X-RateLimit-Reset', '1994-11-06T09:49:57+01:00'], 20 * SECOND],
  [['X-RateLimit-Reset', '1994-11-06T08:49:57'], undefined],
  [['X-RateLimit-Reset-Requests', '6m5s'], 6 * MINUTE + 5 * SECOND],
  [['X-RateLimit-Reset-Requests', '1s', 'X-RateLimit-Reset-Tokens', '120ms'], SECOND],
  [['x-ratelimit-reset-tokens', '1h0m0.5s'], 60 * MINUTE + 0.5 * SECOND],
  [['x-ratelimit-reset-tokens', '6m5'], undefined],
  [['x-ratelimit-reset-tokens', '6 minutes'], undefined],
  [['Content-Type', 'text/plain'], undefined],
];

describe('a backend that pushes back says for how long', () => {
  for (const [headers, hint, now] of rows) {
    test(`${JSON.stringify(headers).slice(0, 100)}: ${hint}`, () => expect(parseRetryAfter(headers, now ?? NOW)).toBe(hint));
  }
});
