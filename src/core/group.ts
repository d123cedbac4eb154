import type { Micros } from './time.ts';

/**
 * What a caller spends, by unit: whole numbers. A unit it does not name costs nothing, except `requests`, which costs 1.
 * A limit counts one unit.
 */
export type Costs = Readonly<Record<string, number>>;

/** The unit of a request that names none. */
export const REQUESTS = 'requests';

/** One request and nothing else: shared, so that the usual request costs no object. */
export const ONE_REQUEST: Costs = Object.freeze({ [REQUESTS]: 1 });

/** What `costs` says for `unit`: 0 where it is silent, 1 for requests. */
export function costOf(costs: Costs, unit: string): number {
  return costs[unit] ?? (unit === REQUESTS ? 1 : 0);
}

/** What a limit promises; times in whole microseconds, permits in whole units. */
export type Quota =
  /** GCRA: in any interval L at most `burst + floor(L * permits / per)`. */
  | { readonly kind: 'rate'; readonly permits: number; readonly per: Micros; readonly burst: number }
  /** At most one per `spacing + slack`, measured from the admission before. */
  | { readonly kind: 'spacing'; readonly spacing: Micros; readonly slack: Micros }
  /** Rolling: in every interval of length `per` at most `permits`. */
  | { readonly kind: 'window'; readonly permits: number; readonly per: Micros }
  | FixedQuota
  /** At most `max` units held by live leases at any moment; with `adapt` at most as many as the backend takes without slowing down. */
  | { readonly kind: 'concurrency'; readonly max: number; readonly adapt?: Adapt | undefined };

/** How a concurrency limit finds its number by itself, between `floor` and its `max` (docs/decisions/0009-adaptive-concurrency.md). */
export interface Adapt {
  /** `parent`: always the same part of the parent's limit, whatever that is now. */
  readonly by: 'gradient' | 'aimd' | 'parent';
  /** Units it never goes below. */
  readonly floor: number;
  /** Units it starts with, after every start. */
  readonly initial: number;
  /** gradient: units may be held so many times as long as at a third of the limit, at least 1. */
  readonly tolerance: number;
  /** What is left of the limit after overload: 0 to 1. */
  readonly backoff: number;
  /** A permit held longer is overload too; undefined: none is. */
  readonly slow: Micros | undefined;
}

/** Windows that lie side by side; up to twice the permits may pass around an edge. */
export interface FixedQuota {
  readonly kind: 'fixed';
  readonly permits: number;
  /** Length of a window; a calendar month has none of its own. */
  readonly per: Micros | 'month';
  /**
   * `epoch`: multiples of `per` since 1970 UTC. `first`: opens with the first admission. `calendar`: days, weeks, months of `timezone`.
   * `reported`: as an authority outside reports them; until then nothing passes (`limits/reported-window.ts`).
   */
  readonly align: 'epoch' | 'first' | 'calendar' | 'reported';
  /** Calendar only: day of the month (1..31, the last day where a month is shorter), or of the week (1 Monday .. 7). */
  readonly day: number;
  /** Calendar only: microseconds after local midnight at which a window opens. */
  readonly time: Micros;
  /** Calendar only: an IANA name. */
  readonly timezone: string;
  /** At most this many unspent permits of earlier windows are carried into the next. */
  readonly spill: number;
}

/** One limit of a group. */
export interface LimitSpec {
  /** Unique in its group; refusals, metrics and RateLimit fields say it. */
  readonly name: string;
  readonly unit: string;
  /** `key`: counted for every key by itself. */
  readonly scope: 'group' | 'key';
  readonly quota: Quota;
  /** Exceptions: quotas of the same kind for single keys; only with scope `key`. */
  readonly keys: ReadonlyMap<string, Quota>;
}

/** A named set of limits with one queue, as the core needs it. Every member is resolved: defaults are the configuration's matter. */
export interface GroupSpec {
  readonly name: string;
  readonly limits: readonly LimitSpec[];
  /** Its limits must agree too; `share` (0..1] caps this group at that part of every limit of the parent. */
  readonly parent: { readonly group: string; readonly share: number | undefined } | undefined;
  /** What counts against a limit of this group after a debit is at most so many times the limit's number; what is beyond is not charged. At least 1. */
  readonly settleMax: number;
  /** false: shadow. Limits count and report, and hold no caller. */
  readonly enforce: boolean;
  readonly backlog: {
    /** Waiters at most, in the group. */
    readonly requests: number;
    /** Bytes held by waiters at most, in the group. */
    readonly bytes: number;
    /** Waiters at most for one key; those without a key are counted in the group only. */
    readonly perKey: number;
    /** Keys with waiters, leases or limit state at most. */
    readonly keys: number;
    /** Shed when the expected wait is longer; undefined: never for that reason. */
    readonly wait: Micros | undefined;
    /** Who is shed when `requests`, `bytes` or `perKey` is full: the new arrival, or the least urgent and then youngest waiter, the new arrival included. */
    readonly onFull: 'newest' | 'leastUrgent';
  };
  /** One step of priority is worth this much waiting; undefined: strict. */
  readonly aging: Micros | undefined;
  readonly fairness: { readonly by: 'key' | 'none'; readonly weights: ReadonlyMap<string, number> };
  /** Once the oldest stored request without a class is older than `after`, at least one of every `every` admissions is an overdue one. Absent: no share. */
  readonly floor?: { readonly after: Micros; readonly every: number } | undefined;
}

/** The largest priority number a caller may name (least urgent); `default: least` is this one. */
export const PRIORITY_MAX = 999;

/** Deferred requests come after every class and never age. */
export const PRIORITY_DEFERRED = 1000;
