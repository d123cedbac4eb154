import type { AcquireHandle, AdmissionRequest, Outcome } from '../admission/admission.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Micros } from '../core/time.ts';
import type { HeldBody } from './upstream/forwarder.ts';

/** A caller of a live request that would rather have it stored than be refused for want of time (`Prefer: respond-async, wait=N`). */
export interface Deferral {
  /** Held as a live request for so long; its place lasts longer, so that it can be handed over. */
  readonly heldFor: Micros;
  /** Takes the request over, once and with a whole body; forwarding is done with it, and its sink is called no more. */
  take(taken: TakenOver): void;
}

/** A live request that was not admitted in time. */
export interface TakenOver {
  /** To be dropped; undefined: it has none. */
  readonly body: HeldBody | undefined;
  /** What it requests: its key, class and costs. */
  readonly ask: AdmissionRequest | Refusal;
  /** Its queue position; undefined: it has none (refused on arrival, or its old place is spent). */
  readonly place: Place | undefined;
  /** Times it was sent as a live request. */
  readonly attempts: number;
}

/** A place in line whose caller has given up waiting for it. */
export interface Place {
  readonly held: AcquireHandle;
  /** Calls `then` with what is decided for it, once, now or later; never where the place is handed over or left before. */
  decided(then: (outcome: Outcome) => void): void;
}

/** Reasons of a refusal for want of time or room: the request can still be stored. */
const STORABLE: ReadonlySet<string> = new Set(['expired', 'shed', 'infeasible', 'undecided']);

/** Whether a live request that was refused so is stored in place of being refused. */
export function isStorable(reason: string): boolean {
  return STORABLE.has(reason);
}

/** A place that was given away: what is decided for it goes to who took it. */
export class GivenPlace implements Place {
  readonly held: AcquireHandle;
  #outcome: Outcome | undefined;
  #then: ((outcome: Outcome) => void) | undefined;

  constructor(held: AcquireHandle) {
    this.held = held;
  }

  /** Its outcome, once. */
  decide(outcome: Outcome): void {
    this.#outcome = outcome;
    this.#then?.(outcome);
  }

  decided(then: (outcome: Outcome) => void): void {
    if (this.#outcome === undefined) this.#then = then;
    else then(this.#outcome);
  }
}
