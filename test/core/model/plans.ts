import fc from 'fast-check';
import type { GroupSpec, LimitSpec } from '../../../src/core/group.ts';
import { PRIORITY_DEFERRED } from '../../../src/core/group.ts';
import { MILLISECOND, type Micros } from '../../../src/core/time.ts';
import { adaptive, backlog, concurrency, fixed, group, rate, rolling, spacing } from '../specs.ts';

/** One step of a plan; `pick` chooses among whatever fits at that moment. */
export type Step =
  | {
      readonly do: 'ask';
      readonly group: number;
      readonly key: string;
      readonly priority: number;
      readonly cost: number;
      readonly tokens: number;
      /** `meets`: until the very moment at which it is expected to go. */
      readonly ttl: Micros | 'meets';
      readonly lease: Micros;
      /** Who was admitted and comes again, at its old place; undefined: somebody new. */
      readonly again: number | undefined;
    }
  | { readonly do: 'run'; readonly by: Micros }
  | { readonly do: 'cancel' | 'evict' | 'suspend' | 'unsuspend'; readonly pick: number }
  | { readonly do: 'undo' | 'revoke'; readonly pick: number }
  | { readonly do: 'renew'; readonly pick: number; readonly lease: Micros }
  | { readonly do: 'release'; readonly pick: number; readonly how: 'used' | 'unused' | 'dropped'; readonly tokens: number | undefined }
  | { readonly do: 'pause'; readonly group: number; readonly key: string | undefined; readonly by: Micros }
  | { readonly do: 'resume'; readonly group: number; readonly key: string | undefined }
  | { readonly do: 'reconfigure'; readonly factor: number }
  | { readonly do: 'override'; readonly group: number; readonly factor: number; readonly by: Micros };

/** A tree of groups and what happens to it. */
export interface Plan {
  readonly groups: readonly GroupSpec[];
  readonly steps: readonly Step[];
}

/** Whole milliseconds: windows merge what is closer than per/4096, which at 4 s is less than one. */
function ms(min: number, max: number): fc.Arbitrary<Micros> {
  const any = fc.integer({ min, max });
  // Round ones meet: a slot that opens as wait timeout ends.
  const round = fc.integer({ min: Math.ceil(min / 50), max: Math.floor(max / 50) }).map((value) => value * 50);
  return (max - min < 100 ? any : fc.oneof(any, round)).map((value) => value * MILLISECOND);
}

function limitOf(): fc.Arbitrary<LimitSpec> {
  const scope = fc.constantFrom('group' as const, 'group' as const, 'key' as const);
  const permits = fc.integer({ min: 1, max: 6 });
  return fc.oneof(
    fc.record({ scope, permits, per: ms(100, 4_000) }).map(({ scope, permits, per }) => rolling(permits, per, { scope })),
    fc
      .record({ scope, permits: fc.integer({ min: 10, max: 40 }), per: ms(100, 4_000) })
      .map(({ scope, permits, per }) => rolling(permits, per, { scope, unit: 'tokens', name: 'tokens' })),
    fc
      .record({ scope, permits: fc.integer({ min: 1, max: 4 }), each: ms(20, 600), burst: fc.integer({ min: 1, max: 4 }) })
      .map(({ scope, permits, each, burst }) => rate(permits, permits * each, burst, { scope })),
    fc
      .record({ scope, each: ms(5, 100), burst: fc.integer({ min: 10, max: 30 }) })
      .map(({ scope, each, burst }) => rate(1, each, burst, { scope, unit: 'tokens', name: 'token rate' })),
    fc
      .record({ scope, period: ms(20, 1_500), slack: fc.constantFrom(0, 50 * MILLISECOND) })
      .map(({ scope, period, slack }) => spacing(period, slack, { scope })),
    fc
      .record({ scope, permits, per: ms(100, 4_000), align: fc.constantFrom('epoch' as const, 'first' as const) })
      .map(({ scope, permits, per, align }) => fixed(permits, per, { align }, { scope })),
    fc.record({ scope, max: permits }).map(({ scope, max }) => concurrency(max, { scope })),
  );
}

/** Mostly limits that adapt, of few units, so that they move within a short plan. */
function adaptingOf(): fc.Arbitrary<LimitSpec> {
  const adapting = fc
    .record({
      scope: fc.constantFrom('group' as const, 'group' as const, 'key' as const),
      by: fc.constantFrom('aimd' as const, 'aimd' as const, 'gradient' as const),
      initial: fc.integer({ min: 2, max: 4 }),
      floor: fc.integer({ min: 1, max: 2 }),
      backoff: fc.constantFrom(0.5, 0.9),
      slow: fc.constantFrom(undefined, 300 * MILLISECOND),
    })
    .map(({ scope, ...adapt }) => adaptive(6, adapt, { scope, name: 'adaptive' }));
  return fc.oneof({ weight: 3, arbitrary: adapting }, { weight: 1, arbitrary: limitOf() });
}

/** What a tree is narrowed to. */
export interface Narrowed {
  readonly requests?: number;
  readonly scope?: 'group';
  readonly groups?: number;
  /** Most limits adapt; none does otherwise. */
  readonly adapting?: boolean;
}

