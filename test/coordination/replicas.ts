import type { ClockReading } from '../../src/coordination/clocks/shard-clock.ts';
import { MemoryRegisters } from '../../src/coordination/registers/memory.ts';
import type { Registers } from '../../src/coordination/registers/registers.ts';
import type { Replica, ReplicaEvent, ReplicaOptions, ShardHandle, Timers } from '../../src/coordination/replica.ts';
import { createReplica } from '../../src/coordination/replica-driver.ts';
import { TIMING } from '../../src/coordination/timing.ts';
import { MILLISECOND, type Micros, plus } from '../../src/core/time.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';

/** A message between two processes of one machine. */
const LATENCY: Micros = MILLISECOND;

/** One replica, as a test sees it, and what befalls its process. */
export class Rig {
  readonly name: string;
  readonly replica: Replica;
  readonly events: ReplicaEvent[] = [];
  readonly shardTrees = new Map<number, ShardHandle>();
  /** Its questions to the registers are not answered any more. */
  cut = false;
  /** Answers of the registers take so long. */
  slow: Micros = 0;
  /** Its questions to the registers fail. */
  failing = false;
  /** For so long the machine was suspended. */
  asleep: Micros = 0;
  /** Called with every event, after it is noted. */
  listener: (event: ReplicaEvent) => void = () => {};
  /** What is to happen in it once it runs again; undefined: it runs. */
  #stopped: { readonly act: () => void; readonly timer: boolean }[] | undefined;
  /** What it puts off until it has read what arrived while it was stopped; undefined: nothing waits to be read. */
  #deferred: (() => void)[] | undefined;
  readonly #clock: FakeClock;

  constructor(world: Replicas, name: string, revision: ReplicaOptions['revision']) {
    this.name = name;
    this.#clock = world.clock;
    this.replica = createReplica({
      replica: name,
      instance: `${name}-${1 + world.all.filter((rig) => rig.name === name).length}`,
      shards: world.shards,
      timing: TIMING,
      registers: this.#registers(world.registers),
      messages: { publish: (bytes) => world.beat(bytes), onHeartbeat: (listener) => world.listen((bytes) => this.run(() => listener(bytes))) },
      notify: (instance, shard, term) => world.notify(instance, shard, term),
      clocks: { reading: () => this.#reading(world), uptime: () => world.reading().mono + this.asleep },
      timers: this.#timers(),
      defer: (run) => (this.#deferred === undefined ? run() : void this.#deferred.push(run)),
      newName: () => world.fresh(),
      revision,
      onEvent: (event) => this.#happened(event),
    });
  }

  /** Stopped, as by SIGSTOP: whatever comes waits. */
  stop(): void {
    this.#stopped ??= [];
  }

  /** As an event loop does: timers that are due first, then what has arrived, then what was deferred. */
  async resume(): Promise<void> {
    const due = this.#stopped ?? [];
    const deferred: (() => void)[] = [];
    this.#stopped = undefined;
    this.#deferred = deferred;
    for (const { act, timer } of due) if (timer) act();
    for (const { act, timer } of due) if (!timer) act();
    await settled();
    this.#deferred = undefined;
    for (const act of deferred) act();
    await settled();
  }

  run(act: () => void, timer = false): void {
    if (this.#stopped === undefined) act();
    else this.#stopped.push({ act, timer });
  }

  /** May it decide for a shard at this moment, as Turn asks it? */
  decides(shard: number): boolean {
    const ground = this.shardTrees.get(shard);
    if (ground === undefined || this.#stopped !== undefined) return false;
    const now = ground.clock.now();
    return now >= ground.leaderLease.from && now < ground.leaderLease.until();
  }

  troubles(): readonly string[] {
    return this.events.flatMap((event) => (event.kind === 'trouble' ? event.what : []));
  }

  #happened(event: ReplicaEvent): void {
    this.events.push(event);
    if (event.kind === 'gained') this.shardTrees.set(event.handle.shard, event.handle);
    if (event.kind === 'lost') this.shardTrees.delete(event.shard);
    if (event.kind === 'seal') this.replica.sealed(event.shard, event.term);
    this.listener(event);
  }

  #registers(inner: Registers): Registers {
    const late = () => new Promise<void>((resolve) => this.#clock.at(plus(this.#clock.now(), this.slow), resolve));
    const meet = async <T>(ask: () => Promise<T>): Promise<T> => {
      if (this.failing) throw new Error('no responders');
      if (this.cut) return new Promise(() => {});
      const answer = ask();
      answer.catch(() => {});
      if (this.slow > 0) await late();
      // The answer waits for a process that stands still.
      return new Promise((resolve, reject) => {
        answer.then(
          (value) => this.run(() => resolve(value)),
          (cause: Error) => this.run(() => reject(cause)),
        );
      });
    };
    return { read: (name) => meet(() => inner.read(name)), change: (name, bytes, revision) => meet(() => inner.change(name, bytes, revision)) };
  }

  #reading(world: Replicas): ClockReading {
    const { mono, wall, boot } = world.reading();
    return { mono, wall: wall + this.asleep, boot };
  }

  #timers(): Timers {
    return { after: (delay, act) => this.#clock.at(plus(this.#clock.now(), delay), () => this.run(act, true)) };
  }
}

/** Several replicas in one process: one clock, one set of registers, one bus. */
export class Replicas {
  readonly clock = new FakeClock();
  readonly registers = new MemoryRegisters();
  readonly shards: number;
  readonly all: Rig[] = [];
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  #names = 0;

  constructor(shards: number) {
    this.shards = shards;
  }

  add(name: string, revision = { number: 1, hash: 'x' }): Rig {
    const rig = new Rig(this, name, revision);
    this.all.push(rig);
    rig.replica.start();
    return rig;
  }

  reading() {
    const { mono, wall, boot } = this.clock.record();
    return { mono, wall, boot };
  }

  run(millis: number): Promise<void> {
    return this.clock.advanceAsync(millis * MILLISECOND);
  }

  fresh(): string {
    return `n${++this.#names}`;
  }

  beat(bytes: Uint8Array): void {
    this.#soon(() => {
      for (const listener of this.#listeners) listener(bytes);
    });
  }

  listen(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  notify(instance: string, shard: number, term: bigint): void {
    this.#soon(() => {
      for (const rig of this.all) if (rig.replica.instance === instance) rig.run(() => rig.replica.onShardOffered(shard, term));
    });
  }

  /** Who may decide for a shard now. */
  deciders(shard: number): readonly string[] {
    return this.all.filter((rig) => rig.decides(shard)).map(({ name }) => name);
  }

  /** The shards that nobody decides for. */
  idle(): readonly number[] {
    return this.every().filter((shard) => this.deciders(shard).length === 0);
  }

  every(): readonly number[] {
    return Array.from({ length: this.shards }, (_, shard) => shard);
  }

  loads(): Record<string, number> {
    return Object.fromEntries(this.all.map((rig) => [rig.name, this.every().filter((shard) => rig.decides(shard)).length]));
  }

  #soon(act: () => void): void {
    this.clock.at(plus(this.clock.now(), LATENCY), act);
  }
}
