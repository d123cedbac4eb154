import type { AdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { AdmissionDeps, AdmissionEvent } from '../admission/deps.ts';
import { LoopPace, type Pace } from '../admission/pace.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import type { Config } from '../config/load.ts';
import type { Variables } from '../config/overlay.ts';
import { Gate } from '../core/gate/gate.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import type { NewsBus } from '../deferred/cluster-news.ts';
import { createRandom } from '../platform/random.ts';
import type { ClockSources, SystemClockOptions } from '../platform/system-clock.ts';
import { createTimers } from '../platform/timers.ts';
import { openWakeThread } from '../platform/wake-thread.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { withRequestLog } from '../telemetry/request-log.ts';
import { logAdmissionEvent } from './log-events.ts';
import type { NatsRequests } from './nats-requests.ts';

/** Something to be done when a start fails, in reverse order. */
export type Closer = () => Promise<void>;

/** What opening admission needs. */
export interface AdmissionStackDeps {
  readonly clocks: ClockSources;
  readonly env: Variables;
  readonly version: string;
  readonly nodeVersion: string;
  readonly log: Log;
  /** Id of this process. */
  readonly pid?: number | undefined;
  /** Aborts when the start is to be given up. */
  readonly stopping?: AbortSignal | undefined;
  /** Closes what was opened before something else failed. */
  readonly opened: Closer[];
}

/** What a replica shares stored requests by. */
export interface ReplicaRequests {
  /** Connects and makes the streams; once. */
  open(): Promise<NatsRequests>;
  /** The shard that decides for a group; undefined: there is no such group. */
  shardOf(group: string): number | undefined;
  readonly bus: NewsBus;
  /** The name of this process among all. */
  instance(): string;
  /** Whether a process, this one or another, still lives as far as this one has received. */
  isAlive(instance: string): boolean;
  /** Reports the shards that this replica has, then those that it gains and loses. Returns a function that stops it. */
  watch(onShard: OnShard): () => void;
}

/** Called with each change. */
export type OnShard = (change: ShardChange) => void;

/** A shard is decided here from now on, or is not any more, or is about to be handed over in order. */
export interface ShardChange {
  readonly kind: 'gained' | 'lost' | 'handed';
  readonly shard: number;
  readonly term: bigint;
  /** Whether this process may still act in that term, by the clock alone; of `gained` only. */
  readonly decides?: () => boolean;
}

/** Admission with all that stands behind it: what a server serves. */
export interface AdmissionStack {
  readonly admission: AdmissionService;
  /** Where stored requests stand in line. */
  readonly line: StoredLine;
  /** Where replicas share stored requests; undefined: this process has them to itself. */
  readonly replicas?: ReplicaRequests | undefined;
  readonly metrics: Metrics;
  /** The time of this process. */
  readonly clock: Clock;
  /** What an operator should know of it though it is ready; one line each. */
  readonly remarks: () => readonly string[];
  /** Called once with where callers are taken. */
  readonly serving?: (addresses: Readonly<Record<string, string>>) => Promise<void>;
  /** Resolves when this process may decide nothing more and should end. */
  readonly lost: Promise<Error>;
  /** Groups of another file, wholly or not at all; answers what cannot be done. */
  reconfigure(next: Config): Promise<readonly string[]>;
  /** Refuses new requests; those held stay until `grace` ends, then the exact state is written. */
  drain(grace: Micros): Promise<void>;
  /** After the drain. */
  close(): Promise<void>;
  /** Of a reload. */
  readonly pace: Pace;
}

/** Dependencies of all gates of a process, on one node or among replicas; `onEvent` receives what is also logged. */
export function admissionDeps(
  { groups, bounds, log: { requests } }: Config,
  deps: { clock: Clock; log: Log; metrics: Metrics; pace: Pace; onEvent?: (event: AdmissionEvent) => void },
): Omit<AdmissionDeps, 'coordinator' | 'ledger' | 'recording' | 'shardOf'> {
  const { clock, log, metrics, pace, onEvent = () => {} } = deps;
  return {
    clock,
    settings: groups,
    onGateEvent: requests ? withRequestLog(log, metrics.event) : metrics.event,
    onEvent: (event) => {
      logAdmissionEvent(log, event);
      onEvent(event);
    },
    random: createRandom(),
    bounds: { before: bounds.undecided, requests: bounds.requestIds, sessions: bounds.sessions, settled: bounds.settled },
    gate: (parts) => new Gate(parts),
    defer: (run) => void setImmediate(run),
    pace,
  };
}

/** Opens the thread that wakes the event loop for a clock; where it does not run, the log says once what that costs. */
export function wakerOf({ monotonic }: ClockSources, log: Log): NonNullable<SystemClockOptions['openWaker']> {
  return ({ wake, lost }) =>
    openWakeThread({
      monotonic,
      wake,
      lost(cause) {
        log.write(
          'warn',
          'clock_unthreaded',
          'No worker thread runs for the clock: the event loop spins before each admission by rate, which takes up to a whole processor.',
          { err: cause },
        );
        lost(cause);
      },
    });
}

/** The pace of reloads; `slack`: see {@link LoopPaceDeps}. */
export function createPace(slack: () => Micros): Pace {
  const { after } = createTimers();
  return new LoopPace({ mono: () => performance.now() * MILLISECOND, after, defer: (run) => void setImmediate(run), slack });
}
