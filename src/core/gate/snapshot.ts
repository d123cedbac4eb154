import type { Reservation } from '../events.ts';
import type { GroupSpec } from '../group.ts';
import type { LeaseRecord } from '../permit.ts';
import type { Instant } from '../time.ts';
import type { OverrideRecord, PauseRecord } from '../tree/overrides.ts';

/** What a gate starts from. */
export interface GateOptions {
  readonly term: bigint;
  /** One tree: a root and all below it, in any order. */
  readonly groups: readonly GroupSpec[];
  /** Nothing is decided before; what the term before may have spent counts as spent then. DISTANT_PAST: a first term, all fresh. */
  readonly from: Instant;
  /** Bounds are written ahead (`takeReservations`); false: nothing is kept, memory only. */
  readonly recording: boolean;
  /** Leases of requests marked so are reported, not recorded: an aggregate lease on disk stands for them. Absent: false. */
  readonly reports?: boolean;
  /** What the ledger knows of the terms before. */
  readonly restored: GateSnapshot | undefined;
  /** Arrivals are numbered from here on; above all numbers of the terms before, so that a request with an older `since` is queued before new arrivals. Absent: 0. */
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

/** Exact state of a gate that has stopped deciding. */
export interface SealedState {
  readonly at: Instant;
  readonly limits: readonly { readonly group: string; readonly limit: string; readonly key: string | undefined; readonly state: readonly number[] }[];
}
