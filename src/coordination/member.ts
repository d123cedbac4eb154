import { type Instant, LONG_AGO, type Micros } from '../core/time.ts';
import { Balance } from './balance.ts';
import { ClockEvidence } from './evidence.ts';
import { Handover } from './handover.ts';
import { type Hold, Holdings, type RightNow } from './holdings.ts';
import { Ownership } from './ownership.ts';
import type { OwnershipRecord } from './ownership-record.ts';
import { type Peer, Peers } from './peers.ts';
import { type Answer, Questions } from './questions.ts';
import { Revocation } from './revocation.ts';
import { Session } from './session.ts';
import type { Beat, OwnEntry, Revision } from './session-record.ts';
import type { ClockReading } from './shard-clock.ts';
import type { Timing } from './timing.ts';
import { Views } from './views.ts';
import type { MemberEvent, Wanted } from './wanted.ts';

/** What a member is made of. */
export interface MemberParts {
  /** Stays the same over restarts. */
  readonly replica: string;
  /** Names this life of the process. */
  readonly instance: string;
  readonly shards: number;
  readonly timing: Timing;
  readonly revision: Revision;
  /** A name that no session ever had. */
  readonly newSession: () => string;
}

/**
 * One process among the replicas: its session, its shards and what it knows of the others (coordination.md 2). A state
 * machine without clock, I/O or randomness of its own:
 *
 *     tick, heard, answered, told, halt, sealed ──▶ member ──▶ take: questions, beats, notices, events
 *                                               └──▶ right(shard): may this shard be decided now?
 */
export class Member {
  readonly #parts: MemberParts;
  readonly #questions = new Questions();
  readonly #peers = new Peers();
  readonly #views = new Views();
  readonly #evidence = new ClockEvidence();
  readonly #balance: Balance;
  readonly #holdings: Holdings;
  readonly #ownership: Ownership;
  readonly #handover: Handover;
  readonly #revocation: Revocation;
  /** The names of this process so far, the newest last. */
  readonly #instances: string[];
  #revision: Revision;
  #session: Session | undefined;
  #ending: Session[] = [];
  #startedAt: Micros | undefined;
  #leaving = false;
  #left = false;
  #beats: Beat[] = [];
  #notices: Wanted['notices'][number][] = [];
  #events: MemberEvent[] = [];

