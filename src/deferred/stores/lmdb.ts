import { join } from 'node:path';
import { addChecksum, CorruptRecord, verifyChecksum } from '../../storage/checksum.ts';
import { type Edit, isOutOfRoom, type LmdbFile } from '../../storage/lmdb.ts';
import { type OpenStoreOptions, openStore } from '../../storage/open-store.ts';
import type { Attempt, RequestEnd, RequestRow } from '../request.ts';
import {
  type Change,
  type EndedFilter,
  type EndedInOrder,
  type EndedPage,
  type LoadedRequest,
  type LocalStore,
  type Opened,
  StoreUnavailable,
  takesRoom,
} from '../store.ts';
import { Batch, COUNTERS, FLIGHT, type LmdbState } from './lmdb-batch.ts';
import { UnknownFormat } from './lmdb-bytes.ts';
import { checkWhole, DamagedRequests } from './lmdb-check.ts';
import { decodeAttempts, decodeEnd, decodeEndIndex, decodeFlights, decodeNumbers, encodeNumbers } from './lmdb-codec.ts';
import { EndedRequests } from './lmdb-ended.ts';
import { endedFrom, listEnded } from './lmdb-list.ts';
import { RESERVED, readRows } from './lmdb-rows.ts';
import { SWEPT, Sweep } from './lmdb-sweep.ts';
import { decoded, Edits, nameKey, numberIn, numberKey, numbersKey, recordOf, Tables, UPLOADS_FROM } from './lmdb-tables.ts';

/** Ended requests whose rows are not removed, at most: above, the sweep goes before the next commit. */
const UNSWEPT_MAX = 100_000;
/** Submits are refused from this share of `store.bytes` on. */
const FULL = 0.95;
/** Pages in use are counted again after this many commits; one count takes about 150 us. */
const COUNT_AFTER = 32;
/** Pages that a written byte takes, about. */
const PAGES_PER_BYTE = 1.8;
/** Bytes of pieces in one commit at most. */
const UPLOAD_BYTES_MAX = 1 << 20;
/** Commits with an unknown outcome that are remembered until one succeeds. */
const UNKNOWN_MAX = 1_000;

/** Version of the tables. 2: rows and heads in packs; a store of version 1 has none, and is read as it is. */
const STORE_FORMAT = 2;
const STORE_FORMAT_LEAST = 1;

const BATCH = nameKey('batch');
const FORMAT_KEY = nameKey('format');
const EMPTY = new Uint8Array(0);

/** Options of a store in LMDB. */
export interface LmdbDeferredOptions {
  readonly bytesMax: number;
}

/**
 * Opens the store of deferred requests in its own folder `deferred` under `path`: its own environment, so that its commits,
 * its space and its faults are not those of the ledger. Rejects as `openStore` does.
 */
export async function openLmdbDeferred(path: string, ways: OpenStoreOptions, options: LmdbDeferredOptions): Promise<LmdbDeferredStore> {
  const folder = deferredFolder(path);
  const { file, close } = await openStore(folder, { ...ways, keys: 'binary', losses: 'the first forgets the requests in it, the second those since' });
  return new LmdbDeferredStore(file, { ...options, close, folder });
}

/** Edits of one commit, and what it means for the state. */
interface Planned {
  readonly edits: Edits;
  applied(): void;
}

/** What follows when a commit that was refused is found on the disk. */
type Late = { readonly undo: readonly Edit[] } | { readonly applied: () => void };

/** `takenBack`: a refused commit must not count later. `grows`: it stores something new, so that a disk without room is `full`. */
interface Outcome {
  readonly takenBack: boolean;
  readonly grows: boolean;
}

/** Of commits that may as well count late. */
const LATE: Outcome = { takenBack: false, grows: false };

const OTHER_PROCESS = 'Another process writes the store of deferred requests.';

/** The folder of the store of deferred requests under `store.path`. */
export function deferredFolder(path: string): string {
  return join(path, 'deferred');
}

