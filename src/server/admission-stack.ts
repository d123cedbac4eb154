import type { AdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { AdmissionDeps, AdmissionNotice } from '../admission/deps.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import type { Config } from '../config/load.ts';
import type { Variables } from '../config/overlay.ts';
import { Gate } from '../core/gate/gate.ts';
import type { Micros } from '../core/time.ts';
import { createRandom } from '../platform/random.ts';
import type { ClockSources } from '../platform/system-clock.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { logNotice } from './log-events.ts';

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

/** Admission with all that stands behind it: what a server serves. */
export interface AdmissionStack {
  readonly admission: AdmissionService;
  /** Where stored requests stand in line; undefined: nowhere, as yet among replicas. */
  readonly line: StoredLine | undefined;
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
  /** Refuses newcomers; those held stay until `grace` ends, then the exact state is left behind. */
  drain(grace: Micros): Promise<void>;
  /** After the drain. */
  close(): Promise<void>;
}

/** What all gates of a process are made of, alone or among replicas; `notices` hears what is also logged. */
export function admissionDeps(
  { groups, bounds }: Config,
  { clock, log, metrics, notices = () => {} }: { clock: Clock; log: Log; metrics: Metrics; notices?: (notice: AdmissionNotice) => void },
): Omit<AdmissionDeps, 'coordinator' | 'ledger' | 'recording' | 'shardOf'> {
  return {
    clock,
    settings: groups,
    events: metrics.event,
    notices: (notice) => {
      logNotice(log, notice);
      notices(notice);
    },
    random: createRandom(),
    bounds: { before: bounds.undecided, requests: bounds.requestIds, sessions: bounds.sessions, settled: bounds.settled },
    gate: (parts) => new Gate(parts),
    defer: (run) => void setImmediate(run),
  };
}
