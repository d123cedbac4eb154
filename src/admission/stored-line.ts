import type { Costs } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { StoredAsk } from '../core/request.ts';
import type { Instant } from '../core/time.ts';
import type { AcquireHandle, Outcome } from './admission.ts';

/** A stored request in line; `group` by name, times in the time of the process. */
export type StoredRequestAsk = Omit<StoredAsk, 'group' | 'tag'>;

/** What becomes of stored requests in line; exactly one call for each that was enqueued and not cancelled, or `closed` for its group. */
export interface StoredSink {
  /** Admitted. Ends as for any caller: `held.delivered()` once it is on its way, then release; or `held.leave()`. */
  admitted(sequence: number, outcome: Extract<Outcome, { kind: 'admitted' }>, held: AcquireHandle): void;
  /** `oversized`: it could never pass; `expired`: its deadline passed; else it could not be decided just now: enqueue it again. */
  refused(sequence: number, refusal: Refusal): void;
  /** These groups are decided here from now on: their requests may be enqueued. */
  opened(groups: readonly string[]): void;
  /** These groups are no longer decided here, or left the configuration: what they had in line is forgotten, without a call for each. */
  closed(groups: readonly string[]): void;
  /** What this group had in line is forgotten, as {@link StoredLine.withdraw} asked, or because its tree changes; it may be enqueued again. */
  unqueued(group: string): void;
}

/** The line for requests that are stored: the same groups, limits and order as live callers. */
export interface StoredLine {
  /** Receives everything from here on; `opened` is called for the groups that are decided now. Once. */
  attach(sink: StoredSink): void;
  /**
   * Returns what a request that is about to be stored costs, as for a live request: with the defaults of its group, or refused as `malformed`
   * (a unit that no limit counts, or one that must be named) or `oversized`. A group that is not decided here checks no sizes. Changes nothing.
   */
  price(group: string, key: string, costs: Costs): Costs | Refusal;
  /** Enters the line; the sink may be called before this returns. Answers the entry for `cancel`; undefined: not decided here, draining, or no room for its key. */
  enqueue(group: string, request: StoredRequestAsk): { readonly entry: number } | { readonly refusal: Refusal } | undefined;
  /** Leaves the line. False: it was decided, or its group closed. */
  cancel(group: string, entry: number, sequence: number): boolean;
  /** Forgets all that this group has in line, whatever its number; the sink receives `unqueued` if there was any. */
  withdraw(group: string): void;
  /** A live caller's place becomes that of a stored request; its own outcome is never called. undefined: it was decided. */
  convert(held: AcquireHandle, sequence: number, deadline: Instant): { readonly group: string; readonly entry: number } | undefined;
}
