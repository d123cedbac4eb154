import { COUNT_MAX, INDEX_BYTES, PACK_HEAD, type Pack, type Packed, PackWriter, SPAN_MAX } from './lmdb-pack.ts';
import { type Edits, framed, numberIn, numberKey, type PackTable, type Tables } from './lmdb-tables.ts';

/** Where packs are written before they are copied out: one at a time. */
const writerBytes = Buffer.allocUnsafe(64 << 10);

/** Bytes of a pack at most, unless one value alone is longer: a whole number of pages with what LMDB and the checksum put before it. */
const BYTES_MAX: Readonly<Record<PackTable, number>> = { rows: 4_096 - 40, heads: 4 * 4_096 - 40 };

/** Puts values that `add` adds, in the order of their sequences, into as many new packs as they need. Returns how many that are. */
export function putPacks(edits: Edits, table: PackTable, add: (packs: PackWriter) => void): number {
  let count = 0;
  const packs = new PackWriter(writerBytes, BYTES_MAX[table], (first, bytes) => {
    edits.put(table, numberKey(first), bytes, undefined);
    count++;
  });
  add(packs);
  packs.flush();
  return count;
}

/** Puts one pack in place of what is at its key, with values that fit. */
export function putPack(edits: Edits, table: PackTable, key: Uint8Array, values: readonly Packed[], before: Uint8Array | undefined | 'any'): void {
  const packs = new PackWriter(writerBytes, Number.POSITIVE_INFINITY, (_, bytes) => edits.put(table, key, bytes, before), numberIn(key, 0));
  for (const value of values) packs.addRaw(value);
  packs.flush();
}

/** Returns whether these values, in the order of their sequences, are short enough for one pack. */
export function fitsPack(table: PackTable, values: readonly Packed[]): boolean {
  const [first, last] = [values[0]?.sequence ?? 0, values.at(-1)?.sequence ?? 0];
  const bytes = values.reduce((sum, value) => sum + INDEX_BYTES + value.bytes.byteLength, PACK_HEAD);
  return values.length <= COUNT_MAX && bytes <= BYTES_MAX[table] && last - first <= SPAN_MAX;
}

/** What one commit takes out of the packs of a table: each pack is written once without it, or removed when it is empty. */
export class PackRemovals {
  readonly #tables: Tables;
  readonly #table: PackTable;
  readonly #changed = new Map<number, { readonly pack: Pack; readonly taken: Set<number> }>();
  /** Bytes of the packs that are written anew. */
  bytes = 0;
  /** Packs that will be gone. */
  emptied = 0;

  constructor(tables: Tables, table: PackTable) {
    this.#tables = tables;
    this.#table = table;
  }

  /** Takes the value of a request out; returns whether it was in a pack. */
  take(sequence: number): boolean {
    const pack = this.#tables.packOf(this.#table, sequence);
    if (pack === undefined) return false;
    let changed = this.#changed.get(pack.first);
    if (changed === undefined) {
      changed = { pack, taken: new Set() };
      this.#changed.set(pack.first, changed);
      this.bytes += BYTES_MAX[this.#table];
    }
    if (changed.taken.has(sequence)) return false;
    changed.taken.add(sequence);
    if (changed.taken.size === pack.length) this.emptied++;
    return true;
  }

  /** Puts what is left into the commit. `undo`: the edits must know how to take it back. */
  write(edits: Edits, undo: boolean): void {
    if (this.#changed.size > 0) edits.changesPacks = true;
    for (const { pack, taken } of this.#changed.values()) {
      const key = numberKey(pack.first);
      const before = undo ? framed(this.#tables, this.#table, key) : 'any';
      const left = [...pack.values()].filter(({ sequence }) => !taken.has(sequence));
      if (left.length === 0) edits.remove(this.#table, key, before);
      else putPack(edits, this.#table, key, left, before);
    }
  }
}
