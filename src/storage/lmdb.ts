import { type Database, open, type RootDatabase } from 'lmdb';

/** The disk failed, or did not confirm in time: what was being written may or may not be there. */
export class DiskUnavailable extends Error {
  override readonly name = 'DiskUnavailable';
}

/** By name, and by number on Linux as lmdb reports them. LMDB calls a write that was cut short EIO, so a full disk is often that. */
const REFUSALS: ReadonlySet<unknown> = new Set(['ENOSPC', 'EFBIG', 'EDQUOT', 'EIO', 28, 27, 122, 5]);

/** Whether an error, or one that caused it, means that the disk took no write: it is full, or fails. SQLITE_FULL counts. */
export function isDiskRefusal(cause: unknown): boolean {
  for (let at = cause, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code, errcode } = at as { code?: unknown; errcode?: unknown };
    if (REFUSALS.has(code) || errcode === 13) return true;
  }
  return false;
}

/** ENOSPC, EFBIG and EDQUOT by name, and by number on Linux, as lmdb reports them. */
const OUT_OF_ROOM: ReadonlySet<unknown> = new Set(['ENOSPC', 'EFBIG', 'EDQUOT', 28, 27, 122]);

/** Returns whether an error, or one that caused it, means that the disk has no room. */
export function isOutOfRoom(cause: unknown): boolean {
  for (let at = cause, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (OUT_OF_ROOM.has((at as { code?: unknown }).code)) return true;
  }
  return false;
}

/**
 * `promise`, or a rejection with {@link DiskUnavailable} after `deadlineMs`. A late rejection of `promise` is swallowed:
 * the caller has received the other one already.
 */
export function withTimeout<T>(deadlineMs: number, promise: PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DiskUnavailable(`The disk did not answer within ${deadlineMs} ms.`)), deadlineMs);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (cause: unknown) => {
        clearTimeout(timer);
        reject(cause);
      },
    );
  });
}

/** The part of an LMDB environment that reports when a write is on the disk. */
interface Flushing {
  readonly flushed: PromiseLike<unknown>;
}

/**
 * Starts a write and resolves with its answer once it is committed *and* flushed. A write that was not applied (its
 * condition failed) is not waited for further. Rejects with {@link DiskUnavailable}; the outcome is then unknown.
 *
 * Both are awaited because lmdb's documentation says both "put resolves when durable" and, with overlappingSync,
 * "see `flushed`"; both against a deadline because on a full disk puts reject while `flushed` never settles
 * (docs/design/coordination.md 4 and 7).
 */
export async function writeDurably(env: Flushing, deadlineMs: number, write: () => PromiseLike<boolean>): Promise<boolean> {
  try {
    const applied = await withTimeout(deadlineMs, write());
    if (applied) await withTimeout(deadlineMs, env.flushed);
    return applied;
  } catch (cause) {
    if (cause instanceof DiskUnavailable) throw cause;
    throw new DiskUnavailable('The disk refused a write.', { cause: await reasonOf(cause) });
  }
}

/**
 * Resolves with what `applied` resolves with, once all `writes` that belong to it have settled. Rejects with the first
 * rejection of any of them; every other rejection is handled, so none of them can end the process.
 */
async function settledWhole<T>(applied: PromiseLike<T>, writes: readonly PromiseLike<unknown>[]): Promise<T> {
  const [first, ...others] = await Promise.allSettled([applied, ...writes]);
  for (const each of [first, ...others]) if (each.status === 'rejected') handleCommitError(each.reason);
  for (const each of [first, ...others]) if (each.status === 'rejected') throw each.reason;
  return (first as PromiseFulfilledResult<Awaited<T>>).value;
}

/** Handles the promise that lmdb puts on the error of a failed commit for its reason: it rejects too, and nothing else listens. */
function handleCommitError(cause: unknown): void {
  commitError(cause)?.then(undefined, () => {});
}

/** The reason of a failed commit, as far as lmdb reports it. */
async function reasonOf(cause: unknown): Promise<unknown> {
  const reason = commitError(cause);
  if (reason === undefined) return cause;
  // It settles in the turn in which the commit failed; a reason that does not come is not waited for.
  return await Promise.race([
    reason.then(
      () => cause,
      (why: unknown) => why,
    ),
    new Promise((resolve) => setImmediate(resolve, cause)),
  ]);
}

function commitError(cause: unknown): PromiseLike<unknown> | undefined {
  return (cause as { commitError?: PromiseLike<unknown> } | undefined)?.commitError;
}

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

/** Statistics of a table by lmdb, whose types have `{}`. */
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
 * One LMDB environment (a folder) and its tables, with what keeps an acknowledgement honest: a write is acknowledged only when it
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
   * lmdb answers each edit with a promise of its own, and every one of them rejects when the commit fails: one that is
   * not awaited ends the process. So only this class calls lmdb's writing methods, and it waits for all of them.
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
