import type { Reservation } from '../core/events.ts';
import type { Instant } from '../core/time.ts';
import { type Batch, decodeBatch, EMPTY_BATCH, encodeBatch } from './batch-codec.ts';
import { type BatchItem, Pieces } from './batching.ts';
import { LedgerFenced, type LedgerRecord } from './ledger.ts';
import { Replay } from './replay.ts';
import { Conflict, type Sequence, type Store, StoreFull } from './stores/store.ts';

/** Bytes of pieces that wait to be written; beyond, further ones are refused at once. */
const WAITING_BYTES_MAX = 16 << 20;

/** Times at most that an opening reads what came since, and appends: others' records came between as often. */
const OPEN_TRIES = 16;

/** Pieces kept after a failure; the rest is lost, at no harm. */
const KEPT_MAX = 10_000;

/** The ledger cannot write as fast as records come: retry later. */
export class LedgerOverloaded extends Error {
  override readonly name = 'LedgerBehind';
}

interface Call {
  left: number;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
  settled: boolean;
}

interface Waiting {
  readonly piece: BatchItem;
  readonly call: Call | undefined;
}

/** Several batches that count only together, and what becomes of them. */
interface Whole {
  readonly batches: readonly Batch[];
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
  readonly last: boolean;
}

/**
 * One log of batches with one writer. One append is under way at a time; what comes meanwhile goes with the next, so a
 * thousand callers at once make a few appends. Each append names the one before it: a newer term's makes it fail, and then
 * this chain writes nothing more.
 */
export class LogWriter {
  readonly #store: Store;
  readonly #subject: string;
  readonly #term: bigint;
  readonly #from: Instant | undefined;
  #written = 0;
  #last: Sequence = 0;
  /** An append failed without saying whether it was written: the next conflict may be with ourselves. */
  #doubt = false;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Pieces that no caller waits for and that could not be written: they go with the next ones. */
  #kept: Waiting[] = [];
  #whole: Whole | undefined;
  #running: Promise<void> | undefined;
  /** Why nothing more is written. */
  #ended: Error | undefined;
  /** The store refused for want of room. */
  full = false;
  /** Written since the last whole, and the size of that. */
  bytesSince = 0;
  bytesWhole = 0;

  /** `from`: the instant from which the term decides. */
  constructor(deps: { store: Store; subject: string; term: bigint; from?: Instant | undefined }) {
    this.#store = deps.store;
    this.#subject = deps.subject;
    this.#term = deps.term;
    this.#from = deps.from;
  }

