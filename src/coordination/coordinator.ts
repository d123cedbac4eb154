import type { Instant } from '../core/time.ts';

/**
 * The right to decide for a tree: in term `term`, at shard times from `from` up to, and not including, `until()`.
 * Nothing else: no wall clock, no "am I leader" flag (docs/design/coordination.md 2.3).
 */
export interface LeaderLease {
  readonly term: bigint;
  /** No decision before. DISTANT_PAST if there was no term before. */
  readonly from: Instant;
  /** Returns the first instant that is not this term's; it moves ahead while `extend` is called. */
  until(): Instant;
  /** Keeps `until` ahead while there are decisions to take (horizon 1 s, renewed each 200 ms). Cheap to call on every decision. Resolves (or returns at once) when `until() > now`; rejects when the leader lease is lost. */
  extend(now: Instant): Promise<void> | undefined;
}

/** Where a tree is decided. */
export type TreePlacement =
  | { readonly at: 'here'; readonly leaderLease: LeaderLease }
  | { readonly at: 'peer'; readonly peer: string }
  | { readonly at: 'nowhere' };

/** Locates where each tree of groups is decided, and in which term. */
export interface Coordinator {
  place(root: string): TreePlacement;
  /** Registers a listener for the loss of everything that this process owned (a newer process opened the same store). It is called once; nothing may be decided from then on. */
  onLost(lost: (why: Error) => void): void;
  /** Ends the term cleanly: the next term does not have to wait for its slots. */
  leave(): Promise<void>;
}

/** A newer process took the term: this one must decide nothing more. */
export class LeadershipLost extends Error {
  override readonly name = 'LeadershipLost';
}
