import fc from 'fast-check';
import type { Reservation } from '../../src/core/events.ts';
import type { Quota } from '../../src/core/group.ts';
import type { LeaseRecord } from '../../src/core/permit.ts';
import type { Instant } from '../../src/core/time.ts';
import type { LedgerRecord } from '../../src/ledger/ledger.ts';

const instant = fc.oneof(fc.integer({ min: 0, max: 2 ** 52 }), fc.constant(Number.POSITIVE_INFINITY)).map((at) => at as Instant);
const group = fc.constantFrom('llm', 'llm/a', 'grüße');
const key = fc.constantFrom('', 'acme', 'zoë\n');
const optionalKey = fc.option(key, { nil: undefined });
const whole = fc.nat(1_000);

const quota: fc.Arbitrary<Quota> = fc.oneof(
  fc.record({ kind: fc.constant('rate' as const), permits: whole, per: whole, burst: whole }),
  fc.record({ kind: fc.constant('spacing' as const), spacing: whole, slack: whole }),
  fc.record({ kind: fc.constant('window' as const), permits: whole, per: whole }),
  fc.record({ kind: fc.constant('concurrency' as const), max: whole }),
  fc.record({
    kind: fc.constant('fixed' as const),
    permits: whole,
    per: fc.oneof(fc.integer({ min: 1, max: 9_999 }), fc.constant('month' as const)),
    align: fc.constantFrom('epoch' as const, 'first' as const, 'calendar' as const),
    day: fc.integer({ min: 1, max: 31 }),
    time: whole,
    timezone: fc.constantFrom('UTC', 'Europe/Berlin'),
    spill: whole,
  }),
);

/** Few names, so that records meet. */
export const reservation: fc.Arbitrary<Reservation> = fc.record({
  group,
  limit: fc.constantFrom('rpm', 'day'),
  key: optionalKey,
  bound: fc.record({ slot: fc.integer({ min: 0, max: 3 }), value: fc.integer({ min: 0, max: 2 ** 50 }) }),
});

export const lease: fc.Arbitrary<LeaseRecord> = fc.record({
  group,
  key,
  term: fc.constantFrom(1n, 2n ** 60n),
  serial: fc.oneof(fc.nat(5), fc.constant(2 ** 40 - 1)),
  tag: fc.record({ high: fc.nat(0xffffffff), low: fc.nat(0xffffffff) }),
  costs: fc.dictionary(fc.constantFrom('requests', 'tokens'), whole, { noNullPrototype: true }),
  grantedAt: instant,
  expiresAt: instant,
  duration: whole,
  holder: fc.constantFrom('', 'build 7'),
  aggregate: fc.boolean(),
  claim: fc.option(
    fc.record({
      caller: fc.constantFrom('', 'search'),
      request: fc.option(fc.record({ id: fc.constantFrom('job-1', 'job-2'), digest: fc.constantFrom('', 'abc') }), { nil: undefined }),
    }),
    { nil: undefined },
  ),
});

export const record: fc.Arbitrary<LedgerRecord> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('grant' as const, 'renew' as const), lease }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('end' as const), group, term: fc.constantFrom(1n, 2n ** 60n), serial: fc.nat(5) }) },
  fc.record({ kind: fc.constant('pause' as const), pause: fc.record({ group, key: optionalKey, until: instant }) }),
  fc.record({ kind: fc.constant('resume' as const), group, key: optionalKey }),
  fc.record({
    kind: fc.constant('override' as const),
    override: fc.record({
      group,
      override: fc.record({
        limits: fc.array(fc.tuple(fc.constantFrom('rpm', 'day'), quota), { maxLength: 2 }).map((pairs) => new Map(pairs)),
        enforce: fc.option(fc.boolean(), { nil: undefined }),
        until: instant,
      }),
    }),
  }),
  fc.record({ kind: fc.constant('restore' as const), group }),
);

export const sealedLimit = fc.record({
  group,
  limit: fc.constantFrom('rpm', 'day'),
  key: optionalKey,
  state: fc.array(fc.double({ noNaN: true }), { maxLength: 5 }),
});
