import { takeAll } from '../core/collections/take-all.ts';
import type { GateSnapshot, SealedState } from '../core/gate/snapshot.ts';
import { DISTANT_PAST, type Instant, MINUTE, type Micros, NEVER, plus, SECOND } from '../core/time.ts';
import type { Batch } from './batch-codec.ts';
import { Pieces } from './batching.ts';
import type { Ledger, LedgerRecord, LedgerSnapshot, TreeLedger } from './ledger.ts';
import { LogWriter } from './log-writer.ts';
import type { Store } from './stores/store.ts';
import { subjectOf } from './subjects.ts';

/** A snapshot is written after this many bytes, or after this time with anything written. */
const SNAPSHOT_BYTES = 8 << 20;
const SNAPSHOT_AFTER: Micros = MINUTE;

/** Above this part of its share of the store a tree is worth a snapshot sooner, if half of it or more is new. */
const SNAPSHOT_FILL = 0.5;

/** A full store is tried by a snapshot again after this, and after ten times as long as the last one took. */
const FULL_AGAIN: Micros = SECOND;

/** Records that no caller waits for are written after this long at the latest. */
const NOTE_WITHIN: Micros = SECOND;

/** A batch of this many records is written at once, without waiting for more. */
const NOTES_MAX = 2_000;

/** What of a clock a ledger needs. */
export interface LedgerClock {
  now(): Instant;
  at(when: Instant, wake: () => void): () => void;
}

/** Dependencies of a ledger. */
export interface LedgerDeps {
  readonly store: Store;
  readonly clock: LedgerClock;
  readonly term: bigint;
  /** The instant from which the term decides: leases of earlier terms end one length after it at the latest, in later terms too. Absent: not recorded. */
  readonly from?: Instant;
}

/** The ledger over any store, for one term. The store is closed with it. */
export function createLedger(deps: LedgerDeps): Ledger {
  return new LogLedger(deps);
}

class LogLedger implements Ledger {
  readonly #store: Store;
  readonly #clock: LedgerClock;
  readonly #term: bigint;
  readonly #from: Instant | undefined;
  readonly #trees = new Map<string, LogTree>();

  constructor(deps: LedgerDeps) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#term = deps.term;
    this.#from = deps.from;
  }

  async tree(root: string): Promise<TreeLedger> {
    // A tree opened again (dropped and made anew by a reload): its old writer ends, and is read like any other before.
    await this.#trees.get(root)?.end();
    const chain = new LogWriter({ store: this.#store, subject: subjectOf(root), term: this.#term, from: this.#from });
    const restored = (await chain.open()).restored();
    const tree = new LogTree({ chain, clock: this.#clock, term: this.#term, restored });
    this.#trees.set(root, tree);
    return tree;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#trees.values()].map((tree) => tree.end()));
    await this.#store.close();
  }
}

class LogTree implements TreeLedger {
  readonly restored: GateSnapshot | undefined;
  readonly #chain: LogWriter;
  readonly #clock: LedgerClock;
  readonly #term: bigint;
  readonly #notes: LedgerRecord[] = [];
  #cancelNote: (() => void) | undefined;
  #snapshotAt: Instant;
  #relieveAt: Instant = DISTANT_PAST;
  #ended = false;

  constructor(deps: { chain: LogWriter; clock: LedgerClock; term: bigint; restored: GateSnapshot | undefined }) {
    this.#chain = deps.chain;
    this.#clock = deps.clock;
    this.#term = deps.term;
    this.restored = deps.restored;
    this.#snapshotAt = deps.clock.now();
  }

  get wantsSnapshot(): boolean {
    const { bytesSince, bytesWhole, full, fill } = this.#chain;
    if (full) return this.relievable;
    if (bytesSince > Math.max(SNAPSHOT_BYTES, bytesWhole)) return true;
    if (fill > SNAPSHOT_FILL && bytesSince > bytesWhole) return true;
    return bytesSince > 0 && this.#clock.now() >= plus(this.#snapshotAt, SNAPSHOT_AFTER);
  }

  get relievable(): boolean {
    return this.#chain.full && this.#clock.now() >= this.#relieveAt;
  }

  async reserve(reservations: Parameters<TreeLedger['reserve']>[0]): Promise<void> {
    // Nothing to write: notes go on waiting for their own moment.
    if (reservations.length === 0) return;
    this.#passNotes();
    await this.#chain.append(reservations, []);
  }

  async append(records: readonly LedgerRecord[]): Promise<void> {
    if (records.length === 0) return;
    this.#passNotes();
    await this.#chain.append([], records);
  }

  note(records: readonly LedgerRecord[]): void {
    if (this.#ended) return;
    this.#notes.push(...records);
    if (this.#notes.length >= NOTES_MAX) this.#passNotes(true);
    else this.#cancelNote ??= this.#clock.at(plus(this.#clock.now(), NOTE_WITHIN), () => this.#passNotes(true));
  }

  async snapshot(snapshot: LedgerSnapshot): Promise<void> {
    const began = this.#clock.now();
    this.#snapshotAt = began;
    // Not while this one is under way either.
    this.#relieveAt = NEVER;
    try {
      await this.#chain.replaceAtomically(this.#batches(snapshot, undefined), false);
    } finally {
      const now = this.#clock.now();
      this.#relieveAt = plus(now, Math.max(FULL_AGAIN, 10 * (now - began)));
    }
  }

  async seal(seal: SealedState, snapshot: LedgerSnapshot): Promise<void> {
    this.#passNotes();
    await this.#chain.replaceAtomically(this.#batches(snapshot, seal), true);
  }

  /** Writes the notes, waits for what is under way, and writes nothing more. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#passNotes();
    await this.#chain.flush();
    this.#ended = true;
    this.#chain.end(new Error('This ledger is closed.'));
  }

  #batches(snapshot: LedgerSnapshot, seal: SealedState | undefined): Batch[] {
    const records: LedgerRecord[] = [
      ...snapshot.leases.map((lease) => ({ kind: 'grant', lease }) as const),
      ...snapshot.pauses.map((pause) => ({ kind: 'pause', pause }) as const),
      ...snapshot.overrides.map((override) => ({ kind: 'override', override }) as const),
    ];
    const batches = Pieces.batches(Pieces.of(snapshot.reservations, records, seal?.limits));
    return batches.map((batch, index) => ({ ...batch, term: this.#term, part: { index, of: batches.length, sealedAt: seal?.at } }));
  }

  /** Hands the notes to the chain: to be written with the next append, or `now`. Notes that cannot be written stay with the chain. */
  #passNotes(now = false): void {
    this.#cancelNote?.();
    this.#cancelNote = undefined;
    this.#chain.add(takeAll(this.#notes));
    if (now) this.#chain.start();
  }
}
