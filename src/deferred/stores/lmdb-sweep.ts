import { type LmdbState, orderKey, putCounters } from './lmdb-batch.ts';
import { encodeEndIndex, encodeNumbers } from './lmdb-codec.ts';
import type { EndedRequests } from './lmdb-ended.ts';
import { PackJoin } from './lmdb-join.ts';
import { PackRemovals } from './lmdb-packs.ts';
import { deadKey, Edits, nameKey, numberIn, numberKey, numbersKey, piecesOf } from './lmdb-tables.ts';

/** Entries removed in one step at most; one in another part of its table counts as this many more. */
const ROWS_MAX = 3_000;
const FAR_ROWS = 8;
const FAR = 64;
const BYTES_MAX = 4 << 20;
const PIECE_BYTES = 256 << 10;
/** Pieces removed in one commit at most; a longer body loses its row first, its pieces later. */
const PIECES_MAX = 16;

/** In `meta`: ends with lower numbers have no row in `order`. */
export const SWEPT = nameKey('swept');

const EMPTY = new Uint8Array(0);

/** One commit of the sweep. */
export interface SweepStep {
  readonly edits: Edits;
  readonly applied: () => void;
}

/** Removes what ended requests need no more, a bounded step at a time: rows, heads and bodies in the order of their sequences, then results that are gone. */
export class Sweep {
  readonly #state: LmdbState;
  /** Sequences of the round under way. When it is through, everything that ended before it is swept. */
  #round = new Float64Array(0);
  #at = 0;
  #roundEnd = 1;
  #rowsNext = true;
  readonly #joins: readonly PackJoin[];

  constructor(state: LmdbState) {
    this.#state = state;
    this.#joins = [new PackJoin(state, 'rows'), new PackJoin(state, 'heads')];
  }

  /** Whether there is something to remove. */
  due(nowMs: number): boolean {
    const { ended, orphans } = this.#state;
    return orphans.size > 0 || ended.unswept.size > 0 || ended.goneBy(nowMs) !== undefined || this.#joins.some((join) => join.due);
  }

  /** The next step; rows and results take turns. undefined: nothing is due. */
  next(nowMs: number): SweepStep | undefined {
    const [orphan] = this.#state.orphans;
    if (orphan !== undefined) return this.pieces(orphan);
    this.#rowsNext = !this.#rowsNext;
    return (this.#rowsNext ? (this.gone(nowMs) ?? this.rows()) : (this.rows() ?? this.gone(nowMs))) ?? this.#join();
  }

  #join(): SweepStep | undefined {
    const step = this.#joins.find((join) => join.due)?.next();
    if (step === undefined) return undefined;
    const { edits, counters, applied } = step;
    const { ended } = this.#state;
    if (counters !== ended.counters) putCounters(edits, counters, 'any');
    return {
      edits,
      applied: () => {
        ended.counters = counters;
        applied();
      },
    };
  }

  /** Removes pieces of a body without a row. */
  pieces(body: number): SweepStep {
    const { tables, orphans } = this.#state;
    const edits = new Edits();
    const { start, end } = piecesOf({ body });
    const keys = tables.keys('body', start, end, PIECES_MAX);
    for (const key of keys) edits.remove('body', key, 'any');
    const last = keys.length < PIECES_MAX;
    if (last) edits.remove('open', numberKey(body), 'any');
    return { edits, applied: () => void (last && orphans.delete(body)) };
  }

