import { addChecksum, verifyChecksum } from '../../storage/checksum.ts';
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
  shareOf,
} from './store.ts';

/** What outlives a `MemoryStore`, as a disk outlives a process: several stores may share one. */
export class MemoryDisk {
  readonly logs = new Map<string, { last: Sequence; bytes: number; records: Map<Sequence, Uint8Array> }>();
  bytes = 0;
}

/** The store that defines the meaning of `Store`; lost with its disk. For development and tests. */
export class MemoryStore implements Store {
  readonly #bytes: number;
  readonly #disk: MemoryDisk;

  constructor(options: StoreOptions, disk = new MemoryDisk()) {
    this.#bytes = options.bytes;
    this.#disk = disk;
  }

  async append(subject: string, bytes: Uint8Array, last: Sequence, relief = false): Promise<Sequence> {
    checkSubject(subject);
    if (bytes.length > RECORD_BYTES_MAX) throw new Oversize(subject, bytes.length);
    const log = this.#disk.logs.get(subject) ?? { last: 0, bytes: 0, records: new Map<Sequence, Uint8Array>() };
    if (log.last !== last) throw new Conflict(subject, last);
    const framed = addChecksum(recordName(subject, last + 1), bytes);
    const size = framed.length + RECORD_OVERHEAD;
    const full = relief ? this.#disk.bytes + size > this.#bytes + reserveBytes(this.#bytes) : shareOf(this.#bytes, this.#disk.bytes, log.bytes, size) > 1;
    if (full) throw new StoreFull(this.#bytes);
    log.last++;
    log.records.set(log.last, framed);
    log.bytes += size;
    this.#disk.bytes += size;
    this.#disk.logs.set(subject, log);
    return log.last;
  }

  async *read(subject: string, from: Sequence): AsyncIterable<StoredRecord> {
    for (const [sequence, framed] of this.#disk.logs.get(subject)?.records ?? []) {
      if (sequence >= from) yield { sequence, bytes: verifyChecksum(recordName(subject, sequence), framed) };
    }
  }

  async trim(subject: string, before: Sequence): Promise<void> {
    const log = this.#disk.logs.get(subject);
    for (const [sequence, framed] of log?.records ?? []) {
      if (sequence >= before || sequence === log?.last) return;
      if (log === undefined) return;
      log.records.delete(sequence);
      log.bytes -= framed.length + RECORD_OVERHEAD;
      this.#disk.bytes -= framed.length + RECORD_OVERHEAD;
    }
  }

  fill(subject: string): number {
    return shareOf(this.#bytes, this.#disk.bytes, this.#disk.logs.get(subject)?.bytes ?? 0, 0);
  }

  async close(): Promise<void> {}
}
