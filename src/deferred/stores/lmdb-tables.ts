import { CHECKSUM_BYTES, CorruptRecord, putChecksum, verifyChecksum } from '../../storage/checksum.ts';
import type { Edit, LmdbFile } from '../../storage/lmdb.ts';
import { type BodyPlace, decodeDead, decodeEnd, decodeEndIndex, decodeHead, decodePlace, decodeRow, type EndIndexEntry, type EndRecord } from './lmdb-codec.ts';
import { Pack } from './lmdb-pack.ts';

/** Tables whose values are packs of several requests. */
export type PackTable = 'rows' | 'heads';

/** Tables by name (docs/decisions/0022). */
export type TableName = 'meta' | PackTable | 'order' | 'head' | 'body' | 'open' | 'flight' | 'tries' | 'done' | 'dead' | 'ends';

/** All tables. */
export const TABLES: readonly TableName[] = ['meta', 'rows', 'heads', 'order', 'head', 'body', 'open', 'flight', 'tries', 'done', 'dead', 'ends'];

/** Entries read between two turns of the event loop. */
const READ_SLICE = 256;

/** Bodies that arrived in pieces have numbers from here on; those that came with their row have its sequence. */
export const UPLOADS_FROM = 2 ** 52;

const NOTHING = Buffer.alloc(0);

/** Bytes of a buffer that the values of one commit share; of one with few values. */
const CHUNK = 64 << 10;
const CHUNK_SMALL = 4 << 10;
const FEW = 8;

/** One number as a key: 8 bytes, big-endian. */
export function numberKey(value: number): Buffer {
  const key = Buffer.allocUnsafe(8);
  putNumber(key, 0, value);
  return key;
}

/** Several numbers as a key, in the order of the first, then the second. */
export function numbersKey(...values: readonly number[]): Buffer {
  const key = Buffer.allocUnsafe(values.length * 8);
  for (let index = 0; index < values.length; index++) putNumber(key, index * 8, values[index] as number);
  return key;
}

function putNumber(key: Buffer, at: number, value: number): void {
  key.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  key.writeUInt32BE(value % 2 ** 32, at + 4);
}

/** The number at `index` of a key; a RangeError where the key is too short. */
export function numberIn(key: Uint8Array, index: number): number {
  const at = index * 8;
  if (at + 8 > key.byteLength) throw new RangeError(`A key of ${key.byteLength} bytes has no number at ${at}.`);
  return wordAt(key, at) * 2 ** 32 + wordAt(key, at + 4);
}

/** 4 bytes, big-endian. By hand: a view of each key would be garbage at once. */
function wordAt(key: Uint8Array, at: number): number {
  return (((key[at] as number) << 24) | ((key[at + 1] as number) << 16) | ((key[at + 2] as number) << 8) | (key[at + 3] as number)) >>> 0;
}

/** A name as a key. */
export function nameKey(name: string): Buffer {
  return Buffer.from(name);
}

/** Key of a dead letter: its group, when it died, its sequence. A group name is no other's beginning here. */
export function deadKey(group: string, at: number, sequence: number): Buffer {
  return Buffer.concat([Buffer.from(group), Buffer.of(0), numbersKey(at, sequence)]);
}

/** How an entry is called in errors and checksums: its table and key. */
export function recordOf(table: TableName, key: Uint8Array): string {
  if (table === 'meta' || table === 'flight') return `${table} ${Buffer.from(key).toString()}`;
  if (table === 'dead') return `${table} ${Buffer.from(key).toString('hex')}`;
  return key.byteLength === 8 ? `${table} ${numberIn(key, 0)}` : `${table} ${numberIn(key, 0)}.${numberIn(key, 1)}`;
}

/** An entry as it is read: its key, its name for errors, its value without the checksum. */
export interface Entry {
  readonly key: Uint8Array;
  readonly record: string;
  readonly bytes: Uint8Array;
}

/** Reads tables of a store. Every value was written by {@link Edits}; what is damaged throws {@link CorruptRecord}. */
export class Tables {
  readonly file: LmdbFile;
  #lastPacks: { [table in PackTable]?: Pack } = {};

  constructor(file: LmdbFile) {
    this.file = file;
  }

