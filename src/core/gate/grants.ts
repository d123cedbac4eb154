import { Fifo } from '../collections/fifo.ts';
import { TimingWheel } from '../collections/timing-wheel.ts';
import type { AggregateLease } from '../leases/aggregate-lease.ts';
import type { LeaseEnd, LiveLease } from '../leases/live-lease.ts';
import { type Claim, type Lease, type LeaseRecord, type PermitTag, SERIAL_BITS, termOf } from '../permit.ts';
import type { Refusal } from '../refusal.ts';
import { type Instant, later, MINUTE, type Micros, NEVER, plus } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';

/** How long a permit can still be settled, or its end is remembered (docs/design/coordination.md, decision 8). */
export const SETTLEMENT_WINDOW: Micros = 10 * MINUTE;

/** Serials within one term: 40 bits; a number that also carries 13 bits of the term stays below 2^53. */
const SERIALS = 2 ** Number(SERIAL_BITS);

/** A permit that is remembered: its lease lives, or its costs can still be settled, or its end is known (a reported lease: where its holder did not end it). */
export interface Grant extends LiveLease {
  readonly node: GroupNode;
  readonly keyState: KeyState;
  readonly instances: readonly LimitInstance[];
  readonly leased: boolean;
  /** Granted in this term: its rates can be given back. */
  readonly grantedThisTerm: boolean;
  /** Its holder is this process, which ends it once. */
  readonly inProcess: boolean;
  /** A reported lease: what stands for it on disk, where anything is written. */
  readonly aggregate: AggregateLease | undefined;
  /** What stood for reported leases of an earlier term. */
  readonly isAggregate: boolean;
  /** undefined: anyone who knows its name may renew and end it, unless it is an aggregate lease. */
  readonly claim: Claim | undefined;
  /** The latest end that was given to the ledger; DISTANT_PAST: none. */
  recordedUntil: Instant;
  /** The latest end known to be in the ledger. No later end is reported. */
  writtenUntil: Instant;
  /** A renewal for longer than this needs a record: a new term holds the lease for the `duration` recorded at most. */
  writtenFor: Micros;
  /** Slot in the wheel of leases; -1: none. */
  slot: number;
}

/** What others than the core need to know of a permit. */
export interface Remembered {
  /** Absent once its lease is over. */
  readonly keyState?: { readonly key: string };
  readonly claim: Claim | undefined;
  readonly isAggregate: boolean;
}

/**
 * What is kept of a lease that is over, for ten minutes: enough to answer its holder once more, who may not have received the first answer,
 * or may still work and must learn that it is fenced. Its key, costs and limit instances are not kept, so a key may go when nothing else of it counts.
 */
export interface EndedLease extends Remembered {
  readonly serial: number;
  readonly tag: PermitTag;
  /** Name of its group. */
  readonly group: string;
  readonly ended: Exclude<LeaseEnd, undefined>;
  /** When it is forgotten. */
  readonly at: Instant;
}

/** A permit without lease, until its costs can no longer be settled: its debits must meet the limit instances that it was charged to. */
interface Settleable {
  readonly grant: Grant;
  readonly at: Instant;
}

/**
 * All permits of one tree that are remembered. Leases end by the wheel; ended and settleable ones are forgotten after
 * ten minutes, or the oldest first when there are too many.
 */
export class GrantTable {
  readonly #bySerial = new Map<number, Grant | EndedLease>();
  readonly #leased: (Grant | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #wheel = new TimingWheel();
  /** Ended or settle-only grants with the time to forget them; in order, since all wait equally long. */
  readonly #retained = new Fifo<EndedLease | Settleable>();
  readonly #fadingMax: number;
  readonly term: bigint;
  readonly #serialBase: number;
  #serials = 0;
  live = 0;

  constructor(term: bigint, fadingMax: number) {
    this.term = term;
    this.#serialBase = Number(BigInt.asUintN(13, term)) * SERIALS;
    this.#fadingMax = fadingMax;
  }

  /** Next serial of this term. */
  nextSerial(): number {
    return this.#serialBase + ++this.#serials;
  }

