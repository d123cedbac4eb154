import type { LeaderLease } from '../coordination/coordinator.ts';
import type { GateEvent } from '../core/events.ts';
import type { Instant } from '../core/time.ts';
import type { TreeLedger } from '../ledger/ledger.ts';
import type { Clock } from './clock.ts';
import type { AdmissionNotice, GateFace } from './deps.ts';
import type { GroupEntry } from './group-entry.ts';
import type { PendingAcquire } from './pending-acquire.ts';
import type { PermitProofs } from './permit-proofs.ts';
import type { ReplyScheduler } from './reply-scheduler.ts';

/** The end of a permit, as the gate tells it. */
export type EndedEvent = Extract<GateEvent, { kind: 'ended' }>;

/** What one gate's turns are made of. */
export interface TurnParts {
  readonly root: string;
  readonly gate: GateFace;
  readonly ledger: TreeLedger;
  readonly leaderLease: LeaderLease;
  readonly entries: ReadonlyMap<string, GroupEntry>;
  readonly clock: Clock;
  readonly answers: ReplyScheduler;
  readonly events: (event: GateEvent, now: Instant) => void;
  readonly notices: (notice: AdmissionNotice) => void;
  readonly lost: (cause: Error) => void;
  readonly proofs: PermitProofs;
  /** The holder of a stored request that the gate has decided about; undefined if nothing stores requests here. */
  readonly storedHold: (sequence: number, group: string) => PendingAcquire | undefined;
  /** The stored requests of this group are no longer in line. */
  readonly unqueued: (group: string) => void;
}