  /**
   * Reads everything, then appends the opening of this term after it: success proves that the reading was complete and
   * fences every older writer. After a conflict reads only what came since, so an older writer that goes on cannot keep it from its end
   * by the length of the log. Throws the last {@link Conflict} after {@link OPEN_TRIES} tries; {@link LedgerFenced} when a newer term was
   * here; damaged or unreadable records throw as they are, and nothing is decided on half a chain.
   */
  async open(): Promise<Replay> {
    const replay = new Replay();
    this.#last = 0;
    this.bytesSince = 0;
    for (let tries = 1; ; tries++) {
      for await (const { sequence, bytes } of this.#store.read(this.#subject, this.#last === 0 ? 0 : this.#last + 1)) {
        const batch = decodeBatch(bytes);
        if (batch.term > this.#term) throw this.#end(new LedgerFenced(`Term ${batch.term} writes ${this.#subject}; this process has term ${this.#term}.`));
        replay.apply(batch);
        this.#last = sequence;
        this.bytesSince += bytes.length;
      }
      try {
        this.#last = await this.#store.append(
          this.#subject,
          encodeBatch({ ...EMPTY_BATCH, term: this.#term, opening: true, from: this.#from }),
          this.#last,
          true,
        );
        return replay;
      } catch (cause) {
        if (!(cause instanceof Conflict) || tries >= OPEN_TRIES) throw cause;
      }
    }
  }

  /** Resolves when all of it is on disk. Rejects with {@link LedgerFenced}, {@link LedgerOverloaded}, or the store's error: then some of it may be written. */
  append(reservations: readonly Reservation[], records: readonly LedgerRecord[]): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (this.#waitingBytes > WAITING_BYTES_MAX)
      return Promise.reject(new LedgerOverloaded(`More than ${WAITING_BYTES_MAX} bytes wait to be written to ${this.#subject}.`));
    const pieces = Pieces.of(reservations, records);
    if (pieces.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const call: Call = { left: pieces.length, resolve, reject, settled: false };
      for (const piece of pieces) this.#add({ piece, call });
      this.#run();
    });
  }

  /** Goes with the next append, before it; lost with it too. */
  add(records: readonly LedgerRecord[]): void {
    if (this.#ended === undefined) for (const piece of Pieces.of([], records)) this.#add({ piece, call: undefined });
  }

  /** Starts to write what waits. */
  start(): void {
    this.#run();
  }

  /** Writes what waits, and resolves when nothing is under way. */
  async flush(): Promise<void> {
    this.#run();
    await this.#running;
  }

  /**
   * Writes batches that count only together, before what still waits (every piece may be read after a later state), or, as
   * the `last` of this chain, after it; then forgets all that came before. Same rejections.
   */
  async replaceAtomically(batches: readonly Batch[], last: boolean): Promise<void> {
    while (this.#whole !== undefined) await this.#running;
    if (this.#ended !== undefined) throw this.#ended;
    await new Promise<void>((resolve, reject) => {
      this.#whole = { batches, resolve, reject, last };
      this.#run();
    });
  }

  /** How much of its share of the store it has taken: 1 is all, 0 where that is not known. */
  get fill(): number {
    return this.#store.fill?.(this.#subject) ?? 0;
  }

  /** Nothing more is written. */
  end(why: Error): void {
    this.#end(why);
  }

  #add(waiting: Waiting): void {
    const kept = this.#kept;
    if (kept.length > 0) this.#kept = [];
    for (const one of [...kept, waiting]) {
      this.#waiting.push(one);
      this.#waitingBytes += one.piece.bytes;
    }
  }

  #run(): void {
    if (this.#running !== undefined || (this.#waiting.length === 0 && this.#whole === undefined)) return;
    // A microtask later, so that all callers of this turn go together.
    this.#running = Promise.resolve()
      .then(() => this.#loop())
      .finally(() => {
        this.#running = undefined;
        this.#run();
      });
  }

  async #loop(): Promise<void> {
    for (;;) {
      const whole = this.#whole;
      if (whole !== undefined && (!whole.last || this.#waiting.length === 0)) {
        this.#whole = undefined;
        await this.#writeWhole(whole);
      } else if (this.#waiting.length > 0) await this.#writeWaiting();
      else return;
    }
  }

  async #writeWaiting(): Promise<void> {
    const taken = this.#waiting.splice(0, Pieces.fitting(this.#waiting.map(({ piece }) => piece)));
    for (const { piece } of taken) this.#waitingBytes -= piece.bytes;
    const live = taken.filter(({ call }) => !call?.settled);
    if (live.length === 0) return;
    const batch = Pieces.batch(live.map(({ piece }) => piece));
    try {
      await this.#write({ ...batch, term: this.#term }, false);
      for (const { call } of live) if (call !== undefined && --call.left === 0) settle(call, undefined);
    } catch (cause) {
      for (const { call } of live) if (call !== undefined) settle(call, cause);
      this.#kept = [...live.filter(({ call }) => call === undefined), ...this.#kept].slice(0, KEPT_MAX);
    }
  }

  async #writeWhole(whole: Whole): Promise<void> {
    const before = this.bytesSince;
    const began = this.#written;
    try {
      let first: Sequence | undefined;
      for (const batch of whole.batches) {
        await this.#write(batch, true);
        first ??= this.#last;
      }
      if (whole.last) this.#end(new Error(`${this.#subject} is sealed.`));
      this.bytesWhole = this.#written - began;
      this.bytesSince -= before + this.bytesWhole;
      this.full = false;
      // A failed trim costs room, nothing else; the next one does its work.
      await this.#store.trim(this.#subject, first ?? 0).catch(() => {});
      whole.resolve();
    } catch (cause) {
      whole.reject(cause);
    }
  }

  async #write(batch: Batch, relief: boolean): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    const bytes = encodeBatch(batch);
    for (;;) {
      try {
        this.#last = await this.#store.append(this.#subject, bytes, this.#last, relief);
        this.#doubt = false;
        this.bytesSince += bytes.length;
        this.#written += bytes.length;
        return;
      } catch (cause) {
        if (cause instanceof StoreFull) this.full = true;
        else if (!(cause instanceof Conflict)) this.#doubt = true;
        if (!(cause instanceof Conflict)) throw cause;
        if (!(await this.#isOwnAppend(cause))) throw this.#end(new LedgerFenced(`A newer term writes ${this.#subject}.`, { cause }));
      }
    }
  }

  /** Checks whether a conflict is with an own append whose response was lost. No two writers share a term. */
  async #isOwnAppend(conflict: Conflict): Promise<boolean> {
    if (!this.#doubt) return false;
    for await (const { sequence, bytes } of this.#store.read(this.#subject, this.#last + 1)) {
      if (decodeBatch(bytes).term !== this.#term) return false;
      this.#last = sequence;
      this.#doubt = false;
    }
    // The store reports a record that it has not sent yet.
    if (this.#doubt) throw conflict;
    return true;
  }

  #end(why: Error): Error {
    this.#ended ??= why;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const { call } of waiting) if (call !== undefined) settle(call, why);
    const whole = this.#whole;
    this.#whole = undefined;
    whole?.reject(why);
    return why;
  }
}

function settle(call: Call, cause: unknown): void {
  if (call.settled) return;
  call.settled = true;
  if (cause === undefined) call.resolve();
  else call.reject(cause);
}
