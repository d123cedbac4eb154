import { addChecksum, CorruptRecord } from '../../storage/checksum.ts';
import type { Attempt, RequestEnd, RequestHead, RequestRow } from '../request.ts';
import type { Change } from '../store.ts';
import {
  type BodyPlace,
  decodeAttempts,
  type EndRecord,
  encodeAttempts,
  encodeDead,
  encodeEnd,
  encodeFlights,
  encodeHead,
  encodeNumbers,
  encodeRow,
  writeHead,
  writeRow,
} from './lmdb-codec.ts';
import type { EndedRequests, Unswept } from './lmdb-ended.ts';
import { PackRemovals, putPacks } from './lmdb-packs.ts';
import { deadKey, decoded, Edits, framed, nameKey, numberKey, numbersKey, recordOf, type Tables } from './lmdb-tables.ts';

const ATTEMPTS_MAX = 20;
const PIECE_BYTES = 256 << 10;
/** Bodies up to here are stored with their heads: one entry less is a third of what a submit costs. */
const INLINE_MAX = 4 << 10;
/** Bodies of responses up to here are stored with the end, larger ones beside it. */
const RESULT_INLINE_MAX = 1 << 10;

const EMPTY = new Uint8Array(0);

/** What a store knows beside its tables. */
export interface LmdbState {
  readonly tables: Tables;
  readonly ended: EndedRequests;
  /** Keys in `order` of requests that were redriven; all others have their sequence there. */
  readonly redriven: Map<number, Uint8Array>;
  /** Numbers in `body` of uploads under way. */
  readonly uploads: Map<number, number>;
  /** Bodies without a row, whose pieces are still to be removed. */
  readonly orphans: Set<number>;
  /** The highest sequence that was stored. */
  newest: number;
  /** Redrives since the store is open, after those found in it. */
  redrives: number;
}

/** Returns where the row of a request is in `order`. */
export function orderKey(state: LmdbState, sequence: number): Uint8Array {
  return state.redriven.get(sequence) ?? numberKey(sequence);
}

/** In `meta`: how many heads, pieces and ends there are. */
export const COUNTERS = nameKey('counters');
/** The only key of `flight`. */
export const FLIGHT = nameKey('flight');

/** Puts the counters of a state into a commit. */
export function putCounters(edits: Edits, counters: EndedRequests['counters'], before: EndedRequests['counters'] | 'any'): void {
  const encoded = (of: EndedRequests['counters']): Uint8Array => encodeNumbers(of.heads, of.pieces, of.done, of.dead, of.cancelled, of.packed, of.packs);
  const undo = before === 'any' ? before : addChecksum(recordOf('meta', COUNTERS), encoded(before));
  edits.put('meta', COUNTERS, encoded(counters), undo);
}

type Ended = Unswept & { readonly swept: boolean; readonly record?: EndRecord };

/** Turns changes into the edits of one commit. Nothing of the state changes before `applied`. */
export class Batch {
  readonly edits = new Edits();
  readonly #state: LmdbState;
  readonly #applied: (() => void)[] = [];
  readonly #submitted = new Set<number>();
  /** Rows and heads of this commit that go into packs, in the order of their sequences. */
  #rows: RequestRow[] = [];
  readonly #heads: { readonly sequence: number; readonly head: RequestHead; readonly place: BodyPlace; readonly inline: Uint8Array }[] = [];
  readonly #rowsTaken: PackRemovals;
  readonly #ends = new Map<number, Ended | undefined>();
  readonly #tries = new Map<number, Attempt[]>();
  readonly #orderKeys = new Map<number, Uint8Array>();
  #counters: EndedRequests['counters'];
  #nextEnd: number;
  #newest: number;
  #redrives: number;