  /** Reads see what was committed since. */
  refresh(): void {
    this.file.refresh();
  }

  /** Opens or makes all tables. Throws what LMDB throws. */
  openAll(): void {
    for (const table of TABLES) this.file.table(table);
  }

  get(table: TableName, key: Uint8Array): Entry | undefined {
    const framed = this.file.table(table).get(key);
    if (framed === undefined) return undefined;
    const record = recordOf(table, key);
    return { key, record, bytes: verifyChecksum(record, framed) };
  }

  has(table: TableName, key: Uint8Array): boolean {
    return this.file.table(table).get(key) !== undefined;
  }

  /** At most `limit` entries from `start` (inclusive) to `end` (exclusive). */
  slice(table: TableName, start: Uint8Array, end: Uint8Array | undefined, limit = READ_SLICE): readonly Entry[] {
    const range = { start, limit, ...(end === undefined ? {} : { end }) };
    return [...this.file.table(table).getRange(range)].map(({ key, value }) => {
      const record = recordOf(table, key as Uint8Array);
      return { key: key as Uint8Array, record, bytes: verifyChecksum(record, value) };
    });
  }

  /** All entries from `start` on, in slices of `size`; the event loop has a turn between two. */
  async *slices(table: TableName, start: Uint8Array = NOTHING, end?: Uint8Array, size = READ_SLICE): AsyncIterable<readonly Entry[]> {
    let from = start;
    for (;;) {
      this.refresh();
      const slice = this.slice(table, from, end, size);
      if (slice.length > 0) yield slice;
      const last = slice.at(-1);
      if (last === undefined || slice.length < size) return;
      from = Buffer.concat([last.key, Buffer.of(0)]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Keys alone of at most `limit` entries: no value is read. */
  keys(table: TableName, start: Uint8Array, end: Uint8Array | undefined, limit: number): readonly Uint8Array[] {
    const range = { start, limit, ...(end === undefined ? {} : { end }) };
    return [...this.file.table(table).getKeys(range)] as Uint8Array[];
  }

  head(sequence: number): ReturnType<typeof decodeHead> | undefined {
    const entry = this.#headEntry(sequence);
    return entry && decoded(entry, decodeHead);
  }

  /** Where the body of a request is, and how long. */
  place(sequence: number): ReturnType<typeof decodePlace> | undefined {
    const entry = this.#headEntry(sequence);
    return entry && decoded(entry, decodePlace);
  }

  #headEntry(sequence: number): Pick<Entry, 'record' | 'bytes'> | undefined {
    const pack = this.packOf('heads', sequence);
    const bytes = pack?.find(sequence);
    return pack === undefined || bytes === undefined ? this.get('head', numberKey(sequence)) : { record: pack.record, bytes };
  }

  /** The pack that holds this sequence; undefined if none does. Neighbours are read one after the other, so the last pack is remembered. */
  packOf(table: PackTable, sequence: number): Pack | undefined {
    const last = this.#lastPacks[table];
    if (last?.has(sequence) === true) return last;
    const found = this.#findPack(table, sequence);
    if (found !== undefined) this.#lastPacks[table] = found;
    return found;
  }

  /** Packs are about to change, or may have. */
  forgetPacks(): void {
    this.#lastPacks = {};
  }

  #findPack(table: PackTable, sequence: number): Pack | undefined {
    // Reads one after the other come to the first of the next pack, whose key is known: a look-up costs less than a search.
    if (this.#lastPacks[table]?.last === sequence - 1) {
      const key = numberKey(sequence);
      const value = this.file.table(table).get(key);
      const pack = value && packIn(table, key, value);
      if (pack !== undefined) return pack.has(sequence) ? pack : undefined;
    }
    const range = { start: numberKey(sequence), reverse: true, limit: 1 };
    for (const { key, value } of this.file.table(table).getRange(range)) {
      const pack = packIn(table, key as Uint8Array, value);
      return pack.has(sequence) ? pack : undefined;
    }
    return undefined;
  }

  /** At most `limit` packs from `start` (inclusive) on. */
  packs(table: PackTable, start: Uint8Array, limit: number): readonly Pack[] {
    return [...this.file.table(table).getRange({ start, limit })].map(({ key, value }) => packIn(table, key as Uint8Array, value));
  }

  /** One entry of `done`, with the body of its response unless `bare`. */
  end(number: number, bare = false): EndRecord | undefined {
    const entry = this.get('done', numbersKey(number, 0));
    if (entry === undefined) return undefined;
    const record = decoded(entry, decodeEnd);
    const { response } = record.end;
    if (response === undefined || bare || !record.apart) return record;
    const body = this.get('done', numbersKey(number, 1));
    if (body === undefined) throw new CorruptRecord(recordOf('done', numbersKey(number, 1)));
    return { ...record, end: { ...record.end, response: { ...response, body: new Uint8Array(body.bytes) } } };
  }

  endIndex(sequence: number): EndIndexEntry | undefined {
    const entry = this.get('ends', numberKey(sequence));
    return entry === undefined ? undefined : decoded(entry, decodeEndIndex);
  }
}

/** Decodes an entry whose checksum fits; a value that is too short then counts as damaged as well. */
export function decoded<T>({ record, bytes }: Pick<Entry, 'record' | 'bytes'>, decode: (record: string, bytes: Uint8Array) => T): T {
  try {
    return decode(record, bytes);
  } catch (cause) {
    if (cause instanceof RangeError || cause instanceof SyntaxError) throw new CorruptRecord(record);
    throw cause;
  }
}

function packIn(table: PackTable, key: Uint8Array, value: Uint8Array): Pack {
  const record = recordOf(table, key);
  return decoded({ record, bytes: verifyChecksum(record, value) }, (_, bytes) => new Pack(record, numberIn(key, 0), bytes));
}

/** The row in an entry of `order`, or in a pack. */
export const decodeOrder = (entry: Pick<Entry, 'record' | 'bytes'>): ReturnType<typeof decodeRow> => decoded(entry, decodeRow);
/** An entry of `dead`. */
export const decodeDeadEntry = (entry: Entry): ReturnType<typeof decodeDead> => decoded(entry, decodeDead);

/** Edits of one commit, and those that take them back. */
export class Edits {
  readonly list: Edit[] = [];
  /** In the order in which they are to be applied. */
  readonly undo: Edit[] = [];
  /** Bytes that are written. */
  bytes = 0;
  /** Packs that were there are written anew or removed. */
  changesPacks = false;
  #chunk: Uint8Array = NOTHING;
  #used = 0;

