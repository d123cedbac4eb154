import { mkdir, open, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DiskUnavailable, type KeyKind, LmdbFile, withTimeout } from './lmdb.ts';
import { describeHolder, type Holder, StoreInUse, StoreLock } from './store-lock.ts';
import { DamagedStore, verifyStore } from './verify.ts';

/** The file system has this long for each step of an opening. */
const STEP_MS = 10_000;

/** Time at most for checking the tree of pages; the rest is not checked. */
const VERIFY_MS = 5_000;

/** Between two tries to lock a store that was taken over. */
const RELOCK_MS = 250;

/** More than LMDB's table of readers takes; it uses a longer file as it is. */
const READERS_BYTES = 16_384;

const LEDGER_LOSSES = 'both forget what was spent and which leases live, and fences begin lower';

/** How a folder is opened. */
export interface OpenStoreOptions {
  /** Shown to processes that find the store in use. */
  readonly holder: Holder;
  /** Open it although another process holds it. */
  readonly takeOver: boolean;
  /** Default: ordered. */
  readonly keys?: KeyKind;
  /** What an empty folder, or a copy, would forget, as the end of a sentence about a damaged one; default: the state of the ledger. */
  readonly losses?: string;
  /** Receives how the check of an existing store went. */
  readonly verified?: (pages: number, whole: boolean, tookMs: number) => void;
}

/** An open store and the lock on its folder. */
export interface OpenedStore {
  readonly file: LmdbFile;
  /** Replaces the holder's description. */
  describe(holder: Holder): Promise<void>;
  /** Closes the file, then gives the lock back. Twice does nothing. */
  close(): Promise<void>;
}

/**
 * Opens the store in `path`, which is made where it is missing: locked, checked, then mapped. Rejects with {@link StoreInUse},
 * {@link DamagedStore}, {@link DiskUnavailable} when the file system does not answer, or with what it answers; each says what
 * to do. Everything before the mapping leaves the event loop free, so that a signal still ends the process.
 */
export async function openStore(path: string, ways: OpenStoreOptions): Promise<OpenedStore> {
  await step(path, makeFolder(path));
  let lock = await step(path, StoreLock.take(path));
  if (lock === undefined && !ways.takeOver) {
    throw new StoreInUse(`It is in use by ${await describeHolder(path)}. Stop that process first, or take its place with store.takeOver: true.`);
  }
  try {
    if (lock !== undefined) {
      await lock.describe(ways.holder);
      await verify(path, ways);
      await step(path, allocateReaders(join(path, 'lock.mdb')));
    }
    const file = new LmdbFile(path, undefined, ways.keys);
    const relocking = lock === undefined ? relock(path, ways.holder, (taken) => (lock = taken)) : undefined;
    return {
      file,
      describe: async (holder) => lock?.describe(holder),
      close: async () => {
        relocking?.stop();
        await file.close();
        lock?.release();
      },
    };
  } catch (cause) {
    lock?.release();
    throw cause;
  }
}

async function step<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await withTimeout(STEP_MS, work);
  } catch (cause) {
    if (!(cause instanceof DiskUnavailable)) throw cause;
    throw new DiskUnavailable(`The file system of ${path} has not answered for ${STEP_MS / 1000} s. Look after it, or set store.path to a local disk.`);
  }
}

/**
 * Makes the folder and those above it, one by one. (`mkdir` with `recursive` goes round for ever where a file system has the
 * parent and lets nothing be made in it, as /proc.)
 */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    const found = await stat(at).catch((cause: NodeJS.ErrnoException) => cause);
    if (!(found instanceof Error)) {
      if (found.isDirectory()) break;
      throw new Error(`${at} is not a folder.`);
    }
    if (found.code !== 'ENOENT' || dirname(at) === at) throw found;
    missing.push(at);
  }
  for (const folder of missing.reverse()) {
    await mkdir(folder).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST') throw cause;
    });
  }
}

async function verify(path: string, { verified, losses = LEDGER_LOSSES }: OpenStoreOptions): Promise<void> {
  const file = join(path, 'data.mdb');
  const found = await step(path, stat(file)).catch((cause: NodeJS.ErrnoException) => cause);
  if (found instanceof Error && (found as NodeJS.ErrnoException).code === 'ENOENT') return;
  if (found instanceof Error) throw found;
  if (!found.isFile()) throw new Error(`${file} is not a file.`);
  const began = performance.now();
  try {
    const { pages, whole } = await verifyStore(file, VERIFY_MS);
    verified?.(pages, whole, performance.now() - began);
  } catch (cause) {
    if (!(cause instanceof DamagedStore)) throw cause;
    throw new DamagedStore(
      `${file} is damaged: ${cause.message}. Nothing was changed. Move the folder away and start with an empty one, or put a copy back: ` +
        `${losses} (docs/operations.md, "A damaged store").`,
      { cause },
    );
  }
}

/**
 * LMDB makes its table of readers a file with holes and maps it; on a full disk the first touch of a hole ends the process
 * by SIGBUS. So it is filled before. LMDB writes it anew when no other process has it, which the lock of the folder means.
 */
async function allocateReaders(path: string): Promise<void> {
  const file = await open(path, 'a+');
  try {
    const { size, blocks } = await file.stat();
    if (size >= READERS_BYTES && blocks * 512 >= size) return;
  } finally {
    await file.close();
  }
  const filled = await open(path, 'r+');
  try {
    await filled.write(new Uint8Array(READERS_BYTES), 0, READERS_BYTES, 0);
    await filled.sync();
  } finally {
    await filled.close();
  }
}

/** Tries to lock a store that is open already, until its former holder has ended. */
function relock(path: string, holder: Holder, taken: (lock: StoreLock) => void): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const attempt = async (): Promise<void> => {
    const lock = await StoreLock.take(path).catch(() => undefined);
    if (stopped) lock?.release();
    else if (lock === undefined) again();
    else {
      taken(lock);
      await lock.describe(holder);
    }
  };
  const again = (): void => {
    timer = setTimeout(() => {
      attempt().catch(() => {});
    }, RELOCK_MS);
    timer.unref();
  };
  again();
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
