import type { GateEvent, Reservation } from './events.ts';
import type { Costs, GroupSpec, Quota } from './group.ts';
import type { LimitStatus } from './limit.ts';
import type { Disposition, Lease, LeaseRecord, LeaseView } from './permit.ts';
import type { Refusal } from './refusal.ts';
import type { Instant, Micros } from './time.ts';
import type { Ask, Place, Tag, WaiterRef, WaiterView } from './waiter.ts';

/** What a gate starts from. */
export interface GateParts {
  readonly term: bigint;
  /** One tree: a root and all below it, in any order. */
  readonly groups: readonly GroupSpec[];
  /** Nothing is decided before; what the term before may have spent counts as spent then. LONG_AGO: a first term, all fresh. */
  readonly from: Instant;
  /** Bounds are written ahead (`takeReservations`); false: nothing is kept, memory only. */
  readonly recording: boolean;
  /** What the ledger knows of the terms before. */
  readonly restored: RestoredGate | undefined;
  /** Permits remembered for settling, per tree; the oldest is forgotten. */
  readonly settledMax?: number;
}

/** What a ledger hands to a new term. */
export interface RestoredGate {
  readonly reservations: readonly Reservation[];
  readonly leases: readonly LeaseRecord[];
  readonly pauses: readonly PauseRecord[];
  readonly overrides: readonly OverrideRecord[];
  /** Exact state of a clean stop; replaces bounds and `from`. */
  readonly seal: GateSeal | undefined;
}

export interface PauseRecord {
  readonly group: string;
  readonly key: string | undefined;
  readonly until: Instant;
}

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
export interface GateSeal {
  readonly at: Instant;
  readonly limits: readonly { readonly group: string; readonly limit: string; readonly key: string | undefined; readonly state: readonly number[] }[];
}

/** One limit with its name, for people. */
export interface NamedLimit extends LimitStatus {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  readonly kind: Quota['kind'];
  readonly scope: 'group' | 'key';
  readonly key: string | undefined;
  readonly per: Micros | undefined;
  readonly readyAt: Instant | undefined;
}

/** A dry run of an ask. */
export interface GateExplanation {
  readonly refusal: Refusal | undefined;
  readonly admitted: boolean;
  readonly place: Place;
  readonly limits: readonly NamedLimit[];
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

/**
 * The decision for one tree of groups in one term: queues, limits and leases in one place, single-threaded, told the
 * time, never calling anybody. Every call may produce events and reservations: take them after each call, then arm one
 * timer at `wakeAt`.
 */
export declare class Gate {
  constructor(parts: GateParts);
  /** Index of a group by name; undefined: not of this tree. */
  groupOf(name: string): number | undefined;
  /** Admits, queues or refuses; the outcome is an event. Answers the waiter when queued, else DECIDED. */
  acquire(now: Instant, ask: Ask): WaiterRef;
  /** The caller left: no event, no cost. False when already decided. */
  cancel(now: Instant, ref: WaiterRef): boolean;
  /** The caller is away but may return: keeps its place, is passed over. */
  suspend(now: Instant, ref: WaiterRef): void;
  /** It is back, at its old place. */
  unsuspend(now: Instant, ref: WaiterRef): void;
  /** Refuses one waiter with the given refusal (an operator's eviction, a drain). */
  evict(now: Instant, ref: WaiterRef, refusal: Refusal): boolean;
  /** Longer life for a lease; a refusal when it lapsed or was never known. */
  renew(now: Instant, serial: number, tag: Tag, lease: Micros): Lease | Refusal;
  /** Ends a permit and settles `costs`. False: nothing is remembered of it any more (forgotten = used as charged). */
  release(now: Instant, serial: number, tag: Tag, how: Disposition, costs: Costs | undefined): boolean | Refusal;
  /** Ends a lease without its holder. */
  revoke(now: Instant, serial: number): boolean;
  /** Nobody of the group (and below), or of one key of it, is admitted until then; NEVER: until resumed. A pause never shortens a running one. */
  pause(now: Instant, group: number, until: Instant, key?: string): void;
  resume(now: Instant, group: number, key?: string): void;
  /** Changes limits or `enforce` until a stated time; undefined ends a running override. Answers why it cannot be done. */
  override(now: Instant, group: number, override: Override | undefined): string | undefined;
  /** New limits for the same tree of names; waiters stay in line. Answers why it cannot be done, changing nothing. */
  reconfigure(now: Instant, groups: readonly GroupSpec[]): string | undefined;
  /** Refuses newcomers with `draining`; those held stay. */
  drain(): void;
  /** Refuses everybody who is still held. */
  refuseAll(now: Instant, refusal: Refusal): void;
  /** Lets time pass: in order of time, a slot open at or before the end of patience is given first, then the rest expire. Extra calls do nothing. */
  tick(now: Instant): void;
  /** When `tick` is next worth a call; NEVER: not before another call. */
  wakeAt(now: Instant): Instant;
  /** Events since the last take, in order. */
  takeEvents(): readonly GateEvent[];
  /** Bounds that must be written; each is asked for once. */
  takeReservations(): readonly Reservation[];
  /** These bounds are on disk: whoever waited for them goes. */
  reserved(now: Instant, reservations: readonly Reservation[]): void;
  /** Where a waiter stands; undefined when decided. */
  place(now: Instant, ref: WaiterRef): Place | undefined;
  /** Would it pass, when, which limit binds; changes nothing. */
  explain(now: Instant, ask: Ask): GateExplanation;
  /** All limits that an ask of this group and key meets, the group's own first, then upwards. */
  limits(now: Instant, group: number, key: string): readonly NamedLimit[];
  status(now: Instant, group: number): GroupStatus;
  /** Waiters of a group in rough order, `from` an index of a page. */
  waiters(now: Instant, group: number, from: number, count: number): readonly WaiterView[];
  leases(now: Instant, group: number, from: number, count: number): readonly LeaseView[];
  /** Live leases, pauses and overrides, for a snapshot. */
  snapshot(now: Instant): Pick<RestoredGate, 'leases' | 'pauses' | 'overrides'> & { readonly reservations: readonly Reservation[] };
  /** Stops deciding for good and answers the exact state. */
  seal(now: Instant): GateSeal;
  /** Recounts everything from scratch and names what disagrees; for tests and simulation. Empty: sound. */
  audit(now: Instant): readonly string[];
}

