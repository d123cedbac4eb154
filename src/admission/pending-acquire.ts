import type { Lease, Permit } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Arrival, DECIDED, type QueuePosition, type WaiterRef } from '../core/request.ts';
import { type Instant, type Micros, plus } from '../core/time.ts';
import type { AcquireHandle, Outcome, PermitView } from './admission.ts';
import type { GroupEntry } from './group-entry.ts';
import { shiftPermit, shiftPermitView, shiftRefusal } from './time-shift.ts';

/**
 * Where a held caller is on its way; each line ends in `over`:
 *
 *     before ─▶ waiting ─▶ recording ─▶ granted ─▶ answered ─▶ kept ─▶ over
 *
 * `before`: the right to decide is awaited. `recording`: admitted, its lease not yet on disk. `granted`: decided, one way
 * or the other, and to be reported. `answered`: reported to the front end. `kept`: written to the caller, and remembered.
 */
export type Phase = 'before' | 'waiting' | 'recording' | 'granted' | 'answered' | 'kept' | 'over';

/** What a held caller calls on the tree it waits in. */
export interface PendingAcquireOwner {
  /** The caller is gone for good. */
  left(hold: PendingAcquire, was: Phase): void;
  /** Ends it with this refusal, reported if it has not been answered yet. */
  end(hold: PendingAcquire, refusal: Refusal): void;
  /** No longer held: answered or gone. */
  closed(): void;
  /** Notifies this hold when its permit ends. */
  track(hold: PendingAcquire, serial: number): void;
  positionOf(hold: PendingAcquire): QueuePosition | undefined;
  arrival(hold: PendingAcquire): Arrival | undefined;
  /** Passed over, at its place, until `unsuspend`. */
  suspend(hold: PendingAcquire): void;
  unsuspend(hold: PendingAcquire): void;
  /** Its place becomes a stored request's, and it is held no more; undefined if it was decided. */
  convert(hold: PendingAcquire, sequence: number, deadline: Instant): number | undefined;
  /** What turns its instants into those of the process. */
  readonly clockOffset: Micros;
}

/** One request from arrival to end: the gate's token, and the front end's handle. */
export class PendingAcquire implements AcquireHandle {
  readonly admission: PendingAcquireOwner;
  readonly entry: GroupEntry;
  /** In the tree's time, as all that a hold keeps; what it reports is in the process's. */
  readonly waitUntil: Instant;
  /** Distinguishes this hold from another with the same reference. */
  readonly serial: number;
  phase: Phase = 'before';
  ref: WaiterRef = DECIDED;
  permit: Permit | undefined;
  /** The permit's name as shown to people. */
  id = '';
  /** The credential that asked; undefined: forwarding, which needs no proof of its permits. */
  caller: string | undefined;
  refusal: Refusal | undefined;
  /** As it is after renewals. */
  lease: Lease | undefined;
  /** Its place among all when its tree moved away: then the gate knows it no more. */
  arrived: Arrival | undefined;
  readonly #done: (outcome: Outcome) => void;
  #watchers: (() => void)[] | undefined;

  /** Five arguments, not one object: this runs once per request. */
  constructor(admission: PendingAcquireOwner, entry: GroupEntry, waitUntil: Instant, serial: number, done: (outcome: Outcome) => void) {
    this.admission = admission;
    this.entry = entry;
    this.waitUntil = waitUntil;
    this.serial = serial;
    this.#done = done;
  }

  /** Reports to the caller what was decided; nothing when it left meanwhile. */
  answer(): void {
    if (this.phase !== 'granted') return;
    this.admission.closed();
    if (this.permit === undefined) {
      const refusal = shiftRefusal(this.refusal ?? { reason: 'fault' }, this.admission.clockOffset);
      this.over();
      this.#done({ kind: 'refused', refusal });
      return;
    }
    this.phase = 'answered';
    this.#done({ kind: 'admitted', permit: shiftPermit(this.permit, this.admission.clockOffset), id: this.id });
  }

  /** Takes a permit of an earlier term, as one that was delivered; instead of waiting for one. */
  recovered(permit: Permit, id: string, caller: string): void {
    this.permit = permit;
    this.lease = permit.lease;
    this.id = id;
    this.caller = caller;
    this.phase = 'kept';
  }

  cancel(): void {
    const was = this.phase;
    if (was === 'kept' || was === 'over') return;
    if (was !== 'answered') this.admission.closed();
    this.over();
    this.admission.left(this, was);
  }

  delivered(): void {
    if (this.phase !== 'answered') return;
    if (this.permit?.lease === undefined && this.permit?.settleable !== true) this.over();
    else this.phase = 'kept';
  }

  position(): QueuePosition | undefined {
    return this.phase === 'waiting' ? this.admission.positionOf(this) : undefined;
  }

  endsAt(): Instant {
    return plus(this.waitUntil, this.admission.clockOffset);
  }

  arrival(): Arrival | undefined {
    return this.phase === 'waiting' ? this.admission.arrival(this) : this.arrived;
  }

  setAway(isAway: boolean): void {
    if (isAway) this.admission.suspend(this);
    else this.admission.unsuspend(this);
  }

  /** Ends place or permit: what a session's end does. A caller who was not answered gets `refusal`. */
  end(refusal: Refusal): void {
    if (this.phase !== 'over') this.admission.end(this, refusal);
  }

  /** Calls `over` once when there is nothing left of this request: refused, left, or its permit ended. */
  watch(over: () => void): void {
    if (this.phase === 'over') return over();
    this.#watchers ??= [];
    this.#watchers.push(over);
    if (this.permit !== undefined) this.admission.track(this, this.permit.serial);
  }

  get watched(): boolean {
    return this.#watchers !== undefined;
  }

  /** Nothing is left; notifies the watcher. */
  over(): void {
    if (this.phase === 'over') return;
    this.phase = 'over';
    const watchers = this.#watchers;
    this.#watchers = undefined;
    if (watchers !== undefined) for (const over of watchers) over();
  }

  /** The lease it holds now; undefined: none. */
  view(): PermitView | undefined {
    const lease = this.lease;
    if (lease === undefined || (this.phase !== 'kept' && this.phase !== 'answered')) return undefined;
    const { fence, fenceFloor, expiresAt, duration } = lease;
    return shiftPermitView({ id: this.id, group: this.entry.name, fence, fenceFloor, expiresAt, duration }, this.admission.clockOffset);
  }
}
