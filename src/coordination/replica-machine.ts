import { DISTANT_PAST, type Instant, type Micros } from '../core/time.ts';
import { ClockBounds } from './clocks/clock-bounds.ts';
import type { ClockReading, ShardClock } from './clocks/shard-clock.ts';
import { type Peer, Peers } from './membership/peers.ts';
import { Revocation } from './membership/revocation.ts';
import { Session } from './membership/session.ts';
import type { Heartbeat, OwnedSlots, Revision } from './membership/session-record.ts';
import { ShardClaims } from './ownership/claims.ts';
import { Handoff } from './ownership/handoff.ts';
import { type DecisionWindow, OwnedShards, type ShardOwnership } from './ownership/owned-shards.ts';
import { OwnershipCache } from './ownership/ownership-cache.ts';
import type { OwnershipRecord } from './ownership/ownership-record.ts';
import { Rebalancer } from './ownership/rebalance.ts';
import { type RegisterRequest, RegisterRequests, type RegisterResponse } from './registers/requests.ts';
import type { Timing } from './timing.ts';

/** Events for the process. `seal`: stop deciding for the shard and call `halt`, write its exact state, then call `sealed`. */
export type MachineEvent =
  | { readonly kind: 'gained'; readonly shard: number; readonly term: bigint; readonly from: Instant; readonly clock: ShardClock }
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  | { readonly kind: 'left' };

/** What is to be done: requests to the registers, heartbeats to all replicas, notices to sessions that were given a shard, and events. */
export interface MachineOutput {
  readonly requests: readonly RegisterRequest[];
  readonly heartbeats: readonly Heartbeat[];
  readonly notices: readonly { readonly to: string; readonly instance: string; readonly shard: number; readonly term: bigint }[];
  readonly events: readonly MachineEvent[];
}

/** Returns true if anything is to be done. */
export function hasOutput({ requests, heartbeats, notices, events }: MachineOutput): boolean {
  return requests.length + heartbeats.length + notices.length + events.length > 0;
}

/** Options of {@link ReplicaMachine}. */
export interface ReplicaMachineOptions {
  /** Stays the same over restarts. */
  readonly replica: string;
  /** Names this process, until it is replaced. */
  readonly instance: string;
  readonly shards: number;
  readonly timing: Timing;
  readonly revision: Revision;
  /** Returns a name that no session ever had. */
  readonly newSession: () => string;
}

/**
 * One replica: its session, its shards and what it knows of the others (docs/design/coordination.md 2). A state
 * machine without clock, I/O or randomness of its own:
 *
 *     tick, onHeartbeat, onResponse, onShardOffered, halt, sealed ──▶ machine ──▶ take: requests, heartbeats, notices, events
 *                                                                        └──▶ decisionWindow(shard): may this shard be decided now?
 */
export class ReplicaMachine {
  readonly #options: ReplicaMachineOptions;
  readonly #requests = new RegisterRequests();
  readonly #peers = new Peers();
  readonly #ownershipCache = new OwnershipCache();
  readonly #clockBounds = new ClockBounds();
  readonly #rebalancer: Rebalancer;
  readonly #ownedShards: OwnedShards;
  readonly #claims: ShardClaims;
  readonly #handoff: Handoff;
  readonly #revocation: Revocation;
  /** The names of this process so far, the newest last. */
  readonly #instances: string[];
  #revision: Revision;
  #session: Session | undefined;
  #closing: Session[] = [];
  #startedAt: Micros | undefined;
  #leaving = false;
  #left = false;
  #heartbeats: Heartbeat[] = [];
  #notices: MachineOutput['notices'][number][] = [];
  #events: MachineEvent[] = [];

