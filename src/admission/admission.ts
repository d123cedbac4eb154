import type { Binding } from '../core/gate/binding.ts';
import type { LimitView, OverrideStatus } from '../core/gate/views.ts';
import type { Costs, GroupSpec } from '../core/group.ts';
import type { WindowReport } from '../core/limits/reported-window.ts';
import type { Disposition, LeaseView, Permit } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival, ListFilter, QueuePosition, WaitersAhead, WaiterView } from '../core/request.ts';
import type { Instant, Micros } from '../core/time.ts';
import type { GroupActivityView, GroupHistory } from './group-activity.ts';
import type { GroupState } from './group-state.ts';
import type { OperatorNote } from './operator-notes.ts';
import type { TraceContext } from './tracing.ts';

/** One request, decoded and checked by `api/validation.ts`; times in microseconds. */
export interface AdmissionRequest {
  readonly group: string;
  readonly key: string;
  /** undefined: the group's default. */
  readonly priority: number | undefined;
  readonly priorityClass: string | undefined;
  readonly costs: Costs;
  /** Wait timeout; undefined: the group's default. 0: now or not at all. Cut to the group's maximum. */
  readonly wait: Micros | undefined;
  /**
   * Continues a request made earlier under its request id, whose whole wait timeout was so long. A place that is kept goes on to the
   * end it had; where none is kept `wait` is what is left, and 0 is refused as `expired`. From inside only. Absent: a request of its own.
   */
  readonly resumes?: Micros | undefined;
  /** Never wait longer than this, whatever `wait` or the group's default say: time to the caller's own deadline less 50 ms. Absent: no deadline. */
  readonly waitMax?: Micros | undefined;
  /** Life of a lease; undefined: the group's default. Cut to the group's maximum. */
  readonly lease: Micros | undefined;
  readonly holder: string;
  /**
   * The same id again from the same `caller` for the same group within 10 s re-attaches, or answers the same permit (a
   * lease: while it lives); two at once both get the answer. A refusal is kept only while no caller has got it, for 10 s. With another key, priority, costs,
   * lease or session it is `malformed`; wait timeout may differ, and ends only that caller's wait.
   */
  readonly requestId: string | undefined;
  /** The credential's name; '' without auth. Scopes `requestId` and sessions. */
  readonly caller: string;
  /** Session that owns the place and the lease; undefined: none. */
  readonly session: string | undefined;
  readonly bytes: number;
  /** Where its trace goes on. Absent: nowhere, or tracing is off. */
  readonly trace?: TraceContext | undefined;
  /** The place it had before its last permit came to nothing. From inside only: no front end reads it from a caller. */
  readonly since?: Arrival | undefined;
  /** The caller renews the lease and ends with this process: on one node it is reported, not recorded. From inside only. */
  readonly reported?: boolean | undefined;
}

/** How a request ended. `limits`: as the one who decided saw them, where that is another replica; for RateLimit fields. */
export type Outcome =
  | {
      readonly kind: 'admitted';
      readonly permit: Permit;
      readonly id: string;
      readonly limits?: readonly LimitView[] | undefined;
      /** Outside the promises: on this replica's share of the limits, or without any, since no other could be reached. */
      readonly degraded?: 'share' | 'open' | undefined;
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly limits?: readonly LimitView[] | undefined };

/** A held caller; every front end ends in exactly one of: `delivered` after the permit was written, or `leave`. */
export interface AcquireHandle {
  /** The caller is gone. Waiting: its place is free at once (with a request id: passed over for 10 s, then gone). Admitted but not delivered: given back. After `delivered`: nothing. */
  cancel(): void;
  /** The outcome was written to the caller. */
  delivered(): void;
  /** Its position; undefined when no longer waiting. */
  position(): QueuePosition | undefined;
  /** End of its wait timeout, in the time of this process. Absent: it was decided at once. */
  endsAt?(): Instant;
  /** Its arrival among all of its tree, for a request that is to be queued there again: while it waits, and once it was refused because its tree moved. */
  arrival(): Arrival | undefined;
  /** Admitted, and too late for a reply: given back at once, though a request id would keep it. Absent: as `leave`. */
  reject?(): void;
  /** true: its caller cannot be reached just now, and is passed over at its place until false. Absent: it makes no difference. */
  setAway?(isAway: boolean): void;
}

/** Handle of a request that was decided on arrival: nothing waits, and nothing is left to cancel. */
export const NO_HANDLE: AcquireHandle = { cancel: () => {}, delivered: () => {}, position: () => undefined, arrival: () => undefined };

/** Answer of renew: the lease's new end, or why not. */
export type RenewOutcome = { readonly kind: 'renewed'; readonly permit: PermitView } | { readonly kind: 'refused'; readonly refusal: Refusal };

/** What is known of a live permit. */
export interface PermitView {
  readonly id: string;
  readonly group: string;
  readonly fence: bigint;
  readonly fenceFloor: bigint;
  readonly expiresAt: Instant;
  readonly duration: Micros;
}

