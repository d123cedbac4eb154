import { randomUUID } from 'node:crypto';
import { LocalAdmission } from '../admission/local-admission.ts';
import type { Config } from '../config/load.ts';
import type { Coordinator } from '../coordination/coordinator.ts';
import { LmdbRegisters } from '../coordination/registers/lmdb.ts';
import { MemoryRegisters } from '../coordination/registers/memory.ts';
import type { Registers } from '../coordination/registers/registers.ts';
import type { Timers } from '../coordination/replica.ts';
import { openSingleNodeCoordinator, readLastClock } from '../coordination/single-node.ts';
import { SECOND } from '../core/time.ts';
import { createLedger } from '../ledger/log-ledger.ts';
import { LmdbStore } from '../ledger/stores/lmdb.ts';
import { MemoryStore } from '../ledger/stores/memory.ts';
import type { Store, StoreRoom } from '../ledger/stores/store.ts';
import { createSystemClock, type SystemClock } from '../platform/system-clock.ts';
import { createTimers } from '../platform/timers.ts';
import { DiskUnavailable, isDiskRefusal } from '../storage/lmdb.ts';
import { openStore } from '../storage/open-store.ts';
import { type Holder, StoreInUse } from '../storage/store-lock.ts';
import { DamagedStore } from '../storage/verify.ts';
import { instrumentClock, instrumentStore } from '../telemetry/instrumented.ts';
import type { Log } from '../telemetry/log.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
import { type AdmissionStack, type AdmissionStackDeps, admissionDeps, createPace, wakerOf } from './admission-stack.ts';

/**
 * Admission of a single node: from the disk up. While the disk takes no writes it logs that and tries again: a term
 * and the first record of every tree are written before anything may be decided. Rejects at once for any other reason, and when the
 * start is given up.
 */
export async function openSingleNode(config: Config, deps: AdmissionStackDeps): Promise<AdmissionStack> {
  const { log, stopping, opened } = deps;
  let logAt = 0;
  for (;;) {
    const before = opened.length;
    try {
      const admission = await openOnce(config, deps);
      if (logAt > 0) log.write('info', 'store_ready', 'The disk takes writes again; the store is open.', { path: config.store.path });
      return admission;
    } catch (cause) {
      for (const close of opened.splice(before).reverse()) await close().catch(() => {});
      if (!isDiskRefusal(cause) || stopping?.aborted) throw cause;
      if (performance.now() >= logAt) {
        logAt = performance.now() + ROOM_TELL_MS;
        const msg = 'The disk takes no writes, as it is full or fails: the server waits and serves nothing before. Make room, or set store.path.';
        log.write('error', 'store_waiting', msg, { path: config.store.path, err: cause });
      }
      await sleepUnless(ROOM_RETRY_MS, stopping);
      if (stopping?.aborted) throw cause;
    }
  }
}

async function openOnce(config: Config, deps: AdmissionStackDeps): Promise<AdmissionStack> {
  const { version, nodeVersion, log, opened } = deps;
  const { storage, clock, coordinator } = await openFoundation(config, deps);
  opened.push(storage.close);
  opened.push(async () => clock.stop());
  opened.push(() => coordinator.leave());
  const place = coordinator.place('');
  if (place.at !== 'here') throw new Error('The term of the store was lost while it was taken; start again.');
  const lost = Promise.withResolvers<Error>();
  const metrics = createMetrics({ version, nodeVersion, now: () => clock.now(), groups: (max) => localAdmission.groupsFrom(0, max) });
  const store = instrumentStore(storage.store, () => clock.now(), metrics.flushed);
  // No other process takes what this one decides: a late renewal costs callers time, but no shard.
  const pace = createPace(() => Number.POSITIVE_INFINITY);
  const localAdmission: LocalAdmission = new LocalAdmission({
    ...admissionDeps(config, {
      ...{ clock: instrumentClock(clock, metrics.timerLate), log, metrics, pace },
      onEvent: (event) => {
        if (event.kind === 'lost') lost.resolve(event.cause);
      },
    }),
    coordinator,
    ledger: createLedger({ store, clock, term: place.leaderLease.term, from: place.leaderLease.from }),
    recording: storage.durable,
    reports: true,
  });
  await localAdmission.start();
  const unwatch = storage.room === undefined ? () => {} : watchRoom(storage.room, { timers: createTimers(), log, metrics });
  opened.push(async () => unwatch());
  opened.push(() => localAdmission.drain(0));
  return {
    admission: localAdmission,
    line: localAdmission,
    metrics,
    clock,
    remarks: () => [],
    serving: (addresses) => storage.describe(holderOf(deps, Object.values(addresses).join(', '))),
    lost: lost.promise,
    pace,
    reconfigure: (next) => localAdmission.reconfigure(next.groups),
    drain: (grace) => localAdmission.drain(grace),
    close: async () => {
      unwatch();
      clock.stop();
      await storage.close();
    },
  };
}

