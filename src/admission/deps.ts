import type { Coordinator, LeaderLease } from '../coordination/coordinator.ts';
import type { GateEvent } from '../core/events.ts';
import type { Gate } from '../core/gate/gate.ts';
import type { GateOptions } from '../core/gate/snapshot.ts';
import type { Instant, Micros } from '../core/time.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { GroupSettings } from './admission.ts';
import type { Clock } from './clock.ts';
import type { Pace } from './pace.ts';

/** What admission as a whole reports to the process; for the log, readiness and metrics. */
export type AdmissionEvent =
  /** A newer process decides for this store: nothing is admitted here any more. Once. */
  | { readonly kind: 'lost'; readonly cause: Error }
  /** The ledger of a tree cannot be written; groups that need it are closed until `stored`. */
  | { readonly kind: 'unstored'; readonly root: string; readonly cause: unknown }
  | { readonly kind: 'stored'; readonly root: string }
  /** A clean stop of this tree could not be written: the next start treats it as a crash. */
  | { readonly kind: 'seal_failed'; readonly root: string; readonly cause: unknown }
  /**
   * Trees of groups were opened over what earlier terms left: how many, how many of them without a clean stop; leases and bounds on record; nothing is
   * admitted for `heldFor`. `shard`: of replicas, whose trees come with their shards.
   */
  | {
      readonly kind: 'recovered';
      readonly shard?: number | undefined;
      readonly trees: number;
      readonly crashed: number;
      readonly leases: number;
      readonly bounds: number;
      readonly heldFor: Micros;
    }
  /** A group was taken out of the configuration while callers waited or leases lived in it; its waiters were refused `undecided`. */
  | { readonly kind: 'withdrawn'; readonly group: string; readonly waiting: number; readonly leases: number }
  /** A front end threw at its answer: a bug. */
  | { readonly kind: 'fault'; readonly cause: unknown };

/** How much admission keeps beside its gates; each is an option with a default. */
export interface AdmissionLimits {
  /** Requests held while the right to decide is awaited, per tree; beyond: `undecided`. */
  readonly before: number;
  /** Request ids remembered; beyond, the oldest that no caller waits for is forgotten, else the request is `shed`. */
  readonly requests: number;
  /** Sessions at once; beyond: `shed`. */
  readonly sessions: number;
  /** Permits remembered for settling, per tree. */
  readonly settled: number;
}

/** What a tree is decided on, for one term. */
export interface ShardContext {
  readonly leaderLease: LeaderLease;
  /** The time that the tree decides in: its shard's. */
  readonly clock: Clock;
  /** Of this term; closed when the term is over. */
  readonly ledger: Ledger;
}

/** What admission is made of; everything that touches the world is handed in. */
export interface AdmissionDeps {
  readonly clock: Clock;
  readonly coordinator: Coordinator;
  readonly ledger: Ledger;
  readonly settings: readonly GroupSettings[];
  /** Telemetry: what happened in any gate, and refusals on arrival at a known group. */
  readonly onGateEvent: (event: GateEvent, now: Instant) => void;
  readonly onEvent: (event: AdmissionEvent) => void;
  /** That many bytes that cannot be guessed. */
  readonly random: (bytes: number) => Uint8Array;
  readonly bounds: AdmissionLimits;
  /** Makes a gate. */
  readonly gate: (options: GateOptions) => Gate;
  /** false: nothing is written, leases and spent limits end with the process. */
  readonly recording: boolean;
  /** Leases of requests marked so are reported: an aggregate lease is written for them. Absent: false. */
  readonly reports?: boolean;
  /** Runs something in the next turn of the event loop. */
  readonly defer: (run: () => void) => void;
  /** Between two slices of a reload. Absent: a turn of the event loop. */
  readonly pace?: Pace | undefined;
  /** Which shard a root belongs to. Present: trees are decided here only between `gain` and `lose` of their shard, on what came with it, and `coordinator` and `ledger` are asked for nothing. */
  readonly shardOf?: ((root: string) => number) | undefined;
}
