import type { LmdbState } from './lmdb-batch.ts';
import type { EndedRequests } from './lmdb-ended.ts';
import type { Packed } from './lmdb-pack.ts';
import { fitsPack, putPack } from './lmdb-packs.ts';
import { Edits, numberIn, numberKey, type PackTable, type Tables } from './lmdb-tables.ts';

/** The newest requests are left alone: most of them are delivered soon. */
const NEWEST = 10_000;
/** Keys looked at in one step at most. */
const KEYS_MAX = 1_024;
/** Bytes written in one step at most. */
const BYTES_MAX = 1 << 20;
/** A pack whose key is less than this before the next one is a small one; a full one has three heads at least. */
const NEAR: Readonly<Record<PackTable, number>> = { rows: 16, heads: 3 };

/** One commit that joins packs. */
export interface JoinStep {
  readonly edits: Edits;
  /** The counters as they are then. */
  readonly counters: EndedRequests['counters'];
  readonly applied: () => void;
}

/**
 * Joins neighbouring packs of one table that are small, a bounded step at a time: commits of a few requests leave packs of a few, and a
 * start that reads a million of those would take several times as long. Which are small is seen by their keys. Begins anew in each process.
 */
export class PackJoin {
  readonly #state: LmdbState;
  readonly #table: PackTable;
  /** Packs before this sequence are done with. */
  #mark = 0;
  /** How far it goes now. */
  #upTo = 0;

  constructor(state: LmdbState, table: PackTable) {
    this.#state = state;
    this.#table = table;
  }

  /** Whether there are keys to look at: those of 10,000 requests at least, then all that there are. */
  get due(): boolean {
    return this.#mark < this.#upTo || this.#mark + NEWEST < this.#state.newest - NEWEST;
  }

  /** The next step; undefined if it has nothing to write. */
  next(): JoinStep | undefined {
    const { tables, newest, ended } = this.#state;
    if (this.#mark >= this.#upTo) this.#upTo = newest - NEWEST;
    const upTo = this.#upTo;
    const keys = tables.keys(this.#table, numberKey(this.#mark), numberKey(upTo), KEYS_MAX);
    const joining = new Joining(tables, this.#table);
    let at = 0;
    for (let before = Number.NEGATIVE_INFINITY; at < keys.length && joining.edits.bytes < BYTES_MAX; at++) {
      const key = keys[at] as Uint8Array;
      const first = numberIn(key, 0);
      joining.look(key, first - before < NEAR[this.#table]);
      before = first;
    }
    joining.close();
    const next = keys[at];
    const mark = next === undefined ? (keys.length < KEYS_MAX ? upTo : numberIn(keys.at(-1) as Uint8Array, 0) + 1) : numberIn(next, 0);
    const applied = (): void => {
      this.#mark = mark;
    };
    if (joining.joined > 0) {
      const { counters } = ended;
      const { edits, joined } = joining;
      return { edits, counters: this.#table === 'heads' ? { ...counters, packs: counters.packs - joined } : counters, applied };
    }
    applied();
    return undefined;
  }
}

/** The packs that become one, and the edits of those before. */
class Joining {
  readonly edits = new Edits();
  readonly #tables: Tables;
  readonly #table: PackTable;
  #keys: Uint8Array[] = [];
  #values: Packed[] = [];
  /** Packs that will be gone. */
  joined = 0;

  constructor(tables: Tables, table: PackTable) {
    this.#tables = tables;
    this.#table = table;
  }

  /** The next key; `near`: the pack before it is a small one. */
  look(key: Uint8Array, near: boolean): void {
    if (!near) this.close();
    if (near && this.#keys.length === 1) this.#values = this.#read(this.#keys[0] as Uint8Array);
    if (near && this.#keys.length > 0) {
      const values = [...this.#values, ...this.#read(key)];
      if (fitsPack(this.#table, values)) {
        this.#keys.push(key);
        this.#values = values;
        return;
      }
      this.close();
    }
    this.#keys = [key];
  }

  close(): void {
    const [first, ...others] = this.#keys;
    if (first !== undefined && others.length > 0) {
      this.edits.changesPacks = true;
      for (const key of others) this.edits.remove(this.#table, key, 'any');
      putPack(this.edits, this.#table, first, this.#values, 'any');
      this.joined += others.length;
    }
    this.#keys = [];
    this.#values = [];
  }

  #read(key: Uint8Array): Packed[] {
    const [pack] = this.#tables.packs(this.#table, key, 1);
    return pack === undefined ? [] : [...pack.values()];
  }
}
