import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** The file that is locked; it stays empty. */
const LOCK = 'store.lock';

/** Description of the holder; only the lock itself counts. */
const HOLDER = 'store.holder.json';

/** SQLITE_BUSY: another connection has the lock. */
const BUSY = 5;

/** How a process describes itself to one that finds its store in use. */
export interface Holder {
  readonly pid: number | undefined;
  /** Where it serves, as text. */
  readonly address: string;
}

/** The store is in use by another process. */
export class StoreInUse extends Error {
  override readonly name = 'StoreInUse';
}

/**
 * Exclusive use of a folder by one process. The lock is the operating system's (`fcntl`), which ends with the process that holds
 * it however that ends: no file is stale, no process id is compared, and containers that share the folder see it too. Node has
 * no call for such a lock; an exclusive transaction of the built-in SQLite on an empty file is one (docs/decisions/0017).
 */
export class StoreLock {
  readonly #folder: string;
  readonly #database: { close(): void };

  private constructor(folder: string, database: { close(): void }) {
    this.#folder = folder;
    this.#database = database;
  }

  /** Takes the lock of an existing folder, or returns undefined if another process (or part of this one) has it. Throws what the file system throws. */
  static async take(folder: string): Promise<StoreLock | undefined> {
    const { DatabaseSync } = await import('node:sqlite');
    const database = new DatabaseSync(join(folder, LOCK), { timeout: 0 });
    try {
      // Without a journal nothing is ever written, so a full disk does not matter.
      database.exec('PRAGMA journal_mode = OFF; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
      return new StoreLock(folder, database);
    } catch (cause) {
      database.close();
      if ((cause as { errcode?: number }).errcode === BUSY) return undefined;
      throw cause;
    }
  }

  /** Writes a description of the holder, for {@link describeHolder}. Ignores a disk that refuses. */
  async describe(holder: Holder): Promise<void> {
    const path = join(this.#folder, HOLDER);
    const draft = `${path}.${randomUUID()}`;
    try {
      await writeFile(draft, `${JSON.stringify({ ...holder, host: hostname(), since: new Date().toISOString() })}\n`);
      await rename(draft, path);
    } catch {
      await rm(draft, { force: true }).catch(() => {});
    }
  }

  /** Gives the lock back. Twice does nothing. */
  release(): void {
    try {
      this.#database.close();
    } catch {
      // It was closed before.
    }
  }
}

/** Returns the description of the holder of a folder's lock: `process 123 on host a, serving 127.0.0.1:8080, since ...`. */
export async function describeHolder(folder: string): Promise<string> {
  try {
    const said = JSON.parse(await readFile(join(folder, HOLDER), 'utf8')) as Record<string, unknown>;
    const pid = typeof said['pid'] === 'number' ? `process ${said['pid']}` : 'a process';
    return `${pid} on host ${said['host']}, serving ${said['address']}, since ${said['since']}`;
  } catch {
    return 'another process, which has not said who it is';
  }
}
