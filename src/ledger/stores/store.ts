/**
 * Append-only logs with compare-and-set: what a ledger is written to. One log per subject; `test/conformance/store.suite.ts`
 * says by example what every implementation does.
 */

/** Position in a log: grows with every append; 0 is before the first. Need not be dense. */
export type Sequence = number;

/** One record as stored. */
export interface StoredRecord {
  readonly sequence: Sequence;
  readonly bytes: Uint8Array;
}

/** Logs by subject: letters, digits, `-`, `_` and `.`, at most {@link SUBJECT_LENGTH_MAX}. */
export interface Store {
  /**
   * Adds a record if `last` is still the newest sequence of the subject (0: none); resolves with its own once it is on
   * disk. Appends of one turn of the event loop share a sync, whatever their subjects.
   *
   * Rejects with {@link Conflict} (nothing written), {@link Oversize} (more than {@link RECORD_BYTES_MAX}),
   * {@link StoreFull}, or anything else: then the outcome is unknown, and only reading tells. `relief`: what is written
   * makes a trim possible, so it may use the reserve kept for that.
   */
  append(subject: string, bytes: Uint8Array, last: Sequence, relief?: boolean): Promise<Sequence>;
  /** Records from `from` (included), oldest first; those appended meanwhile may or may not come. Throws `CorruptRecord` naming a damaged one. */
  read(subject: string, from: Sequence): AsyncIterable<StoredRecord>;
  /** Forgets records before `before`, but never the newest one. Not while an append to the same subject is under way: that may be a conflict. */
  trim(subject: string, before: Sequence): Promise<void>;
  /** How much of the room that a subject may take it has taken: 1 is all. Absent or 0: not known. */
  fill?(subject: string): number;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

/** How full a store is. */
export interface StoreRoom {
  /** Bytes taken, and bytes that may be. */
  readonly used: number;
  readonly bytes: number;
  /** Of the subject that is nearest to its share: 1 is all of it. */
  readonly fill: number;
}

/** What a store needs to know at opening. */
export interface StoreOptions {
  /** Bytes that all records together may take, framing included; beyond: {@link StoreFull}. */
  readonly bytes: number;
}

/** The largest record: a batch is cut at a quarter of it. Below 1 MiB by enough for the headers of a NATS message, which takes no more. */
export const RECORD_BYTES_MAX = 1_000_000;

/** The longest subject, in characters. */
export const SUBJECT_LENGTH_MAX = 400;

/** Bytes counted for each record beside its own: key, checksum, page share. */
export const RECORD_OVERHEAD = 64;

/** What `relief` may use beyond the bound: an eighth of it, and never less than two of the largest records. */
export function reserveBytes(bytes: number): number {
  return Math.max(bytes / 8, 2 * (RECORD_BYTES_MAX + RECORD_OVERHEAD));
}

/** Part of a store's bytes for ordinary records; the rest is for those that make a trim possible. */
const ORDINARY = 2 / 3;

/**
 * How much of its share of a store a subject would have with `size` more bytes: above 1 it is refused. `used`: bytes of all
 * subjects, `own` among them.
 *
 * A subject may have as much as is left for all of them: alone a half of what ordinary records may take, with one other as large a
 * third, and so on. So there is always room for another, and the snapshot of any subject, which is no larger than the
 * records it replaces, always fits into the part that is kept for it.
 */
export function shareOf(bytes: number, used: number, own: number, size: number): number {
  const others = used - own;
  const share = (bytes * ORDINARY - others) / 2;
  return share <= 0 ? Number.POSITIVE_INFINITY : (own + size) / share;
}

/** Another writer appended first: the writer's `last` is no longer the newest. */
export class Conflict extends Error {
  override readonly name = 'Conflict';

  constructor(subject: string, last: Sequence) {
    super(`${subject} has moved on: ${last} is no longer its newest record.`);
  }
}

/** The record is larger than any store takes. */
export class Oversize extends Error {
  override readonly name = 'Oversize';

  constructor(subject: string, bytes: number) {
    super(`A record of ${bytes} bytes for ${subject} is over the ${RECORD_BYTES_MAX} that a record may have.`);
  }
}

/** The store is at its bound, which `option` sets; a snapshot and a trim make room. */
export class StoreFull extends Error {
  override readonly name = 'StoreFull';

  constructor(bytes: number, option = 'store.bytes') {
    super(`The store is full: of ${bytes} bytes (${option}) no more may be taken here. Raise ${option}, or let leases end.`);
  }
}

/** Refuses what no store takes: a bug of the caller. */
export function checkSubject(subject: string): void {
  if (subject.length > SUBJECT_LENGTH_MAX || !/^[\w.-]+$/.test(subject)) throw new RangeError(`Not a subject: ${JSON.stringify(subject)}`);
}

/** The name of a record in its checksum and in complaints. */
export function recordName(subject: string, sequence: Sequence): string {
  return `${subject}#${sequence}`;
}
