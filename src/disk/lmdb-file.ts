import { type Database, open, type RootDatabase } from 'lmdb';
import { DiskUnavailable, durably, within } from './deadline.ts';

/** A named table of binary values; keys are strings, or a string and a number, in their natural order. */
export type Table = Database<Uint8Array, string | [string, number]>;

/** As the version `ifVersion` compares: there must be no entry. (lmdb's types do not say that it takes null.) */
export const NO_ENTRY = null as unknown as number;

/** How long a write may take before it counts as failed. */
const DEADLINE_MS = 5_000;

/**
 * One LMDB environment (a folder) and its tables, with what keeps an acknowledgement honest: a write is told only when it
 * is on the disk, and after a failed one the environment is opened anew before the next.
 *
 * Each commit is synced by itself (`overlappingSync` off: with it, commits are seen before they are on disk, and a full
 * disk leaves `flushed` pending for ever). Writes of one turn of the event loop share a commit and its sync; that is the
 * group commit. LMDB lets several processes write one folder; compare-and-set decides between them.
 */
export class LmdbFile {
  readonly #path: string;
  readonly #deadlineMs: number;
  #env: RootDatabase<Uint8Array>;
  #tables = new Map<string, Table>();
  #broken = false;
  #reopening: Promise<void> | undefined;
  #closed = false;

  /** Opens or makes the folder. Throws what LMDB throws when it cannot. */
  constructor(path: string, deadlineMs = DEADLINE_MS) {
    this.#path = path;
    this.#deadlineMs = deadlineMs;
    this.#env = this.#open();
  }

  /** The table as it is now; do not keep it over an await, a reopening replaces it. Versions are what `ifVersion` compares. */
  table(name: string): Table {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = this.#env.openDB(name, { encoding: 'binary', cache: false, useVersions: true });
      this.#tables.set(name, table);
    }
    return table;
  }

  /**
   * Runs `write`, which starts one conditional write, and resolves with whether it was applied, once on disk. Rejects with
   * {@link DiskUnavailable}: the outcome is unknown, read before writing again.
   */
  async write(write: () => PromiseLike<boolean>): Promise<boolean> {
    if (this.#closed) throw new DiskUnavailable('The store is closed.');
    if (this.#broken) await this.#reopen();
    try {
      return await durably(this.#env, this.#deadlineMs, write);
    } catch (cause) {
      this.#broken = true;
      throw cause;
    }
  }

  /** Reads see what other processes have committed since. */
  refresh(): void {
    this.#env.resetReadTxn();
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
      await within(this.#deadlineMs, this.#env.close());
    } catch {
      // It would not close: what it held is the operating system's matter now.
    }
  }

  #open(): RootDatabase<Uint8Array> {
    return open<Uint8Array, string>({ path: this.#path, noSubdir: false, overlappingSync: false, maxDbs: 16, cache: false, encoding: 'binary' });
  }
}
