import type { LeaderLease } from '../coordination/coordinator.ts';
import { takeAll } from '../core/collections/take-all.ts';
import type { GateEvent, Reservation } from '../core/events.ts';
import type { Gate } from '../core/gate/gate.ts';
import type { LeaseRecord, Permit } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { DECIDED, type WaiterRef } from '../core/request.ts';
import { type Instant, later, NEVER, plus, SECOND } from '../core/time.ts';
import { isStored } from '../core/tree/stored-requests.ts';
import type { LedgerSnapshot, TreeLedger } from '../ledger/ledger.ts';
import { MOVED } from './admission.ts';
import type { Clock } from './clock.ts';
import type { AdmissionEvent } from './deps.ts';
import { GateTimer } from './gate-timer.ts';
import type { GroupEntry } from './group-entry.ts';
import { LedgerWriter, type LedgerWriterCallbacks } from './ledger-writer.ts';
import type { PendingAcquire } from './pending-acquire.ts';
import { permitId, provenPermitId } from './permit-id.ts';
import type { PermitProofs } from './permit-proofs.ts';
import type { ReplyQueue, ReplyScheduler } from './reply-scheduler.ts';
import { TermGuard } from './term-guard.ts';

/** The end of a permit, as the gate reports it. */
export type EndedEvent = Extract<GateEvent, { kind: 'ended' }>;

/** What one gate's turns are made of. */
export interface GateDriverDeps {
  readonly root: string;
  readonly gate: Gate;
  readonly ledger: TreeLedger;
  readonly leaderLease: LeaderLease;
  readonly entries: ReadonlyMap<string, GroupEntry>;
  readonly clock: Clock;
  readonly answers: ReplyScheduler;
  readonly onGateEvent: (event: GateEvent, now: Instant) => void;
  readonly onEvent: (event: AdmissionEvent) => void;
  readonly lost: (cause: Error) => void;
  readonly proofs: PermitProofs;
  /** The holder of a stored request that the gate has decided about; undefined if nothing stores requests here. */
  readonly storedHold: (sequence: number, group: string) => PendingAcquire | undefined;
  /** The stored requests of this group are no longer in line. */
  readonly unqueued: (group: string) => void;
}

/** What cannot be written. */
type Trouble = 'term' | 'ledger';

/** While a tree has keys, so many of each group are looked at so often: those that no longer matter are forgotten, though no other comes. */
const SWEEP_EACH = 5 * SECOND;
const SWEEP_STEPS = 2_000;

/** A caller refused because nothing could be written tries again after this. */
const UNSTORED_FOR = SECOND;

/**
 * Runs one gate. Every call to it is a turn, taken only with the right to decide:
 *
 *     gate call ─▶ events ─▶ written, where it must be ─▶ replied, in order and in slices
 *              └─▶ bounds to reserve ─▶ on disk ─▶ gate      └─▶ one timer, at `wakeAt`
 */
export class GateDriver implements LedgerWriterCallbacks {
  readonly gate: Gate;
  readonly writer: LedgerWriter;
  readonly queue: ReplyQueue;
  /** By name; replaced by a change of configuration. */
  entries: ReadonlyMap<string, GroupEntry>;
  /** Who waits in the gate. */
  readonly waiting = new Map<WaiterRef, PendingAcquire>();
  /** The last renewal that must be written, and the last permit that ended: for the one that took the turn. */
  renewal: LeaseRecord | undefined;
  ended: EndedEvent | undefined;
  readonly tracked = new TrackedLeases();
  readonly #deps: GateDriverDeps;
  readonly #clock: Clock;
  readonly #right: TermGuard;
  readonly #waking: GateTimer;
  readonly #troubles = new Set<Trouble>();
  readonly #undone: Permit[] = [];
  #over: Refusal | undefined;
  #cancelSweep: (() => void) | undefined;
  #sweepAt: Instant = NEVER;

