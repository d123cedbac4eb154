import { DISTANT_PAST, type Instant, later, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { ClockRecord } from './clocks/shard-clock.ts';

/** Slots of shard time are written ahead by this much (docs/design/coordination.md 2.6, H). */
export const HORIZON: Micros = SECOND;

/** A renewal is due when less than H less this is left (P). */
export const RENEW_EVERY: Micros = 200 * MILLISECOND;

/** What the register of a node says: whose term it is, and which instants of shard time that term may have used. */
export interface TermRecord {
  readonly term: bigint;
  /** Names the life of a process; two records of one session are of one writer. */
  readonly session: string;
  /** First instant that the term cannot have decided at (r1 of docs/design/coordination.md 2.3). */
  readonly until: Instant;
  /** The term ended by itself: it decides nothing more, not even before `until`. */
  readonly sealed: boolean;
  /** Shard time and the machine's clocks at the writing, from which the next process goes on. */
  readonly clock: ClockRecord;
}

/** A term as it begins. */
export interface TermStart {
  readonly record: TermRecord;
  /** First instant at which the new term may decide. */
  readonly from: Instant;
}

/**
 * The next term, by whoever writes its record over `old` first. It begins where the old one's slots end, whether that one
 * crashed, is frozen, or sealed itself: every instant belongs to one term (invariant I1). A sealed term's slots end at its
 * last decision, so nobody waits for them.
 */
export function nextTerm(old: TermRecord | undefined, session: string, clock: ClockRecord): TermStart {
  const from = old?.until ?? DISTANT_PAST;
  return { from, record: { term: (old?.term ?? 0n) + 1n, session, until: from, sealed: false, clock } };
}

/** The record that makes slots up to H from now this term's. Never gives slots back: the old ones may be used already. */
export function extendTerm(record: TermRecord, clock: ClockRecord): TermRecord {
  return { ...record, until: later(record.until, plus(clock.at, HORIZON)), clock };
}

/** The last record of a clean stop: nothing is decided from the instant after `clock.at` on; slots ahead were not used. Before the term's own `from` nothing was used at all. */
export function sealTerm(record: TermRecord, from: Instant, clock: ClockRecord): TermRecord {
  return { ...record, until: later(from, plus(clock.at, 1)), sealed: true, clock };
}

/** Should slots be written ahead, given decisions to take? */
export function renewalDue(now: Instant, until: Instant): boolean {
  return until - now < HORIZON - RENEW_EVERY;
}

/** One register's bytes: JSON, since it is written a few times a second and read by people in trouble. */
export function encodeTermRecord(record: TermRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ ...record, term: String(record.term) }));
}

/** The inverse; throws on anything else (the register's checksum has been checked before). */
export function decodeTermRecord(bytes: Uint8Array): TermRecord {
  const raw = JSON.parse(new TextDecoder().decode(bytes)) as TermRecord & { readonly term: string };
  const whole = [raw.until, raw.clock?.at, raw.clock?.mono, raw.clock?.wall].every(Number.isSafeInteger);
  if (!whole || typeof raw.session !== 'string' || typeof raw.sealed !== 'boolean') throw new TypeError('The register of the term holds something else.');
  return { ...raw, term: BigInt(raw.term) };
}
