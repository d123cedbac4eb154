import type { Reservation } from '../core/events.ts';
import type { GateSnapshot, SealedState } from '../core/gate/snapshot.ts';
import type { LeaseRecord } from '../core/permit.ts';
import type { OverrideRecord, PauseRecord } from '../core/tree/overrides.ts';

/** What is written of a tree, beside bounds. */
export type LedgerRecord =
  | { readonly kind: 'grant'; readonly lease: LeaseRecord }
  | { readonly kind: 'renew'; readonly lease: LeaseRecord }
  | { readonly kind: 'end'; readonly group: string; readonly term: bigint; readonly serial: number }
  | { readonly kind: 'pause'; readonly pause: PauseRecord }
  | { readonly kind: 'resume'; readonly group: string; readonly key: string | undefined }
  | { readonly kind: 'override'; readonly override: OverrideRecord }
  | { readonly kind: 'restore'; readonly group: string };

/** Everything a snapshot replaces: the records before it may be trimmed. */
export interface LedgerSnapshot extends Pick<GateSnapshot, 'leases' | 'pauses' | 'overrides' | 'reservations'> {}

/** One chain of records per tree, each append compared with the one before: a newer term's first record makes every older writer fail. */
export interface TreeLedger {
  /** What earlier terms left, in time of this term; undefined: nothing at all. */
  readonly restored: GateSnapshot | undefined;
  /** Resolves when the bounds are on disk. Rejects with {@link LedgerFenced} when a newer term owns the tree. */
  reserve(reservations: readonly Reservation[]): Promise<void>;
  /** Resolves when the records are on disk. Same rejection. */
  append(records: readonly LedgerRecord[]): Promise<void>;
  /** Written with the next append, or within a second; lost by a crash at no harm (an end: the lease expires by itself). */
  note(records: readonly LedgerRecord[]): void;
  /** True when enough was written since the last snapshot (8 MB and more than the last one, less where the store fills up, or 60 s with records) that one is worth it. */
  readonly wantsSnapshot: boolean;
  /** True when a write was refused because the store is full, and it is time for a snapshot, which may make room. */
  readonly relievable: boolean;
  /** Replaces the history. */
  snapshot(snapshot: LedgerSnapshot): Promise<void>;
  /** The last record of a clean stop: exact limit state; leases, pauses and overrides in a last snapshot with it. */
  seal(seal: SealedState, snapshot: LedgerSnapshot): Promise<void>;
}

/** Opens the chains of trees for the term that this process holds. */
export interface Ledger {
  /** `root` names the tree. */
  tree(root: string): Promise<TreeLedger>;
  /** Waits for what is under way, then closes the store. */
  close(): Promise<void>;
}

/** A newer term writes this ledger: this process must decide nothing more. */
export class LedgerFenced extends Error {
  override readonly name = 'LedgerLost';
}