/** Answer of release: `ended` false when there was nothing to end (a permit without lease or settlement: nothing is remembered of it). */
export type ReleaseOutcome = { readonly kind: 'released'; readonly ended: boolean } | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Answer of Explain. */
export interface Explanation {
  readonly group: string;
  /** Would be admitted at once. */
  readonly admitted: boolean;
  /** The refusal it would meet on arrival, if any. */
  readonly refusal: Refusal | undefined;
  /** Where it would stand, and when it would go. */
  readonly place: QueuePosition;
  /** Who would go before it; absent: no caller that can be reached waits in its group, or it would be admitted at once. */
  readonly ahead?: WaitersAhead | undefined;
  /** Every limit on the way up, and when it alone would let this request pass (NEVER: after a release). */
  readonly limits: readonly LimitView[];
  /** What would hold it up; absent: only its turn, or it would not be held. */
  readonly binding?: Binding | undefined;
}

/** A group as shown to people. */
export interface GroupView {
  readonly name: string;
  readonly parent: string | undefined;
  readonly enforce: boolean;
  readonly limits: readonly LimitView[];
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly waitingByPriority: readonly { readonly priority: number; readonly waiting: number }[];
  readonly oldestWaiterSince: Instant | undefined;
  readonly leases: number;
  readonly keys: number;
  readonly pausedUntil: Instant | undefined;
  readonly pausedKeys: number;
  readonly overriddenUntil: Instant | undefined;
  readonly counters: GroupCounters;
  /** How its callers fare; absent where no replica that decides for it answers. */
  readonly standing?: GroupStanding | undefined;
  /** Where it is decided, as the replica that answers knows it; absent on one node. */
  readonly placement?: GroupPlacement | undefined;
}

/** How the callers of a group fare, why, and what operators changed. */
export interface GroupStanding {
  readonly state: GroupState;
  /** Since when; `stuck`: since nothing was admitted. undefined: not known. */
  readonly stateSince: Instant | undefined;
  readonly binding: Binding | undefined;
  readonly activity: GroupActivityView;
  readonly pause: OperatorNote | undefined;
  /** Keys that are paused, at most 100. */
  readonly keyPauses: readonly { readonly key: string; readonly until: Instant; readonly note: OperatorNote | undefined }[];
  readonly override: (OverrideStatus & { readonly note: OperatorNote | undefined }) | undefined;
  /** Absent in lists. */
  readonly history?: GroupHistory | undefined;
}

/** Who changes a group, and why. */
export interface OperatorReason {
  /** Name of the credential; '' without auth. */
  readonly by: string;
  /** '' if none was given. */
  readonly reason: string;
}

/** Where a group is decided. */
export interface GroupPlacement {
  readonly shard: number;
  /** The replica's name; '': no replica is known to decide. */
  readonly replica: string;
  /** Grows with every change of the owner; 0: no replica is known to decide. */
  readonly term: bigint;
}

/** A replica that lives. */
export interface ReplicaView {
  readonly name: string;
  /** Of the configuration file it runs by. */
  readonly revision: number;
  /** Of the file's groups; two of one revision are to have one hash. */
  readonly hash: string;
  /** How many it decides for. */
  readonly shards: number;
  /** It is the one that answers. */
  readonly self: boolean;
}

/** Since the start of the process. */
export interface GroupCounters {
  readonly admitted: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly lapsed: number;
  readonly released: number;
  readonly shadowHeld: number;
}

/** Changes of a group for a stated time; names limits as in the file. */
export interface OverrideRequest {
  readonly limits: ReadonlyMap<string, GroupSpec['limits'][number]['quota']>;
  readonly enforce: boolean | undefined;
  /** How long it holds; then the file rules again. 0 ends a running override; undefined: nothing is overridden, debt is forgiven. */
  readonly for: Micros | undefined;
  /** Debt of the group's own limits is dropped at once. Absent: false. */
  readonly forgive?: boolean | undefined;
}

/** How a holder ends its permit. */
export interface ReleaseRequest {
  readonly caller: string;
  readonly permit: string;
  readonly disposition: Disposition;
  /** The real costs. Absent: what was charged stays charged. */
  readonly costs?: Costs | undefined;
  /** How long the backend wants no more requests. Ignored if the permit was `unused`. */
  readonly retryAfter?: Micros | undefined;
  /**
   * The key to pause, where nothing is remembered of the permit (a group without leases, an acquire of requests only). Absent: the permit's key.
   * Only for callers inside this process, which end what they were given themselves.
   */
  readonly key?: string | undefined;
}

/** A page of a list of waiters or leases that is asked for. */
export interface PageRequest extends ListFilter {
  readonly size: number;
  /** '' for the first. */
  readonly token: string;
}

/** A page of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Items on all pages. Absent: not counted. */
  readonly total?: number | undefined;
  /** '' when there is no more. */
  readonly next: string;
}

/** At once where this process knows, else once another has answered. */
export type MaybePromise<T> = T | Promise<T>;