/** How often the store is looked at for the log. */
const LOOK_EVERY = SECOND;

/** A tree that has taken this much of its share is near to refusals; below the second number it is not any more. */
const FILLING = 0.8;
const EASED = 0.6;

/** Logs when the store fills up, and in the metrics how full it is. Returns a function that stops it. */
function watchRoom(room: () => StoreRoom, { timers, log, metrics }: { timers: Timers; log: Log; metrics: Metrics }): () => void {
  metrics.storing(room);
  let filling = false;
  let cancel = (): void => {};
  const look = (): void => {
    const { used, bytes, fill } = room();
    if (!filling && fill >= FILLING) {
      const msg = 'The store fills up: a tree of groups nears its share. Raise store.bytes, or look for leases that are never released.';
      log.write('warn', 'store_filling', msg, { used, bytes, fill });
      filling = true;
    } else if (filling && fill < EASED) {
      log.write('info', 'store_eased', 'The store has room again.', { used, bytes, fill });
      filling = false;
    }
    // Not by the clock, which spins before each moment to be exact.
    cancel = timers.after(LOOK_EVERY, look);
  };
  look();
  return () => cancel();
}

/** What a node needs before it may decide anything; the term is taken, which is a write. */
interface Foundation {
  readonly storage: Storage;
  readonly clock: SystemClock;
  readonly coordinator: Coordinator;
}

/** Between two tries to open a store whose disk is full. */
const ROOM_RETRY_MS = 1_000;

/** Between two lines of the log about it. */
const ROOM_TELL_MS = 60_000;

/** Opens the store and takes its term. */
async function openFoundation(config: Config, deps: AdmissionStackDeps): Promise<Foundation> {
  const { api, grpc, proxy, gatewayQueue } = config.listen;
  const storage = await openStorage(config.store, {
    holder: holderOf(deps, [api, grpc, proxy, gatewayQueue].flatMap((listener) => shown(listener.address)).join(', ')),
    verified: (pages, whole, tookMs) => {
      if (!whole) deps.log.write('warn', 'store_unverified', 'The store is too large to be checked whole before the start.', { pages });
      else deps.log.write('debug', 'store_verified', 'The pages of the store refer to each other as they should.', { pages, tookMs });
    },
  });
  let clock: SystemClock | undefined;
  try {
    clock = createSystemClock({ sources: deps.clocks, record: await readLastClock(storage.registers), openWaker: wakerOf(deps.clocks, deps.log) });
    const coordinator = await openSingleNodeCoordinator({ registers: storage.registers, clock, session: randomUUID() });
    return { storage, clock, coordinator };
  } catch (cause) {
    clock?.stop();
    await storage.close();
    throw cause;
  }
}

function holderOf({ pid }: Pick<AdmissionStackDeps, 'pid'>, address: string): Holder {
  return { pid, address };
}

function shown(address: Config['listen']['api']['address']): readonly string[] {
  return address === 'none' ? [] : [`${address.host}:${address.port}`];
}

function sleepUnless(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}

/** What state is kept in. */
interface Storage {
  readonly registers: Registers;
  readonly store: Store;
  /** How full it is; undefined: it is memory. */
  readonly room: (() => StoreRoom) | undefined;
  /** It outlives the process: what must survive is written. */
  readonly durable: boolean;
  /** Replaces what this process reports of itself to one that finds the store in use. */
  describe(holder: Holder): Promise<void>;
  /** Waits for what is under way. Closing twice does nothing. */
  close(): Promise<void>;
}

/** How storage is opened, beside the options. */
interface OpenStorageOptions {
  /** Reported to a process that finds the store in use. */
  readonly holder: Holder;
  /** Called when the check of an existing store is done. */
  readonly verified?: (pages: number, whole: boolean, tookMs: number) => void;
}

/** Opens the storage of `store` in the configuration. Rejects, saying what to do, when the folder cannot be used. */
async function openStorage(options: Config['store'], more: OpenStorageOptions): Promise<Storage> {
  const { bytes, path, takeOver } = options;
  if (options.kind === 'memory') {
    const store = new MemoryStore({ bytes });
    return { registers: new MemoryRegisters(), store, room: undefined, durable: false, describe: async () => {}, close: () => store.close() };
  }
  try {
    const opened = await openStore(path, { ...more, takeOver });
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