  constructor(parts: MemberParts) {
    this.#parts = parts;
    const { replica, shards, timing } = parts;
    this.#instances = [parts.instance];
    this.#revision = parts.revision;
    this.#balance = new Balance({ settleFor: timing.settleFor });
    const [questions, peers, views, evidence] = [this.#questions, this.#peers, this.#views, this.#evidence];
    this.#holdings = new Holdings({ horizon: timing.horizon });
    this.#revocation = new Revocation({ replica, timing, questions, peers, views });
    this.#ownership = new Ownership({
      ...{ replica, shards, timing, questions, peers, views, evidence },
      host: {
        session: () => (this.#session?.state === 'live' ? this.#session.id : undefined),
        claimant: (mono) => this.#claimant(mono),
        revision: () => this.#revision.number,
        holds: (shard) => this.#holdings.get(shard) !== undefined,
        gained: (shard, record, revision, claimed, reading) => this.#gained(shard, record, revision, claimed, reading),
      },
    });
    this.#handover = new Handover({
      questions,
      views,
      holdings: this.#holdings,
      host: {
        seal: ({ shard, term }: Hold) => this.#events.push({ kind: 'seal', shard, term }),
        receiver: (session, mono) => this.#receiver(session, mono),
        moved: (shard, record, revision, reading) => this.#moved(shard, record, revision, reading),
      },
    });
  }

  /** Lets time pass; to be called some fifty times a second. */
  tick(reading: ClockReading): void {
    const { mono } = reading;
    this.#startedAt ??= mono;
    for (const ending of this.#ending) ending.tick(reading);
    this.#ending = this.#ending.filter((ending) => ending.closing);
    this.#session?.tick(reading);
    this.#settle(reading);
    if (this.#session === undefined && this.#left) return;
    this.#session ??= this.#begin();
    this.#holdings.adjust(reading);
    this.#handover.tick(reading);
    if (this.#claimant(mono) !== undefined) this.#revocation.tick(this.#session?.id, this.others(mono), reading);
    this.#ownership.tick(reading);
    this.#even(reading);
    this.#peers.forget(mono, (session) => this.#views.names(session));
  }

  /** A heartbeat came, of another or its own. */
  heard(beat: Beat, reading: ClockReading): void {
    const { mono } = reading;
    if (beat.session === this.#session?.id) return this.#session.echoed(mono);
    if (this.#instances.includes(beat.instance)) return;
    const peer = this.#peers.heard(beat, mono);
    if (peer === undefined) return;
    for (const { shard, term, at } of beat.own) {
      this.#evidence.heard(shard, term, at, mono);
      this.#ownership.hears(shard, term);
    }
  }

  /** The answer to a question. */
  answered(id: number, answer: Answer, reading: ClockReading): void {
    this.#questions.answer(id, answer, reading);
    this.#settle(reading);
  }

  /** Another process says that it gave this one a shard, in `term`. Only the register makes it true. */
  told(shard: number, term: bigint, reading: ClockReading): void {
    this.#ownership.hears(shard, term);
    this.#ownership.look(shard, reading);
  }

  /** After `seal`: nothing is decided for the shard any more from this moment on, and `right` says no. */
  halt(shard: number, term: bigint, reading: ClockReading): void {
    this.#handover.halt(shard, term, reading);
  }

  /** Its state, as it was when it halted, is written, or cannot be. */
  sealed(shard: number, term: bigint, reading: ClockReading): void {
    this.#handover.sealed(shard, term, reading);
  }

  /** Gives everything away, to others where there are any; ends with `left`. */
  leave(): void {
    this.#leaving = true;
  }

  /** The links find this process under another name from now on. */
  readdress(instance: string): void {
    this.#instances.push(instance);
  }

  /** It runs by another configuration from now on. */
  revise(revision: Revision): void {
    this.#revision = revision;
  }

  /** Lets go of everything at once, as it is: nothing is decided in these terms from now on. A new session begins, unless it leaves. */
  giveUp(reading: ClockReading): void {
    if (this.#leaving) this.#left = true;
    if (this.#session !== undefined) this.#close(this.#session, reading);
  }

  get live(): boolean {
    return this.#session?.state === 'live';
  }

  /** Is the last record of a session still to be written? */
  get closing(): boolean {
    return this.#ending.some(({ closing }) => closing);
  }

  /** The sessions of the other replicas that live. */
  others(mono: Micros): readonly Peer[] {
    return this.#peers.live(mono, this.#parts.timing.suspectAfter);
  }

  /** What this process owns. */
  holds(): Iterable<Hold> {
    return this.#holdings.all();
  }

  /** Shards that stand still because the record of their last owner is lost. */
  stranded(): readonly number[] {
    return this.#views.ofOwners((session) => this.#peers.get(session)?.buried === true);
  }

  /** r1 of what is owned in `term`; LONG_AGO once nothing is to be decided in it. */
  until(shard: number, term: bigint): Instant {
    return this.live ? this.#holdings.until(shard, term) : LONG_AGO;
  }

  /** May `shard` be decided for at this moment, at which shard time? */
  right(shard: number, mono: Micros): RightNow | undefined {
    if (this.#session?.state !== 'live') return undefined;
    return this.#holdings.right(shard, mono);
  }

  /** Everything wanted since the last take. */
  take(): Wanted {
    const wanted = { questions: this.#questions.take(), beats: this.#beats, notices: this.#notices, events: this.#events };
    this.#beats = [];
    this.#notices = [];
    this.#events = [];
    return wanted;
  }

  #begin(): Session {
    const { replica, timing, newSession } = this.#parts;
    const host = {
      entries: (reading: ClockReading) => this.#holdings.entries(reading),
      renewed: (entries: readonly OwnEntry[]) => this.#holdings.renewed(entries),
      instance: () => this.#instances.at(-1) ?? '',
      beat: (beat: Omit<Beat, 'revision' | 'takes'>) => void this.#beats.push({ ...beat, revision: this.#revision, takes: this.live && !this.#leaving }),
    };
    return new Session({ id: newSession(), replica, timing, questions: this.#questions, host });
  }

  /** A session that is over takes all it owned with it; a deaf one is given up. */
  #settle(reading: ClockReading): void {
    const session = this.#session;
    if (session === undefined) return;
    if (session.state === 'over') return this.#lose(session, this.#holdings.lostEntries(reading), reading);
    if (session.state === 'live' && this.#holdings.size > 0 && session.deaf(reading.mono)) return this.#close(session, reading);
    if (this.#leaving && this.#done(reading.mono)) {
      this.#left = true;
      this.#close(session, reading);
      this.#events.push({ kind: 'left' });
    }
  }

  /** Leaving: all is given away, or nobody is there to take it and all is sealed. */
  #done(mono: Micros): boolean {
    if (this.#holdings.size === 0) return true;
    return this.#takers(mono).length === 0 && [...this.#holdings.all()].every(({ phase }) => phase === 'sealed');
  }

  #close(session: Session, reading: ClockReading): void {
    const last = this.#holdings.lastEntries(reading);
    session.close(reading, last);
    this.#ending.push(session);
    this.#lose(session, last, reading);
  }

  /** This process knows best up to where it may have decided, and what its clocks showed. */
  #lose(session: Session, last: readonly OwnEntry[], reading: ClockReading): void {
    this.#session = undefined;
    this.#peers.end(session.id, { own: last }, reading.mono).mine = true;
    for (const { shard, term, at } of last) {
      this.#evidence.heard(shard, term, at, reading.mono);
      this.#holdings.drop(shard);
      this.#events.push({ kind: 'lost', shard, term });
    }
  }

  #claimant(mono: Micros): string | undefined {
    if (this.#leaving || this.#startedAt === undefined || mono - this.#startedAt < this.#parts.timing.listenFor) return undefined;
    return this.#session?.fit(mono) ? this.#session.id : undefined;
  }

  #gained(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): void {
    const { clock } = this.#holdings.gain(shard, record, revision, claimed, reading);
    this.#events.push({ kind: 'gained', shard, term: record.term, from: record.from, clock });
    this.#session?.renew(reading);
  }

  /** The next term is in the register, or one after it: this process may have missed some while the answer was on its way. */
  #moved(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void {
    const hold = this.#holdings.get(shard);
    if (hold === undefined) return;
    this.#evidence.heard(shard, hold.term, hold.clock.at(reading.mono), reading.mono);
    this.#holdings.drop(shard);
    this.#events.push({ kind: 'lost', shard, term: hold.term });
    if (record.owner === this.#session?.id) return this.#ownership.adopt(shard, record, revision, reading);
    const { instance } = this.#peers.meet(record.owner, reading.mono);
    this.#notices.push({ to: record.owner, instance, shard, term: record.term });
    this.#session?.renew(reading);
  }

  /** To whom shards can be given, those of the newest configuration first. */
  #takers(mono: Micros): readonly Peer[] {
    const takers = this.others(mono).filter(({ takes }) => takes);
    return takers.sort((a, b) => b.revision.number - a.revision.number);
  }

  #receiver(session: string, mono: Micros): string | undefined {
    const peers = this.#takers(mono);
    if (peers.some((peer) => peer.session === session)) return session;
    return this.#leaving ? peers[0]?.session : this.#session?.id;
  }

  #even({ mono }: ClockReading): void {
    const session = this.#session;
    if (!session?.fit(mono)) return;
    const standing = { session: session.id, revision: this.#revision.number, leaving: this.#leaving, holds: this.#holdings.all(), peers: this.others(mono) };
    for (const { shard, to } of this.#balance.moves(standing, mono)) this.#handover.start(shard, to);
  }
}
