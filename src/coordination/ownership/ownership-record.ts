import { earlier, type Instant, later, type Micros, plus } from '../../core/time.ts';
import { DRIFT_MAX } from '../clocks/clock-bounds.ts';
import { AGREED_WITHIN } from '../clocks/shard-clock.ts';
import type { FinalRecord } from '../membership/peers.ts';

/** The register of a shard: its owner, the term, and where the term starts (docs/design/coordination.md 2.4). */
export interface OwnershipRecord {
  /** One more at every change of owner. */
  readonly term: bigint;
  /** A session. */
  readonly owner: string;
  /** First instant of shard time that is this term's; DISTANT_PAST for the first term, before which nothing was decided. */
  readonly from: Instant;
  /** Shard time when the record was made, or a little less: the term's clock is not behind it. */
  readonly clock: Instant;
  /** The agreed time when the record was made, if there was one. */
  readonly wall?: Micros | undefined;
}

/** The register of a shard. */
export function ownershipRegister(shard: number): string {
  return `owner.${shard}`;
}

/** What a claimant knows of the previous term: the shard's record, the last record of its dead owner, and a bound of its clock. */
export interface PredecessorState {
  readonly shard: number;
  readonly record: OwnershipRecord;
  readonly ended: FinalRecord;
  /** Lower bound of the shard's clock, from heartbeats of that term. */
  readonly bound: Instant | undefined;
  /** What the clock of that term showed at which agreed time, as its owner last reported. */
  readonly reported?: ClockObservation | undefined;
  /** The agreed time now. */
  readonly agreed?: Micros | undefined;
  /** H, where the owner's record is lost. */
  readonly horizon?: Micros;
}

/**
 * Returns where the next term starts, and what its clock shows now. Invariants I1 and I2: the dead owner stamped only below the
 * `until` of its last acknowledged record, which its last record is not behind; and its clock is at least what is known of
 * it. Without an entry, nothing was decided in that term.
 */
export function nextTermStart({ shard, record, ended, bound, agreed }: PredecessorState): Pick<OwnershipRecord, 'from' | 'clock'> {
  const entry = ended.own.find((own) => own.shard === shard && own.term === record.term);
  let { from, clock } = record;
  if (entry !== undefined) {
    from = later(from, entry.until);
    clock = later(clock, entry.at);
  }
  if (bound !== undefined) return { from, clock: later(clock, bound) };
  // No live replica knows that clock: it advanced by as much as the agreed time did, at least.
  const last = entry === undefined ? { at: record.clock, wall: record.wall } : { at: entry.at, wall: ended.wall };
  return { from, clock: later(clock, lowerBoundNow(last, agreed)) };
}

/**
 * Returns the same for a dead owner whose record is lost, and with it how far its slots went: not further than H from where its clock
 * can be by now. Returns undefined if that is unknown.
 */
export function nextTermStartAfterLoss({
  record,
  bound,
  reported,
  agreed,
  horizon = 0,
}: PredecessorState): Pick<OwnershipRecord, 'from' | 'clock'> | undefined {
  let { clock } = record;
  let most = Number.POSITIVE_INFINITY as Instant;
  if (bound !== undefined) clock = later(clock, bound);
  for (const observation of observations({ record, reported })) {
    clock = later(clock, lowerBoundNow(observation, agreed));
    most = earlier(most, upperBoundNow(observation, agreed));
  }
  if (most === Number.POSITIVE_INFINITY) return undefined;
  return { from: later(record.from, plus(most, horizon)), clock };
}

/** What a shard's clock showed at which agreed time. */
export interface ClockObservation {
  readonly at: Instant;
  readonly wall: Micros | undefined;
}

/** Returns the most that an observed clock can show now; NEVER without an agreed time. */
export function upperBoundNow({ at, wall }: ClockObservation, agreed: Micros | undefined): Instant {
  if (wall === undefined || agreed === undefined) return Number.POSITIVE_INFINITY as Instant;
  return plus(at, Math.ceil(Math.max(0, agreed - wall + 2 * AGREED_WITHIN) * (1 + DRIFT_MAX)));
}

/** Returns the least that an observed clock shows now: the observation itself without an agreed time. */
export function lowerBoundNow({ at, wall }: ClockObservation, agreed: Micros | undefined): Instant {
  if (wall === undefined || agreed === undefined) return at;
  return plus(at, Math.floor(Math.max(0, agreed - wall - 2 * AGREED_WITHIN) * (1 - DRIFT_MAX)));
}

function observations({ record, reported }: { record: OwnershipRecord; reported: ClockObservation | undefined }): readonly ClockObservation[] {
  const own = { at: record.clock, wall: record.wall };
  return reported === undefined ? [own] : [own, reported];
}

/** JSON, as for sessions. */
export function encodeOwnership(record: OwnershipRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ ...record, term: String(record.term) }));
}

/** The inverse. Throws on anything else. */
export function decodeOwnership(bytes: Uint8Array): OwnershipRecord {
  const raw = JSON.parse(new TextDecoder().decode(bytes)) as OwnershipRecord & { readonly term: string };
  if (typeof raw.owner !== 'string' || ![raw.from, raw.clock].every(Number.isSafeInteger))
    throw new TypeError('The register of a shard does not contain an ownership record.');
  const { owner, from, clock, wall } = raw;
  return { term: BigInt(raw.term), owner, from, clock, ...(Number.isSafeInteger(wall) ? { wall } : {}) };
}
