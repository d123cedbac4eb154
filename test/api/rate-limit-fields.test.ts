import { describe, expect, it } from 'vitest';
import { rateLimitFields } from '../../src/api/rate-limit-fields.ts';
import type { LimitView } from '../../src/core/gate/views.ts';
import { type Instant, MINUTE, NEVER, SECOND } from '../../src/core/time.ts';

const now = 1_000_000_000_000_000 as Instant;
const at = (micros: number): Instant => (now + micros) as Instant;
const base: LimitView = {
  group: 'llm',
  name: 'rpm',
  unit: 'requests',
  kind: 'window',
  scope: 'group',
  key: undefined,
  capacity: 500,
  used: 500,
  debt: 0,
  resetAt: at(11.2 * SECOND),
  per: MINUTE,
  readyAt: undefined,
};

function fields(...views: readonly Partial<LimitView>[]): Record<string, string> {
  return Object.fromEntries(
    rateLimitFields(
      views.map((view) => ({ ...base, ...view })),
      'llm',
      now,
    ),
  );
}

describe('RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11)', () => {
  it('say a window with its quota, what is left, and when more opens, in whole seconds rounded up', () => {
    expect(fields({})).toEqual({ 'RateLimit-Policy': '"rpm";q=500;w=60', RateLimit: '"rpm";r=0;t=12' });
  });

  it('are not there where there are no limits', () => {
    expect(rateLimitFields([], 'llm', now)).toEqual([]);
  });

  it('list several limits in order, an ancestor by group/name', () => {
    const { 'RateLimit-Policy': policy, RateLimit: limit } = fields(
      {},
      { group: 'provider', name: 'day', capacity: 1000, used: 1, resetAt: at(3600 * SECOND), per: 24 * 60 * MINUTE },
    );
    expect(policy).toBe('"rpm";q=500;w=60, "provider/day";q=1000;w=86400');
    expect(limit).toBe('"rpm";r=0;t=12, "provider/day";r=999;t=3600');
  });

  it('say a rate by its permits, what is left of its burst', () => {
    expect(fields({ kind: 'rate', capacity: 20, used: 3, permits: 500, resetAt: now })).toEqual({
      'RateLimit-Policy': '"rpm";q=500;w=60',
      RateLimit: '"rpm";r=17;t=0',
    });
  });

  it('say concurrency by its unit, without a time nobody knows', () => {
    expect(fields({ name: 'slots', kind: 'concurrency', capacity: 8, used: 8, per: undefined, resetAt: NEVER })).toEqual({
      'RateLimit-Policy': '"slots";q=8;qu="concurrent-requests"',
      RateLimit: '"slots";r=0',
    });
  });

  it('say spacing as one per its length; below a second, as so many per second', () => {
    expect(fields({ name: 'pace', kind: 'spacing', capacity: 1, used: 0, per: 5 * SECOND, resetAt: now })['RateLimit-Policy']).toBe('"pace";q=1;w=5');
    expect(fields({ name: 'pace', kind: 'spacing', capacity: 1, used: 0, per: 0.25 * SECOND, resetAt: now })['RateLimit-Policy']).toBe('"pace";q=4;w=1');
  });

  it('name units other than requests, and the partition as bytes', () => {
    expect(fields({ name: 'tpm', unit: 'tokens', scope: 'key', key: 'acme' })).toEqual({
      'RateLimit-Policy': '"tpm";q=500;w=60;qu="tokens";pk=:YWNtZQ==:',
      RateLimit: '"tpm";r=0;t=12;pk=:YWNtZQ==:',
    });
  });

  it('stay one Structured Field whatever a name holds', () => {
    expect(fields({ name: 'a"b\\c\r\nX: é' })['RateLimit-Policy']).toBe('"a\\"b\\\\c??X: ?";q=500;w=60');
  });

  it('show nothing left in debt, never less', () => {
    expect(fields({ used: 500, debt: 70 })['RateLimit']).toBe('"rpm";r=0;t=12');
  });
});
