import type { Config } from '../config/load.ts';
import { LmdbRegisters } from '../coordination/registers/lmdb.ts';
import { MemoryRegisters } from '../coordination/registers/memory.ts';
import type { Registers } from '../coordination/registers/registers.ts';
import { LmdbStore } from '../ledger/stores/lmdb.ts';
import { MemoryStore } from '../ledger/stores/memory.ts';
import type { Store, StoreRoom } from '../ledger/stores/store.ts';
import { DiskUnavailable } from '../storage/lmdb.ts';
import { openStore } from '../storage/open-store.ts';
import { type Holder, StoreInUse } from '../storage/store-lock.ts';
import { DamagedStore } from '../storage/verify.ts';

/** What state is kept in. */
export interface Storage {
  readonly registers: Registers;
  readonly store: Store;
  /** How full it is; undefined: it is memory. */
  readonly room: (() => StoreRoom) | undefined;
  /** It outlives the process: what must survive is written. */
  readonly durable: boolean;
  /** Replaces what this process says of itself to one that finds the store in use. */
  describe(holder: Holder): Promise<void>;
  /** Waits for what is under way. Closing twice does nothing. */
  close(): Promise<void>;
}

/** How storage is opened, beside the options. */
export interface StorageWays {
  /** Said to a process that finds the store in use. */
  readonly holder: Holder;
  /** Told that the check of an existing store is done. */
  readonly verified?: (pages: number, whole: boolean, tookMs: number) => void;
}

/** Opens the storage of `store` in the configuration. Rejects, saying what to do, when the folder cannot be used. */
export async function openStorage(options: Config['store'], ways: StorageWays): Promise<Storage> {
  const { bytes, path, takeOver } = options;
  if (options.kind === 'memory') {
    const store = new MemoryStore({ bytes });
    return { registers: new MemoryRegisters(), store, room: undefined, durable: false, describe: async () => {}, close: () => store.close() };
  }
  try {
    const opened = await openStore(path, { ...ways, takeOver });
    try {
      const { file, describe, close } = opened;
      const store = new LmdbStore(file, { bytes });
      return { registers: new LmdbRegisters(file), store, room: () => store.room(), durable: true, describe, close };
    } catch (cause) {
      await opened.close();
      throw cause;
    }
  } catch (cause) {
    throw new Error(`The store at ${path} cannot be opened.${SAYS_WHAT_TO_DO.some((kind) => cause instanceof kind) ? '' : ADVICE}`, { cause });
  }
}

const SAYS_WHAT_TO_DO = [StoreInUse, DamagedStore, DiskUnavailable];
const ADVICE = ' Make the folder writable, or set store.path.';