  /** Writes a value with its checksum. `before`: the value there now, framed; undefined: none; 'any': it need not come back. */
  put(table: TableName, key: Uint8Array, bytes: Uint8Array, before: Uint8Array | undefined | 'any'): void {
    const value = this.#take(CHECKSUM_BYTES + bytes.byteLength);
    value.set(bytes, CHECKSUM_BYTES);
    putChecksum(recordOf(table, key), value);
    this.list.push({ table, key, value });
    this.bytes += value.byteLength;
    if (before !== 'any') this.undo.unshift({ table, key, value: before });
  }

  /** Returns space for a value. Many values share one buffer: lmdb takes the address of each, and each is garbage soon. */
  #take(bytes: number): Uint8Array {
    if (bytes > this.#chunk.byteLength - this.#used) {
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(bytes, this.list.length < FEW ? CHUNK_SMALL : CHUNK));
      this.#used = 0;
    }
    const value = this.#chunk.subarray(this.#used, this.#used + bytes);
    this.#used += bytes;
    return value;
  }

  /** `before` as in {@link put}. */
  remove(table: TableName, key: Uint8Array, before: Uint8Array | undefined | 'any'): void {
    this.list.push({ table, key, value: undefined });
    if (before !== 'any') this.undo.unshift({ table, key, value: before });
  }
}

/** The value of an entry as it is stored, copied; undefined if there is none. */
export function framed(tables: Tables, table: TableName, key: Uint8Array): Uint8Array | undefined {
  const value = tables.file.table(table).get(key);
  return value === undefined ? undefined : Uint8Array.from(value);
}

/** Returns the range of keys of the pieces of a body. */
export function piecesOf({ body }: Pick<BodyPlace, 'body'>): { readonly start: Buffer; readonly end: Buffer } {
  return { start: numbersKey(body, 0), end: numberKey(body + 1) };
}
