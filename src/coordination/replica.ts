import type { EpochMs, Instant, Micros } from '../core/time.ts';
import type { ClockReading } from './clocks/shard-clock.ts';
import type { LeaderLease } from './coordinator.ts';
import type { Revision } from './membership/session-record.ts';
import type { Registers } from './registers/registers.ts';
import type { Timing } from './timing.ts';

/** Who decides for a shard now. `instance` is where the links find that process. */
export type ShardLocation =
  | { readonly at: 'here'; readonly term: bigint }
  | { readonly at: 'peer'; readonly instance: string; readonly term: bigint }
  | { readonly at: 'nowhere' };

/** Another replica that lives. */
export interface PeerView {
  readonly replica: string;
  readonly instance: string;
  readonly revision: number;
  readonly hash: string;
  /** How many it owns. */
  readonly shards: number;
}

/** A replica that is not heard any more. */
export interface GonePeer {
  readonly replica: string;
  readonly instance: string;
  /** How many it owned. */
  readonly shards: number;
  /** It was leaving, and said so. */
  readonly leaving: boolean;
}

/** The clock of one shard in one term. */
export interface ShardTime {
  /** Shard time; never goes back. */
  now(): Instant;
}

/** A shard's right to decide and its clock, as long as one term lasts. */
export interface ShardHandle {
  readonly shard: number;
  readonly leaderLease: LeaderLease;
  readonly clock: ShardTime;
}

/** What a replica tells its process, in order. */
export type ReplicaEvent =
  /** May decide from `leader lease.from` on. */
  | { readonly kind: 'gained'; readonly handle: ShardHandle }
  /** Decide nothing more, at once. */
  | { readonly kind: 'lost'; readonly shard: number; readonly term: bigint }
  /** A hand-over: stop deciding and call `halt` in that very moment, write the seal, then call `sealed`. */
  | { readonly kind: 'seal'; readonly shard: number; readonly term: bigint }
  /** Another replica decides for it than before, or none. */
  | { readonly kind: 'placed'; readonly shard: number; readonly at: ShardLocation }
  /** Who is there, or by what configuration, has changed. `gone`: those that were there before, as their last heartbeats said. */
  | { readonly kind: 'peers'; readonly gone?: readonly GonePeer[] }
  /** false: no session has been live for longer than the horizon; NATS is away for this one. */
  | { readonly kind: 'reachable'; readonly reachable: boolean }
  /** For the log. */
  | { readonly kind: 'trouble'; readonly what: string; readonly cause?: unknown };

/** A shard as this replica sees it, for people and metrics. */
export interface ShardView {
  readonly shard: number;
  readonly term: bigint;
  /** The replica that decides; '' where none does. */
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
  /** Answers how to stop listening. */
  onHeartbeat(listener: (bytes: Uint8Array) => void): () => void;
}

/** The machine's clocks. */
export interface ReplicaClocks {
  /** One look at all of them. */
  reading(): ClockReading;
  /** /proc/uptime in microseconds, which counts a suspend; undefined: the system has none. */
  uptime(): Micros | undefined;
}

/** Being called once, `delay` from now or a little later; answers how to take it back. */
export interface Timers {
  after(delay: Micros, act: () => void): () => void;
}

/** Resolves `delay` from now or a little later. */
export function sleep(timers: Timers, delay: Micros): Promise<void> {
  return new Promise((resolve) => void timers.after(delay, resolve));
}

/** What a replica is made of. */
export interface ReplicaOptions {
  /** Stays the same over restarts, and is no other replica's: who ranks where goes by it. */
  readonly replica: string;
  /** Names this life of the process, for the links. */
  readonly instance: string;
  /** How many shards there are: the same for all replicas, for ever. */
  readonly shards: number;
  readonly timing: Timing;
  readonly registers: Registers;
  readonly messages: HeartbeatBus;
  /** Tells a peer that it was given a shard; it may get lost. */
  readonly notify: (instance: string, shard: number, term: bigint) => void;
  readonly clocks: ReplicaClocks;
  readonly timers: Timers;
  /** A question to the registers is asked again after this without an answer; default and most: 250 ms. */
  readonly answerWithin?: Micros;
  /** Runs something once what has arrived from outside was read; default: at once. */
  readonly defer?: (run: () => void) => void;
  /** Random, never the same twice, anywhere. */
  readonly newName: () => string;
  readonly revision: Revision;
  /** The registers' own clock (NATS server time), for shards that no live replica knows anything about. */
  readonly serverTime?: () => Promise<EpochMs>;
  readonly onEvent: (event: ReplicaEvent) => void;
}

/** One of several replicas that share all shards; `createReplica` in driver.ts makes one. Nothing here throws out of a timer. */
export interface Replica {
  /** The name that the links go by now. */
  readonly instance: string;
  start(): void;
  locate(shard: number): ShardLocation;
  /** Those that live, others only. */
  peers(): readonly PeerView[];
  /** After `seal`: from this moment on nothing is decided in this term. */
  halt(shard: number, term: bigint): void;
  /** After `seal`: its state is where the next term reads it, or cannot be written. */
  sealed(shard: number, term: bigint): void;
  /** A peer says that it gave this replica the shard. */
  onShardOffered(shard: number, term: bigint): void;
  /** This life of the links is over: heartbeats carry the new name from now on. */
  replaceInstance(instance: string): void;
  /** Runs by another configuration from now on. */
  revise(revision: Revision): void;
  /** Gives everything away; resolves when that is done, or after `within` (default 5 s). Never rejects. */
  leave(within?: Micros): Promise<void>;
  /** How long every shard stays with this replica without another renewal; infinite while it owns none. */
  slack(): Micros;
  /** Every shard. */
  views(): readonly ShardView[];
}
