import { takeAll } from '../core/collections/take-all.ts';
import type { Reservation } from '../core/events.ts';
import type { LeaseRecord } from '../core/permit.ts';
import { type Instant, MILLISECOND, plus } from '../core/time.ts';
import { LedgerFenced, type LedgerRecord, type LedgerSnapshot, type TreeLedger } from '../ledger/ledger.ts';
import type { Clock } from './clock.ts';
import type { PendingAcquire } from './pending-acquire.ts';

/** Between two tries to write after a failure. */
const RETRY = 250 * MILLISECOND;

/** What a tree does once something is on disk, or cannot be. */
export interface LedgerWriterCallbacks {
  /** This record of a lease or an aggregate lease is on disk. */
  onAggregatePersisted(record: LeaseRecord): void;
  /** The lease of this caller, or what stands for it, is on disk. */
  onLeasePersisted(hold: PendingAcquire): void;
  /** It is not, and its wait timeout has ended, or it left. */
  onLeaseAbandoned(hold: PendingAcquire): void;
  /** All of one write has been reported. */
  written(): void;
  /** These bounds are on disk. Resolves once the gate knows. */
  reserved(reservations: readonly Reservation[]): Promise<void>;
  snapshot(): LedgerSnapshot;
  lost(cause: Error): void;
  /** Writing fails, or works again (undefined). */
  onWriteFailed(cause: unknown): void;
}

interface Item {
  readonly record: LedgerRecord;
  /** Answered once the record is on disk. */
  readonly hold: PendingAcquire | undefined;
  /** Called once, at the first outcome. */
  readonly done: ((stored: boolean) => void) | undefined;
}

/**
 * Everything a tree writes: records before their answers, bounds before their use. One append and one reservation are
 * under way at a time; what comes meanwhile goes with the next. A failed write is tried again: grants wait for it as long
 * as their callers have wait timeout, and nothing is spent (fail closed).
 */
export class LedgerWriter {
  readonly #clock: Clock;
  readonly #ledger: TreeLedger;
  readonly #host: LedgerWriterCallbacks;
  #items: Item[] = [];
  #flying: Item[] = [];
  readonly #wanted: Reservation[] = [];
  #reserving = false;
  /** Bounds and pauses that the gate does not know yet: a snapshot would forget them. */
  #unapplied = 0;
  #failing = false;
  #retryAt = 0 as Instant;
  #retrying = false;
  #stopped = false;
  readonly #quiet: (() => void)[] = [];

  constructor(deps: { clock: Clock; ledger: TreeLedger; host: LedgerWriterCallbacks }) {
    this.#clock = deps.clock;
    this.#ledger = deps.ledger;
    this.#host = deps.host;
  }

  /** When a request that must be written can be tried again; undefined: now. */
  closedUntil(now: Instant): Instant | undefined {
    return this.#failing && now < this.#retryAt ? this.#retryAt : undefined;
  }

  /** A lease, or what stands for it, to be on disk before the reply to its caller. */
  grant(lease: LeaseRecord, hold: PendingAcquire): void {
    this.#items.push({ record: { kind: 'grant', lease }, hold, done: undefined });
  }

