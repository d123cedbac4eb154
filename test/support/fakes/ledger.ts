import type { Reservation } from '../../../src/core/events.ts';
import type { GateSnapshot, SealedState } from '../../../src/core/gate/snapshot.ts';
import type { Ledger, LedgerRecord, LedgerSnapshot, TreeLedger } from '../../../src/ledger/ledger.ts';

/** A ledger that remembers what it was told, and fails or waits when a test says so. It restores nothing. */
export class FakeLedger implements Ledger {
  readonly trees = new Map<string, FakeTreeLedger>();
  closed = false;
  /** What every new tree starts from. */
  restored: GateSnapshot | undefined;
  /** Every write fails with this. */
  failure: Error | undefined;
  /** Writes wait for `release`. */
  stalled = false;
  #waiting: (() => void)[] = [];

  async tree(root: string): Promise<TreeLedger> {
    const known = this.trees.get(root);
    if (known !== undefined) return known;
    const tree = new FakeTreeLedger(this);
    this.trees.set(root, tree);
    return tree;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Lets the writes that wait go on. */
  release(): void {
    this.stalled = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }

  async write(): Promise<void> {
    if (this.stalled) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.failure !== undefined) throw this.failure;
  }
}

/** One tree of it. */
export class FakeTreeLedger implements TreeLedger {
  readonly #all: FakeLedger;
  readonly records: LedgerRecord[] = [];
  readonly noted: LedgerRecord[] = [];
  readonly reserved: Reservation[] = [];
  readonly snapshots: LedgerSnapshot[] = [];
  sealed: SealedState | undefined;
  wantsSnapshot = false;
  readonly relievable = false;

  constructor(all: FakeLedger) {
    this.#all = all;
  }

  get restored(): GateSnapshot | undefined {
    return this.#all.restored;
  }

  async reserve(reservations: readonly Reservation[]): Promise<void> {
    await this.#all.write();
    this.reserved.push(...reservations);
  }

  async append(records: readonly LedgerRecord[]): Promise<void> {
    await this.#all.write();
    this.records.push(...records);
  }

  note(records: readonly LedgerRecord[]): void {
    this.noted.push(...records);
  }

  async snapshot(snapshot: LedgerSnapshot): Promise<void> {
    this.wantsSnapshot = false;
    await this.#all.write();
    this.snapshots.push(snapshot);
  }

  async seal(seal: SealedState, snapshot: LedgerSnapshot): Promise<void> {
    await this.#all.write();
    this.sealed = seal;
    this.snapshots.push(snapshot);
  }
}
