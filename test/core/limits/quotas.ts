import fc from 'fast-check';
import type { FixedQuota } from '../../../src/core/group.ts';
import type { PersistentQuota } from '../../../src/core/limits/create-limit.ts';

/** The kinds that time frees. */
export const kinds = ['rate', 'spacing', 'window', 'epoch', 'first'] as const;

/** A fixed quota with everything it does not need filled in. */
export function fixedQuota(parts: Partial<FixedQuota> & Pick<FixedQuota, 'permits' | 'per'>): FixedQuota {
  return { kind: 'fixed', align: 'epoch', day: 1, time: 0, timezone: 'UTC', spill: 0, ...parts };
}

/** Small quotas of one kind; windows of `per` microseconds. */
export function quotaOf(kind: (typeof kinds)[number], per: fc.Arbitrary<number>): fc.Arbitrary<PersistentQuota> {
  const permits = fc.integer({ min: 1, max: 9 });
  switch (kind) {
    case 'rate':
      return fc.record({ kind: fc.constant('rate' as const), permits: fc.integer({ min: 1, max: 13 }), per, burst: fc.integer({ min: 1, max: 9 }) });
    case 'spacing':
      return fc.record({ kind: fc.constant('spacing' as const), spacing: per, slack: fc.integer({ min: 0, max: 20 }) });
    case 'window':
      return fc.record({ kind: fc.constant('window' as const), permits, per });
    default:
      return fc
        .record({ permits, per, spill: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 12 })) })
        .map((parts) => fixedQuota({ ...parts, align: kind }));
  }
}

/** Something that happens to a limit; `by` and `which` are fractions of a window, of what was charged. */
export const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('ask' as const), cost: fc.integer({ min: 0, max: 10 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), cost: fc.integer({ min: 1, max: 10 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('step' as const),
      by: fc.oneof(fc.double({ min: 0, max: 0.3, noNaN: true }), fc.double({ min: 0, max: 4, noNaN: true })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('refund' as const), which: fc.nat(1000), units: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('debit' as const), cost: fc.integer({ min: 1, max: 30 }) }) },
);

/** A moment of this century. */
export const BASE = 1_760_000_000_123_456;
