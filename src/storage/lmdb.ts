import { type Database, open, type RootDatabase } from 'lmdb';
import { DiskUnavailable, settledWhole, withTimeout, writeDurably } from './deadline.ts';

/** A key of a table: a string, or a string and a number, in their natural order; in a file with binary keys, bytes in their order. */
export type Key = string | [string, number] | Uint8Array;

/** How the keys of a file's tables are written. */
export type KeyKind = 'ordered' | 'binary';

/** A named table of binary values, for reading. */
export type Table = Pick<Database<Uint8Array, Key>, 'get' | 'getEntry' | 'getKeys' | 'getRange'>;

/** Holds if the entry has this version; `undefined`: if there is no entry. */
export interface Condition {
  readonly table: string;
  readonly key: Key;
  readonly version: number | undefined;
}

/** One change of an entry; `value` undefined removes it. A version that is not given is 0. */
export interface Edit {
  readonly table: string;
  readonly key: Key;
  readonly value: Uint8Array | undefined;
  readonly version?: number;
}

/** What lmdb tells of a table. (Its types say `{}`.) */
interface TableStats {
  readonly entryCount: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

interface EnvironmentStats {
  readonly pageSize: number;
  readonly root: TableStats;
  readonly free: TableStats;
}

/** As the version `ifVersion` compares: there must be no entry. (lmdb's types do not say that it takes null.) */
const NO_ENTRY = null as unknown as number;

/**
 * How lmdb commits.
 *
 * - `overlappingSync` off: with it commits are seen before they are on disk, and a full disk leaves `flushed` pending for ever.
 * - `eventTurnBatching` off: with it lmdb makes a promise for each turn's batch that is given to no caller and rejects when the
 *   commit fails, which ends the process. Without it, writes of one turn still share a commit and its sync, as long as no
 *   number of them starts one early (`txnStartThreshold`; 64 writers share one commit either way).
 */
const COMMITS = { overlappingSync: false, eventTurnBatching: false, txnStartThreshold: 1_000_000 };

/** How long a write may take before it counts as failed. */
const DEADLINE_MS = 5_000;

/**
 * One LMDB environment (a folder) and its tables, with what keeps an acknowledgement honest: a write is told only when it
 * is on the disk, and after a failed one the environment is opened anew before the next.
 *
 * Each commit is synced by itself. Writes of one turn of the event loop share a commit and its sync; that is the group
 * commit. LMDB lets several processes write one folder; compare-and-set decides between them.
 */
export class LmdbFile {
  readonly #path: string;
  readonly #keys: KeyKind;
  readonly #deadlineMs: number;
  #env: RootDatabase<Uint8Array>;
  #tables = new Map<string, Database<Uint8Array, Key>>();
  #broken = false;
  #reopening: Promise<void> | undefined;
  #closed = false;

  /** Opens or makes the folder. Throws what LMDB throws when it cannot. */
  constructor(path: string, deadlineMs = DEADLINE_MS, keys: KeyKind = 'ordered') {
    this.#path = path;
    this.#keys = keys;
    this.#deadlineMs = deadlineMs;
    this.#env = this.#open();
  }

  /** The table as it is now; do not keep it over an await, a reopening replaces it. Versions are what `ifVersion` compares. */
  table(name: string): Table {
    return this.#table(name);
  }

  /**
   * Commits all edits together if the condition holds, and resolves with whether it held, once they are on disk. Rejects with
   * {@link DiskUnavailable}: the outcome is unknown, read before writing again.
   *
   * lmdb answers each edit with a promise of its own, and every one of them rejects when the commit fails: one that nobody
   * awaits ends the process. So only this class calls lmdb's writing methods, and it waits for all of them.
   */
  async change(condition: Condition, edits: readonly Edit[]): Promise<boolean> {
    if (this.#closed) throw new DiskUnavailable('The store is closed.');
    if (this.#broken) await this.#reopen();
    try {
      return await writeDurably(this.#env, this.#deadlineMs, () => this.#start(condition, edits));
    } catch (cause) {
      this.#broken = true;
      throw cause;
    }
  }

  /** Starts the writes. Tables are opened before: that is a transaction of its own, and throws on a full disk. */
  #start({ table, key, version }: Condition, edits: readonly Edit[]): Promise<boolean> {
    const condition = this.#table(table);
    const targets = edits.map((edit) => this.#table(edit.table));
    // lmdb gives most writes of one commit the same promise.
    const writes = new Set<PromiseLike<unknown>>();
    const applied = condition.ifVersion(key, version ?? NO_ENTRY, () => {
      for (const [index, edit] of edits.entries()) {
        const target = targets[index] as Database<Uint8Array, Key>;
        writes.add(edit.value === undefined ? target.remove(edit.key) : target.put(edit.key, edit.value, edit.version ?? 0));
      }
    });
    return settledWhole(applied, [...writes]);
  }

  #table(name: string): Database<Uint8Array, Key> {
    let table = this.#tables.get(name);
    if (table === undefined) {
      const keyEncoding = this.#keys === 'binary' ? 'binary' : 'ordered-binary';
      table = this.#env.openDB(name, { encoding: 'binary', keyEncoding, cache: false, useVersions: true });
      this.#tables.set(name, table);
    }
    return table;
  }

  /** Reads see what other processes have committed since. */
  refresh(): void {
    this.#env.resetReadTxn();
  }

  /** Returns how many entries a table has, without reading them. */
  entries(name: string): number {
    return (this.#table(name).getStats() as unknown as TableStats).entryCount;
  }

  /**
   * Bytes of the pages that hold something, of all tables opened so far. The file itself never shrinks: pages that are freed
   * are used again. Costs about 15 us a table.
   */
  bytesInUse(): number {
    const { root, free, pageSize } = this.#env.getStats() as unknown as EnvironmentStats;
    let pages = 2 + pagesOf(root) + pagesOf(free);
    for (const table of this.#tables.values()) pages += pagesOf(table.getStats() as unknown as TableStats);
    return pages * pageSize;
  }

  /** Waits for what is under way, as long as the deadline allows. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#shut();
  }

  /** After EIO or a full disk the environment may refuse for ever; a new one looks again. Many writers, one reopening. */
  #reopen(): Promise<void> {
    this.#reopening ??= (async () => {
      await this.#shut();
      try {
        this.#env = this.#open();
        this.#tables = new Map();
        this.#broken = false;
      } catch (cause) {
        throw new DiskUnavailable(`The store at ${this.#path} cannot be opened again.`, { cause });
      } finally {
        this.#reopening = undefined;
      }
    })();
    return this.#reopening;
  }

  async #shut(): Promise<void> {
    try {
      await withTimeout(this.#deadlineMs, this.#env.close());
    } catch {
      // It would not close: what it held is the operating system's matter now.
    }
  }

  #open(): RootDatabase<Uint8Array> {
    return open<Uint8Array, string>({ path: this.#path, noSubdir: false, maxDbs: 16, cache: false, encoding: 'binary', ...COMMITS });
  }
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: TableStats): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}
