import { describe, expect, it } from 'vitest';
import { fromProto, fromText, INVALID_DURATION, toProto, toText } from '../../src/api/duration.ts';
import { toOverride, toPage } from '../../src/api/group-validation.ts';
import { CODES, CONNECT_HTTP, REFUSAL_STATUS, describe as sentence } from '../../src/api/refusal-status.ts';
import { type AcquireFields, ANONYMOUS, parseAcquire, parseRelease } from '../../src/api/validation.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';

const ask = (fields: Partial<AcquireFields>, remaining?: number) => parseAcquire({ group: 'g', ...fields }, { ...ANONYMOUS, remaining });

describe('an ask is checked', () => {
  it('the usual one costs no object for its costs and leaves defaults to the group', () => {
    expect(ask({})).toEqual({
      group: 'g',
      key: '',
      priority: undefined,
      priorityClass: undefined,
      costs: ONE_REQUEST,
      wait: undefined,
      waitMax: undefined,
      lease: undefined,
      holder: '',
      requestId: undefined,
      caller: '',
      session: undefined,
      bytes: 0,
    });
  });

  it.each<[Partial<AcquireFields>, string]>([
    [{ group: '' }, '`group` is missing'],
    [{ ttl: INVALID_DURATION }, 'not a duration'],
    [{ ttl: -1 }, 'negative'],
    [{ ttl: 86_400_000_001 }, 'at most 86400s'],
    [{ ttl: 0.5 }, '`ttl`'],
    [{ lease: 0 }, 'at least'],
    [{ priority: Number.NaN }, 'whole number'],
    [{ priority: 1.5 }, 'whole number'],
    [{ priority: 1, priorityClass: 'fast' }, 'not both'],
    [{ costs: { requests: Number.NaN } }, 'cost of `requests`'],
    [{ costs: { requests: 1.5 } }, 'cost of `requests`'],
    [{ costs: { _private: 1 } }, 'A unit'],
    [{ key: '\ud800' }, 'do not print'],
    [{ key: 'k'.repeat(257) }, 'longer than 256 bytes'],
    [{ holder: '\u0085' }, '`holder`'],
    [{ requestId: 'a\nb' }, '`request_id`'],
  ])('%o: %s', (fields, says) => {
    expect(ask(fields)).toMatchObject({ reason: 'malformed', detail: expect.stringContaining(says) });
  });

  it('bounds are taken, one past them is not', () => {
    const units = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`u${index}`, 1_000_000_000]));
    expect(ask({ ttl: 86_400_000_000, lease: 1, priority: 999, key: 'é'.repeat(128), costs: units(16) })).not.toHaveProperty('reason');
    expect(ask({ costs: units(17) })).toHaveProperty('reason');
    expect(ask({ key: `${'é'.repeat(128)}k` })).toHaveProperty('reason');
  });

  it.each([
    [undefined, 1_000_000, { wait: undefined, waitMax: 950_000 }],
    [300_000, 1_000_000, { wait: 300_000, waitMax: 950_000 }],
    [3_000_000, 1_000_000, { wait: 950_000, waitMax: 950_000 }],
    [3_000_000, 20_000, { wait: 0, waitMax: 0 }],
  ])('a ttl of %s with %i us left', (ttl, remaining, expected) => {
    expect(ask({ ttl }, remaining)).toMatchObject(expected);
  });
});

describe('a release is checked', () => {
  it.each([
    [{}, '`permit` is missing'],
    [{ permit: 'p', requestId: 'r', group: 'g' }, 'not both'],
    [{ requestId: 'r' }, '`group` is missing'],
    [{ permit: 'p', outcome: 'eaten' }, '`outcome`'],
    [{ permit: 'p', outcome: 'dropped', retryAfter: -1 }, 'negative'],
  ])('%o: %s', (fields, says) => {
    expect(parseRelease(fields)).toMatchObject({ reason: 'malformed', detail: expect.stringContaining(says) });
  });

  it('names a permit, or an ask', () => {
    expect(parseRelease({ permit: 'p', outcome: 'dropped', retryAfter: 5 })).toEqual({
      of: 'permit',
      permit: 'p',
      disposition: 'dropped',
      costs: undefined,
      retryAfter: 5,
    });
    expect(parseRelease({ group: 'g', requestId: 'r' })).toEqual({ of: 'request', group: 'g', requestId: 'r' });
  });
});

describe('operators are checked', () => {
  it.each([0, 1, 1000])('a page of %i', (pageSize) => {
    expect(toPage('groups', { pageSize })).toEqual({ size: pageSize || 100, token: '' });
  });

  it('an override says what, and for how long', () => {
    const limits = new Map([['rpm', { kind: 'window', permits: 5, per: 60_000_000 } as const]]);
    expect(toOverride({ group: 'g', limits, enforce: undefined, duration: 60_000_000 })).toEqual({ limits, enforce: undefined, for: 60_000_000 });
    expect(toOverride({ group: 'g', limits, enforce: undefined, duration: 0 })).toHaveProperty('reason');
    expect(toOverride({ group: 'g', limits: new Map([['rpm', undefined]]), enforce: undefined, duration: 1 })).toHaveProperty('reason');
    expect(
      toOverride({ group: 'g', limits: new Map([['rpm', { kind: 'window', permits: 5, per: 999 } as const]]), enforce: undefined, duration: 1 }),
    ).toHaveProperty('reason');
  });
});

describe('durations', () => {
  it.each([
    ['30s', 30_000_000],
    ['1m30s', 90_000_000],
    ['250ms', 250_000],
    ['1.5h', 5_400_000_000],
    ['0.1s', 100_000],
    ['0', 0],
    ['-5s', -5_000_000],
    ['1', INVALID_DURATION],
    ['soon', INVALID_DURATION],
    ['', INVALID_DURATION],
    ['1e3s', INVALID_DURATION],
    ['9'.repeat(80), INVALID_DURATION],
  ])('text %s', (text, micros) => {
    expect(fromText(text)).toBe(micros);
  });

  it('protobuf and back; finer than a microsecond is rounded up; signs must agree', () => {
    for (const micros of [0, 1, 999_999, 1_000_000, 86_400_000_001]) expect(fromProto({ ...toProto(micros) })).toBe(micros);
    const proto = (seconds: bigint, nanos: number) => fromProto({ $typeName: 'google.protobuf.Duration', seconds, nanos });
    expect([proto(0n, 1), proto(-1n, 0), proto(1n, -1), proto(0n, 1_000_000_000), proto(2n ** 62n, 0)]).toEqual([
      1,
      -1_000_000,
      INVALID_DURATION,
      INVALID_DURATION,
      INVALID_DURATION,
    ]);
  });

  it('are shown in seconds', () => {
    expect([toText(30_000_000), toText(1_840_000), toText(0), toText(1)]).toEqual(['30s', '1.84s', '0s', '0.000001s']);
  });
});

describe('the table of refusals', () => {
  it.each(Object.entries(REFUSAL_STATUS))('%s says what is wrong, in a code that Connect has', (reason, row) => {
    expect(row.reason).toBe(reason.toUpperCase());
    expect([CODES[row.code], CONNECT_HTTP[row.code]]).toEqual([expect.any(Number), expect.any(Number)]);
    expect(sentence({ reason: reason as keyof typeof REFUSAL_STATUS, limit: 'rpm' })).toMatch(/^[A-Z].*\. \(Limit: rpm\.\)$/);
  });
});
