import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import { AgreedClock } from './clocks/agreed-clock.ts';
import type { ClockReading } from './clocks/shard-clock.ts';
import { SuspendDetector } from './clocks/suspend-detector.ts';
import { DuplicateNameDetector } from './membership/duplicate-name.ts';
import { decodeHeartbeat, encodeHeartbeat, type Heartbeat, type Revision } from './membership/session-record.ts';
import { RoutingTable } from './ownership/routing-table.ts';
import { ShardLease } from './ownership/shard-lease.ts';
import { RegisterClient } from './registers/client.ts';
import type { GonePeer, PeerView, Replica, ReplicaEvent, ReplicaOptions, ShardLocation, ShardView } from './replica.ts';
import { hasOutput, type MachineEvent, type MachineOutput, ReplicaMachine } from './replica-machine.ts';

/** Interval of the machine's ticks while a shard has no owner or this replica leaves. */
const TICK_EVERY: Micros = 20 * MILLISECOND;

/** Interval while every shard has an owner: silence and renewals are noticed later by this at most. */
const IDLE_TICK_EVERY: Micros = 50 * MILLISECOND;

/** Default time for giving everything away; after it, shards are released as they are. */
const LEAVE_WITHIN: Micros = 5 * SECOND;

/** Additional time for writing the last record. */
const CLOSE_WITHIN: Micros = 500 * MILLISECOND;

/** Creates a replica; it does nothing before `start`. */
export function createReplica(options: ReplicaOptions): Replica {
  return new ReplicaDriver(options);
}

/** Drives the machine: passes it the time, messages and responses, and performs its output. */
class ReplicaDriver implements Replica {
  readonly #options: ReplicaOptions;
  readonly #machine: ReplicaMachine;
  readonly #registerClient: RegisterClient;
  readonly #routingTable: RoutingTable;
  readonly #leases = new Map<number, ShardLease>();
  readonly #warnings = new WarningThrottle();
  readonly #duplicates = new DuplicateNameDetector();
  #instance: string;
  #revision: Revision;
  #state: 'new' | 'running' | 'stopped' = 'new';
  #unsubscribe: () => void = () => {};
  #cancelTick: () => void = () => {};
  #draining = false;
  readonly #suspends: SuspendDetector;
  readonly #agreedClock: AgreedClock;
  #tickedAt: Micros = 0;
  #settled = false;
  #liveAt: Micros = Number.NEGATIVE_INFINITY;
  #reachable: boolean | undefined;
  #peers = '';
  /** Live peers by instance, as in their last heartbeats. */
  #livePeers: ReadonlyMap<string, GonePeer> = new Map();
  #leave: { readonly done: Promise<void>; readonly end: () => void; readonly by: Micros } | undefined;
  #left = false;
  #closeBy: Micros | undefined;

