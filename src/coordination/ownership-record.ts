import { type Instant, later } from '../core/time.ts';
import type { SessionRecord } from './session-record.ts';

/** The register of a shard: who decides for it, in which term, from when on (coordination.md 2.4). */
export interface OwnershipRecord {
  /** One more at every change of owner. */
  readonly term: bigint;
  /** A session. */
  readonly owner: string;
  /** First instant of shard time that is this term's; LONG_AGO for the first term, before which nothing was decided. */
  readonly from: Instant;
  /** Shard time when the record was made, or a little less: the term's clock is not behind it. */
  readonly clock: Instant;
}

/** The register of a shard. */
export function ownershipRegister(shard: number): string {
  return `owner.${shard}`;
}

/** What a taker knows about the term before: the shard's record, the last record of its owner, which is dead, and the clock as heard. */
export interface Estate {
  readonly shard: number;
  readonly record: OwnershipRecord;
  readonly ended: Pick<SessionRecord, 'own'>;
  /** Lower bound of the shard's clock, from heartbeats of that very term. */
  readonly heard: Instant | undefined;
}

/**
 * Where the next term begins, and what its clock shows now. Invariants I1 and I2: the dead owner stamped only below the
 * `until` of its last acknowledged record, which its last record is not behind; and its clock is at least what is known of
 * it. No entry: nothing was decided in that term.
 */
export function succession({ shard, record, ended, heard }: Estate): Pick<OwnershipRecord, 'from' | 'clock'> {
  const entry = ended.own.find((own) => own.shard === shard && own.term === record.term);
  let { from, clock } = record;
  if (entry !== undefined) {
    from = later(from, entry.until);
    clock = later(clock, entry.at);
  }
  if (heard !== undefined) clock = later(clock, heard);
  return { from, clock };
}

/** JSON, as for sessions. */
export function encodeOwnership(record: OwnershipRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ ...record, term: String(record.term) }));
}

/** The inverse. Throws on anything else. */
export function decodeOwnership(bytes: Uint8Array): OwnershipRecord {
  const raw = JSON.parse(new TextDecoder().decode(bytes)) as OwnershipRecord & { readonly term: string };
  if (typeof raw.owner !== 'string' || ![raw.from, raw.clock].every(Number.isSafeInteger)) throw new TypeError('The register of a shard holds something else.');
  return { term: BigInt(raw.term), owner: raw.owner, from: raw.from, clock: raw.clock };
}
