import type { Costs } from './group.ts';
import type { Claim, Permit, PermitTag } from './permit.ts';
import { type Instant, type Micros, plus } from './time.ts';

/** What a caller requests of a gate; checked before (units, bounds, defaults), so the gate refuses only for its own reasons. */
export interface GateRequest {
  /** Index of the group in its tree, from {@link Gate.groupOf}. */
  readonly group: number;
  /** Partition of the group; '' where the caller names none. */
  readonly key: string;
  /** 0 most urgent .. PRIORITY_MAX, or PRIORITY_DEFERRED. */
  readonly priority: number;
  readonly costs: Costs;
  /** End of wait timeout; a slot that opens at this very moment is still given. Not after `now`: now or not at all. */
  readonly waitUntil: Instant;
  /** Life of a lease, where the group's limits (or an ancestor's) give one. */
  readonly lease: Micros;
  /** Bytes held for this caller while it waits, counted against `backlog.bytes`. */
  readonly bytes: number;
  /** For people: who waits or holds. */
  readonly holder: string;
  /** 64 random bits as two unsigned 32-bit numbers: makes the permit's name unguessable. The core has no randomness. */
  readonly tag: PermitTag;
  /** The caller's own object; handed back in events, never looked into. */
  readonly token: unknown;
  /** The place it had before; absent: it comes for the first time. */
  readonly since?: Arrival | undefined;
  /** Its lease ends with the process, which renews it: where the gate relies on reports, no record of its own is written. Absent: false. */
  readonly reported?: boolean | undefined;
  /** Who may renew and end the permit. Absent: anyone who knows its name. */
  readonly claim?: Claim | undefined;
}

/** A stored request as it comes into line. */
export interface StoredAsk {
  /** Index of the group in its tree. */
  readonly group: number;
  readonly key: string;
  /** 0 most urgent .. PRIORITY_MAX where it has a class, else PRIORITY_DEFERRED. */
  readonly priority: number;
  readonly costs: Costs;
  /** The number that the store gave it. */
  readonly sequence: number;
  /** When it was accepted: its age counts from here. */
  readonly arrivedAt: Instant;
  /** Never admitted after it; NEVER: none. */
  readonly deadline: Instant;
  /** Life of its lease, which the process renews. */
  readonly lease: Micros;
  readonly tag: PermitTag;
  /** The place it had before; absent: it comes for the first time. */
  readonly since?: Arrival | undefined;
}

/** An earlier arrival at the same gate, of a caller whose permit came to nothing: it stands there again, before those who came after it, and is not shed for want of room. */
export interface Arrival {
  readonly arrivedAt: Instant;
  readonly order: number;
}

/** Returns the arrival of the caller that got this permit, for a request that takes its place in the queue again. */
export function arrivalOf({ grantedAt, waited, order }: Permit): Arrival {
  return { arrivedAt: plus(grantedAt, -waited), order };
}

/** Names a waiter inside one gate until it is admitted or refused. */
export type WaiterRef = number & { readonly brand: 'WaiterRef' };

/** No waiter: the request was decided at once. */
export const DECIDED = -1 as WaiterRef;

/** Where a waiter stands. */
export interface QueuePosition {
  /** 1 is next. Exact near the head; an estimate far behind or between keys that share fairly. */
  readonly place: number;
  /** When it is expected to be admitted; NEVER where it is not known (a pause without end, nothing released yet). */
  readonly expectedAt: Instant;
  /** The limit that binds now, named as in a refusal; '' when only those ahead do. */
  readonly limit: string;
  /** When it is expected to be admitted, as a range that holds for nine of ten. Absent: not known, or not asked for. */
  readonly range?: WaitRange | undefined;
}

/** A range of instants. */
export interface WaitRange {
  readonly earliest: Instant;
  readonly latest: Instant;
}

/** Who goes before a request that comes now. */
export interface WaitersAhead {
  /** Waiters of its group that go first; beside {@link QueuePosition.place}, an estimate where keys share fairly. */
  readonly total: number;
  /** Those of them that are more urgent, and those of its key. */
  readonly moreUrgent: number;
  readonly ofKey: number;
  /** The one that goes next. */
  readonly next: { readonly key: string; readonly priority: number; readonly since: Instant; readonly holder: string };
}

/** Which waiters or leases are listed; absent members: all. */
export interface ListFilter {
  readonly key?: string | undefined;
  readonly priority?: number | undefined;
  /** Part of the holder's name, in any case. */
  readonly holder?: string | undefined;
}

/** A waiter as shown to people. */
export interface WaiterView extends QueuePosition {
  /** The range as it was on its arrival. Absent: it was not observed then. */
  readonly arrivalRange?: WaitRange | undefined;
  readonly ref: WaiterRef;
  readonly group: string;
  readonly key: string;
  readonly priority: number;
  readonly costs: Costs;
  readonly since: Instant;
  readonly waitUntil: Instant;
  readonly holder: string;
  readonly token: unknown;
}