  /** The fence of a serial of this term. */
  fenceOf(serial: number): bigint {
    return (this.term << SERIAL_BITS) | BigInt(serial - this.#serialBase);
  }

  /** A live lease joins the account of its key. Restored ones come in order of their fences. */
  addLease(grant: Grant): void {
    this.#bySerial.set(grant.serial, grant);
    grant.slot = this.#freeSlots.pop() ?? this.#leased.length;
    this.#leased[grant.slot] = grant;
    this.#wheel.schedule(grant.slot, grant.expiresAt);
    grant.keyState.account.add(grant);
    grant.node.leasesLive++;
    this.live++;
  }

  /** A permit without lease whose costs can be settled. */
  addSettleable(grant: Grant): void {
    this.#bySerial.set(grant.serial, grant);
    grant.keyState.account.settleables++;
    this.#fade({ grant, at: plus(grant.grantedAt, SETTLEMENT_WINDOW) }, grant.grantedAt);
  }

  /** The remembered permit of that serial; a refusal when the tag is another's, undefined when nothing is remembered. */
  find(serial: number, tag: PermitTag): Grant | EndedLease | Refusal | undefined {
    const grant = this.#bySerial.get(serial);
    if (grant === undefined) return undefined;
    if (grant.tag.high !== tag.high || grant.tag.low !== tag.low) return { reason: 'unknown_permit' };
    return grant;
  }

  /** The remembered permit of this name; undefined: nothing is remembered, or it has another group or tag. */
  named(group: string, serial: number, tag: PermitTag): Remembered | undefined {
    const found = this.find(serial, tag);
    if (found === undefined || 'reason' in found) return undefined;
    return ('node' in found ? found.node.name : found.group) === group ? found : undefined;
  }

  /** This record of a lease is in the ledger, or could not be written. */
  written({ serial, expiresAt, duration }: LeaseRecord, done: boolean): void {
    const grant = this.#bySerial.get(serial);
    if (grant === undefined || !('node' in grant) || !done) return;
    grant.writtenUntil = later(grant.writtenUntil, expiresAt);
    grant.writtenFor = Math.min(duration, grant.duration);
  }

  bySerial(serial: number): Grant | EndedLease | undefined {
    return this.#bySerial.get(serial);
  }

  /** Another end for a live lease. */
  reschedule(grant: Grant, expiresAt: Instant): void {
    grant.expiresAt = expiresAt;
    this.#wheel.cancel(grant.slot);
    this.#wheel.schedule(grant.slot, expiresAt);
  }

  /** The lease is over, however; it is remembered for a while. */
  end(grant: Grant, how: Exclude<LeaseEnd, undefined>, now: Instant): void {
    grant.ended = how;
    if (!grant.leased) {
      grant.keyState.account.settleables--;
      return;
    }
    this.#wheel.cancel(grant.slot);
    this.#leased[grant.slot] = undefined;
    this.#freeSlots.push(grant.slot);
    grant.slot = -1;
    grant.keyState.account.remove(grant);
    grant.node.leasesLive--;
    this.live--;
    // Its holder calls no more: to remember many would cost more than they did.
    if (grant.inProcess && how !== 'lapsed' && how !== 'revoked') {
      this.#bySerial.delete(grant.serial);
      return;
    }
    const { serial, tag, node, claim, isAggregate } = grant;
    const ended: EndedLease = { serial, tag, group: node.name, claim, isAggregate, ended: how, at: plus(now, SETTLEMENT_WINDOW) };
    this.#bySerial.set(grant.serial, ended);
    this.#fade(ended, now);
  }

  /** When the next lease lapses (or a little before). */
  nextLapse(): Instant {
    return this.live === 0 ? NEVER : this.#wheel.nextAt();
  }

  /** The next lease that lapsed by `now`, still to be ended. */
  popLapsed(now: Instant): Grant | undefined {
    const slot = this.#wheel.pop(now);
    return slot < 0 ? undefined : this.#leased[slot];
  }

  /** When the oldest of those that are remembered may be forgotten; NEVER if there is none. */
  get fadesAt(): Instant {
    return this.#retained.peek()?.at ?? NEVER;
  }

  /** Forgets what is older than ten minutes. */
  prune(now: Instant): void {
    for (;;) {
      const oldest = this.#retained.peek();
      if (oldest === undefined) return;
      if (oldest.at > now && this.#retained.length <= this.#fadingMax) return;
      if ('grant' in oldest) {
        this.#bySerial.delete(oldest.grant.serial);
        if (oldest.grant.ended === undefined) oldest.grant.keyState.account.settleables--;
      } else this.#bySerial.delete(oldest.serial);
      this.#retained.shift();
    }
  }

  /** Live leases in no particular order. */
  *all(): IterableIterator<Grant> {
    for (const grant of this.#leased) if (grant !== undefined) yield grant;
  }

  #fade(one: EndedLease | Settleable, now: Instant): void {
    this.#retained.push(one);
    this.prune(now);
  }
}

/** The lease as its holder gets it. */
export function toLease(grant: Grant, now: Instant): Lease {
  const { fence, expiresAt, duration } = grant;
  return { fence, fenceFloor: grant.keyState.account.fenceFloor(grant, now), expiresAt, duration };
}

/** A live lease as a record that ends at `expiresAt`. */
export function toLeaseRecord(grant: Grant, expiresAt: Instant): LeaseRecord {
  return {
    group: grant.node.name,
    key: grant.keyState.key,
    term: termOf(grant.fence),
    serial: grant.serial,
    tag: grant.tag,
    costs: grant.costs,
    grantedAt: grant.grantedAt,
    expiresAt,
    duration: grant.duration,
    holder: grant.holder,
    aggregate: grant.isAggregate,
    claim: grant.claim,
  };
}
