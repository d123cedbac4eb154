import type { Costs } from './group.ts';
import type { Instant, Micros } from './time.ts';

/** How a permit ended: worked; nothing was sent; the backend pushed back. */
export type Disposition = 'used' | 'unused' | 'dropped';

/** A pause that begins with the end of a permit, before anyone takes what it held. */
export interface PauseOnRelease {
  readonly group: number;
  readonly scope: 'key' | 'group';
  /** undefined: the permit's. */
  readonly key: string | undefined;
  readonly until: Instant;
}

/** Bits of a fence that count within one term: `fence = term << 40 | serial`. */
export const SERIAL_BITS = 40n;

/** Returns the term that granted the lease with this fence. */
export function termOf(fence: bigint): bigint {
  return fence >> SERIAL_BITS;
}

/** 64 bits that only the holder of a permit knows. */
export interface PermitTag {
  readonly high: number;
  readonly low: number;
}

/** A permit as its caller gets it. */
export interface Permit {
  readonly group: string;
  readonly key: string;
  /** Grows with every permit of the tree within its term; with the term it makes the fence. */
  readonly serial: number;
  readonly tag: PermitTag;
  readonly costs: Costs;
  readonly grantedAt: Instant;
  /** Since its first arrival, where it came again. */
  readonly waited: Micros;
  /** Of its arrival among all of its gate. */
  readonly order: number;
  /** Present where concurrency is limited: must come back by `expiresAt`. */
  readonly lease: Lease | undefined;
  /** Release can still settle its costs. */
  readonly settleable: boolean;
  /** A shadow group would have held this caller: by which limit, and how long. */
  readonly shadow: ShadowOutcome | undefined;
}

/** Who asked for a permit: the only one who may renew and end it, and the request that it answers. */
export interface Claim {
  /** Name of the credential; '' where the server has none. */
  readonly caller: string;
  /** Absent: it was asked for without a request id. */
  readonly request?: { readonly id: string; readonly digest: string } | undefined;
}

/** Permits held until released, renewed or lapsed. */
export interface Lease {
  readonly fence: bigint;
  /** The smallest fence of that group and key still alive at the grant, its own included. */
  readonly fenceFloor: bigint;
  readonly expiresAt: Instant;
  readonly duration: Micros;
}

/** What a limit that is not enforced would have done. */
export interface ShadowOutcome {
  readonly limit: string;
  /** NEVER: only a release would have helped. */
  readonly readyAt: Instant;
}

/** A lease as shown to people. */
export interface LeaseView {
  readonly group: string;
  readonly key: string;
  readonly serial: number;
  readonly tag: PermitTag;
  readonly fence: bigint;
  readonly costs: Costs;
  readonly grantedAt: Instant;
  readonly expiresAt: Instant;
  readonly holder: string;
}

/** What the ledger keeps of a live lease; enough to make it again in a new term. */
export interface LeaseRecord {
  readonly group: string;
  readonly key: string;
  readonly term: bigint;
  readonly serial: number;
  readonly tag: PermitTag;
  readonly costs: Costs;
  readonly grantedAt: Instant;
  /** As it was reported at the grant; from the first renewal on now + 2 x lease, so that most renewals need no write. */
  readonly expiresAt: Instant;
  readonly duration: Micros;
  readonly holder: string;
  /** It stands for all reported leases of its group and key: a new term holds it for `duration` at most. */
  readonly aggregate: boolean;
  /** undefined: written by a version that did not record it, or an aggregate lease. */
  readonly claim?: Claim | undefined;
}
