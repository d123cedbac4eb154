import { mkdirSync } from 'node:fs';
import type { Config } from './config/load.ts';
import { LmdbRegisters } from './coordination/registers/lmdb.ts';
import { MemoryRegisters } from './coordination/registers/memory.ts';
import type { Registers } from './coordination/registers.ts';
import { LmdbFile } from './disk/lmdb-file.ts';
import type { Store } from './ledger/store.ts';
import { LmdbStore } from './ledger/stores/lmdb.ts';
import { MemoryStore } from './ledger/stores/memory.ts';

/** What state is kept in. */
export interface Storage {
  readonly registers: Registers;
  readonly store: Store;
  /** It outlives the process: what must survive is written. */
  readonly durable: boolean;
  /** Waits for what is under way. Closing twice does nothing. */
  close(): Promise<void>;
}

/** Opens the storage of `store` in the configuration. Throws, saying what to do, when the folder cannot be used. */
export function openStorage(options: Config['store']): Storage {
  if (options.kind === 'memory') {
    const store = new MemoryStore({ bytes: options.bytes });
    return { registers: new MemoryRegisters(), store, durable: false, close: () => store.close() };
  }
  try {
    mkdirSync(options.path, { recursive: true });
    const file = new LmdbFile(options.path);
    return { registers: new LmdbRegisters(file), store: new LmdbStore(file, { bytes: options.bytes }), durable: true, close: () => file.close() };
  } catch (cause) {
    throw new Error(`The store at ${options.path} cannot be opened; make the folder writable, or set store.path.`, { cause });
  }
}