interface Upload {
  readonly body: number;
  readonly piece: number;
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

/** Stored requests in LMDB (docs/decisions/0022). Each commit is one transaction and two syncs, whatever is in it. */
export class LmdbDeferredStore implements LocalStore {
  readonly #file: LmdbFile;
  readonly #bytesMax: number;
  readonly #closeFile: () => Promise<void>;
  readonly #folder: string | undefined;
  readonly #tables: Tables;
  readonly #state: LmdbState;
  readonly #sweep: Sweep;
  /** The end of what was begun last: one commit at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Version of the entry `batch`, raised by each commit: a commit that is found applied later is known by it. */
  #version: number | undefined;
  #attempt = 0;
  /** Commits whose outcome is unknown, by their attempt: what to do if one of them is found on the disk. */
  readonly #unknown = new Map<number, Late>();
  #uploading: Upload[] = [];
  #nextBody = UPLOADS_FROM;
  #pages = 0;
  #written = 0;
  #sinceCount = 0;

  /** `file` has binary keys. `close` is called at the end. */
  constructor(file: LmdbFile, options: LmdbDeferredOptions & { readonly close?: () => Promise<void>; readonly folder?: string }) {
    this.#file = file;
    this.#bytesMax = options.bytesMax;
    this.#closeFile = options.close ?? (async () => {});
    this.#folder = options.folder;
    this.#tables = new Tables(file);
    this.#state = {
      tables: this.#tables,
      ended: new EndedRequests(),
      redriven: new Map(),
      uploads: new Map(),
      orphans: new Set(),
      newest: 0,
      redrives: 0,
    };
    this.#sweep = new Sweep(this.#state);
  }

