import type { Instant, Micros } from '../core/time.ts';
import { nextMoves, Stillness } from './balance.ts';
import { ClockEvidence } from './evidence.ts';
import { Handover } from './handover.ts';
import { type Hold, Holdings, type RightNow } from './holdings.ts';
import { Ownership } from './ownership.ts';
import type { OwnershipRecord } from './ownership-record.ts';
import { Peers } from './peers.ts';
import { type Answer, type Question, Questions } from './questions.ts';
import { rendezvous } from './rendezvous.ts';
import { Revocation } from './revocation.ts';
import { Session } from './session.ts';
import type { Beat, OwnEntry } from './session-record.ts';
import type { ClockReading } from './shard-clock.ts';
import type { Timing } from './timing.ts';
import { Views } from './views.ts';

/** What a member tells its process. `seal`: stop deciding for the shard and say `halt`, write its exact state, then say `sealed`. */
export type MemberEvent =
  | { readonly kind: 'gained'; readonly shard: number; readonly term: bigint; readonly from: Instant }
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'left' };

/** What a member wants done: questions to the registers, heartbeats to everybody, a word to a session that was given a shard. */
export interface Wanted {
  readonly questions: readonly Question[];
  readonly beats: readonly Beat[];
  readonly notices: readonly { readonly to: string; readonly instance: string; readonly shard: number; readonly term: bigint }[];
  readonly events: readonly MemberEvent[];
}

/** What a member is made of. */
export interface MemberParts {
  /** Stays the same over restarts. */
  readonly replica: string;
  /** Names this life of the process. */
  readonly instance: string;
  readonly shards: number;
  readonly timing: Timing;
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
  readonly #stillness = new Stillness();
  readonly #holdings: Holdings;
  readonly #ownership: Ownership;
  readonly #handover: Handover;
  readonly #revocation: Revocation;
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
    const questions = this.#questions;
    const peers = this.#peers;
    const views = this.#views;
    const evidence = this.#evidence;
    this.#holdings = new Holdings({ horizon: timing.horizon });
    this.#revocation = new Revocation({ timing, questions, peers });
    this.#ownership = new Ownership({
      replica,
      shards,
      timing,
      questions,
      peers,
      views,
      evidence,
      host: {
        session: () => (this.#session?.state === 'live' ? this.#session.id : undefined),
        claimant: (mono) => this.#claimant(mono),
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
    if (this.#session === undefined) {
      if (this.#left) return;
      this.#begin(reading);
    }
    this.#holdings.adjust(reading);
    this.#handover.tick(reading);
    this.#revokeSilent(reading);
    this.#ownership.tick(reading);
    this.#even(reading);
    this.#peers.forget(mono, (session) => this.#views.names(session));
  }

  /** A heartbeat came, of another or its own. */
  heard(beat: Beat, reading: ClockReading): void {
    const { mono } = reading;
    if (beat.session === this.#session?.id) return this.#session.echoed(mono);
    if (beat.instance === this.#parts.instance) return;
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

  #begin(_reading: ClockReading): void {
    const { replica, instance, timing } = this.#parts;
    const host = {
      entries: (reading: ClockReading) => this.#holdings.entries(reading),
      renewed: (entries: readonly OwnEntry[]) => this.#holdings.renewed(entries),
      beat: (beat: Beat) => void this.#beats.push(beat),
    };
    this.#session = new Session({ id: this.#parts.newSession(), replica, instance, timing, questions: this.#questions, host });
  }

  /** A session that is over takes all it owned with it; a deaf one is given up. */
  #settle(reading: ClockReading): void {
    const session = this.#session;
    if (session === undefined) return;
    if (session.state === 'over') return this.#lose(session, this.#holdings.lostEntries(reading), reading);
    if (session.state === 'live' && this.#holdings.size > 0 && session.deaf(reading.mono)) return this.#close(session, reading);
    if (this.#leaving && session.state === 'live' && this.#done(reading.mono)) {
      this.#left = true;
      this.#close(session, reading);
      this.#events.push({ kind: 'left' });
    }
  }

  /** Leaving: all is given away, or nobody is there to take it and all is sealed. */
  #done(mono: Micros): boolean {
    if (this.#holdings.size === 0) return true;
    return this.#livePeers(mono).length === 0 && [...this.#holdings.all()].every(({ phase }) => phase === 'sealed');
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
    const peer = this.#peers.end(session.id, { own: last }, reading.mono);
    peer.mine = true;
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
    this.#holdings.gain(shard, record, revision, claimed, reading);
    this.#events.push({ kind: 'gained', shard, term: record.term, from: record.from });
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
    const peer = this.#peers.meet(record.owner, reading.mono);
    this.#notices.push({ to: record.owner, instance: peer.instance, shard, term: record.term });
    this.#session?.renew(reading);
  }

  #livePeers(mono: Micros) {
    return this.#peers.live(mono, this.#parts.timing.suspectAfter);
  }

  #receiver(session: string, mono: Micros): string | undefined {
    const peers = this.#livePeers(mono);
    if (peers.some((peer) => peer.session === session)) return session;
    return this.#leaving ? peers[0]?.session : this.#session?.id;
  }

  /** Owners that fell silent; each replica at its turn. */
  #revokeSilent(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#claimant(mono) === undefined) return;
    const names = [this.#parts.replica, ...this.#livePeers(mono).map((peer) => peer.replica)];
    for (const owner of this.#views.owners()) {
      if (owner === this.#session?.id) continue;
      const peer = this.#peers.meet(owner, mono);
      if (peer.ended === undefined) this.#revocation.consider(peer, rendezvous(owner, names).indexOf(this.#parts.replica), reading);
    }
  }

  #even({ mono }: ClockReading): void {
    const peers = this.#livePeers(mono);
    const still = this.#stillness.of([...peers.map((peer) => peer.session), this.#session?.id ?? ''], mono);
    if (!this.#session?.fit(mono) || (!this.#leaving && still < this.#parts.timing.settleFor)) return;
    const others = new Map(peers.map((peer) => [peer.session, { replica: peer.replica, count: peer.own.length }]));
    const mine: number[] = [];
    const moving = new Map<string, number>();
    for (const { shard, phase, to } of this.#holdings.all()) {
      if (phase === 'owned') mine.push(shard);
      else moving.set(to, (moving.get(to) ?? 0) + 1);
    }
    for (const { shard, to } of nextMoves({ mine, others, moving, leaving: this.#leaving })) this.#handover.start(shard, to);
    if (this.#leaving && peers.length === 0) for (const shard of mine) this.#handover.start(shard, '');
  }
}
