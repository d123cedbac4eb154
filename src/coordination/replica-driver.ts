import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import { AgreedClock } from './clocks/agreed-clock.ts';
import type { ClockReading } from './clocks/shard-clock.ts';
import { SuspendDetector } from './clocks/suspend-detector.ts';
import { DuplicateNameDetector } from './membership/duplicate-name.ts';
import { decodeBeat, encodeBeat, type Heartbeat, type Revision } from './membership/session-record.ts';
import { RoutingTable } from './ownership/routing-table.ts';
import { ShardLease } from './ownership/shard-lease.ts';
import { RegisterClient } from './registers/client.ts';
import type { GonePeer, PeerView, Replica, ReplicaEvent, ReplicaOptions, ShardLocation, ShardView } from './replica.ts';
import { hasOutput, type MachineEvent, type MachineOutput, ReplicaMachine } from './replica-machine.ts';

/** Between two ticks of the member, while something is under way. */
const TICK_EVERY: Micros = 20 * MILLISECOND;

/** And while everything is at its place: silence and renewals are noticed that much later at most. */
const IDLE_TICK_EVERY: Micros = 50 * MILLISECOND;

/** Giving everything away may take this long unless said otherwise; then it is let go of as it is. */
const LEAVE_WITHIN: Micros = 5 * SECOND;

/** And the last record so much longer. */
const CLOSE_WITHIN: Micros = 500 * MILLISECOND;

/** Makes one; it does nothing before `start`. */
export function createReplica(parts: ReplicaOptions): Replica {
  return new ReplicaDriver(parts);
}

/** Brings a member the time, messages and answers, and does what it wants. */
class ReplicaDriver implements Replica {
  readonly #parts: ReplicaOptions;
  readonly #member: ReplicaMachine;
  readonly #registrar: RegisterClient;
  readonly #places: RoutingTable;
  readonly #shardTrees = new Map<number, ShardLease>();
  readonly #troubles = new WarningThrottle();
  readonly #duplicates = new DuplicateNameDetector();
  #instance: string;
  #revision: Revision;
  #state: 'new' | 'running' | 'over' = 'new';
  #unlisten: () => void = () => {};
  #untick: () => void = () => {};
  #following = false;
  readonly #suspends: SuspendDetector;
  readonly #agreed: AgreedClock;
  #tickedAt: Micros = 0;
  #calm = false;
  #liveAt: Micros = Number.NEGATIVE_INFINITY;
  #reachable: boolean | undefined;
  #peers = '';
  /** Those that are there, as their last heartbeats say, by instance. */
  #there: ReadonlyMap<string, GonePeer> = new Map();
  #leave: { readonly done: Promise<void>; readonly end: () => void; readonly by: Micros } | undefined;
  #left = false;
  #closeBy: Micros | undefined;

