import type { AdmissionAsk, Held, LimitView, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Timers, Whereabouts } from '../coordination/replica.ts';
import type { Place } from '../core/waiter.ts';
import type { Directory, Spot } from './directory.ts';
import type { Door } from './door.ts';
import type { Errand } from './errand.ts';
import type { Sent } from './links.ts';
import type { Op } from './ops.ts';
import type { Porch } from './porch.ts';

/** Who decides for groups that may go on while nobody else can be reached. */
export interface Stopgap {
  acquire(ask: AdmissionAsk, spot: Spot, done: (outcome: Outcome) => void): Held;
}

/** What asks are made with. */
export interface AsksParts {
  readonly door: Door;
  readonly porch: Porch;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly place: (shard: number) => Whereabouts;
  readonly send: (to: string, op: Op) => Sent;
  readonly stopgap: Stopgap | undefined;
  /** All own callers of the shard are back in its trees here. */
  readonly entered: (shard: number, term: bigint) => void;
  readonly seen: (ask: AdmissionAsk, limits: readonly LimitView[]) => void;
  readonly watched: (errand: Errand) => Place | undefined;
  /** Ends a lease that nobody was told of, wherever it is known now. */
  readonly unused: (caller: string, permit: string) => void;
  /** Asks held while nobody decides for them at most; beyond: `undecided`. */
  readonly heldMax: number;
  /** Limits are to come along with every outcome. */
  readonly limits: boolean;
}