  get space(): { readonly bytes: number; readonly bytesMax: number } {
    return { bytes: Math.round(this.#pages + this.#written * PAGES_PER_BYTE), bytesMax: this.#bytesMax };
  }

  async open(onRow: (row: RequestRow) => void, onEnded: (row: RequestRow, end: Pick<RequestEnd, 'state' | 'goneAt'>) => void): Promise<Opened> {
    try {
      this.#tables.openAll();
      this.#tables.refresh();
      await this.#readMeta();
      await this.#readOrphans();
      const sweptDead = await this.#readEnds(onEnded);
      const { orphans, ended } = this.#state;
      const { rows, endedRows, nextSequence } = await readRows(this.#state, onRow);
      const rowless = ended.unswept.size - endedRows;
      const sequences = (): Promise<Set<number>> => this.#known();
      await checkWhole(this.#tables, { sequences, heads: rows + sweptDead + rowless, counted: ended.counters, orphans });
      await this.#dropOrphans();
      this.#recount();
      const flight = this.#tables.get('flight', FLIGHT);
      return { flights: flight === undefined ? [] : decoded(flight, decodeFlights), nextSequence };
    } catch (cause) {
      if (cause instanceof CorruptRecord) throw new DamagedRequests([`${cause.record} does not fit its checksum`], { cause, folder: this.#folder });
      throw cause instanceof DamagedRequests ? cause.in(this.#folder) : cause;
    }
  }

  commit(batch: readonly Change[]): Promise<void> {
    return this.#exclusive(async () => {
      const submits = batch.some(takesRoom);
      if (submits) this.#refuseFull();
      while (this.#state.ended.unswept.size > UNSWEPT_MAX) await this.#write(() => this.#sweep.rows(), LATE);
      await this.#write(() => new Batch(this.#state, batch), { takenBack: true, grows: submits });
    });
  }

  reserve(end: number): Promise<void> {
    return this.#exclusive(async () => {
      await this.#write(() => only((edits) => edits.put('meta', RESERVED, encodeNumbers(end), 'any')), LATE);
    });
  }

  async upload(upload: number, piece: number, bytes: Uint8Array): Promise<void> {
    this.#refuseFull();
    const { uploads } = this.#state;
    let body = uploads.get(upload);
    if (body === undefined) {
      body = this.#nextBody++;
      uploads.set(upload, body);
    }
    const stored = new Promise<void>((resolve, reject) => this.#uploading.push({ body, piece, bytes, resolve, reject }));
    // The first takes along what arrives before its turn, up to 1 MiB.
    void this.#exclusive(() => this.#storePieces()).catch(() => {});
    await stored;
  }

  dropUpload(upload: number): Promise<void> {
    return this.#exclusive(async () => {
      const { uploads, orphans } = this.#state;
      const body = uploads.get(upload);
      if (body === undefined) return;
      uploads.delete(upload);
      orphans.add(body);
      while (orphans.has(body)) await this.#write(() => this.#sweep.pieces(body), LATE);
    });
  }

  async load(sequence: number): Promise<LoadedRequest | undefined> {
    const ended = this.#state.ended.unswept.get(sequence);
    if (ended !== undefined && ended.state !== 'dead') return undefined;
    this.#read();
    const found = this.#tables.head(sequence);
    if (found === undefined) return undefined;
    const { inline } = found;
    const { body, pieces } = found.place;
    const read = async function* (this: LmdbDeferredStore): AsyncIterable<Uint8Array> {
      if (inline.byteLength > 0) yield inline;
      for (let piece = 0; piece < pieces; piece++) {
        this.#read();
        const entry = this.#tables.get('body', numbersKey(body, piece));
        if (entry === undefined) throw new CorruptRecord(recordOf('body', numbersKey(body, piece)));
        yield entry.bytes;
      }
    };
    return { head: found.head, body: () => read.call(this) };
  }

  async ended(sequence: number): Promise<{ readonly end: RequestEnd; readonly row: RequestRow } | undefined> {
    const number = this.#endNumber(sequence);
    const found = number === undefined ? undefined : this.#tables.end(number);
    return found === undefined ? undefined : { end: found.end, row: found.row };
  }

  async attempts(sequence: number): Promise<readonly Attempt[]> {
    const number = this.#endNumber(sequence);
    const stored = this.#tables.get('tries', numberKey(sequence));
    const before = stored === undefined ? [] : decoded(stored, decodeAttempts);
    const last = number === undefined ? undefined : this.#tables.end(number, true)?.attempt;
    return last === undefined ? before : [...before, last].slice(-20);
  }

  listEnded(filter: EndedFilter, size: number, token: string): Promise<EndedPage> {
    return listEnded(this.#tables, filter, size, token);
  }

  endedFrom(sequence: number, limit: number): EndedInOrder {
    this.#read();
    return endedFrom(this.#state, sequence, limit);
  }

  counts(): { readonly done: number; readonly dead: number; readonly cancelled: number } {
    const { done, dead, cancelled } = this.#state.ended.counters;
    return { done, dead, cancelled };
  }

  sweep(nowMs: number): Promise<boolean> {
    return this.#exclusive(async () => {
      const attempt = this.#attempt;
      await this.#write(() => this.#sweep.next(nowMs), LATE);
      // It only looked: others have their turn all the same.
      if (attempt === this.#attempt) await new Promise((resolve) => setImmediate(resolve));
      this.#recount();
      return this.#sweep.due(nowMs);
    });
  }

  async close(): Promise<void> {
    await this.#exclusive(async () => {});
    await this.#closeFile();
  }

  /** Runs `work` after all that was begun before. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #storePieces(): Promise<void> {
    const pieces: Upload[] = [];
    for (let bytes = 0; this.#uploading.length > 0; ) {
      const next = this.#uploading[0] as Upload;
      bytes += next.bytes.byteLength;
      if (pieces.length > 0 && bytes > UPLOAD_BYTES_MAX) break;
      pieces.push(next);
      this.#uploading.shift();
    }
    if (pieces.length === 0) return;
    try {
      const put = (edits: Edits): void => {
        for (const { body, piece, bytes } of pieces) {
          if (piece === 0) edits.put('open', numberKey(body), EMPTY, 'any');
          edits.put('body', numbersKey(body, piece), bytes, 'any');
        }
      };
      await this.#write(() => only(put), { takenBack: false, grows: true });
      for (const { resolve } of pieces) resolve();
    } catch (cause) {
      for (const { reject } of pieces) reject(cause);
    }
  }

  /**
   * Commits what `plan` makes of the state as it is, then changes the state. Rejects with {@link StoreUnavailable}: it does not
   * count, and should it be found on the disk later, it is taken back or else counts from then on.
   */
  async #write(plan: () => Planned | undefined, { takenBack, grows }: Outcome): Promise<void> {
    for (let isSettled = false; ; isSettled = true) {
      this.#read();
      const planned = plan();
      if (planned === undefined) return;
      const { edits } = planned;
      const late = takenBack ? { undo: edits.undo } : { applied: () => planned.applied() };
      const changed = this.#change(edits.list, late, grows).finally(() => {
        if (edits.changesPacks) this.#tables.forgetPacks();
      });
      if (await changed) {
        this.#unknown.clear();
        planned.applied();
        this.#written += edits.bytes;
        if (++this.#sinceCount >= COUNT_AFTER) this.#recount();
        return;
      }
      if (isSettled) throw new StoreUnavailable('failed', OTHER_PROCESS);
      await this.#settle();
    }
  }

  /** Commits edits if nothing else was committed since; resolves with whether it was so. */
  async #change(edits: readonly Edit[], late: Late, grows: boolean): Promise<boolean> {
    const attempt = ++this.#attempt;
    const version = (this.#version ?? 0) + 1;
    const batch = { table: 'meta', key: BATCH, value: addChecksum(recordOf('meta', BATCH), encodeNumbers(attempt)), version };
    try {
      if (!(await this.#file.change({ table: 'meta', key: BATCH, version: this.#version }, [batch, ...edits]))) return false;
      this.#version = version;
      return true;
    } catch (cause) {
      if (this.#unknown.size < UNKNOWN_MAX) this.#unknown.set(attempt, late);
      if (grows && isOutOfRoom(cause))
        throw new StoreUnavailable('full', 'The disk of the store is full: make room, or wait until requests have ended.', { cause });
      throw new StoreUnavailable('failed', 'The store of deferred requests could not be written.', { cause });
    }
  }

  /** Something was committed that this process does not know of: one of its own commits whose outcome was unknown, or another process. */
  async #settle(): Promise<void> {
    this.#read();
    const entry = this.#file.table('meta').getEntry(BATCH);
    const attempt = entry === undefined ? undefined : decodeNumbers('meta batch', verifyChecksum(recordOf('meta', BATCH), entry.value))[0];
    const late = this.#unknown.get(attempt ?? 0);
    if (entry === undefined || late === undefined) throw new StoreUnavailable('failed', OTHER_PROCESS);
    this.#version = entry.version;
    this.#tables.forgetPacks();
    if ('undo' in late && !(await this.#change(late.undo, { applied: () => {} }, false))) throw new StoreUnavailable('failed', OTHER_PROCESS);
    if ('applied' in late) late.applied();
    this.#tables.forgetPacks();
    this.#unknown.clear();
  }

  #refuseFull(): void {
    if (this.space.bytes >= this.#bytesMax * FULL) this.#recount();
    if (this.space.bytes < this.#bytesMax * FULL) return;
    throw new StoreUnavailable('full', 'The store of deferred requests is full: raise store.bytes, or wait until requests have ended.');
  }

  #recount(): void {
    this.#read();
    this.#pages = this.#file.bytesInUse();
    this.#written = 0;
    this.#sinceCount = 0;
  }

  /** What is read from here on is what was committed last. */
  #read(): void {
    try {
      this.#tables.refresh();
    } catch (cause) {
      throw new StoreUnavailable('failed', 'The store of deferred requests could not be read.', { cause });
    }
  }

  #endNumber(sequence: number): number | undefined {
    this.#read();
    return this.#state.ended.unswept.get(sequence)?.number ?? this.#tables.endIndex(sequence)?.number;
  }

  async #readMeta(): Promise<void> {
    const { ended } = this.#state;
    const entry = this.#file.table('meta').getEntry(BATCH);
    this.#version = entry?.version;
    if (entry !== undefined) this.#attempt = decodeNumbers('meta batch', verifyChecksum(recordOf('meta', BATCH), entry.value))[0] ?? 0;
    const format = this.#tables.get('meta', FORMAT_KEY);
    if (format === undefined) {
      if (entry !== undefined) throw new DamagedRequests(['its format is not said']);
      return await this.#writeFormat();
    }
    const [version = 0] = decoded(format, decodeNumbers);
    if (version < STORE_FORMAT_LEAST || version > STORE_FORMAT) throw new UnknownFormat('The store of deferred requests', version, STORE_FORMAT);
    const counters = this.#tables.get('meta', COUNTERS);
    const [heads = 0, pieces = 0, done = 0, dead = 0, cancelled = 0, packed = 0, packs = 0] = counters === undefined ? [] : decoded(counters, decodeNumbers);
    ended.counters = { heads, packed, packs, pieces, done, dead, cancelled };
    if (version < STORE_FORMAT) await this.#writeFormat();
  }

  #writeFormat(): Promise<void> {
    return this.#write(() => only((edits) => edits.put('meta', FORMAT_KEY, encodeNumbers(STORE_FORMAT), 'any')), LATE);
  }

  async #readOrphans(): Promise<void> {
    for await (const slice of this.#tables.slices('open')) for (const { key } of slice) this.#state.orphans.add(numberIn(key, 0));
    const range = { reverse: true, limit: 1 };
    for (const key of this.#file.table('body').getKeys(range)) this.#nextBody = Math.max(UPLOADS_FROM, numberIn(key as Uint8Array, 0) + 1);
    for (const body of this.#state.orphans) this.#nextBody = Math.max(this.#nextBody, body + 1);
  }

  /** Reads what has ended: by sequence what is swept, then what ended since. Resolves with how many swept dead letters there are. */
  async #readEnds(onEnded: (row: RequestRow, end: Pick<RequestEnd, 'state' | 'goneAt'>) => void): Promise<number> {
    const { ended } = this.#state;
    let dead = 0;
    for await (const slice of this.#tables.slices('ends', undefined, undefined, 4_096)) {
      for (const entry of slice) {
        const { number, state, goneAt, row } = decoded(entry, decodeEndIndex);
        ended.keep(number, goneAt);
        if (state === 'dead') dead++;
        if (row !== undefined) onEnded(row, { state, goneAt });
      }
    }
    const swept = this.#tables.get('meta', SWEPT);
    const [from = 1] = swept === undefined ? [] : decoded(swept, decodeNumbers);
    ended.next = Math.max(ended.next, from);
    for await (const slice of this.#tables.slices('done', numbersKey(from, 0))) {
      for (const entry of slice) {
        if (numberIn(entry.key, 1) !== 0) continue;
        const number = numberIn(entry.key, 0);
        const { row, end } = decoded(entry, decodeEnd);
        if (this.#tables.endIndex(row.sequence)?.number === number) continue;
        ended.unswept.set(row.sequence, { number, state: end.state, goneAt: end.goneAt, keyed: row.idHash !== '' });
        ended.keep(number, end.goneAt);
        if (row.idHash !== '') onEnded(row, end);
      }
    }
    return dead;
  }

  /** All sequences that must have a head. */
  async #known(): Promise<Set<number>> {
    const known = new Set<number>(this.#state.ended.unswept.keys());
    await readRows(this.#state, ({ sequence }) => known.add(sequence));
    for await (const slice of this.#tables.slices('ends')) {
      for (const entry of slice) if (decoded(entry, decodeEndIndex).state === 'dead') known.add(numberIn(entry.key, 0));
    }
    return known;
  }

  /** Removes the pieces of uploads that the end of the last process cut short. A disk that refuses leaves them to the sweep. */
  async #dropOrphans(): Promise<void> {
    for (const body of [...this.#state.orphans]) {
      while (this.#state.orphans.has(body)) {
        try {
          await this.#write(() => this.#sweep.pieces(body), LATE);
        } catch (cause) {
          if (!(cause instanceof StoreUnavailable)) throw cause;
          return;
        }
      }
    }
  }
}

/** Edits that change nothing of the state. */
function only(put: (edits: Edits) => void): Planned {
  const edits = new Edits();
  put(edits);
  return { edits, applied: () => {} };
}