/** Admission as every front end calls it. Refusals are values; a throw is a bug or broken I/O. Every instant is in the time of this process (`now`), whichever replica decides. */
export interface AdmissionService {
  /**
   * Asks for a permit. `done` is called exactly once, possibly before this returns; after `leave` it may not be called
   * at all. No signal object: a callback costs a twentieth of an AbortController.
   */
  acquire(request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle;
  renew(caller: string, permit: string, lease: Micros | undefined): Promise<RenewOutcome>;
  /** Ends a permit, settles its costs where given, and pauses by the group's `pushback` where the backend asked for it. */
  release(request: ReleaseRequest): Promise<ReleaseOutcome>;
  /** Gives up the request with this request id, waiting or admitted, at once: a grant that was delivered ends as `used`, another is given back. */
  releaseRequest(caller: string, group: string, requestId: string): Promise<ReleaseOutcome>;
  /** A session's transport ended: its places are cancelled and its leases released after `resume` (0: now, at most 30 s) unless the same session comes back. */
  endSession(caller: string, session: string, resume: Micros): void;
  /** The session is back (or new): permits it still holds. */
  resumeSession(caller: string, session: string): MaybePromise<readonly PermitView[]>;
  explain(request: AdmissionRequest): MaybePromise<Explanation | Refusal>;
  groups(): MaybePromise<readonly GroupView[]>;
  group(name: string): MaybePromise<GroupView | Refusal>;
  /** The replicas that live, as this one sees them, by name; none on one node. */
  replicas(): readonly ReplicaView[];
  /** Limits of a group and its ancestors as this key sees them, for RateLimit fields. */
  limitsFor(group: string, key: string): readonly LimitView[];
  waiters(group: string, page: PageRequest): MaybePromise<Page<WaiterView & { readonly id: string }> | Refusal>;
  leases(group: string, page: PageRequest): MaybePromise<Page<LeaseView & { readonly id: string }> | Refusal>;
  /** `for` undefined: until resumed. */
  pause(group: string, key: string | undefined, pauseFor: Micros | undefined, why?: OperatorReason): Promise<Refusal | undefined>;
  resume(group: string, key: string | undefined): Promise<Refusal | undefined>;
  override(group: string, request: OverrideRequest, why?: OperatorReason): Promise<Refusal | undefined>;
  /** Takes what an authority outside says of a window of the group that it enforces: a limit with align `reported`. From inside only. */
  report(group: string, limit: string, said: WindowReport): Promise<Refusal | undefined>;
  /** With `key`: only one of that key; another is as unknown. */
  evictWaiter(group: string, id: string, key?: string): Promise<Refusal | undefined>;
  /** With `key`: only one of that key; another is as unknown. */
  revokeLease(group: string, permit: string, key?: string): Promise<Refusal | undefined>;
  /** New groups from a reloaded file: all or nothing; answers what cannot be done instead of doing half. */
  reconfigure(groups: readonly GroupSettings[]): Promise<readonly string[]>;
  /** Refuses arrivals; resolves when no caller is held any more, or after `grace`, when the rest were refused as `draining`. */
  drain(grace: Micros): Promise<void>;
  /** Shard time now, to turn instants into durations. */
  now(): Instant;
  /** Milliseconds since 1970 of an instant. */
  epoch(at: Instant): number;
}

/** What a request costs that does not name a unit. */
export interface CostRule {
  readonly default?: number | undefined;
  /** It is refused. */
  readonly required: boolean;
}

/** A group with what lies outside the core: wait timeout, lease lives, names of priorities, refusals. */
export interface GroupSettings {
  readonly spec: GroupSpec;
  readonly wait: { readonly default: Micros; readonly max: Micros };
  readonly lease: { readonly default: Micros; readonly max: Micros };
  readonly priority: { readonly classes: ReadonlyMap<string, number>; readonly default: number };
  readonly pushback: { readonly scope: 'key' | 'group'; readonly max: Micros };
  /** What requests cost that do not name a unit, and which units they must name; for the groups below, too. */
  readonly costs: ReadonlyMap<string, CostRule>;
  readonly refusal: { readonly status: number; readonly contentType: string; readonly body: string } | undefined;
  readonly unreachable: 'closed' | 'share' | 'open';
}

/**
 * The tree of this group is not decided here, or not any more. Known by identity and never sent to a caller: who holds
 * the caller's connection requests again where the tree went, with the place it had (`Held.since`).
 */
export const MOVED: Refusal = Object.freeze({ reason: 'undecided', detail: 'Another replica decides for this group now: try again at once.' });

/** Admission of this process as the relay uses it: for what is decided here. */
export interface LocalAdmissionService extends AdmissionService {
  /** Some of the groups that are decided here, at once, in the order of {@link AdmissionService.groups}. */
  groupsFrom(from: number, count: number): readonly GroupView[];
  /** The tree of this group is being opened here: try again when this has resolved. undefined: it is open, or not here. */
  opening(group: string): Promise<void> | undefined;
  /** The tree of this group is decided here, now. */
  isLocal(group: string): boolean;
}

/** Refuses a request for a group that no configuration names; the name is cut to 128 characters. */
export function unknownGroup(name: string): Refusal {
  return { reason: 'unknown_group', detail: `There is no group named ${JSON.stringify(name.slice(0, 128))}.` };
}