  constructor(deps: GateDriverDeps) {
    const { clock, gate, ledger } = deps;
    this.#deps = deps;
    this.#clock = clock;
    this.gate = gate;
    this.entries = deps.entries;
    this.queue = deps.answers.queue();
    const troubled = (what: Trouble) => (cause: unknown) => this.#troubled(what, cause);
    this.#right = new TermGuard({ clock, leaderLease: deps.leaderLease, lost: deps.lost, trouble: troubled('term') });
    this.writer = new LedgerWriter({ clock, ledger, host: this });
    const wake = () => this.run((now) => this.gate.tick(now));
    this.#waking = new GateTimer({ clock, prepare: () => void this.#right.ready(clock.now()), wake });
    this.settle(clock.now());
  }

  /** Why nothing is decided here any more; undefined: it is. */
  get closedReason(): Refusal | undefined {
    return this.#over;
  }

  /** undefined: decide now. Otherwise try again when this has resolved; it never rejects. */
  awaitTerm(now: Instant): Promise<void> | undefined {
    return this.#right.ready(now);
  }

  /** Decides nothing until `change` has settled. */
  block(change: Promise<unknown>): void {
    this.#right.block(change);
  }

  /** Does something to the gate once there is the right to, in the order of the calls; never, when that is lost. */
  run(change: (now: Instant) => void): void {
    if (this.#over !== undefined) return;
    const now = this.#clock.now();
    const awaited = this.#right.ready(now);
    if (awaited !== undefined) {
      void awaited.then(() => this.run(change));
      return;
    }
    change(now);
    this.settle(now);
  }

  /** The same for those who wait for the answer; a refusal when nothing is decided here any more. `settled` runs in the same turn. */
  async runDurably<T>(change: (now: Instant) => T, settled?: () => void): Promise<T | Refusal> {
    for (;;) {
      if (this.#over !== undefined) return this.#over;
      const now = this.#clock.now();
      const awaited = this.#right.ready(now);
      if (awaited === undefined) {
        const answer = change(now);
        this.settle(now);
        settled?.();
        return answer;
      }
      await awaited;
    }
  }

  /** A caller enters the gate; to be followed by `settle`. */
  submit(now: Instant, hold: PendingAcquire, request: Parameters<Gate['acquire']>[1]): void {
    const ref = this.gate.acquire(now, request);
    if (ref === DECIDED) return;
    hold.ref = ref;
    hold.phase = 'waiting';
    this.waiting.set(ref, hold);
  }

  /** A permit that never reached its caller. */
  rollback(permit: Permit): void {
    this.run((now) => this.gate.rollback(now, permit));
  }

  /** Sends `refusal` to this caller at its turn. */
  reply(hold: PendingAcquire, refusal: Refusal): void {
    hold.permit = undefined;
    hold.refusal = refusal;
    hold.phase = 'granted';
    this.queue.push(hold);
  }

  /** What could not be written was not done. */
  unstored(): Refusal {
    return { reason: 'unstored', retryAt: plus(this.#clock.now(), UNSTORED_FOR) };
  }

  /** The right to decide cannot be extended because its write fails. */
  get termFails(): boolean {
    return this.#right.failing;
  }

  /** Refuses all in the gate; needs no term, since it admits none. */
  refuseAll(refusal: Refusal): void {
    const now = this.#clock.now();
    this.gate.refuseAll(now, refusal);
    this.settle(now);
  }

  /** Nothing is decided any more; grants that were not on disk are refused. */
  stop(refusal: Refusal): void {
    if (this.#over !== undefined) return;
    this.#over = refusal;
    this.#stopWaking();
    const unwritten = this.writer.stop();
    this.refuseAll(refusal);
    for (const hold of unwritten) if (hold.phase === 'recording') this.reply(hold, refusal);
    this.queue.flush();
    this.tracked.closeAll();
  }

  /** A clean stop: the exact state goes into the ledger. Rejects when it could not be written. */
  async seal(refusal: Refusal): Promise<void> {
    await this.writer.whenIdle();
    const closed = await this.runDurably((now) => ({ write: this.close(now, refusal) }));
    if ('write' in closed) await closed.write();
  }

  /** Decides nothing more from `now` on; what it answers writes the exact state, as it is now. */
  close(now: Instant, refusal: Refusal): () => Promise<void> {
    const seal = this.gate.seal(now);
    const snapshot = this.gate.snapshot(now);
    this.#over = refusal;
    this.#stopWaking();
    return async () => {
      await this.#deps.ledger.seal(seal, snapshot);
      this.writer.stop();
    };
  }

  // LedgerWriterCallbacks: what became of what was written.

  onLeasePersisted(hold: PendingAcquire): void {
    const { permit, refusal } = hold;
    if (permit === undefined) return;
    if (hold.phase === 'over') return this.rollback(permit);
    if (refusal !== undefined) {
      this.reply(hold, refusal);
      this.rollback(permit);
    } else if (permit.lease !== undefined && permit.lease.expiresAt <= this.#clock.now()) this.reply(hold, this.unstored());
    else {
      hold.phase = 'granted';
      this.queue.push(hold);
    }
  }

  onAggregatePersisted(record: LeaseRecord): void {
    this.gate.onAggregatePersisted(record);
  }

  onLeaseAbandoned(hold: PendingAcquire): void {
    const { permit } = hold;
    if (hold.phase === 'recording') this.reply(hold, hold.refusal ?? this.unstored());
    if (permit !== undefined) this.rollback(permit);
  }

  written(): void {
    this.queue.flush();
  }

  reserved(reservations: readonly Reservation[]): Promise<void> {
    return new Promise((resolve) => {
      this.run((now) => {
        this.gate.onReservationsPersisted(now, reservations);
        resolve();
      });
    });
  }

  snapshot(): LedgerSnapshot {
    return this.gate.snapshot(this.#clock.now());
  }

  lost(cause: Error): void {
    this.#deps.lost(cause);
  }

  onWriteFailed(cause: unknown): void {
    this.#troubled('ledger', cause);
  }

  /** Both are on one disk: reported once when the first fails, and once when the last works again. */
  #troubled(what: Trouble, cause: unknown): void {
    if (this.#over !== undefined) return;
    const { root } = this.#deps;
    const before = this.#troubles.size;
    if (cause === undefined) this.#troubles.delete(what);
    else this.#troubles.add(what);
    const now = this.#troubles.size;
    if (before === 0 && now > 0) this.#deps.onEvent({ kind: 'unstored', root, cause });
    else if (before > 0 && now === 0) this.#deps.onEvent({ kind: 'stored', root });
  }

  /** After every call to the gate, within the same turn. */
  settle(now: Instant): void {
    for (const event of this.gate.takeEvents()) this.#happened(event, now);
    while (this.#undone.length > 0) {
      for (const permit of takeAll(this.#undone)) this.gate.rollback(now, permit);
      for (const event of this.gate.takeEvents()) this.#happened(event, now);
    }
    const reservations = this.gate.takeReservations();
    if (reservations.length > 0) this.writer.reserve(reservations);
    if (this.#over === undefined) {
      this.#waking.arm(now, this.gate.wakeAt(now));
      this.#armSweep(now);
    }
    this.writer.flush();
    this.queue.flush();
  }

  /** What is kept after the fact goes by time, though no request comes. */
  #armSweep(now: Instant): void {
    const due = later(this.gate.sweepAt, plus(now, SWEEP_EACH));
    if (due === NEVER || this.#sweepAt <= due) return;
    this.#cancelSweep?.();
    this.#sweepAt = due;
    this.#cancelSweep = this.#clock.at(due, () => {
      this.#sweepAt = NEVER;
      const at = this.#clock.now();
      if (this.#over !== undefined) return;
      this.gate.sweep(at, SWEEP_STEPS);
      this.#armSweep(at);
    });
  }

  #stopWaking(): void {
    this.#waking.stop();
    this.#cancelSweep?.();
    this.#sweepAt = NEVER;
  }

  #happened(said: GateEvent, now: Instant): void {
    const event = this.#withWriteFailure(said);
    // A waiter that only goes on elsewhere was not refused.
    const elsewhere = event.kind === 'refused' && event.refusal === MOVED;
    if (!elsewhere) this.#deps.onGateEvent(event, now);
    switch (event.kind) {
      case 'admitted': {
        const hold = this.#holdOf(event.token, event.permit.group);
        if (hold === undefined) this.#undone.push(event.permit);
        else this.#admitted(hold, event, now);
        break;
      }
      case 'refused': {
        const hold = this.#holdOf(event.token, event.group);
        if (hold === undefined) break;
        if (!elsewhere) this.#count(hold.entry, event, now);
        if (hold.ref !== DECIDED) this.waiting.delete(hold.ref);
        if (hold.phase !== 'over') this.reply(hold, event.refusal);
        break;
      }
      case 'renewed':
        this.renewal = event.record;
        break;
      case 'standing':
        void this.writer.append({ kind: 'grant', lease: event.record }).then((done) => done || this.gate.onAggregatePersisted(event.record, false));
        break;
      case 'ended':
        this.#endedWith(event);
        break;
      case 'queued':
        this.entries.get(event.group)?.activity.queued(now);
        break;
      case 'settled':
      case 'paused':
      case 'overridden':
        break;
      case 'unqueued':
        this.#deps.unqueued(event.group);
        break;
    }
  }

  #count(entry: GroupEntry, event: GateEvent, now: Instant): void {
    entry.count(event, now, this.gate.waitingIn(entry.index));
  }

  /** The holder behind a token of the gate; a stored request has none until it is decided. */
  #holdOf(token: unknown, group: string): PendingAcquire | undefined {
    return isStored(token) ? this.#deps.storedHold(token.sequence, group) : (token as PendingAcquire);
  }

  /** Names the store as the reason where a wait ended in vain while nothing could be written. */
  #withWriteFailure(event: GateEvent): GateEvent {
    if (event.kind !== 'refused' || event.refusal.reason !== 'expired' || this.#troubles.size === 0) return event;
    return this.entries.get(event.group)?.writes ? { ...event, refusal: this.unstored() } : event;
  }

  #admitted(hold: PendingAcquire, event: Extract<GateEvent, { kind: 'admitted' }>, now: Instant): void {
    const { permit, record } = event;
    this.#count(hold.entry, event, now);
    if (hold.ref !== DECIDED) this.waiting.delete(hold.ref);
    hold.permit = permit;
    // It left while its leaving waited for the right to decide.
    if (hold.phase === 'over') {
      if (record !== undefined) this.writer.grant(record, hold);
      else this.#undone.push(permit);
      return;
    }
    hold.lease = permit.lease;
    hold.id = this.#nameOf(permit, hold);
    if (hold.watched && permit.lease !== undefined) this.tracked.set(permit.serial, hold);
    hold.phase = record === undefined ? 'granted' : 'recording';
    if (record === undefined) this.queue.push(hold);
    else this.writer.grant(record, hold);
  }

  /** Nothing is remembered of a permit without lease and settlement: its name has to show whose it is. */
  #nameOf({ group, serial, key, tag, lease, settleable }: Permit, { caller, entry }: PendingAcquire): string {
    if (lease !== undefined || settleable) return permitId(group, serial, tag);
    if (caller === undefined) return permitId(group, serial, undefined);
    const proof = this.#deps.proofs.of({ caller, group, serial, key: entry.pushbackKey(key) });
    return provenPermitId(group, serial, proof, entry.pushbackKey(key));
  }

  #endedWith(event: EndedEvent): void {
    const { group, term, serial } = event;
    this.entries.get(group)?.counters.count(event);
    this.ended = event;
    if (event.recorded) this.writer.appendUnawaited({ kind: 'end', group, term, serial });
    this.tracked.ended(serial);
  }
}

/** Holds of leases whose end is to be reported, by the serial of their permit. */
export class TrackedLeases {
  readonly #holds = new Map<number, PendingAcquire>();

  get(serial: number): PendingAcquire | undefined {
    return this.#holds.get(serial);
  }

  set(serial: number, hold: PendingAcquire): void {
    this.#holds.set(serial, hold);
  }

  /** This permit ended: its caller is notified, or the one that watches. */
  ended(serial: number): void {
    const hold = this.#holds.get(serial);
    if (hold === undefined) return;
    this.#holds.delete(serial);
    if (hold.phase === 'kept' || hold.phase === 'answered') hold.over();
    else if (hold.phase === 'granted' && hold.permit !== undefined) {
      hold.permit = undefined;
      hold.refusal = { reason: 'fenced' };
    } else if (hold.phase === 'recording') hold.refusal = { reason: 'fenced' };
  }

  /** Leases that live on are no business of this process any more. */
  closeAll(): void {
    for (const hold of [...this.#holds.values()]) if (hold.phase === 'kept') hold.over();
    this.#holds.clear();
  }
}
