import type { Tenure } from '../coordination/coordinator.ts';
import type { GateEvent } from '../core/events.ts';
import type { Instant } from '../core/time.ts';
import type { TreeLedger } from '../ledger/ledger.ts';
import type { Answers } from './answers.ts';
import type { Clock } from './clock.ts';
import type { Entry } from './entry.ts';
import type { Hold } from './hold.ts';
import type { GateFace, Notice } from './parts.ts';
import type { PermitProofs } from './permit-proofs.ts';

/** The end of a permit, as the gate tells it. */
export type EndedEvent = Extract<GateEvent, { kind: 'ended' }>;

/** What one gate's turns are made of. */
export interface TurnParts {
  readonly root: string;
  readonly gate: GateFace;
  readonly ledger: TreeLedger;
  readonly tenure: Tenure;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly clock: Clock;
  readonly answers: Answers;
  readonly events: (event: GateEvent, now: Instant) => void;
  readonly notices: (notice: Notice) => void;
  readonly lost: (cause: Error) => void;
  readonly proofs: PermitProofs;
  /** The holder of a stored request that the gate has decided about; undefined if nothing stores requests here. */
  readonly storedHold: (sequence: number, group: string) => Hold | undefined;
  /** The stored requests of this group are no longer in line. */
  readonly unqueued: (group: string) => void;
}