/** One to four groups, each below one of those before it; names of limits are unique in a group. */
export function treeOf(by: 'key' | 'none', narrowed: Narrowed = {}): fc.Arbitrary<readonly GroupSpec[]> {
  const requests = narrowed.requests === undefined ? fc.constantFrom(2, 5, 100) : fc.constant(narrowed.requests);
  const perKey = fc.constantFrom(2, 100, 100);
  const onFull = fc.constantFrom('newest' as const, 'leastUrgent' as const, 'leastUrgent' as const);
  const limits = fc
    .array(narrowed.adapting === true ? adaptingOf() : limitOf(), { maxLength: 3 })
    .map((some) => some.map((limit, index) => ({ ...limit, name: `${limit.name} ${index}`, scope: narrowed.scope ?? limit.scope })));
  const weights = by === 'none' ? fc.constant(new Map<string, number>()) : fc.constantFrom(new Map([['a', 2]]), new Map([['b', 4]]), new Map<string, number>());
  const aging = fc.option(fc.constantFrom(137_003, 731_007), { nil: undefined });
  const one = fc.record({ limits, below: fc.nat(3), share: fc.constantFrom(undefined, undefined, 0.5), shadow: fc.nat(9).map((side) => side === 0) });
  return fc
    .record({ parts: fc.array(one, { minLength: 1, maxLength: narrowed.groups ?? 4 }), aging, weights, requests, perKey, onFull })
    .map(({ parts, aging, weights, requests, perKey, onFull }) =>
      parts.map((part, index) => {
        const parentIndex = index === 0 ? undefined : part.below % index;
        const above = parentIndex === undefined ? [] : (parts[parentIndex]?.limits ?? []);
        // Half of a limit is only written where halves are whole.
        const halves = above.every(({ quota }) =>
          quota.kind === 'window' || quota.kind === 'fixed'
            ? quota.permits % 2 === 0
            : quota.kind === 'concurrency' && quota.max % 2 === 0 && (quota.adapt === undefined || by === 'key'),
        );
        const parent = parentIndex === undefined ? undefined : { group: `g${parentIndex}`, share: halves ? part.share : undefined };
        // Who holds a line at a group's limit, and meanwhile is blocked by a key that another child shares, holds it on: a model of
        // that is no longer a small one, so where order is compared keys are counted in the leaves.
        const leaf = !parts.some((other, otherIndex) => otherIndex > index && other.below % otherIndex === index);
        const limits = by === 'key' || leaf ? part.limits : part.limits.map((limit) => ({ ...limit, scope: 'group' as const }));
        // Shadows are only told apart from the rest by the witness: the model knows none.
        const enforce = by === 'none' || !part.shadow;
        return group(`g${index}`, limits, { ...backlog({ requests, perKey, onFull }), parent, aging, enforce, fairness: { by, weights } });
      }),
    );
}

function stepOf(): fc.Arbitrary<Step> {
  const group = fc.nat(3);
  const key = fc.constantFrom('a', 'a', 'b', 'c', '');
  const pick = fc.nat(20);
  const someKey = fc.option(key, { nil: undefined });
  const ask = fc.record({
    do: fc.constant('ask' as const),
    group,
    key,
    priority: fc.constantFrom(0, 1, 1, 2, 5, PRIORITY_DEFERRED),
    cost: fc.constantFrom(1, 1, 1, 2, 3, 0),
    tokens: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.integer({ min: 1, max: 10 }) }),
    ttl: fc.oneof(ms(0, 3_000), ms(2_000, 20_000), fc.constant('meets' as const)),
    lease: ms(50, 3_000),
    again: fc.option(pick, { nil: undefined, freq: 3 }),
  });
  return fc.oneof(
    { weight: 10, arbitrary: ask },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('run' as const), by: fc.oneof(ms(1, 100), ms(50, 1_500)) }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constantFrom('cancel' as const, 'cancel' as const, 'evict' as const, 'suspend' as const, 'unsuspend' as const), pick }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('undo' as const, 'revoke' as const), pick }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('renew' as const), pick, lease: ms(50, 3_000) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('release' as const),
        pick,
        how: fc.constantFrom('used' as const, 'used' as const, 'unused' as const, 'dropped' as const),
        tokens: fc.option(fc.integer({ min: 0, max: 25 }), { nil: undefined }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('pause' as const), group, key: someKey, by: ms(50, 2_000) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('resume' as const), group, key: someKey }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('reconfigure' as const), factor: fc.constantFrom(1, 2) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('override' as const), group, factor: fc.constantFrom(1, 2), by: ms(50, 2_000) }) },
  );
}

/** A plan; `by` says whether its order is fully determined (`none`) or fair between keys. */
export function planOf(by: 'key' | 'none', narrowed?: Narrowed): fc.Arbitrary<Plan> {
  return fc.record({ groups: treeOf(by, narrowed), steps: fc.array(stepOf(), { minLength: 1, maxLength: 60, size: 'max' }) });
}

/** The same tree with every number of permits multiplied; spacing has none. */
export function scale(groups: readonly GroupSpec[], factor: number, only?: string): readonly GroupSpec[] {
  return groups.map((spec) =>
    only !== undefined && spec.name !== only ? spec : { ...spec, limits: spec.limits.map((limit) => ({ ...limit, quota: scaleQuota(limit.quota, factor) })) },
  );
}

export function scaleQuota(quota: LimitSpec['quota'], factor: number): LimitSpec['quota'] {
  switch (quota.kind) {
    case 'rate':
      return { ...quota, burst: quota.burst * factor };
    case 'spacing':
      return quota;
    case 'concurrency':
      return { ...quota, max: quota.max * factor };
    default:
      return { ...quota, permits: quota.permits * factor };
  }
}