  constructor(options: ReplicaMachineOptions) {
    this.#options = options;
    const { replica, shards, timing } = options;
    this.#instances = [options.instance];
    this.#revision = options.revision;
    this.#rebalancer = new Rebalancer({ settleFor: timing.settleFor });
    const [requests, peers, ownershipCache, clockBounds] = [this.#requests, this.#peers, this.#ownershipCache, this.#clockBounds];
    this.#ownedShards = new OwnedShards({ horizon: timing.horizon });
    this.#revocation = new Revocation({ replica, timing, requests, peers, ownershipCache });
    this.#claims = new ShardClaims({
      ...{ replica, shards, timing, requests, peers, ownershipCache, clockBounds },
      callbacks: {
        session: () => (this.#session?.state === 'live' ? this.#session.id : undefined),
        claimant: (mono) => this.#claimingSession(mono),
        revision: () => this.#revision.number,
        owns: (shard) => this.#ownedShards.get(shard) !== undefined,
        gained: (shard, record, revision, claimed, reading) => this.#gained(shard, record, revision, claimed, reading),
      },
    });
    this.#handoff = new Handoff({
      requests,
      ownershipCache,
      ownedShards: this.#ownedShards,
      callbacks: {
        seal: ({ shard, term }: ShardOwnership) => this.#events.push({ kind: 'seal', shard, term }),
        receiver: (session, mono) => this.#receiver(session, mono),
        moved: (shard, record, revision, reading) => this.#moved(shard, record, revision, reading),
      },
    });
  }

  /** Advances time; to be called some fifty times a second. */
  tick(reading: ClockReading): void {
    const { mono } = reading;
    this.#startedAt ??= mono;
    for (const ending of this.#closing) ending.tick(reading);
    this.#closing = this.#closing.filter((ending) => ending.closing);
    this.#session?.tick(reading);
    this.#checkSession(reading);
    if (this.#session === undefined && this.#left) return;
    this.#session ??= this.#openSession();
    this.#ownedShards.adjust(reading);
    this.#handoff.tick(reading);
    if (this.#claimingSession(mono) !== undefined) this.#revocation.tick(this.#session?.id, this.others(mono), reading);
    this.#claims.tick(reading);
    this.#rebalance(reading);
    this.#peers.forget(mono, (session) => this.#ownershipCache.isOwner(session));
  }

  /** Handles a heartbeat of another replica, or an own one that came back. */
  onHeartbeat(heartbeat: Heartbeat, reading: ClockReading): void {
    const { mono } = reading;
    if (heartbeat.session === this.#session?.id) return this.#session.onOwnHeartbeat(mono);
    if (this.#instances.includes(heartbeat.instance)) return;
    const peer = this.#peers.onHeartbeat(heartbeat, mono);
    if (peer === undefined) return;
    for (const { shard, term, at } of heartbeat.own) {
      this.#clockBounds.observe(shard, term, at, mono);
      this.#claims.onTermHeard(shard, term);
    }
  }

  /** Handles the response to a request. */
  onResponse(id: number, answer: RegisterResponse, reading: ClockReading): void {
    this.#requests.answer(id, answer, reading);
    this.#checkSession(reading);
  }

  /** Handles the notice of another replica that it gave this one a shard, in `term`. The register decides whether that is so. */
  onShardOffered(shard: number, term: bigint, reading: ClockReading): void {
    this.#claims.onTermHeard(shard, term);
    this.#claims.check(shard, reading);
  }

  /** After `seal`: stops decisions for the shard at once; `decisionWindow` returns undefined from then on. */
  halt(shard: number, term: bigint, reading: ClockReading): void {
    this.#handoff.halt(shard, term, reading);
  }

  /** After `halt`: its state is written, or cannot be. */
  sealed(shard: number, term: bigint, reading: ClockReading): void {
    this.#handoff.sealed(shard, term, reading);
  }

  /** Begins to give everything away, to others if there are any. Ends with the event `left`. */
  leave(): void {
    this.#leaving = true;
  }

  /** Sets the instance that heartbeats name from now on. */
  replaceInstance(instance: string): void {
    this.#instances.push(instance);
  }

  /** Sets the configuration that this replica runs from now on. */
  revise(revision: Revision): void {
    this.#revision = revision;
  }

  /** Releases everything at once, as it is: nothing is decided in these terms from now on. A new session begins, unless the replica leaves. */
  giveUp(reading: ClockReading): void {
    if (this.#leaving) this.#left = true;
    if (this.#session !== undefined) this.#close(this.#session, reading);
  }

  get live(): boolean {
    return this.#session?.state === 'live';
  }

  /** Returns how long all that it owns stays its own without another renewal or own heartbeat; infinite while it owns nothing. */
  slack(mono: Micros): Micros {
    return this.live && this.#ownedShards.size > 0 ? (this.#session?.slack(mono) ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
  }

  /** Returns true while the last record of a session is still to be written. */
  get closing(): boolean {
    return this.#closing.some(({ closing }) => closing);
  }

  /** Returns the sessions of the other live replicas. */
  others(mono: Micros): readonly Peer[] {
    return this.#peers.live(mono, this.#options.timing.suspectAfter);
  }

  /** Returns the shards that this replica owns. */
  ownedShards(): Iterable<ShardOwnership> {
    return this.#ownedShards.all();
  }

  /** Returns the shards that are not decided because the record of their last owner is lost. */
  orphanedShards(): readonly number[] {
    return this.#ownershipCache.shardsOf((session) => this.#peers.get(session)?.tombstoned === true);
  }

  /** Returns r1 of a shard owned in `term`; DISTANT_PAST once nothing is to be decided in it. */
  until(shard: number, term: bigint): Instant {
    return this.live ? this.#ownedShards.until(shard, term) : DISTANT_PAST;
  }

  /** Returns at which shard time `shard` may be decided now, or undefined if it may not. */
  decisionWindow(shard: number, mono: Micros): DecisionWindow | undefined {
    if (this.#session?.state !== 'live') return undefined;
    return this.#ownedShards.decisionWindow(shard, mono);
  }

  /** Returns and clears everything that is to be done since the last call. */
  take(): MachineOutput {
    const output = { requests: this.#requests.take(), heartbeats: this.#heartbeats, notices: this.#notices, events: this.#events };
    this.#heartbeats = [];
    this.#notices = [];
    this.#events = [];
    return output;
  }

  #openSession(): Session {
    const { replica, timing, newSession } = this.#options;
    const callbacks = {
      entries: (reading: ClockReading) => this.#ownedShards.entries(reading),
      renewed: (entries: readonly OwnedSlots[]) => this.#ownedShards.renewed(entries),
      instance: () => this.#instances.at(-1) ?? '',
      heartbeat: (heartbeat: Omit<Heartbeat, 'revision' | 'acceptsShards'>) =>
        void this.#heartbeats.push({ ...heartbeat, revision: this.#revision, acceptsShards: this.live && !this.#leaving }),
    };
    return new Session({ id: newSession(), replica, timing, requests: this.#requests, callbacks });
  }

  /** Drops everything of a session that has ended, closes one that does not receive its own heartbeats, and ends a leave. */
  #checkSession(reading: ClockReading): void {
    const session = this.#session;
    if (session === undefined) return;
    if (session.state === 'ended') return this.#lose(session, this.#ownedShards.lostEntries(reading), reading);
    if (session.state === 'live' && this.#ownedShards.size > 0 && session.isIsolated(reading.mono)) return this.#close(session, reading);
    if (this.#leaving && this.#isEmpty(reading.mono)) {
      this.#left = true;
      this.#close(session, reading);
      this.#events.push({ kind: 'left' });
    }
  }

  /** Returns true if everything is given away, or if no replica can take it and everything is sealed. */
  #isEmpty(mono: Micros): boolean {
    if (this.#ownedShards.size === 0) return true;
    return this.#receivers(mono).length === 0 && [...this.#ownedShards.all()].every(({ phase }) => phase === 'sealed');
  }

  #close(session: Session, reading: ClockReading): void {
    const last = this.#ownedShards.lastEntries(reading);
    session.close(reading, last);
    this.#closing.push(session);
    this.#lose(session, last, reading);
  }

  /** Drops everything of the session. `last` has up to where this process may have decided, and what its clocks showed. */
  #lose(session: Session, last: readonly OwnedSlots[], reading: ClockReading): void {
    this.#session = undefined;
    this.#peers.end(session.id, { own: last }, reading.mono).mine = true;
    for (const { shard, term, at } of last) {
      this.#clockBounds.observe(shard, term, at, reading.mono);
      this.#ownedShards.drop(shard);
      this.#events.push({ kind: 'lost', shard, term });
    }
  }

  #claimingSession(mono: Micros): string | undefined {
    if (this.#leaving || this.#startedAt === undefined || mono - this.#startedAt < this.#options.timing.listenFor) return undefined;
    return this.#session?.isHealthy(mono) ? this.#session.id : undefined;
  }

  #gained(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): void {
    const { clock } = this.#ownedShards.gain(shard, record, revision, claimed, reading);
    this.#events.push({ kind: 'gained', shard, term: record.term, from: record.from, clock });
    this.#session?.renew(reading);
  }

  /** Handles that the next term is in the register, or one after it: this process may have missed some while the response was on its way. */
  #moved(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void {
    const ownership = this.#ownedShards.get(shard);
    if (ownership === undefined) return;
    this.#clockBounds.observe(shard, ownership.term, ownership.clock.at(reading.mono), reading.mono);
    this.#ownedShards.drop(shard);
    this.#events.push({ kind: 'lost', shard, term: ownership.term });
    if (record.owner === this.#session?.id) return this.#claims.adopt(shard, record, revision, reading);
    const { instance } = this.#peers.track(record.owner, reading.mono);
    this.#notices.push({ to: record.owner, instance, shard, term: record.term });
    this.#session?.renew(reading);
  }

  /** Returns the peers that accept shards, those of the newest configuration first. */
  #receivers(mono: Micros): readonly Peer[] {
    const receivers = this.others(mono).filter(({ acceptsShards }) => acceptsShards);
    return receivers.sort((a, b) => b.revision.number - a.revision.number);
  }

  #receiver(session: string, mono: Micros): string | undefined {
    const peers = this.#receivers(mono);
    if (peers.some((peer) => peer.session === session)) return session;
    return this.#leaving ? peers[0]?.session : this.#session?.id;
  }

  #rebalance({ mono }: ClockReading): void {
    const session = this.#session;
    if (!session?.isHealthy(mono)) return;
    const input = { session: session.id, revision: this.#revision.number, leaving: this.#leaving, owned: this.#ownedShards.all(), peers: this.others(mono) };
    for (const { shard, to } of this.#rebalancer.moves(input, mono)) this.#handoff.start(shard, to);
  }
}