  constructor(options: ReplicaOptions) {
    const { replica, instance, shards, timing, revision, newName } = options;
    this.#options = options;
    this.#instance = instance;
    this.#revision = revision;
    this.#machine = new ReplicaMachine({ replica, instance, shards, timing, revision, newSession: () => `${replica}-${newName()}` });
    this.#routingTable = new RoutingTable({ shards });
    const { serverTime, timers } = options;
    this.#agreedClock = new AgreedClock({ reading: () => options.clocks.reading(), serverTime, timers });
    this.#suspends = new SuspendDetector({ uptime: () => options.clocks.uptime() });
    this.#registerClient = new RegisterClient({
      registers: options.registers,
      timers: options.timers,
      defer: options.defer,
      answerWithin: options.answerWithin,
      onResponse: (id, answer) =>
        this.#do(() => {
          this.#machine.onResponse(id, answer, this.#reading());
          for (const lease of this.#leases.values()) lease.renewed();
        }),
      onFailure: (cause) => this.#warn('The registers cannot be reached.', cause),
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
    this.#agreedClock.start();
    this.#unsubscribe = this.#options.messages.onHeartbeat((bytes) => this.#do(() => this.#onHeartbeat(decodeHeartbeat(bytes), this.#reading())));
    this.#tick();
  }

  locate(shard: number): ShardLocation {
    return this.#routingTable.ownerOf(shard);
  }

  peers(): readonly PeerView[] {
    return this.#machine.others(this.#reading().mono).map(({ replica, instance, revision, own }) => {
      return { replica, instance, revision: revision.number, hash: revision.hash, shards: own.length };
    });
  }

  halt(shard: number, term: bigint): void {
    this.#do(() => this.#machine.halt(shard, term, this.#reading()));
  }

  sealed(shard: number, term: bigint): void {
    this.#do(() => this.#machine.sealed(shard, term, this.#reading()));
  }

  onShardOffered(shard: number, term: bigint): void {
    this.#do(() => this.#machine.onShardOffered(shard, term, this.#reading()));
  }

  replaceInstance(instance: string): void {
    this.#instance = instance;
    this.#machine.replaceInstance(instance);
  }

  revise(revision: Revision): void {
    this.#revision = revision;
    this.#do(() => this.#machine.revise(revision));
  }

  leave(within: Micros = LEAVE_WITHIN): Promise<void> {
    if (this.#state === 'new') this.#state = 'stopped';
    if (this.#state === 'stopped') return this.#leave?.done ?? Promise.resolve();
    if (this.#leave === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#leave = { done: promise, end: resolve, by: this.#reading().mono + within };
      this.#do(() => this.#machine.leave());
    }
    return this.#leave.done;
  }

  slack(): Micros {
    return this.#machine.slack(this.#reading().mono);
  }

  views(): readonly ShardView[] {
    return this.#routingTable.views(this.#options.replica, this.#machine, this.#reading().mono);
  }

  #reading(): ClockReading {
    return this.#agreedClock.with(this.#options.clocks.reading());
  }

  #onHeartbeat(heartbeat: Heartbeat, reading: ClockReading): void {
    this.#machine.onHeartbeat(heartbeat, reading);
    this.#warn(this.#duplicates.onHeartbeat(heartbeat, { replica: this.#options.replica, instance: this.#instance }, reading.mono));
  }

  #tick(): void {
    this.#do(() => {
      const reading = this.#reading();
      this.#checkForPause(reading);
      this.#machine.tick(reading);
      this.#endLeave(reading);
    });
    if (this.#state !== 'running') return;
    const { timers, defer = (run) => run() } = this.#options;
    // After a stall timers run first: heartbeats and responses that wait to be read would count as missing.
    this.#cancelTick = timers.after(this.#settled ? IDLE_TICK_EVERY : TICK_EVERY, () => defer(() => this.#tick()));
  }

  /** Gives everything up after a suspend, which stops CLOCK_MONOTONIC: slots that others have had since would seem to be left. Any other pause shows in the slots. */
  #checkForPause(reading: ClockReading): void {
    const { mono } = reading;
    if (this.#suspends.wasSuspended(reading)) {
      this.#warn('The machine was suspended: everything that this replica owned is given up.');
      this.#machine.giveUp(reading);
    }
    const gap = mono - this.#tickedAt;
    this.#tickedAt = mono;
    if (gap <= this.#options.timing.horizon) return;
    this.#warn(`The process was stopped for ${Math.round(gap / MILLISECOND)} ms: longer than its slots last.`);
    this.#liveAt = mono;
  }

  /** Runs `act` on the machine and performs the output that follows. Never throws. */
  #do(act: () => void): void {
    if (this.#state !== 'running') return;
    try {
      act();
    } catch (cause) {
      this.#warn('A message or a response cannot be read.', cause);
    }
    // Output of a listener's call is performed by the loop that called the listener.
    if (this.#draining) return;
    this.#draining = true;
    try {
      this.#drainOutput();
    } catch (cause) {
      this.#warn('The coordination failed.', cause);
    } finally {
      this.#draining = false;
    }
  }

  #drainOutput(): void {
    for (;;) {
      const output = this.#machine.take();
      if (hasOutput(output)) this.#perform(output);
      else if (!this.#emitChanges()) return;
    }
  }

  #perform({ events, heartbeats, requests, notices }: MachineOutput): void {
    for (const event of events) this.#onMachineEvent(event);
    for (const heartbeat of heartbeats) this.#try('A heartbeat cannot be sent.', () => this.#options.messages.publish(encodeHeartbeat(heartbeat)));
    for (const request of requests) this.#registerClient.send(request);
    for (const { instance, shard, term } of notices) {
      if (instance !== '') this.#try('A peer cannot be notified of a shard.', () => this.#options.notify(instance, shard, term));
    }
  }

  #onMachineEvent(event: MachineEvent): void {
    if (event.kind === 'left') {
      this.#left = true;
      return;
    }
    const { shard, term } = event;
    if (event.kind === 'gained') {
      const lease = this.#createLease(event);
      this.#leases.set(shard, lease);
      return this.#emit({ kind: 'gained', handle: lease });
    }
    if (event.kind === 'lost' && this.#leases.get(shard)?.term === term) {
      this.#leases.get(shard)?.lose();
      this.#leases.delete(shard);
    }
    this.#emit({ kind: event.kind, shard, term });
  }

  #createLease({ shard, term, from, clock }: Extract<MachineEvent, { kind: 'gained' }>): ShardLease {
    const until = () => this.#machine.until(shard, term);
    return new ShardLease({ shard, term, from, shardClock: clock, until, mono: () => this.#reading().mono, timers: this.#options.timers });
  }

  /** Emits what has changed. Returns false if nothing has. */
  #emitChanges(): boolean {
    const { mono } = this.#reading();
    const others = this.#machine.others(mono);
    const moved = this.#routingTable.update(this.#machine.ownedShards(), others);
    this.#settled = this.#routingTable.settled && this.#leave === undefined;
    for (const shard of moved) this.#emit({ kind: 'placed', shard, at: this.locate(shard) });
    const { number, hash } = this.#revision;
    const peers = JSON.stringify([number, hash, ...others.map(({ replica, instance, revision }) => [replica, instance, revision.number, revision.hash])]);
    const changed = peers !== this.#peers;
    this.#peers = peers;
    const before = this.#livePeers;
    this.#livePeers = new Map(
      others.map(({ replica, instance, own, acceptsShards }) => [instance, { replica, instance, shards: own.length, leaving: !acceptsShards }]),
    );
    if (changed) this.#emit({ kind: 'peers', gone: [...before.values()].filter(({ instance }) => !this.#livePeers.has(instance)) });
    for (const { replica, revision } of changed ? others : []) {
      if (revision.number === number && revision.hash !== hash) this.#warn(`Replica ${replica} runs another configuration of the same revision ${number}.`);
    }
    this.#warn(orphanedShardsMessage(this.#settled ? [] : this.#machine.orphanedShards()));
    return this.#updateReachable(mono) || moved.length > 0 || changed;
  }

  #updateReachable(mono: Micros): boolean {
    if (this.#machine.live) this.#liveAt = mono;
    const reachable = this.#machine.live || (mono - this.#liveAt > this.#options.timing.horizon ? false : this.#reachable);
    if (reachable === this.#reachable || reachable === undefined || this.#left) return false;
    this.#reachable = reachable;
    this.#emit({ kind: 'reachable', reachable });
    return true;
  }

  #endLeave(reading: ClockReading): void {
    const leave = this.#leave;
    if (leave === undefined) return;
    if (!this.#left && reading.mono >= leave.by) {
      this.#machine.giveUp(reading);
      this.#left = true;
    }
    if (!this.#left) return;
    this.#closeBy ??= reading.mono + CLOSE_WITHIN;
    if (this.#machine.closing && reading.mono < this.#closeBy) return;
    this.#state = 'stopped';
    this.#unsubscribe();
    this.#cancelTick();
    this.#agreedClock.stop();
    leave.end();
  }

  #emit(event: ReplicaEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (cause) {
      if (event.kind !== 'trouble') this.#warn(`The process failed at '${event.kind}'.`, cause);
    }
  }

  #try(what: string, act: () => void): void {
    try {
      act();
    } catch (cause) {
      this.#warn(what, cause);
    }
  }

  #warn(what: string | undefined, cause?: unknown): void {
    if (what === undefined || !this.#warnings.fresh(what, this.#reading().mono)) return;
    this.#emit({ kind: 'trouble', what, ...(cause === undefined ? {} : { cause }) });
  }
}

/** The same warning is logged again after this long at the earliest. */
const LOG_EVERY: Micros = 10 * SECOND;

/** Keeps a lasting problem from filling the log. */
class WarningThrottle {
  readonly #loggedAt = new Map<string, Micros>();

  /** Returns true if the warning is to be logged now. */
  fresh(what: string, mono: Micros): boolean {
    for (const [message, at] of this.#loggedAt) if (mono - at >= LOG_EVERY) this.#loggedAt.delete(message);
    if (this.#loggedAt.has(what)) return false;
    this.#loggedAt.set(what, mono);
    return true;
  }
}

/** Returns the warning for shards of a session whose record is lost, or undefined if there are none. */
function orphanedShardsMessage(shards: readonly number[]): string | undefined {
  if (shards.length === 0) return undefined;
  return `Shards ${shards.join(', ')} are not decided: the record of their last owner is lost. They continue by themselves once a replica's wall clock and the registers' time agree within 250 ms, unless they did not agree when these shards were last owned either.`;
}
