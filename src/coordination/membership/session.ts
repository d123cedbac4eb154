import type { Micros } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, LateAnswer, ReadResponse, RegisterRequests } from '../registers/requests.ts';
import type { Timing } from '../timing.ts';
import { decodeSession, encodeSession, type Heartbeat, type OwnedSlots, type SessionRecord, sessionRegister } from './session-record.ts';

/** State of a session. `opening`: its register may not exist yet. `ended`: nothing is ever decided under it again. */
export type SessionState = 'opening' | 'live' | 'ended';

/** Callbacks of a session. */
export interface SessionCallbacks {
  /** Returns what the session owns, with the clocks of this moment. */
  entries(reading: ClockReading): readonly OwnedSlots[];
  /** Called when a record is acknowledged: these slots belong to the session. */
  renewed(entries: readonly OwnedSlots[]): void;
  /** Returns the address of this process, for its records. */
  instance(): string;
  /** Sends a heartbeat to all replicas. */
  heartbeat(heartbeat: Omit<Heartbeat, 'revision' | 'acceptsShards'>): void;
}

/** Dependencies of {@link Session}. `id` is random: no other process ever writes a live record under it. */
export interface MembershipSessionDeps {
  readonly id: string;
  readonly replica: string;
  readonly timing: Timing;
  readonly requests: RegisterRequests;
  readonly callbacks: SessionCallbacks;
}

/**
 * The lease of one process (docs/design/coordination.md 2.3): a register that it renews by compare-and-set, with all that it owns in it.
 * An acknowledged renewal makes slots of shard time its own; a renewal without a response makes none, but the session
 * continues from it if it was made. The session ends when another process revokes it, or nothing was acknowledged for H.
 *
 * Receives the time by `tick`; reads and writes by `RegisterRequests`.
 */
export class Session {
  readonly id: string;
  readonly #deps: MembershipSessionDeps;
  #state: SessionState = 'opening';
  #closing: readonly OwnedSlots[] | undefined;
  #revision = 0;
  #n = 0;
  #writing = false;
  #writeAgain = false;
  #dueAt: Micros = Number.NEGATIVE_INFINITY;
  /** H after the last acknowledged record was sent, on the own clock. */
  #heldUntil: Micros = Number.POSITIVE_INFINITY;
  #heardAt: Micros = Number.NEGATIVE_INFINITY;

  constructor(deps: MembershipSessionDeps) {
    this.id = deps.id;
    this.#deps = deps;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Returns true if the session may claim shards: acknowledged within H, and its own heartbeat received within H, so that others receive them too. */
  isHealthy(mono: Micros): boolean {
    return this.#state === 'live' && mono < this.#heldUntil && !this.isIsolated(mono);
  }

  /** Returns true if its own heartbeats do not come back: others would learn nothing of its clocks. A broken data path must not keep ownership (2.9). */
  isIsolated(mono: Micros): boolean {
    return mono > this.#heardAt + this.#deps.timing.horizon;
  }

  /** Returns how long it lasts without another acknowledgement and another own heartbeat. */
  slack(mono: Micros): Micros {
    return Math.min(this.#heldUntil, this.#heardAt + this.#deps.timing.horizon) - mono;
  }

  /** Records that an own heartbeat came back. */
  onOwnHeartbeat(mono: Micros): void {
    this.#heardAt = mono;
  }

  /** Advances time: opens, renews or ends the session. */
  tick(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#state === 'ended') {
      if (this.#closing !== undefined && mono >= this.#dueAt) this.#write(reading);
      return;
    }
    if (mono > this.#heldUntil + this.#deps.timing.grace) this.#state = 'ended';
    else if (mono >= this.#dueAt) this.#write(reading);
  }

  /** Writes a record at once, after a shard was gained: its slots exist with the next record. */
  renew(reading: ClockReading): void {
    if (this.#state === 'live') this.#write(reading);
  }

  /** Ends the session: nothing is decided from now on. Writes `own`, with an `until` after the last decision, again and again until it is acknowledged or the session is found revoked. */
  close(reading: ClockReading, own: readonly OwnedSlots[]): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#closing = own;
    this.#write(reading);
  }

  /** Returns true while the last record is still to be written. */
  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** Writes a record, one at a time: a call meanwhile is answered by the next record. */
  #write(reading: ClockReading): void {
    if (this.#writing) {
      this.#writeAgain = true;
      return;
    }
    this.#writeAgain = false;
    this.#writing = true;
    const { timing, callbacks, replica, requests } = this.#deps;
    const instance = callbacks.instance();
    const sentAt = reading.mono;
    const own = this.#closing ?? callbacks.entries(reading);
    const record: SessionRecord = { replica, instance, n: ++this.#n, state: this.#closing === undefined ? 'live' : 'closed', own, wall: reading.agreed };
    this.#dueAt = sentAt + timing.renewEvery;
    if (record.state === 'live') callbacks.heartbeat({ session: this.id, replica, instance, n: record.n, own, wall: record.wall });
    const answered = (answer: ChangeResponse, then: ClockReading): void => {
      this.#writing = false;
      this.#onWritten(answer, { record, sentAt }, then);
      if (this.#writeAgain && !this.#writing) this.#write(then);
    };
    const late = (answer: LateAnswer, then: ClockReading): void => this.#acknowledged(answer.revision, { record, sentAt }, then);
    requests.change(sessionRegister(this.id), encodeSession(record), this.#revision, answered, late);
  }

  #onWritten(answer: ChangeResponse, { record, sentAt }: { record: SessionRecord; sentAt: Micros }, reading: ClockReading): void {
    if (answer.kind === 'conflict') return this.#reload();
    if (answer.kind !== 'changed') return;
    this.#acknowledged(answer.revision, { record, sentAt }, reading);
  }

  /** Handles that the record was written, later than any of this session before it. A late response proves that as well as one in time. */
  #acknowledged(revision: number, { record, sentAt }: { record: SessionRecord; sentAt: Micros }, reading: ClockReading): void {
    this.#revision = Math.max(this.#revision, revision);
    if (record.state === 'closed') this.#closing = undefined;
    if (this.#state === 'ended') return;
    const heldUntil = sentAt + this.#deps.timing.horizon;
    this.#heldUntil = this.#state === 'live' ? Math.max(this.#heldUntil, heldUntil) : heldUntil;
    this.#state = 'live';
    this.#deps.callbacks.renewed(record.own);
    if (reading.mono > this.#heldUntil + this.#deps.timing.grace) this.#state = 'ended';
  }

  /** Reads the register, which was changed: by a write of this session without a response, or by another process, which revoked it. */
  #reload(): void {
    this.#writing = true;
    this.#deps.requests.read(sessionRegister(this.id), (answer, reading) => {
      this.#writing = false;
      this.#onReloaded(answer, reading);
    });
  }

  /** Handles the register as read. One that is missing, or older than known, is ignored: the read lags, or the disk was lost. */
  #onReloaded(answer: ReadResponse, reading: ClockReading): void {
    if (answer.kind !== 'value' || answer.value === undefined) return;
    const { state } = decodeSession(answer.value.bytes);
    if (state === 'live') {
      if (answer.value.revision <= this.#revision) return;
      this.#revision = answer.value.revision;
      if (this.#state !== 'ended' || this.#closing !== undefined) this.#write(reading);
      return;
    }
    this.#state = 'ended';
    this.#closing = undefined;
  }
}
