import type { Reservation } from '../events.ts';
import type { GroupSpec, Quota } from '../group.ts';
import type { LimitStatus } from '../limits/limit.ts';
import type { LeaseRecord } from '../permit.ts';
import type { Refusal } from '../refusal.ts';
import type { QueuePosition } from '../request.ts';
import type { Instant, Micros } from '../time.ts';

/** What a gate starts from. */
export interface GateOptions {
  readonly term: bigint;
  /** One tree: a root and all below it, in any order. */
  readonly groups: readonly GroupSpec[];
  /** Nothing is decided before; what the term before may have spent counts as spent then. LONG_AGO: a first term, all fresh. */
  readonly from: Instant;
  /** Bounds are written ahead (`takeReservations`); false: nothing is kept, memory only. */
  readonly recording: boolean;
  /** Leases of asks that say so are reported, not recorded: a aggregate lease on disk stands for them. Absent: false. */
  readonly reports?: boolean;
  /** What the ledger knows of the terms before. */
  readonly restored: GateSnapshot | undefined;
  /** Arrivals are numbered from here on; above all numbers of the terms before, so that who comes with an older `since` stands before newcomers. Absent: 0. */
  readonly firstOrder?: number;
  /** Permits remembered for settling, per tree; the oldest is forgotten. */
  readonly settledMax?: number;
}

/** What a ledger hands to a new term. */
export interface GateSnapshot {
  readonly reservations: readonly Reservation[];
  readonly leases: readonly LeaseRecord[];
  readonly pauses: readonly PauseRecord[];
  readonly overrides: readonly OverrideRecord[];
  /** Exact state of a clean stop; replaces bounds and `from`. */
  readonly seal: SealedState | undefined;
}

/** A pause that lasts; `key` undefined: of the whole group. */
export interface PauseRecord {
  readonly group: string;
  readonly key: string | undefined;
  readonly until: Instant;
}

/** An override in force. */
export interface OverrideRecord {
  readonly group: string;
  readonly override: Override;
}

/** A change of a group for a time. */
export interface Override {
  readonly limits: ReadonlyMap<string, Quota>;
  readonly enforce: boolean | undefined;
  readonly until: Instant;
}

/** Exact state of a gate that has stopped deciding. */
export interface SealedState {
  readonly at: Instant;
  readonly limits: readonly { readonly group: string; readonly limit: string; readonly key: string | undefined; readonly state: readonly number[] }[];
}

/** One limit with its name, for people. */
export interface LimitView extends LimitStatus {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  readonly kind: Quota['kind'];
  readonly scope: 'group' | 'key';
  readonly key: string | undefined;
  /** Length of the window; undefined for concurrency. */
  readonly per: Micros | undefined;
  /** Units per `per`, where that is not `capacity`: a rate's capacity is its burst. */
  readonly permits?: number | undefined;
  /** Of a dry run only: when this limit alone would let the request pass. */
  readonly readyAt: Instant | undefined;
  /** Of a limit with scope `key`, where the whole group is looked at: the keys that use it. */
  readonly keys?: KeysInUse | undefined;
}

/** Keys of which something of one limit is used or owed. */
export interface KeysInUse {
  readonly count: number;
  /** The fullest, at most 10, the fullest first. */
  readonly fullest: readonly ({ readonly key: string } & LimitStatus)[];
}

/** A dry run of an ask. */
export interface GateExplanation {
  readonly refusal: Refusal | undefined;
  readonly admitted: boolean;
  readonly place: QueuePosition;
  readonly limits: readonly LimitView[];
}

/** A group's numbers, for people and gauges. */
export interface GroupStatus {
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly waitingByPriority: readonly { readonly priority: number; readonly waiting: number }[];
  readonly oldestSince: Instant | undefined;
  readonly leases: number;
  readonly keys: number;
  readonly pausedUntil: Instant | undefined;
  readonly pausedKeys: number;
  readonly overriddenUntil: Instant | undefined;
  readonly enforce: boolean;
}
