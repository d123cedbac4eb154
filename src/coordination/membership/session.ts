import type { Micros } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, LateAnswer, ReadResponse, RegisterRequests } from '../registers/requests.ts';
import type { Timing } from '../timing.ts';
import { decodeSession, encodeSession, type Heartbeat, type OwnedSlots, type SessionRecord, sessionRegister } from './session-record.ts';

/** Where a session stands. `opening`: its register may not exist yet. `over`: nothing is decided under it any more, ever. */
export type SessionState = 'opening' | 'live' | 'ended';

/** Whom a session serves. */
export interface SessionCallbacks {
  /** What the session owns, with the clocks of this moment. */
  entries(reading: ClockReading): readonly OwnedSlots[];
  /** These slots are ours: their record is acknowledged. */
  renewed(entries: readonly OwnedSlots[]): void;
  /** The life of the process that its records name. */
  instance(): string;
  /** To be sent to all replicas. */
  heartbeat(heartbeat: Omit<Heartbeat, 'revision' | 'acceptsShards'>): void;
}

/** What a session is made of. `id` is random: no other process ever writes a live record under it. */
export interface MembershipSessionDeps {
  readonly id: string;
  readonly replica: string;
  readonly timing: Timing;
  readonly requests: RegisterRequests;
  readonly callbacks: SessionCallbacks;
}

/**
 * The lease of one process (docs/design/coordination.md 2.3): a register that it renews by compare-and-set, with all that it owns in it.
 * An acknowledged renewal makes slots of shard time its own; a renewal whose answer never came makes none, but is gone on
 * from when it turns out to be there. The session is over once another one revoked it, or nothing was acknowledged for H.
 *
 * Receives the time by `tick`; asks by `RegisterRequests`.
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
  /** On the own clock: H after the last acknowledged record was sent. */
  #heldUntil: Micros = Number.POSITIVE_INFINITY;
  #heardAt: Micros = Number.NEGATIVE_INFINITY;

  constructor(deps: MembershipSessionDeps) {
    this.id = deps.id;
    this.#deps = deps;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** May claim shards: acknowledged within H, and heard by itself within H, so that others hear it too. */
  isHealthy(mono: Micros): boolean {
    return this.#state === 'live' && mono < this.#heldUntil && !this.isIsolated(mono);
  }

  /** Its own heartbeats do not come back: others would hear nothing of its clocks. A broken data path must not keep ownership (2.9). */
  isIsolated(mono: Micros): boolean {
    return mono > this.#heardAt + this.#deps.timing.horizon;
  }

  /** How long it lasts without another acknowledgement and another heartbeat of its own. */
  slack(mono: Micros): Micros {
    return Math.min(this.#heldUntil, this.#heardAt + this.#deps.timing.horizon) - mono;
  }

  /** A heartbeat of its own came back. */
  onOwnHeartbeat(mono: Micros): void {
    this.#heardAt = mono;
  }

  /** Lets time pass: opens, renews, or is over. */
  tick(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#state === 'ended') {
      if (this.#closing !== undefined && mono >= this.#dueAt) this.#write(reading);
      return;
    }
    if (mono > this.#heldUntil + this.#deps.timing.grace) this.#state = 'ended';
    else if (mono >= this.#dueAt) this.#write(reading);
  }

  /** A shard was gained: its slots exist with the next record, so make that now. */
  renew(reading: ClockReading): void {
    if (this.#state === 'live') this.#write(reading);
  }

  /** Gives the session up by itself: nothing is decided from now on. `own` says so, with an `until` after the last decision; written until it is there, revoked, or `stop`ped. */
  close(reading: ClockReading, own: readonly OwnedSlots[]): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#closing = own;
    this.#write(reading);
  }

  /** Is a last record still to be written? */
  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** One record at a time: what comes meanwhile is in the next. */
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

  /** The record was written, and later than any of this session before it. An answer that comes after it was given up says so as well as one in time. */
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

  /** The register was changed: by this session, by a write whose answer never came, or by another, which revoked it. */
  #reload(): void {
    this.#writing = true;
    this.#deps.requests.read(sessionRegister(this.id), (answer, reading) => {
      this.#writing = false;
      this.#onReloaded(answer, reading);
    });
  }

  /** A register that is missing, or older than known, is a read that lags or a disk that was lost: time will tell. */
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
