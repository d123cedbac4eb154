import { addChecksum, verifyChecksum } from '../../storage/checksum.ts';
import type { LmdbFile } from '../../storage/lmdb.ts';
import {
  Conflict,
  checkSubject,
  Oversize,
  RECORD_BYTES_MAX,
  RECORD_OVERHEAD,
  recordName,
  reserveBytes,
  type Sequence,
  type Store,
  type StoredRecord,
  StoreFull,
  type StoreOptions,
  type StoreRoom,
  shareOf,
} from './store.ts';

/** Newest sequence of each subject, as the entry's version; the value is the bytes its log takes. */
const HEADS = 'ledger-heads';

/** Records by [subject, sequence]. */
const RECORDS = 'ledger-records';

/** Pages in use are counted anew after this many checks; one count takes about 50 us. */
const COUNT_AFTER = 64;

/** Records read between two turns of the event loop. */
const READ_SLICE = 256;

/**
 * Logs in LMDB. An append is one conditional write: the head's version must be `last`, then head and record change
 * together. LMDB's writer thread compares, so a second process that writes the same folder makes the first one's next
 * append a conflict.
 */
export class LmdbStore implements Store {
  readonly #file: LmdbFile;
  readonly #bytes: number;
  /** Bytes of each subject's log as this process knows them. */
  readonly #sizes = new Map<string, number>();
  #used = 0;
  #counted = { pages: 0, records: 0 };
  #sinceCount = COUNT_AFTER;

  constructor(file: LmdbFile, options: StoreOptions) {
    this.#file = file;
    this.#bytes = options.bytes;
    file.refresh();
    for (const { key, value } of file.table(HEADS).getRange()) this.#sized(String(key), sizeOf(value));
  }

  async append(subject: string, bytes: Uint8Array, last: Sequence, relief = false): Promise<Sequence> {
    checkSubject(subject);
    if (bytes.length > RECORD_BYTES_MAX) throw new Oversize(subject, bytes.length);
    const sequence = last + 1;
    const framed = addChecksum(recordName(subject, sequence), bytes);
    const size = framed.length + RECORD_OVERHEAD;
    const before = this.#sizes.get(subject) ?? 0;
    const used = this.#measure();
    const full = relief ? used + size > this.#bytes + reserveBytes(this.#bytes) : shareOf(this.#bytes, used, before, size) > 1;
    if (full) throw new StoreFull(this.#bytes);
    // Counted before it is there: many appends under way must not pass the bound together.
    this.#sized(subject, before + size);
    try {
      if (await this.#write(subject, last, framed, before + size)) return sequence;
    } catch (cause) {
      this.#sized(subject, (this.#sizes.get(subject) ?? size) - size);
      throw cause;
    }
    this.#sized(subject, (this.#sizes.get(subject) ?? size) - size);
    throw new Conflict(subject, last);
  }

  async *read(subject: string, from: Sequence): AsyncIterable<StoredRecord> {
    let next = from;
    for (;;) {
      // A slice at a time: no cursor is held over an await, and another subject's appends get their turn.
      this.#file.refresh();
      const records = this.#file.table(RECORDS);
      const slice = [...records.getRange({ start: [subject, next], end: [subject, Number.MAX_SAFE_INTEGER], limit: READ_SLICE })];
      for (const { key, value } of slice) {
        const sequence = key[1] as Sequence;
        yield { sequence, bytes: verifyChecksum(recordName(subject, sequence), value) };
        next = sequence + 1;
      }
      if (slice.length < READ_SLICE) return;
    }
  }

  async trim(subject: string, before: Sequence): Promise<void> {
    this.#file.refresh();
    const last = this.#file.table(HEADS).getEntry(subject)?.version ?? 0;
    const end = Math.min(before, last);
    for (let more = true; more; ) more = await this.#trimSlice(subject, end, last);
  }

  fill(subject: string): number {
    return shareOf(this.#bytes, this.#measure(), this.#sizes.get(subject) ?? 0, 0);
  }

  /** How full it is; costs a walk over all subjects. */
  room(): StoreRoom {
    const used = this.#measure();
    let largest = 0;
    for (const size of this.#sizes.values()) largest = Math.max(largest, size);
    return { used, bytes: this.#bytes, fill: shareOf(this.#bytes, used, largest, 0) };
  }

  /** Waits for nothing: the file belongs to the caller that opened it. */
  async close(): Promise<void> {}

  #write(subject: string, last: Sequence, framed: Uint8Array, size: number): Promise<boolean> {
    return this.#file.change({ table: HEADS, key: subject, version: last === 0 ? undefined : last }, [
      { table: HEADS, key: subject, value: sizeBytes(size), version: last + 1 },
      { table: RECORDS, key: [subject, last + 1], value: framed },
    ]);
  }

  /** Removes some of the oldest; false when none are left. */
  async #trimSlice(subject: string, before: Sequence, last: Sequence): Promise<boolean> {
    const range = { start: [subject, 0] as [string, number], end: [subject, before] as [string, number], limit: READ_SLICE };
    const old = [...this.#file.table(RECORDS).getRange(range)];
    if (old.length === 0) return false;
    const freed = old.reduce((sum, { value }) => sum + value.length + RECORD_OVERHEAD, 0);
    const left = Math.max(0, (this.#sizes.get(subject) ?? 0) - freed);
    // The head's version stays: it guards against a writer that has gone on, and disturbs none.
    const applied = await this.#file.change({ table: HEADS, key: subject, version: last }, [
      { table: HEADS, key: subject, value: sizeBytes(left), version: last },
      ...old.map(({ key }) => ({ table: RECORDS, key, value: undefined })),
    ]);
    if (!applied) throw new Conflict(subject, last);
    this.#sized(subject, left);
    this.#sinceCount = COUNT_AFTER;
    return old.length === READ_SLICE;
  }

  /**
   * Bytes taken: the pages in use as they were counted last and the records written since, or the records alone where those are more.
   * Pages are what the disk has less of: small records take about twice their bytes.
   */
  #measure(): number {
    if (this.#sinceCount++ >= COUNT_AFTER) {
      this.#sinceCount = 0;
      this.#file.refresh();
      this.#counted = { pages: this.#file.bytesInUse(), records: this.#used };
    }
    return Math.max(this.#used, this.#counted.pages + this.#used - this.#counted.records);
  }

  #sized(subject: string, bytes: number): void {
    this.#used += bytes - (this.#sizes.get(subject) ?? 0);
    this.#sizes.set(subject, bytes);
  }
}

function sizeBytes(bytes: number): Uint8Array {
  return new Uint8Array(new Float64Array([bytes]).buffer);
}

function sizeOf(value: Uint8Array): number {
  return value.length === 8 ? new DataView(value.buffer, value.byteOffset, 8).getFloat64(0, true) : 0;
}
