import { setTimeout as sleep } from 'node:timers/promises';
import type { Layout, StreamSubject } from '../../nats/layout.ts';
import { type StreamClient, StreamFull, WrongLastSequence } from '../../nats/stream-client.ts';
import { StreamQuota } from '../../nats/stream-quota.ts';
import { addChecksum, CorruptRecord, verifyChecksum } from '../../storage/checksum.ts';
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
} from './store.ts';

/** What of the streams a store uses. */
export type LogRecords = Pick<StreamClient, 'write' | 'newest' | 'next' | 'scan' | 'purge' | 'size'>;

/** Headers, subject, and the server's own, above what every store counts. */
const MESSAGE_OVERHEAD = 128;

/** A gap in a log is looked at so often, so far apart, before it is believed: a server that lags behind fills it in between. */
const GAP_LOOKS = 5;
const GAP_LOOK_MS = 200;

/**
 * Logs in JetStream: a subject each, spread over a few streams. An append is a publish that names the record it follows,
 * and carries that number too, so that a reader sees when one in the middle is gone. A read may come from a server that
 * lags behind and end early: only an append after the last record read proves that it was the last.
 *
 * `bytes` is shared by all writers: each counts what the servers reported to it last and what it has written since, and what is no
 * `relief` stops at eight ninths of a stream. The servers refuse what would pass a stream's `max_bytes`, relief or not.
 */
export class JetStreamStore implements Store {
  readonly #records: LogRecords;
  readonly #layout: Layout;
  readonly #bytes: number;
  readonly #room: StreamQuota;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(deps: { readonly records: LogRecords; readonly layout: Layout; readonly options: StoreOptions }) {
    const { records, layout, options } = deps;
    this.#records = records;
    this.#layout = layout;
    this.#bytes = options.bytes;
    this.#room = new StreamQuota({ records, streams: layout.ledger, bytes: options.bytes, relief: reserveBytes(options.bytes) });
  }

  async append(subject: string, bytes: Uint8Array, last: Sequence, relief = false): Promise<Sequence> {
    checkSubject(subject);
    if (bytes.length > RECORD_BYTES_MAX) throw new Oversize(subject, bytes.length);
    const place = this.#layout.log(subject);
    const size = bytes.length + RECORD_OVERHEAD + MESSAGE_OVERHEAD + place.subject.length;
    if (!(await this.#room.take(place.stream, size, relief))) throw new StoreFull(this.#bytes, FULL);
    try {
      return await this.#wait(this.#records.write(place, addChecksum(subject, linked(last, bytes)), last));
    } catch (cause) {
      this.#room.changed(place.stream);
      if (cause instanceof WrongLastSequence) throw new Conflict(subject, last);
      throw cause instanceof StreamFull ? new StoreFull(this.#bytes, FULL) : cause;
    }
  }

  async *read(subject: string, from: Sequence): AsyncIterable<StoredRecord> {
    checkSubject(subject);
    const place = this.#layout.log(subject);
    let after: Sequence | undefined;
    for (let look = 1; ; look++) {
      let gap: Sequence | undefined;
      for await (const { sequence, bytes: framed } of this.#records.scan(place, after === undefined ? from : after + 1)) {
        const { last, bytes } = unlinked(recordName(subject, sequence), subject, framed);
        const follows = after === undefined ? last < Math.max(1, from) : last === after;
        if (!follows && !(await this.#isFirst(place, sequence))) {
          gap = last;
          break;
        }
        yield { sequence, bytes };
        after = sequence;
        look = 1;
      }
      if (gap === undefined) return;
      if (look === GAP_LOOKS) throw new CorruptRecord(recordName(subject, gap));
      await sleep(GAP_LOOK_MS);
    }
  }

  async trim(subject: string, before: Sequence): Promise<void> {
    checkSubject(subject);
    const place = this.#layout.log(subject);
    const newest = await this.#records.newest(place);
    if (newest === undefined) return;
    await this.#wait(this.#records.purge(place, Math.min(before, newest.sequence)));
    this.#room.changed(place.stream);
  }

  /** The connection belongs to the caller that opened it. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  /** Everything before it was trimmed, and is not missing. */
  async #isFirst(place: StreamSubject, sequence: Sequence): Promise<boolean> {
    const first = await this.#records.next(place, 1);
    return first !== undefined && first.sequence >= sequence;
  }

  #wait<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    return work.finally(() => this.#underWay.delete(work));
  }
}

/** The option that bounds it. */
const FULL = 'cluster.ledgerBytes';

const LINK = 8;

function linked(last: Sequence, bytes: Uint8Array): Uint8Array {
  const joined = new Uint8Array(LINK + bytes.length);
  new DataView(joined.buffer).setFloat64(0, last, true);
  joined.set(bytes, LINK);
  return joined;
}

/** The checksum is over the subject alone: a record's sequence is not known before it is written. */
function unlinked(record: string, subject: string, framed: Uint8Array): { readonly last: Sequence; readonly bytes: Uint8Array } {
  try {
    const joined = verifyChecksum(subject, framed);
    return { last: new DataView(joined.buffer, joined.byteOffset, LINK).getFloat64(0, true), bytes: joined.subarray(LINK) };
  } catch {
    throw new CorruptRecord(record);
  }
}
