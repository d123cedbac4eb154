import type { Quota } from '../group.ts';
import type { Instant, Micros } from '../time.ts';
import type { PermitOutcome } from './adaptive-concurrency.ts';

/** The state of a limit, for people, metrics and the RateLimit fields. */
export interface LimitStatus {
  /** Units that may pass per window, or be held at once; what is left is `capacity - used`, never below 0. */
  readonly capacity: number;
  /** Units that still count, at most `capacity`. */
  readonly used: number;
  /** Units charged beyond the capacity by a debit; paid before anyone passes. */
  readonly debt: number;
  /** When at least one more unit opens, or when all is open if some is left; NEVER for concurrency that is full. */
  readonly resetAt: Instant;
}

/**
 * What must be on disk before a limit may be spent (docs/design/coordination.md 2.7): an absolute upper bound, so that replaying it
 * twice or after a larger one changes nothing. What `slot` and `value` mean is the limit kind's own matter.
 */
export interface Bound {
  readonly slot: number;
  readonly value: number;
}

/**
 * One limit's state, for a group or for one key of it: a state machine that is given the time.
 *
 * Call `readyAt` first, `take` only when it returned a time not after `now`: nothing is charged before all limits of a tree
 * agree. Times given to one limit never go back.
 */
export interface Limit {
  /** A larger cost can never pass: refuse it as `oversized`. */
  readonly capacity: number;
  /** The earliest moment, not before `now`, at which `cost` may pass if nothing else is taken before; NEVER: only a release helps. A cost of 0 passes unless there is debt. */
  readyAt(now: Instant, cost: number): Instant;
  /** Charges `cost` at `now`; the caller has asked. */
  take(now: Instant, cost: number): void;
  /** Gives back of `cost` what still counts now, never more; it is a part of `charged` (all of it by default), taken at `at`. For concurrency: ends that much holding. */
  refund(now: Instant, at: Instant, cost: number, charged?: number): void;
  /** Charges more than was asked for, without asking: may run into debt. */
  debit(now: Instant, cost: number): void;
  /** Drops all debt; what was charged before cannot be given back any more where that would open more than is used. */
  forgive(now: Instant): void;
  status(now: Instant): LimitStatus;
  /** When `cost` would pass if `ahead` units were taken as soon as possible before it; an estimate. `holdMs`-like figures are not known here: concurrency answers NEVER when full. */
  readyAfter(now: Instant, ahead: number, cost: number): Instant;
  /** From when on this state is the same as a fresh one, so that an idle key may be forgotten; NEVER while something is held. */
  idleAt(now: Instant): Instant;
  /** Goes on under another quota of the same kind; what is spent stays spent. */
  reconfigure(now: Instant, quota: Quota): void;

  /** Where the limit adapts: what it is now, beside the time in which it measures; undefined: it does not. */
  readonly estimate?: number | undefined;
  /** Concurrency: a permit granted at `at` ends so, before its `cost` is given back. */
  onPermitEnded?(now: Instant, at: Instant, cost: number, how: PermitOutcome): void;
  /** Concurrency: when more than now may be held though nothing has ended; NEVER: not by time. */
  changesAt?(now: Instant): Instant;
  /** Concurrency: a share of a limit that adapts is so many units from now on, at most its capacity. */
  setShare?(units: number): void;
}

/** A limit whose use can outlive the process: recorded ahead as bounds, or started drained, and sealed at a clean stop. All but concurrency, whose leases are recorded. */
export interface PersistentLimit extends Limit {
  /** How long an exhausted state needs to be full again; up to 3 s nothing is recorded (horizon mode). */
  readonly recovery: Micros;
  /** Would taking `cost` at `now` stay within what is on disk? Always true in horizon mode and in memory-only use. */
  isCovered(now: Instant, cost: number): boolean;
  /** The bound to write so that `cost` and some `ahead` units more are covered. Call only when recording (`recordBounds`). */
  bound(now: Instant, cost: number, ahead: number): Bound;
  /** `bound` is on disk. */
  onPersisted(bound: Bound): void;
  /** The bounds on disk that still count, for a snapshot; empty where none are kept. */
  bounds(now: Instant): readonly Bound[];
  /** Turns recording on for this limit: from now on `isCovered` means it. */
  enablePersistence(): void;
  /** A new term begins at `from`: the worst that the term before can have spent, by its bounds (none: horizon mode, drained; or never used, in chunk mode). */
  restore(from: Instant, bounds: readonly Bound[]): void;
  /** The exact state as numbers, for a clean stop or a hand-over; `unseal` is its inverse. */
  seal(now: Instant): readonly number[];
  unseal(state: readonly number[]): void;
}

/** A state that needs longer than this to recover is recorded ahead of its use; a shorter one starts drained instead (docs/design/coordination.md 2.7). */
export const MAX_DRAINED_RECOVERY: Micros = 3_000_000;
