import type { Costs } from '../group.ts';
import type { Disposition, PermitTag } from '../permit.ts';
import type { Instant, Micros } from '../time.ts';

/** How a lease ended; undefined: it lives. */
export type LeaseEnd = Disposition | 'lapsed' | 'revoked' | undefined;

/** A limit as its leases know it: the unit that it counts, and how much of it. */
export interface LeasedLimit {
  readonly rule: { readonly unit: string };
  readonly limit: { readonly capacity: number };
  readonly isConcurrency: boolean;
  /** Whether it holds callers; false in shadow. */
  readonly enforced: boolean;
}

/** A lease as its key and its limits know it. The gate's grants (`core/gate/grants.ts`) are such leases. */
export interface LiveLease {
  /** Serial with the term's low bits in front: unique over terms. */
  readonly serial: number;
  readonly fence: bigint;
  readonly tag: PermitTag;
  readonly node: { readonly name: string };
  readonly keyState: { readonly key: string };
  readonly costs: Costs;
  readonly grantedAt: Instant;
  readonly holder: string;
  /** What it was charged to, in this term. */
  readonly instances: readonly LeasedLimit[];
  duration: Micros;
  expiresAt: Instant;
  ended: LeaseEnd;
  /** Neighbours among the live leases of its key. */
  nextFence: LiveLease | undefined;
  previousFence: LiveLease | undefined;
}