  /** Removes rows, heads and bodies of ended requests; what is known of them is found by sequence from then on. */
  rows(): SweepStep | undefined {
    const { ended, tables, redriven } = this.#state;
    if (ended.unswept.size === 0) return undefined;
    if (this.#at === this.#round.length) this.#begin();
    const step = new Step(this.#state);
    const swept: number[] = [];
    let at = this.#at;
    let rows = 0;
    for (let last = 0; at < this.#round.length && rows < ROWS_MAX && step.bytes < BYTES_MAX; at++) {
      const sequence = this.#round[at] as number;
      const unswept = ended.unswept.get(sequence);
      if (unswept === undefined) continue;
      step.removeRow(sequence);
      rows += 3 + (sequence - last > FAR ? FAR_ROWS : 0);
      if (unswept.state !== 'dead') rows += step.removeHead(sequence);
      const row = unswept.keyed ? tables.end(unswept.number, true)?.row : undefined;
      step.edits.put('ends', numberKey(sequence), encodeEndIndex({ ...unswept, row }), 'any');
      swept.push(sequence);
      last = sequence;
    }
    const through = at === this.#round.length;
    if (through) step.edits.put('meta', SWEPT, encodeNumbers(this.#roundEnd), 'any');
    return step.whole(() => {
      for (const sequence of swept) {
        ended.unswept.delete(sequence);
        redriven.delete(sequence);
      }
      this.#at = at;
    });
  }

  /** Removes results, and dead letters with all they have, that are kept no longer. */
  gone(nowMs: number): SweepStep | undefined {
    const { ended, tables, redriven } = this.#state;
    const block = ended.goneBy(nowMs);
    if (block === undefined) return undefined;
    const step = new Step(this.#state);
    const unswept: number[] = [];
    let rows = 0;
    let first: number | undefined;
    for (const key of tables.keys('done', numbersKey(block.from, 0), numbersKey(block.to, 0), ROWS_MAX)) {
      const number = numberIn(key, 0);
      const record = numberIn(key, 1) === 0 ? tables.end(number, true) : undefined;
      if (record === undefined) continue;
      const { row, end, apart } = record;
      const { sequence } = row;
      const room = rows < ROWS_MAX && step.bytes < BYTES_MAX;
      if (end.goneAt > nowMs || !room) {
        first = Math.min(first ?? Number.POSITIVE_INFINITY, end.goneAt);
        continue;
      }
      step.edits.remove('done', key, 'any');
      if (apart) step.edits.remove('done', numbersKey(number, 1), 'any');
      step.edits.remove('ends', numberKey(sequence), 'any');
      step.edits.remove('tries', numberKey(sequence), 'any');
      rows += 4;
      if (end.state === 'dead') step.edits.remove('dead', deadKey(row.group, end.at, sequence), 'any');
      const here = ended.unswept.get(sequence)?.number === number;
      if (here) {
        step.removeRow(sequence);
        unswept.push(sequence);
      }
      if (here || end.state === 'dead') rows += step.removeHead(sequence);
      step.count(end.state);
    }
    return step.whole(() => {
      for (const sequence of unswept) {
        ended.unswept.delete(sequence);
        redriven.delete(sequence);
      }
      ended.setFirst(block.from, first);
    });
  }

  #begin(): void {
    const { unswept, next } = this.#state.ended;
    this.#round = Float64Array.from(unswept.keys()).sort();
    this.#at = 0;
    this.#roundEnd = next;
  }
}

/** Edits of one step, with what they do to the counters. */
class Step {
  readonly edits = new Edits();
  readonly #state: LmdbState;
  readonly #orphaned: number[] = [];
  readonly #rows: PackRemovals;
  readonly #heads: PackRemovals;
  #counters: EndedRequests['counters'];
  #bodyBytes = 0;

  constructor(state: LmdbState) {
    this.#state = state;
    this.#counters = state.ended.counters;
    this.#rows = new PackRemovals(state.tables, 'rows');
    this.#heads = new PackRemovals(state.tables, 'heads');
  }

  /** Bytes that are removed or written anew. */
  get bytes(): number {
    return this.#bodyBytes + this.#rows.bytes + this.#heads.bytes;
  }

  /** Removes the row of a request: from its pack, and the entry of its own that a retry or redrive made. */
  removeRow(sequence: number): void {
    this.#rows.take(sequence);
    const key = orderKey(this.#state, sequence);
    if (this.#state.tables.has('order', key)) this.edits.remove('order', key, 'any');
  }

  count(state: 'done' | 'dead' | 'cancelled'): void {
    this.#counters = { ...this.#counters, [state]: this.#counters[state] - 1 };
  }

  /** Removes head and body of a request, if they are there. Returns how many entries that are. */
  removeHead(sequence: number): number {
    const found = this.#state.tables.place(sequence);
    if (found === undefined) return 0;
    const { body, pieces } = found.place;
    const packed = this.#heads.take(sequence);
    if (!packed) this.edits.remove('head', numberKey(sequence), 'any');
    if (pieces > PIECES_MAX) {
      this.edits.put('open', numberKey(body), EMPTY, 'any');
      this.#orphaned.push(body);
    } else for (let piece = 0; piece < pieces; piece++) this.edits.remove('body', numbersKey(body, piece), 'any');
    const { heads, packed: inPacks, pieces: all } = this.#counters;
    this.#counters = { ...this.#counters, heads: heads - 1, packed: inPacks - (packed ? 1 : 0), pieces: all - pieces };
    this.#bodyBytes += Math.min(pieces * PIECE_BYTES, found.bodyBytes) + (packed ? 0 : 512);
    return (packed ? 0 : 1) + Math.min(pieces, PIECES_MAX);
  }

  whole(applied: () => void): SweepStep {
    const { ended, orphans } = this.#state;
    this.#rows.write(this.edits, false);
    this.#heads.write(this.edits, false);
    if (this.#heads.emptied > 0) this.#counters = { ...this.#counters, packs: this.#counters.packs - this.#heads.emptied };
    if (this.#counters !== ended.counters) putCounters(this.edits, this.#counters, 'any');
    return {
      edits: this.edits,
      applied: () => {
        ended.counters = this.#counters;
        for (const body of this.#orphaned) orphans.add(body);
        applied();
      },
    };
  }
}
