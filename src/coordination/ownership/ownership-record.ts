import { earlier, type Instant, later, type Micros, plus } from '../../core/time.ts';
import { DRIFT_MAX } from '../clocks/clock-bounds.ts';
import { AGREED_WITHIN } from '../clocks/shard-clock.ts';
import type { FinalRecord } from '../membership/peers.ts';

/** The register of a shard: who decides for it, in which term, from when on (docs/design/coordination.md 2.4). */
export interface OwnershipRecord {
  /** One more at every change of owner. */
  readonly term: bigint;
  /** A session. */
  readonly owner: string;
  /** First instant of shard time that is this term's; LONG_AGO for the first term, before which nothing was decided. */
  readonly from: Instant;
  /** Shard time when the record was made, or a little less: the term's clock is not behind it. */
  readonly clock: Instant;
  /** The agreed time when the record was made, as far as there was one. */
  readonly wall?: Micros | undefined;
}

/** The register of a shard. */
export function ownershipRegister(shard: number): string {
  return `owner.${shard}`;
}

/** What a taker knows about the term before: the shard's record, the last record of its owner, which is dead, and the clock as heard. */
export interface PredecessorState {
  readonly shard: number;
  readonly record: OwnershipRecord;
  readonly ended: FinalRecord;
  /** Lower bound of the shard's clock, from heartbeats of that very term. */
  readonly bound: Instant | undefined;
  /** What a clock of that term showed at which agreed time, as its owner said last. */
  readonly reported?: ClockObservation | undefined;
  /** The agreed time now. */
  readonly agreed?: Micros | undefined;
  /** H, where the owner's record is lost. */
  readonly horizon?: Micros;
}

/**
 * Where the next term begins, and what its clock shows now. Invariants I1 and I2: the dead owner stamped only below the
 * `until` of its last acknowledged record, which its last record is not behind; and its clock is at least what is known of
 * it. No entry: nothing was decided in that term.
 */
export function nextTermStart({ shard, record, ended, bound, agreed }: PredecessorState): Pick<OwnershipRecord, 'from' | 'clock'> {
  const entry = ended.own.find((own) => own.shard === shard && own.term === record.term);
  let { from, clock } = record;
  if (entry !== undefined) {
    from = later(from, entry.until);
    clock = later(clock, entry.at);
  }
  if (bound !== undefined) return { from, clock: later(clock, bound) };
  // No live replica knows that clock: it went on by as much as the agreed time did, at least.
  const last = entry === undefined ? { at: record.clock, wall: record.wall } : { at: entry.at, wall: ended.wall };
  return { from, clock: later(clock, lowerBoundNow(last, agreed)) };
}

/**
 * The same where the record of the dead owner is lost, and so how far its slots went: not further than H from where its clock
 * can have been by now. undefined: that is unknown.
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

/** The most that a clock can show now which was seen then; NEVER where there is no agreed time. */
export function upperBoundNow({ at, wall }: ClockObservation, agreed: Micros | undefined): Instant {
  if (wall === undefined || agreed === undefined) return Number.POSITIVE_INFINITY as Instant;
  return plus(at, Math.ceil(Math.max(0, agreed - wall + 2 * AGREED_WITHIN) * (1 + DRIFT_MAX)));
}

/** The least that it shows: what was seen, where there is no agreed time. */
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
  if (typeof raw.owner !== 'string' || ![raw.from, raw.clock].every(Number.isSafeInteger)) throw new TypeError('The register of a shard holds something else.');
  const { owner, from, clock, wall } = raw;
  return { term: BigInt(raw.term), owner, from, clock, ...(Number.isSafeInteger(wall) ? { wall } : {}) };
}
