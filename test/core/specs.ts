import type { Adapt, FixedQuota, GroupSpec, LimitSpec, Quota } from '../../src/core/group.ts';
import { REQUESTS } from '../../src/core/group.ts';
import type { Instant, Micros } from '../../src/core/time.ts';
import { DAY, MILLISECOND, SECOND } from '../../src/core/time.ts';

/** Where virtual time starts: midnight UTC of a Monday, 5 January 2026, in the size of real shard time. */
export const START = (Date.UTC(2026, 0, 5) * MILLISECOND) as Instant;

/** Seconds as microseconds, rounded to a whole one. */
export function sec(seconds: number): Micros {
  return Math.round(seconds * SECOND);
}

/** The moment `seconds` after the start. */
export function t(seconds: number): Instant {
  return (START + sec(seconds)) as Instant;
}

/** What a test says of a limit besides its quota. */
export interface LimitExtra {
  readonly name?: string;
  readonly unit?: string;
  readonly scope?: 'group' | 'key';
  readonly keys?: ReadonlyMap<string, Quota>;
}

/** A limit of any kind. */
export function limit(quota: Quota, extra: LimitExtra = {}): LimitSpec {
  return { name: extra.name ?? quota.kind, unit: extra.unit ?? REQUESTS, scope: extra.scope ?? 'group', quota, keys: extra.keys ?? new Map() };
}

/** Rolling window. */
export function rolling(permits: number, per: Micros, extra?: LimitExtra): LimitSpec {
  return limit({ kind: 'window', permits, per }, extra);
}

/** GCRA. */
export function rate(permits: number, per: Micros, burst = 1, extra?: LimitExtra): LimitSpec {
  return limit({ kind: 'rate', permits, per, burst }, extra);
}

/** At most one per period. */
export function spacing(period: Micros, slack: Micros = 0, extra?: LimitExtra): LimitSpec {
  return limit({ kind: 'spacing', spacing: period, slack }, extra);
}

/** Leases. */
export function concurrency(max: number, extra?: LimitExtra): LimitSpec {
  return limit({ kind: 'concurrency', max }, extra);
}

/** Leases, as many as are found out. */
export function adaptive(max: number, adapt: Partial<Adapt> = {}, extra?: LimitExtra): LimitSpec {
  const rest: Adapt = { by: 'gradient', floor: 1, initial: Math.min(10, max), tolerance: 1.5, backoff: 0.9, slow: undefined };
  return limit({ kind: 'concurrency', max, adapt: { ...rest, ...adapt } }, extra);
}

/** Windows side by side, aligned with the epoch unless said otherwise. */
export function fixed(permits: number, per: Micros | 'month', more: Partial<FixedQuota> = {}, extra?: LimitExtra): LimitSpec {
  const quota: FixedQuota = { kind: 'fixed', permits, per, align: 'epoch', day: 1, time: 0, timezone: 'UTC', spill: 0, ...more };
  return limit(quota, extra);
}

/** A group with wide bounds and plain first-in-first-out order, unless said otherwise. */
export function group(name: string, limits: readonly LimitSpec[], more: Partial<Omit<GroupSpec, 'name' | 'limits'>> = {}): GroupSpec {
  return {
    name,
    limits,
    parent: undefined,
    enforce: true,
    settleMax: 1e9,
    backlog: { requests: 2_000_000, bytes: Number.MAX_SAFE_INTEGER, perKey: 2_000_000, keys: 1_000_000, wait: undefined, onFull: 'leastUrgent' },
    aging: undefined,
    fairness: { by: 'none', weights: new Map() },
    ...more,
  };
}

/** The bounds of a group's backlog, wide where not said. */
export function backlog(bounds: Partial<GroupSpec['backlog']>): Pick<GroupSpec, 'backlog'> {
  return { backlog: { ...group('', []).backlog, ...bounds } };
}

/**
 * Discord's session start limits as the preset writes them: spacing for each bucket, and a day that opens with its first
 * start. The key of an ask is `shard % maxConcurrency`; 0 is a queue that is off, without limits.
 */
export function discord(maxConcurrency: number, total = 1000, slack: Micros = 0): GroupSpec {
  const limits = [spacing(5 * SECOND, slack, { name: 'identify', scope: 'key' }), fixed(total, DAY, { align: 'first' }, { name: 'day' })];
  return group('gateway', maxConcurrency === 0 ? [] : limits);
}

/** The bucket of a shard. */
export function bucket(shard: number, maxConcurrency: number): string {
  return maxConcurrency === 0 ? '0' : String(shard % maxConcurrency);
}
