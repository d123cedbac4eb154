import type { Micros } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, LateAnswer, ReadResponse, RegisterRequests } from '../registers/requests.ts';
import type { Timing } from '../timing.ts';
import { decodeSession, encodeSession, type Heartbeat, type OwnedSlots, type SessionRecord, sessionRegister } from './session-record.ts';

/** Where a session stands. `opening`: its register may not exist yet. `over`: nothing is decided under it any more, ever. */
export type SessionState = 'opening' | 'live' | 'over';

/** Whom a session serves. */
export interface SessionCallbacks {
  /** What the session owns, with the clocks of this moment. */
  entries(reading: ClockReading): readonly OwnedSlots[];
  /** These slots are ours: their record is acknowledged. */
  renewed(entries: readonly OwnedSlots[]): void;
  /** The life of the process that its records name. */
  instance(): string;
  /** To be sent to all replicas. */
  beat(beat: Omit<Heartbeat, 'revision' | 'acceptsShards'>): void;
}

/** What a session is made of. `id` is random: no other process ever writes a live record under it. */
export interface MembershipSessionDeps {
  readonly id: string;
  readonly replica: string;
  readonly timing: Timing;
  readonly questions: RegisterRequests;
  readonly host: SessionCallbacks;
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
  readonly #parts: MembershipSessionDeps;
  #state: SessionState = 'opening';
  #closing: readonly OwnedSlots[] | undefined;
  #revision = 0;
  #n = 0;
  #asking = false;
  #again = false;
  #dueAt: Micros = Number.NEGATIVE_INFINITY;
  /** On the own clock: H after the last acknowledged record was sent. */
  #heldUntil: Micros = Number.POSITIVE_INFINITY;
  #heardAt: Micros = Number.NEGATIVE_INFINITY;

  constructor(parts: MembershipSessionDeps) {
    this.id = parts.id;
    this.#parts = parts;
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
    return mono > this.#heardAt + this.#parts.timing.horizon;
  }

  /** How long it lasts without another acknowledgement and another heartbeat of its own. */
  slack(mono: Micros): Micros {
    return Math.min(this.#heldUntil, this.#heardAt + this.#parts.timing.horizon) - mono;
  }

  /** A heartbeat of its own came back. */
  onOwnHeartbeat(mono: Micros): void {
    this.#heardAt = mono;
  }

  /** Lets time pass: opens, renews, or is over. */
  tick(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#state === 'over') {
      if (this.#closing !== undefined && mono >= this.#dueAt) this.#write(reading);
      return;
    }
    if (mono > this.#heldUntil + this.#parts.timing.grace) this.#state = 'over';
    else if (mono >= this.#dueAt) this.#write(reading);
  }

  /** A shard was gained: its slots exist with the next record, so make that now. */
  renew(reading: ClockReading): void {
    if (this.#state === 'live') this.#write(reading);
  }

  /** Gives the session up by itself: nothing is decided from now on. `own` says so, with an `until` after the last decision; written until it is there, revoked, or `stop`ped. */
  close(reading: ClockReading, own: readonly OwnedSlots[]): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#closing = own;
    this.#write(reading);
  }

  /** Is a last record still to be written? */
  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** One record at a time: what comes meanwhile is in the next. */
  #write(reading: ClockReading): void {
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#asking = true;
    const { timing, host, replica, questions } = this.#parts;
    const instance = host.instance();
    const sentAt = reading.mono;
    const own = this.#closing ?? host.entries(reading);
    const record: SessionRecord = { replica, instance, n: ++this.#n, state: this.#closing === undefined ? 'live' : 'closed', own, wall: reading.agreed };
    this.#dueAt = sentAt + timing.renewEvery;
    if (record.state === 'live') host.beat({ session: this.id, replica, instance, n: record.n, own, wall: record.wall });
    const answered = (answer: ChangeResponse, then: ClockReading): void => {
      this.#asking = false;
      this.#written(answer, { record, sentAt }, then);
      if (this.#again && !this.#asking) this.#write(then);
    };
    const late = (answer: LateAnswer, then: ClockReading): void => this.#acknowledged(answer.revision, { record, sentAt }, then);
    questions.change(sessionRegister(this.id), encodeSession(record), this.#revision, answered, late);
  }

  #written(answer: ChangeResponse, { record, sentAt }: { record: SessionRecord; sentAt: Micros }, reading: ClockReading): void {
    if (answer.kind === 'conflict') return this.#look();
    if (answer.kind !== 'changed') return;
    this.#acknowledged(answer.revision, { record, sentAt }, reading);
  }

  /** The record was written, and later than any of this session before it. An answer that comes after it was given up says so as well as one in time. */
  #acknowledged(revision: number, { record, sentAt }: { record: SessionRecord; sentAt: Micros }, reading: ClockReading): void {
    this.#revision = Math.max(this.#revision, revision);
    if (record.state === 'closed') this.#closing = undefined;
    if (this.#state === 'over') return;
    const heldUntil = sentAt + this.#parts.timing.horizon;
    this.#heldUntil = this.#state === 'live' ? Math.max(this.#heldUntil, heldUntil) : heldUntil;
    this.#state = 'live';
    this.#parts.host.renewed(record.own);
    if (reading.mono > this.#heldUntil + this.#parts.timing.grace) this.#state = 'over';
  }

  /** The register was changed: by this session, by a write whose answer never came, or by another, which revoked it. */
  #look(): void {
    this.#asking = true;
    this.#parts.questions.read(sessionRegister(this.id), (answer, reading) => {
      this.#asking = false;
      this.#looked(answer, reading);
    });
  }

  /** A register that is missing, or older than known, is a read that lags or a disk that was lost: time will tell. */
  #looked(answer: ReadResponse, reading: ClockReading): void {
    if (answer.kind !== 'value' || answer.value === undefined) return;
    const { state } = decodeSession(answer.value.bytes);
    if (state === 'live') {
      if (answer.value.revision <= this.#revision) return;
      this.#revision = answer.value.revision;
      if (this.#state !== 'over' || this.#closing !== undefined) this.#write(reading);
      return;
    }
    this.#state = 'over';
    this.#closing = undefined;
  }
}