  constructor(state: LmdbState, changes: readonly Change[]) {
    this.#state = state;
    this.#counters = state.ended.counters;
    this.#nextEnd = state.ended.next;
    this.#newest = state.newest;
    this.#redrives = state.redrives;
    this.#rowsTaken = new PackRemovals(state.tables, 'rows');
    for (const change of changes) this.#add(change);
    if (this.#heads.length > 0) this.#putPacks();
    this.#rowsTaken.write(this.edits, true);
    if (this.#counters !== state.ended.counters) putCounters(this.edits, this.#counters, state.ended.counters);
  }

  /** Changes the state as the commit changed the disk. */
  applied(): void {
    for (const apply of this.#applied) apply();
    this.#state.ended.counters = this.#counters;
    this.#state.newest = this.#newest;
    this.#state.redrives = this.#redrives;
  }

  #add(change: Change): void {
    switch (change.kind) {
      case 'submit':
        return this.#submit(change);
      case 'arm':
        return this.edits.put('flight', FLIGHT, encodeFlights(change.flights), 'any');
      case 'retry':
        return this.#retry(change.row, change.attempt);
      case 'end':
        return this.#end(change.end, change.row, change.attempt);
      case 'redrive':
        return this.#redrive(change.row);
    }
  }

  #submit({ row, head, body }: Extract<Change, { kind: 'submit' }>): void {
    const { sequence } = row;
    const isInline = body instanceof Uint8Array && body.byteLength <= INLINE_MAX;
    const place = body instanceof Uint8Array ? this.#putBody(sequence, isInline ? EMPTY : body) : this.#adopt(body.upload, body.pieces);
    const inline = isInline ? body : EMPTY;
    if (sequence > this.#newest) {
      this.#rows.push(row);
      this.#heads.push({ sequence, head, place, inline });
      this.#newest = sequence;
    } else {
      // Packs of a table do not overlap: what was given its sequence earlier and comes later stands alone.
      this.edits.put('order', numberKey(sequence), encodeRow(row), undefined);
      this.edits.put('head', numberKey(sequence), encodeHead(head, place, inline), undefined);
    }
    this.#submitted.add(sequence);
    this.#count({ heads: 1, pieces: place.pieces });
  }

  #putPacks(): void {
    putPacks(this.edits, 'rows', (packs) => {
      for (const row of this.#rows) packs.add(row.sequence, (out) => writeRow(out, row));
    });
    const count = putPacks(this.edits, 'heads', (packs) => {
      for (const { sequence, head, place, inline } of this.#heads) packs.add(sequence, (out) => writeHead(out, head, place, inline));
    });
    this.#count({ packed: this.#heads.length, packs: count });
  }

  #putBody(sequence: number, body: Uint8Array): BodyPlace {
    const pieces = Math.ceil(body.byteLength / PIECE_BYTES);
    for (let piece = 0; piece < pieces; piece++) {
      this.edits.put('body', numbersKey(sequence, piece), body.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES), undefined);
    }
    return { body: sequence, pieces };
  }