  /** A record that a caller waits for: true when it is on disk, false when it could not be written. */
  append(record: LedgerRecord): Promise<boolean> {
    return new Promise((done) => {
      if (this.#stopped) done(false);
      else this.#items.push({ record, hold: undefined, done });
      this.flush();
    });
  }

  /** A record that no caller waits for. */
  appendUnawaited(record: LedgerRecord): void {
    if (!this.#stopped) this.#ledger.note([record]);
  }

  reserve(reservations: readonly Reservation[]): void {
    this.#wanted.push(...reservations);
    this.#reserveNext();
  }

  /** Sends what was collected. */
  flush(): void {
    if (this.#stopped || this.#retrying || this.#flying.length > 0 || this.#items.length === 0) return;
    // The two arrays are swapped and kept, see takeAll.
    [this.#flying, this.#items] = [this.#items, this.#flying];
    this.#ledger.append(this.#flying.map((item) => item.record)).then(
      () => this.#appended(),
      (cause: unknown) => this.#failed(cause),
    );
  }

  /** Resolves when nothing is under way. */
  whenIdle(): Promise<void> {
    if (this.#idle) return Promise.resolve();
    return new Promise((resolve) => this.#quiet.push(resolve));
  }

  /** Writes nothing more; answers the callers whose grants were not on disk. */
  stop(): readonly PendingAcquire[] {
    this.#stopped = true;
    const items = [...this.#flying, ...this.#items];
    this.#flying = [];
    this.#items = [];
    this.#wanted.length = 0;
    for (const item of items) item.done?.(false);
    this.#settleQuiet();
    return items.flatMap((item) => item.hold ?? []);
  }

  get #idle(): boolean {
    return this.#stopped || (this.#flying.length === 0 && this.#items.length === 0 && !this.#reserving);
  }

  #appended(): void {
    const items = takeAll(this.#flying);
    if (this.#stopped) return;
    this.#works();
    for (const item of items) {
      if ('lease' in item.record) this.#host.onAggregatePersisted(item.record.lease);
      item.done?.(true);
      if (item.hold !== undefined) this.#host.onLeasePersisted(item.hold);
    }
    this.#host.written();
    this.#snapshot();
    this.flush();
    this.#settleQuiet();
  }

  #failed(cause: unknown): void {
    const items = takeAll(this.#flying);
    if (this.#stopped) return;
    if (cause instanceof LedgerFenced) {
      this.#items = [...items, ...this.#items];
      this.#host.lost(cause);
      return;
    }
    if (this.#ledger.relievable) {
      // The store is full, maybe of what has ended: a snapshot goes first, then the same again.
      this.#items = [...items, ...this.#items];
      this.#snapshot();
      this.flush();
      return;
    }
    for (const item of items) item.done?.(false);
    this.#items = [...items.filter((item) => item.hold !== undefined), ...this.#items];
    this.#fails(cause);
  }

  #reserveNext(): void {
    if (this.#stopped || this.#retrying || this.#reserving || this.#wanted.length === 0) return;
    const wanted = takeAll(this.#wanted);
    this.#reserving = true;
    this.#unapplied++;
    this.#ledger
      .reserve(wanted)
      .then(
        () => this.#reserved(wanted),
        (cause: unknown) => this.#unreserved(wanted, cause),
      )
      .finally(() => {
        this.#unapplied--;
        this.#reserving = false;
        this.#snapshot();
        this.#reserveNext();
        this.#settleQuiet();
      });
  }

  async #reserved(reservations: readonly Reservation[]): Promise<void> {
    if (this.#stopped) return;
    this.#works();
    await this.#host.reserved(reservations);
  }

  #unreserved(wanted: readonly Reservation[], cause: unknown): void {
    if (this.#stopped) return;
    if (cause instanceof LedgerFenced) return this.#host.lost(cause);
    this.#wanted.unshift(...wanted);
    // Else a snapshot follows, then the same again.
    if (!this.#ledger.relievable) this.#fails(cause);
  }

  #works(): void {
    if (!this.#failing) return;
    this.#failing = false;
    this.#host.onWriteFailed(undefined);
  }

  #fails(cause: unknown): void {
    if (!this.#failing) this.#host.onWriteFailed(cause);
    this.#failing = true;
    this.#retryAt = plus(this.#clock.now(), RETRY);
    if (this.#retrying) return;
    this.#retrying = true;
    this.#clock.at(this.#retryAt, () => this.#retry());
  }

  #retry(): void {
    this.#retrying = false;
    if (this.#stopped) return;
    const now = this.#clock.now();
    const items = this.#items;
    this.#items = [];
    for (const item of items) {
      const { hold } = item;
      if (hold !== undefined && (hold.phase !== 'recording' || hold.waitUntil <= now)) this.#host.onLeaseAbandoned(hold);
      else this.#items.push(item);
    }
    this.#host.written();
    this.#snapshot();
    this.flush();
    this.#reserveNext();
    this.#settleQuiet();
  }

  /** Only when the gate knows all that is on disk: what a snapshot does not say is forgotten. */
  #snapshot(): void {
    if (!this.#ledger.wantsSnapshot || this.#unapplied > 0 || this.#stopped) return;
    this.#unapplied++;
    this.#reserving = true;
    this.#ledger
      .snapshot(this.#host.snapshot())
      .then(
        () => {
          // Whether a grant can be written is known after the next one.
          if (this.#items.length === 0 && this.#flying.length === 0 && this.#wanted.length === 0) this.#works();
        },
        (cause: unknown) => (cause instanceof LedgerFenced ? this.#host.lost(cause) : this.#fails(cause)),
      )
      .finally(() => {
        this.#unapplied--;
        this.#reserving = false;
        this.#reserveNext();
        this.#settleQuiet();
      });
  }

  #settleQuiet(): void {
    if (!this.#idle) return;
    for (const resolve of takeAll(this.#quiet)) resolve();
  }
}
