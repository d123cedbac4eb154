import type { RequestRow } from '../request.ts';
import type { LmdbState } from './lmdb-batch.ts';
import { decodeNumbers } from './lmdb-codec.ts';
import { decoded, decodeOrder, type Entry, nameKey, numberIn, numberKey, type Tables } from './lmdb-tables.ts';

/** In `meta`: sequences below it count as used. */
export const RESERVED = nameKey('reserved');

/** Packs, and rows of their own, that are read between two turns of the event loop. */
const PACKS = 64;
const SINGLES = 4_096;

const NOTHING = Buffer.alloc(0);

/** What was read. */
export interface RowsRead {
  /** Ended ones too. */
  readonly rows: number;
  /** Of these, how many have ended and are not swept. */
  readonly endedRows: number;
  /** The first sequence that was never used. */
  readonly nextSequence: number;
}

/**
 * Reads the rows in the order of acceptance, redrives at their own: packs, and between them what has an entry of its own, since it was
 * tried again (then its row in the pack is out of date), redriven, or stored late.
 */
export async function readRows(state: LmdbState, onRow: (row: RequestRow) => void): Promise<RowsRead> {
  const { tables } = state;
  const { unswept } = state.ended;
  const singles = new Singles(tables);
  let rows = 0;
  let endedRows = 0;
  const take = (row: RequestRow): void => {
    rows++;
    state.newest = Math.max(state.newest, row.sequence);
    if (unswept.has(row.sequence)) endedRows++;
    else onRow(row);
  };
  const takeSingle = (entry: Entry): void => {
    const row = decodeOrder(entry);
    state.newest = Math.max(state.newest, numberIn(entry.key, 0));
    if (entry.key.byteLength > 8) {
      state.redriven.set(row.sequence, entry.key);
      state.redrives = Math.max(state.redrives, numberIn(entry.key, 1));
    }
    take(row);
  };
  for await (const packs of packsOf(tables)) {
    for (const pack of packs) {
      const { record } = pack;
      for (const { sequence, bytes } of pack.values()) {
        while (singles.next !== undefined && singles.at < sequence) takeSingle(singles.take());
        if (singles.at === sequence && singles.next?.key.byteLength === 8) takeSingle(singles.take());
        else take(decodeOrder({ record, bytes }));
      }
    }
  }
  while (singles.next !== undefined) takeSingle(singles.take());
  const reserved = tables.get('meta', RESERVED);
  const [end = 1] = reserved === undefined ? [] : decoded(reserved, decodeNumbers);
  const nextSequence = Math.max(end, state.newest + 1);
  state.newest = nextSequence - 1;
  return { rows, endedRows, nextSequence };
}

async function* packsOf(tables: Tables): AsyncIterable<ReturnType<Tables['packs']>> {
  for (let from: Uint8Array = NOTHING; ; ) {
    tables.refresh();
    const packs = tables.packs('rows', from, PACKS);
    if (packs.length > 0) yield packs;
    const last = packs.at(-1);
    if (last === undefined || packs.length < PACKS) return;
    from = Buffer.concat([numberKey(last.first), Buffer.of(0)]);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The entries of `order`, one after the other. */
class Singles {
  readonly #tables: Tables;
  #slice: readonly Entry[] = [];
  #index = 0;
  next: Entry | undefined;
  /** The first number of the next one's key. */
  at = Number.POSITIVE_INFINITY;

  constructor(tables: Tables) {
    this.#tables = tables;
    this.#read(NOTHING);
  }

  /** The next one, which there is. */
  take(): Entry {
    const entry = this.next as Entry;
    this.#index++;
    if (this.#index < this.#slice.length || this.#slice.length < SINGLES) this.#show();
    else this.#read(Buffer.concat([entry.key, Buffer.of(0)]));
    return entry;
  }

  #read(from: Uint8Array): void {
    this.#slice = this.#tables.slice('order', from, undefined, SINGLES);
    this.#index = 0;
    this.#show();
  }

  #show(): void {
    this.next = this.#slice[this.#index];
    this.at = this.next === undefined ? Number.POSITIVE_INFINITY : numberIn(this.next.key, 0);
  }
}
