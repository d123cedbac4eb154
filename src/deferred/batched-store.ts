import { type Change, type DeferredStore, type Flight, StoreUnavailable, takesRoom } from './store.ts';

/** Changes in one batch at most, beside those that only arm: a larger one makes each of its callers wait for all. */
const BATCH_MAX = 256;
/** With those that only arm: all of them are one register. */
const BATCH_MAX_ALL = 1_024;
/** Bytes of bodies and of answers in one batch at most. */
const BATCH_BYTES_MAX = 1 << 20;

/** A change as callers request it; arming is by flight, not by the whole register. */
export type Write = Exclude<Change, { kind: 'arm' }> | { readonly kind: 'arm'; readonly flight: Flight };

interface Waiting {
  /** Committed together, or not at all. */
  readonly writes: readonly Write[];
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

/**
 * Group commit over a store: one batch is in flight, what arrives meanwhile is the next. Keeps the register of what may be on
 * its way and writes it once a batch, before anything armed in it is sent. When the store is full the batch is tried again
 * without its submits, so that ends are recorded.
 */
export class BatchedStore {
  readonly store: DeferredStore;
  readonly #flights = new Map<number, Flight>();
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(store: DeferredStore) {
    this.store = store;
  }

  /** Resolves once the changes, all in one batch and in this order, are on disk. Rejects with {@link StoreUnavailable}: none was applied. */
  write(...writes: readonly Write[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ writes, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** What an earlier process had armed is in the register until its request is tried again, or ends. */
  carry(flight: Flight): void {
    this.#flights.set(flight.sequence, flight);
  }

  /** A request was ended by another process: it is no longer on its way. */
  forget(sequence: number): void {
    this.#flights.delete(sequence);
  }

  /** Changes that wait for their batch, and those in the batch under way. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#commit(this.#next());
    this.#running = undefined;
  }

  #next(): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    let changing = 0;
    for (const { writes } of this.#queue) {
      if (changing === BATCH_MAX || count === BATCH_MAX_ALL || (count > 0 && bytes > BATCH_BYTES_MAX)) break;
      count++;
      if (writes[0]?.kind !== 'arm') changing++;
      for (const write of writes) bytes += bytesOf(write);
    }
    return this.#queue.splice(0, count);
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    try {
      await this.store.commit(this.#changes(batch));
      // Not before: until its end or retry is stored, what is armed next names it too.
      for (const { writes } of batch) for (const write of writes) if (write.kind === 'retry' || write.kind === 'end') this.#flights.delete(write.row.sequence);
      for (const { resolve } of batch) resolve();
    } catch (cause) {
      const submits = batch.filter(({ writes }) => writes.some(takesRoom));
      const rest = batch.filter(({ writes }) => !writes.some(takesRoom));
      const full = cause instanceof StoreUnavailable && cause.reason === 'full';
      for (const { reject } of full && submits.length > 0 ? submits : batch) reject(cause);
      if (full && submits.length > 0 && rest.length > 0) await this.#commit(rest);
    }
  }

  /** The changes of a batch; what it arms as one register with all that is on its way. */
  #changes(batch: readonly Waiting[]): readonly Change[] {
    const changes: Change[] = [];
    let arms = false;
    for (const { writes } of batch) {
      for (const write of writes) {
        if (write.kind === 'arm') {
          arms = true;
          this.#flights.set(write.flight.sequence, write.flight);
        } else changes.push(write);
      }
    }
    if (arms) changes.push({ kind: 'arm', flights: [...this.#flights.values()] });
    return changes;
  }
}

/** Bytes of the body or the answer that a change stores. */
function bytesOf(write: Write): number {
  if (write.kind === 'submit') return write.body instanceof Uint8Array ? write.body.byteLength : 0;
  return write.kind === 'end' ? (write.end.response?.body.byteLength ?? 0) : 0;
}
