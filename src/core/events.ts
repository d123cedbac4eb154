import type { Bound } from './limits/limit.ts';
import type { LeaseRecord, Permit } from './permit.ts';
import type { Refusal } from './refusal.ts';
import type { Instant, Micros } from './time.ts';

/**
 * What happened in a gate, in order. Telemetry counts them; admission answers callers from them. The core calls
 * nothing.
 */
export type GateEvent =
  | { readonly kind: 'queued'; readonly group: string; readonly key: string; readonly priority: number; readonly token: unknown }
  | {
      readonly kind: 'admitted';
      readonly token: unknown;
      readonly permit: Permit;
      readonly priority: number;
      /** Must be on disk before the reply to the caller: its lease, or an aggregate lease. */
      readonly record: LeaseRecord | undefined;
    }
  | {
      readonly kind: 'refused';
      readonly token: unknown;
      readonly group: string;
      readonly key: string;
      readonly priority: number;
      readonly refusal: Refusal;
      readonly waited: Micros;
    }
  | { readonly kind: 'renewed'; readonly group: string; readonly record: LeaseRecord | undefined }
  /** An aggregate lease is to be written anew, ahead of its need: no caller waits for it. */
  | { readonly kind: 'standing'; readonly record: LeaseRecord }
  | {
      readonly kind: 'ended';
      readonly group: string;
      readonly key: string;
      readonly serial: number;
      readonly term: bigint;
      readonly how: 'used' | 'unused' | 'dropped' | 'lapsed' | 'revoked';
      /** The lease was recorded: an end must follow it into the ledger, at leisure. */
      readonly recorded: boolean;
      readonly held: Micros;
    }
  /** The stored requests of this group are no longer in line: it left the configuration. Their entries are not known any more. */
  | { readonly kind: 'unqueued'; readonly group: string }
  /** `uncharged`: of `debited`, beyond what the limits take as debt. */
  | { readonly kind: 'settled'; readonly group: string; readonly unit: string; readonly refunded: number; readonly debited: number; readonly uncharged: number }
  | { readonly kind: 'paused'; readonly group: string; readonly key: string | undefined; readonly until: Instant }
  | { readonly kind: 'overridden'; readonly group: string; readonly until: Instant | undefined };

/** A bound that must be on disk before the waiters behind it may go; answered by `Gate.reserved`. */
export interface Reservation {
  readonly group: string;
  readonly limit: string;
  /** undefined: the group's own, else this key's. */
  readonly key: string | undefined;
  readonly bound: Bound;
}
