import type { AcquireHandle, AdmissionRequest, LocalAdmissionService, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { ShardLocation, Timers } from '../coordination/replica.ts';
import type { LimitView } from '../core/gate/snapshot.ts';
import type { QueuePosition } from '../core/request.ts';
import type { GroupDirectory, GroupRoute } from './group-directory.ts';
import type { OpeningQueue } from './opening-queue.ts';
import type { PendingRequest } from './pending-request.ts';
import type { RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

/** Who decides for groups that may go on while nobody else can be reached. */
export interface DegradedAdmission {
  acquire(ask: AdmissionRequest, spot: GroupRoute, done: (outcome: Outcome) => void): AcquireHandle;
}

/** What asks are made with. */
export interface PendingRequestsDeps {
  readonly admission: LocalAdmissionService;
  readonly openingQueue: OpeningQueue;
  readonly directory: GroupDirectory;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly place: (shard: number) => ShardLocation;
  readonly send: (to: string, op: RelayMessage) => Sent;
  readonly stopgap: DegradedAdmission | undefined;
  /** All own callers of the shard are back in its trees here. */
  readonly entered: (shard: number, term: bigint) => void;
  readonly seen: (ask: AdmissionRequest, limits: readonly LimitView[]) => void;
  readonly watched: (pending: PendingRequest) => QueuePosition | undefined;
  /** Ends a lease that nobody was told of, wherever it is known now. */
  readonly unused: (caller: string, permit: string) => void;
  /** Asks held while nobody decides for them at most; beyond: `undecided`. */
  readonly heldMax: number;
  /** Limits are to come along with every outcome. */
  readonly limits: boolean;
}