  /** The pieces of an upload get a row. */
  #adopt(upload: number, pieces: number): BodyPlace {
    const { uploads } = this.#state;
    const body = uploads.get(upload);
    if (body === undefined) throw new Error(`No pieces are stored of upload ${upload}.`);
    const key = numberKey(body);
    this.edits.remove('open', key, addChecksum(recordOf('open', key), EMPTY));
    this.#applied.push(() => uploads.delete(upload));
    return { body, pieces };
  }

  #retry(row: RequestRow, attempt: Attempt): void {
    // Cancelled meanwhile: a row that is gone does not come back.
    if (this.#endedOf(row.sequence, false) !== undefined || !this.#hasRow(row.sequence)) return;
    this.edits.put('order', this.#orderKey(row.sequence), encodeRow(row), this.#submitted.has(row.sequence) ? undefined : 'any');
    this.#tried(row.sequence, attempt);
  }

  #end(end: RequestEnd, row: RequestRow, attempt: Attempt | undefined): void {
    const { ended } = this.#state;
    const { sequence } = row;
    // Only what is cancelled can have been a dead letter before; looking for others would cost each end a random page.
    const before = this.#endedOf(sequence, end.state === 'cancelled');
    // At most one end.
    if (before !== undefined && (before.state !== 'dead' || end.state !== 'cancelled')) return;
    const last = attempt ?? (before === undefined ? undefined : this.#removeEnd(sequence, before).attempt);
    const number = this.#nextEnd++;
    const { response } = end;
    const apart = response !== undefined && response.body.byteLength > RESULT_INLINE_MAX;
    const record = { row, end, attempt: last, apart };
    this.edits.put('done', numbersKey(number, 0), encodeEnd(record), undefined);
    if (apart) this.edits.put('done', numbersKey(number, 1), response.body, undefined);
    if (end.state === 'dead') this.edits.put('dead', deadKey(row.group, end.at, sequence), encodeDead(number, row.key, end.error), undefined);
    this.#count({ [end.state]: 1 });
    const unswept = { number, state: end.state, goneAt: end.goneAt, keyed: row.idHash !== '' };
    this.#ends.set(sequence, { ...unswept, swept: false, record });
    this.#applied.push(() => {
      ended.unswept.set(sequence, unswept);
      ended.keep(number, end.goneAt);
    });
  }

  #redrive(row: RequestRow): void {
    const { ended, redriven } = this.#state;
    const { sequence } = row;
    const before = this.#endedOf(sequence, true);
    // Redriven twice at once: the second finds it pending.
    if (before === undefined || before.state !== 'dead') return;
    const { attempt } = this.#removeEnd(sequence, before);
    if (attempt !== undefined) this.#tried(sequence, attempt);
    if (!before.swept) {
      const old = this.#orderKey(sequence);
      const single = framed(this.#state.tables, 'order', old);
      if (single !== undefined || this.#submitted.has(sequence)) this.edits.remove('order', old, single);
      this.#rows = this.#rows.filter((each) => each.sequence !== sequence);
      this.#rowsTaken.take(sequence);
    }
    // After all that was accepted before, and before all that comes: `order` is read in this order when the store is opened.
    const key = numbersKey(this.#newest, ++this.#redrives);
    this.edits.put('order', key, encodeRow(row), undefined);
    this.#orderKeys.set(sequence, key);
    this.#ends.set(sequence, undefined);
    this.#applied.push(() => {
      ended.unswept.delete(sequence);
      redriven.set(sequence, key);
    });
  }

  /** Takes back that a dead letter ended. */
  #removeEnd(sequence: number, { number, swept, record }: Ended): EndRecord {
    const { tables } = this.#state;
    const found = record ?? tables.end(number, true);
    if (found === undefined) throw new Error(`The end of request ${sequence} is not where it should be (done ${number}).`);
    const dead = deadKey(found.row.group, found.end.at, sequence);
    this.edits.remove('done', numbersKey(number, 0), framed(tables, 'done', numbersKey(number, 0)));
    if (found.apart) this.edits.remove('done', numbersKey(number, 1), framed(tables, 'done', numbersKey(number, 1)));
    this.edits.remove('dead', dead, framed(tables, 'dead', dead));
    if (swept) this.edits.remove('ends', numberKey(sequence), framed(tables, 'ends', numberKey(sequence)));
    this.#count({ dead: -1 });
    return found;
  }

  #endedOf(sequence: number, search: boolean): Ended | undefined {
    if (this.#ends.has(sequence)) return this.#ends.get(sequence);
    const { ended, tables } = this.#state;
    const unswept = ended.unswept.get(sequence);
    if (unswept !== undefined) return { ...unswept, swept: false };
    const swept = search ? tables.endIndex(sequence) : undefined;
    return swept === undefined ? undefined : { number: swept.number, state: swept.state, goneAt: swept.goneAt, keyed: swept.row !== undefined, swept: true };
  }

  #hasRow(sequence: number): boolean {
    const { tables } = this.#state;
    if (this.#submitted.has(sequence) || this.#orderKeys.has(sequence)) return true;
    return tables.has('order', this.#orderKey(sequence)) || tables.packOf('rows', sequence) !== undefined;
  }

  #orderKey(sequence: number): Uint8Array {
    return this.#orderKeys.get(sequence) ?? orderKey(this.#state, sequence);
  }

  #tried(sequence: number, attempt: Attempt): void {
    const { tables } = this.#state;
    const key = numberKey(sequence);
    let attempts = this.#tries.get(sequence);
    if (attempts === undefined) {
      attempts = this.#storedAttempts(key);
      this.#tries.set(sequence, attempts);
    }
    attempts.push(attempt);
    if (attempts.length > ATTEMPTS_MAX) attempts.shift();
    this.edits.put('tries', key, encodeAttempts(attempts), framed(tables, 'tries', key));
  }

  /** Damaged attempts are given up: they are for people, and must not keep a retry from being stored. */
  #storedAttempts(key: Uint8Array): Attempt[] {
    try {
      const stored = this.#state.tables.get('tries', key);
      return stored === undefined ? [] : [...decoded(stored, decodeAttempts)];
    } catch (cause) {
      if (cause instanceof CorruptRecord) return [];
      throw cause;
    }
  }

  #count(more: Partial<EndedRequests['counters']>): void {
    const of = this.#counters;
    this.#counters = {
      heads: of.heads + (more.heads ?? 0),
      packed: of.packed + (more.packed ?? 0),
      packs: of.packs + (more.packs ?? 0),
      pieces: of.pieces + (more.pieces ?? 0),
      done: of.done + (more.done ?? 0),
      dead: of.dead + (more.dead ?? 0),
      cancelled: of.cancelled + (more.cancelled ?? 0),
    };
  }
}