  constructor(parts: ReplicaOptions) {
    const { replica, instance, shards, timing, revision, newName } = parts;
    this.#parts = parts;
    this.#instance = instance;
    this.#revision = revision;
    this.#member = new ReplicaMachine({ replica, instance, shards, timing, revision, newSession: () => `${replica}-${newName()}` });
    this.#places = new RoutingTable({ shards });
    const { serverTime, timers } = parts;
    this.#agreed = new AgreedClock({ reading: () => parts.clocks.reading(), serverTime, timers });
    this.#suspends = new SuspendDetector({ uptime: () => parts.clocks.uptime() });
    this.#registrar = new RegisterClient({
      registers: parts.registers,
      timers: parts.timers,
      defer: parts.defer,
      answerWithin: parts.answerWithin,
      answered: (id, answer) =>
        this.#do(() => {
          this.#member.answered(id, answer, this.#reading());
          for (const ground of this.#shardTrees.values()) ground.renewed();
        }),
      failing: (cause) => this.#trouble('The registers cannot be asked.', cause),
    });
  }

  get instance(): string {
    return this.#instance;
  }

  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.#liveAt = this.#reading().mono;
    this.#tickedAt = this.#liveAt;
    this.#agreed.start();
    this.#unlisten = this.#parts.messages.onBeat((bytes) => this.#do(() => this.#heard(decodeBeat(bytes), this.#reading())));
    this.#tick();
  }

  locate(shard: number): ShardLocation {
    return this.#places.ownerOf(shard);
  }

  peers(): readonly PeerView[] {
    return this.#member.others(this.#reading().mono).map(({ replica, instance, revision, own }) => {
      return { replica, instance, revision: revision.number, hash: revision.hash, shards: own.length };
    });
  }

  halt(shard: number, term: bigint): void {
    this.#do(() => this.#member.halt(shard, term, this.#reading()));
  }

  sealed(shard: number, term: bigint): void {
    this.#do(() => this.#member.sealed(shard, term, this.#reading()));
  }

  onShardOffered(shard: number, term: bigint): void {
    this.#do(() => this.#member.onShardOffered(shard, term, this.#reading()));
  }

  readdress(instance: string): void {
    this.#instance = instance;
    this.#member.readdress(instance);
  }

  revise(revision: Revision): void {
    this.#revision = revision;
    this.#do(() => this.#member.revise(revision));
  }

  leave(within: Micros = LEAVE_WITHIN): Promise<void> {
    if (this.#state === 'new') this.#state = 'over';
    if (this.#state === 'over') return this.#leave?.done ?? Promise.resolve();
    if (this.#leave === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#leave = { done: promise, end: resolve, by: this.#reading().mono + within };
      this.#do(() => this.#member.leave());
    }
    return this.#leave.done;
  }

  slack(): Micros {
    return this.#member.slack(this.#reading().mono);
  }

  views(): readonly ShardView[] {
    return this.#places.views(this.#parts.replica, this.#member, this.#reading().mono);
  }

  #reading(): ClockReading {
    return this.#agreed.with(this.#parts.clocks.reading());
  }

  #heard(beat: Heartbeat, reading: ClockReading): void {
    this.#member.heard(beat, reading);
    this.#trouble(this.#duplicates.heard(beat, { replica: this.#parts.replica, instance: this.#instance }, reading.mono));
  }

  #tick(): void {
    this.#do(() => {
      const reading = this.#reading();
      this.#noteGap(reading);
      this.#member.tick(reading);
      this.#endLeave(reading);
    });
    if (this.#state !== 'running') return;
    const { timers, defer = (run) => run() } = this.#parts;
    // After a stall timers come first: heartbeats and answers that wait to be read would be taken for missing.
    this.#untick = timers.after(this.#calm ? IDLE_TICK_EVERY : TICK_EVERY, () => defer(() => this.#tick()));
  }

  /** A suspend stops CLOCK_MONOTONIC, so slots seem to be left that others have had since: all is given up. Any other pause shows in the slots. */
  #noteGap(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#suspends.noticed(reading)) {
      this.#trouble('The machine was suspended: everything that this replica owned is given up.');
      this.#member.giveUp(reading);
    }
    const gap = mono - this.#tickedAt;
    this.#tickedAt = mono;
    if (gap <= this.#parts.timing.horizon) return;
    this.#trouble(`The process stood still for ${Math.round(gap / MILLISECOND)} ms: longer than its slots last.`);
    this.#liveAt = mono;
  }

  /** Does something to the member, and everything that follows from it. Throws nothing. */
  #do(act: () => void): void {
    if (this.#state !== 'running') return;
    try {
      act();
    } catch (cause) {
      this.#trouble('Something that came cannot be understood.', cause);
    }
    // What comes of a listener's call is seen to by the loop that called the listener.
    if (this.#following) return;
    this.#following = true;
    try {
      this.#follow();
    } catch (cause) {
      this.#trouble('The coordination failed.', cause);
    } finally {
      this.#following = false;
    }
  }

  #follow(): void {
    for (;;) {
      const wanted = this.#member.take();
      if (hasOutput(wanted)) this.#carry(wanted);
      else if (!this.#look()) return;
    }
  }

  #carry({ events, beats, questions, notices }: MachineOutput): void {
    for (const event of events) this.#happened(event);
    for (const beat of beats) this.#try('A heartbeat cannot be sent.', () => this.#parts.messages.beat(encodeBeat(beat)));
    for (const question of questions) this.#registrar.ask(question);
    for (const { instance, shard, term } of notices) {
      if (instance !== '') this.#try('A peer cannot be told of a shard.', () => this.#parts.notify(instance, shard, term));
    }
  }

  #happened(event: MachineEvent): void {
    if (event.kind === 'left') {
      this.#left = true;
      return;
    }
    const { shard, term } = event;
    if (event.kind === 'gained') {
      const ground = this.#ground(event);
      this.#shardTrees.set(shard, ground);
      return this.#emit({ kind: 'gained', ground });
    }
    if (event.kind === 'lost' && this.#shardTrees.get(shard)?.term === term) {
      this.#shardTrees.get(shard)?.lose();
      this.#shardTrees.delete(shard);
    }
    this.#emit({ kind: event.kind, shard, term });
  }

  #ground({ shard, term, from, clock }: Extract<MachineEvent, { kind: 'gained' }>): ShardLease {
    const until = () => this.#member.until(shard, term);
    return new ShardLease({ shard, term, from, shardClock: clock, until, mono: () => this.#reading().mono, timers: this.#parts.timers });
  }

  /** Tells what has changed; false: nothing. */
  #look(): boolean {
    const { mono } = this.#reading();
    const others = this.#member.others(mono);
    const moved = this.#places.update(this.#member.holds(), others);
    this.#calm = this.#places.settled && this.#leave === undefined;
    for (const shard of moved) this.#emit({ kind: 'placed', shard, at: this.locate(shard) });
    const { number, hash } = this.#revision;
    const peers = JSON.stringify([number, hash, ...others.map(({ replica, instance, revision }) => [replica, instance, revision.number, revision.hash])]);
    const changed = peers !== this.#peers;
    this.#peers = peers;
    const before = this.#there;
    this.#there = new Map(
      others.map(({ replica, instance, own, acceptsShards }) => [instance, { replica, instance, shards: own.length, leaving: !acceptsShards }]),
    );
    if (changed) this.#emit({ kind: 'peers', gone: [...before.values()].filter(({ instance }) => !this.#there.has(instance)) });
    for (const { replica, revision } of changed ? others : []) {
      if (revision.number === number && revision.hash !== hash)
        this.#trouble(`Replica ${replica} runs by another configuration of the same revision ${number}.`);
    }
    this.#trouble(orphanedShardsMessage(this.#calm ? [] : this.#member.orphanedShards()));
    return this.#noteReach(mono) || moved.length > 0 || changed;
  }

  #noteReach(mono: Micros): boolean {
    if (this.#member.live) this.#liveAt = mono;
    const reachable = this.#member.live || (mono - this.#liveAt > this.#parts.timing.horizon ? false : this.#reachable);
    if (reachable === this.#reachable || reachable === undefined || this.#left) return false;
    this.#reachable = reachable;
    this.#emit({ kind: 'reachable', reachable });
    return true;
  }

  #endLeave(reading: ClockReading): void {
    const leave = this.#leave;
    if (leave === undefined) return;
    if (!this.#left && reading.mono >= leave.by) {
      this.#member.giveUp(reading);
      this.#left = true;
    }
    if (!this.#left) return;
    this.#closeBy ??= reading.mono + CLOSE_WITHIN;
    if (this.#member.closing && reading.mono < this.#closeBy) return;
    this.#state = 'over';
    this.#unlisten();
    this.#untick();
    this.#agreed.stop();
    leave.end();
  }

  #emit(event: ReplicaEvent): void {
    try {
      this.#parts.onEvent(event);
    } catch (cause) {
      if (event.kind !== 'trouble') this.#trouble(`The process failed at '${event.kind}'.`, cause);
    }
  }

  #try(what: string, act: () => void): void {
    try {
      act();
    } catch (cause) {
      this.#trouble(what, cause);
    }
  }

  #trouble(what: string | undefined, cause?: unknown): void {
    if (what === undefined || !this.#troubles.fresh(what, this.#reading().mono)) return;
    this.#emit({ kind: 'trouble', what, ...(cause === undefined ? {} : { cause }) });
  }
}

/** The same trouble is logged again after this long at the earliest. */
const TELL_EVERY: Micros = 10 * SECOND;

/** Keeps a trouble that lasts from filling the log. */
class WarningThrottle {
  readonly #told = new Map<string, Micros>();

  /** Returns whether it is to be logged now. */
  fresh(what: string, mono: Micros): boolean {
    for (const [told, at] of this.#told) if (mono - at >= TELL_EVERY) this.#told.delete(told);
    if (this.#told.has(what)) return false;
    this.#told.set(what, mono);
    return true;
  }
}

/** What an operator is to know about shards of a session whose record is lost; undefined: there are none. */
function orphanedShardsMessage(shards: readonly number[]): string | undefined {
  if (shards.length === 0) return undefined;
  return `Shards ${shards.join(', ')} stand still: the record of who decided for them is lost. They go on by themselves once a replica's wall clock and the registers' time agree within 250 ms, unless they did not agree when these shards were last owned either.`;
}
