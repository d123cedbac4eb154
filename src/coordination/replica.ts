import type { EpochMs, Instant, Micros } from '../core/time.ts';
import type { ClockReading } from './clocks/shard-clock.ts';
import type { LeaderLease } from './coordinator.ts';
import type { Revision } from './membership/session-record.ts';
import type { Registers } from './registers/registers.ts';
import type { Timing } from './timing.ts';

/** Where a shard is decided now. `instance` is the address of that process in the relay. */
export type ShardLocation =
  | { readonly at: 'here'; readonly term: bigint }
  | { readonly at: 'peer'; readonly instance: string; readonly term: bigint }
  | { readonly at: 'nowhere' };

/** Another live replica. */
export interface PeerView {
  readonly replica: string;
  readonly instance: string;
  readonly revision: number;
  readonly hash: string;
  /** Number of shards that it owns. */
  readonly shards: number;
}

/** A replica whose heartbeats have stopped. */
export interface GonePeer {
  readonly replica: string;
  readonly instance: string;
  /** Number of shards that it owned. */
  readonly shards: number;
  /** Its last heartbeats reported that it was leaving. */
  readonly leaving: boolean;
}

/** The clock of one shard in one term. */
export interface ShardTime {
  /** Shard time; never goes back. */
  now(): Instant;
}

/** The leader lease of a shard and its clock, for one term. */
export interface ShardHandle {
  readonly shard: number;
  readonly leaderLease: LeaderLease;
  readonly clock: ShardTime;
}

/** Events of a replica for its process, in order. */
export type ReplicaEvent =
  /** This replica may decide, from `leaderLease.from` on. */
  | { readonly kind: 'gained'; readonly handle: ShardHandle }
  /** This replica must decide nothing more, at once. */
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  /** A handoff: stop deciding and call `halt` in the same turn, write the seal, then call `sealed`. */
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  /** The owner of the shard has changed; it may have none. */
  | { readonly kind: 'placed'; readonly shard: number; readonly at: ShardLocation }
  /** Live peers or their configurations have changed. `gone`: those that are not live any more, as in their last heartbeats. */
  | { readonly kind: 'peers'; readonly gone?: readonly GonePeer[] }
  /** false: no session has been live for longer than the horizon; NATS is away for this one. */
  | { readonly kind: 'reachable'; readonly reachable: boolean }
  /** For the log. */
  | { readonly kind: 'trouble'; readonly what: string; readonly cause?: unknown };

/** A shard as this replica sees it, for display and metrics. */
export interface ShardView {
  readonly shard: number;
  readonly term: bigint;
  /** The replica that decides; '' if none does. */
  readonly owner: string;
  /** Of a shard held here; `elsewhere` of another's, or of none. */
  readonly phase: 'owned' | 'draining' | 'halted' | 'sealed' | 'elsewhere';
  /** Shard time, of a shard held here: its slots. */
  readonly from: Instant | undefined;
  readonly until: Instant | undefined;
}

/** Heartbeats of all replicas, own ones included: lost, late, or twice, but never changed. */
export interface HeartbeatBus {
  publish(bytes: Uint8Array): void;
  /** Returns a function that stops listening. */
  onHeartbeat(listener: (bytes: Uint8Array) => void): () => void;
}

/** The machine's clocks. */
export interface ReplicaClocks {
  /** Reads all of them at one moment. */
  reading(): ClockReading;
  /** Returns /proc/uptime in microseconds, which counts a suspend, or undefined if the system has none. */
  uptime(): Micros | undefined;
}

/** Schedules `act` once, no earlier than `delay` from now. Returns a function that cancels it. */
export interface Timers {
  after(delay: Micros, act: () => void): () => void;
}

/** Resolves no earlier than `delay` from now. */
export function sleep(timers: Timers, delay: Micros): Promise<void> {
  return new Promise((resolve) => void timers.after(delay, resolve));
}

/** Options of a replica. */
export interface ReplicaOptions {
  /** Name of the replica: the same over restarts, unique among replicas. Ranks are computed from it. */
  readonly replica: string;
  /** Address of this process in the relay, until it is replaced. */
  readonly instance: string;
  /** Number of shards: the same for all replicas, for ever. */
  readonly shards: number;
  readonly timing: Timing;
  readonly registers: Registers;
  readonly messages: HeartbeatBus;
  /** Notifies a peer that it was given a shard; the message may get lost. */
  readonly notify: (instance: string, shard: number, term: bigint) => void;
  readonly clocks: ReplicaClocks;
  readonly timers: Timers;
  /** A request to the registers is given up after this without a response; default and maximum: 250 ms. */
  readonly answerWithin?: Micros;
  /** Runs a function after pending input was read. Default: at once. */
  readonly defer?: (run: () => void) => void;
  /** Returns a random name that was never used, by any process. */
  readonly newName: () => string;
  readonly revision: Revision;
  /** The registers' own clock (NATS server time), for shards of which no live replica knows the clock. */
  readonly serverTime?: () => Promise<EpochMs>;
  readonly onEvent: (event: ReplicaEvent) => void;
}

/** One of several replicas that share all shards; `createReplica` in replica-driver.ts creates one. It never throws out of a timer. */
export interface Replica {
  /** The address of this process in the relay. */
  readonly instance: string;
  start(): void;
  locate(shard: number): ShardLocation;
  /** Returns the other live replicas. */
  peers(): readonly PeerView[];
  /** After `seal`: nothing is decided in this term from now on. */
  halt(shard: number, term: bigint): void;
  /** After `halt`: its state is where the next term reads it, or cannot be written. */
  sealed(shard: number, term: bigint): void;
  /** Handles the notice of a peer that it gave this replica the shard. */
  onShardOffered(shard: number, term: bigint): void;
  /** Sets the address that heartbeats carry from now on. */
  replaceInstance(instance: string): void;
  /** Sets the configuration that this replica runs from now on. */
  revise(revision: Revision): void;
  /** Gives everything away; resolves when that is done, or after `within` (default 5 s). Never rejects. */
  leave(within?: Micros): Promise<void>;
  /** Returns how long every shard stays with this replica without another renewal; infinite while it owns none. */
  slack(): Micros;
  /** Returns a view of every shard. */
  views(): readonly ShardView[];
}
