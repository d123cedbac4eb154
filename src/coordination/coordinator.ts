import type { Instant } from '../core/time.ts';

/**
 * The right to decide for a tree: in term `term`, at shard times from `from` up to, and not including, `until()`.
 * Nothing else: no wall clock, no "am I leader" flag (docs/design/coordination.md 2.3).
 */
export interface LeaderLease {
  readonly term: bigint;
  /** No decision before. LONG_AGO where no term came before. */
  readonly from: Instant;
  /** First moment that is no longer ours; moves ahead while `extend` is called. */
  until(): Instant;
  /** There are decisions to take: keeps `until` ahead (horizon 1 s, renewed each 200 ms). Cheap to call on every decision. Resolves (or returns at once) when `until() > now`; rejects when the leader lease is lost. */
  extend(now: Instant): Promise<void> | undefined;
}

/** Where a tree is decided. */
export type TreePlacement =
  | { readonly at: 'here'; readonly leaderLease: LeaderLease }
  | { readonly at: 'peer'; readonly peer: string }
  | { readonly at: 'nowhere' };

/** Who decides for a tree of groups, in which term. */
export interface Coordinator {
  place(root: string): TreePlacement;
  /** Called once when this process has lost what it owned (a newer process opened the same store); it must decide nothing more. */
  onLost(lost: (why: Error) => void): void;
  /** A clean leave: what is sealed needs no waiting by the next term. */
  leave(): Promise<void>;
}

/** A newer process took the term: this one must decide nothing more. */
export class LeadershipLost extends Error {
  override readonly name = 'LeadershipLost';
}
