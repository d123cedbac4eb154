import type { GateEvent } from '../core/events.ts';
import { type Costs, ONE_REQUEST } from '../core/group.ts';
import type { Claim, Permit } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival, GateRequest, QueuePosition } from '../core/request.ts';
import { type Instant, type Micros, NEVER, plus, SECOND } from '../core/time.ts';
import { type AdmissionRequest, MOVED, type Outcome } from './admission.ts';
import type { Clock } from './clock.ts';
import type { AdmissionLimits } from './deps.ts';
import { GateDriver, type GateDriverDeps } from './gate-driver.ts';
import { type GroupEntry, priorityOf } from './group-entry.ts';
import { PendingAcquire, type PendingAcquireOwner, type Phase } from './pending-acquire.ts';
import { PendingArrivals } from './pending-arrivals.ts';
import { type PermitTagSource, permitId } from './permit-id.ts';
import { digestOf } from './request-digest.ts';
import type { StoredLine, StoredRequestAsk, StoredSink } from './stored-line.ts';
import { shiftArrival, shiftPosition, shiftRefusal } from './time-shift.ts';
import { isRefusal } from './units.ts';

/** Of callers without a request id one object does for all that come in a row. */
let lastClaim: Claim = { caller: '' };

function claimOf(request: AdmissionRequest): Claim {
  const { caller, requestId } = request;
  if (requestId !== undefined) return { caller, request: { id: requestId, digest: digestOf(request) } };
  if (lastClaim.caller !== caller) lastClaim = { caller };
  return lastClaim;
}

/** When to try again while no replica decides. */
const UNDECIDED_FOR = SECOND;

/** What one tree is made of. */
export interface TreeDeps extends Omit<GateDriverDeps, 'storedHold' | 'unqueued'> {
  /** Who keeps the stored requests in line; undefined if nothing stores requests here. */
  readonly stored: () => StoredSink | undefined;
  /** What this tree had in line for a stored group is forgotten. */
  readonly unqueued: (tree: TreeController, group: string) => void;
  readonly tags: PermitTagSource;
  readonly bounds: AdmissionLimits;
  /** No caller is held in this tree any more. */
  readonly empty: () => void;
  /** The time of the process, where the tree decides in another: its shard's. */
  readonly outside?: Clock | undefined;
}

/** One tree of groups as callers meet it: who enters its gate, who leaves, and what holders of permits ask for. */
export class TreeController implements PendingAcquireOwner {
  readonly root: string;
  readonly turn: GateDriver;
  readonly #deps: TreeDeps;
  readonly #clock: Clock;
  readonly #threshold: PendingArrivals;
  #serials = 0;
  #open = 0;
  #entering = false;
  #draining = false;
  #moving = false;
  #deciding = false;

  constructor(deps: TreeDeps) {
    this.root = deps.root;
    this.#deps = deps;
    this.#clock = deps.clock;
    this.turn = new GateDriver({
      ...deps,
      storedHold: (sequence, group) => this.#storedHold(sequence, group),
      unqueued: (group) => deps.unqueued(this, group),
    });
    this.#threshold = new PendingArrivals({
      clock: this.#clock,
      tooLate: (hold) => this.refuse(hold, this.turn.termFails ? this.turn.unstored() : this.undecided()),
    });
  }

  /** Callers not yet answered. */
  get open(): number {
    return this.#open;
  }

  /** Asks for a permit; `done` may be called before this returns. */
  acquire(entry: GroupEntry, request: AdmissionRequest, done: (outcome: Outcome) => void): PendingAcquire {
    const now = this.#clock.now();
    const { settings } = entry;
    const waitUntil = plus(now, Math.min(request.wait ?? settings.wait.default, settings.wait.max, request.waitMax ?? settings.wait.max));
    const hold = new PendingAcquire(this, entry, waitUntil, ++this.#serials, done);
    if (request.reported !== true) hold.caller = request.caller;
    this.#open++;
    entry.activity.arrives(now);
    const priority = priorityOf(request, settings);
    const costs = entry.units.priced(request.costs);
    if (typeof priority !== 'number') this.refuse(hold, priority, request);
    else if (isRefusal(costs)) this.refuse(hold, costs, request);
    else {
      const closed = this.#closed(entry, now);
      if (closed !== undefined) this.refuse(hold, closed, request);
      else this.#admit(now, hold, this.request(entry, request, priority, costs, waitUntil, hold));
    }
    return hold;
  }

  /** A lease of an earlier term, held again for the request that it answers: as one that was written to its caller. */
  recover(entry: GroupEntry, permit: Permit, claim: Claim): PendingAcquire {
    const hold = new PendingAcquire(this, entry, NEVER, ++this.#serials, () => {});
    hold.recovered(permit, permitId(permit.group, permit.serial, permit.tag), claim.caller);
    return hold;
  }

  /** A request as the gate takes it. */
  request(entry: GroupEntry, request: AdmissionRequest, priority: number, costs: Costs, waitUntil: Instant, token: unknown): GateRequest {
    const { settings } = entry;
    return {
      group: entry.index,
      key: request.key,
      priority,
      costs,
      waitUntil,
      lease: Math.min(request.lease ?? settings.lease.default, settings.lease.max),
      bytes: request.bytes,
      holder: request.holder,
      tag: this.#deps.tags.next(),
      token,
      since: request.since && shiftArrival(request.since, -this.clockOffset),
      reported: request.reported,
      claim: claimOf(request),
    };
  }

  /** See {@link StoredLine.price}. */
  priceStored(entry: GroupEntry, key: string, costs: Costs): Costs | Refusal {
    const priced = entry.units.priced(costs);
    // One request alone always fits.
    if (isRefusal(priced) || priced === ONE_REQUEST) return priced;
    const limit = this.turn.gate.oversized(this.#clock.now(), entry.index, key, priced);
    return limit === undefined ? priced : { reason: 'oversized', limit };
  }

  /** A stored request enters the line; the gate decides about it, and all that entered in the same turn, in a moment. See {@link StoredLine.enqueue}. */
  enqueueStored(entry: GroupEntry, request: StoredRequestAsk): ReturnType<StoredLine['enqueue']> {
    if (this.#moving || this.#draining || this.turn.closedReason !== undefined) return undefined;
    const { clockOffset } = this;
    const { deadline, since } = request;
    // One that was tried before is no new arrival.
    if (since === undefined) entry.activity.arrives(this.#clock.now());
    const queued = this.turn.gate.enqueueStored(this.#clock.now(), {
      ...request,
      costs: entry.units.repriced(request.costs),
      group: entry.index,
      arrivedAt: plus(request.arrivedAt, -clockOffset),
      deadline: deadline === NEVER ? NEVER : plus(deadline, -clockOffset),
      since: since && shiftArrival(since, -clockOffset),
      tag: this.#deps.tags.next(),
    });
    this.#decideStored();
    return queued;
  }

  /** See {@link StoredLine.cancel}. */
  cancelStored(entry: number, sequence: number): boolean {
    const gone = this.turn.gate.cancelStored(entry, sequence);
    if (gone) this.#decideStored();
    return gone;
  }

  /** See {@link StoredLine.withdraw}. */
  withdrawStored(entry: GroupEntry): void {
    this.turn.gate.dropStored(entry.index);
    this.turn.settle(this.#clock.now());
  }

  /** Once for all that is enqueued and cancelled in one turn. */
  #decideStored(): void {
    if (this.#deciding) return;
    this.#deciding = true;
    queueMicrotask(() => {
      this.#deciding = false;
      this.turn.run((now) => this.turn.gate.decideStored(now));
    });
  }

  #storedHold(sequence: number, group: string): PendingAcquire | undefined {
    const sink = this.#deps.stored();
    const entry = this.turn.entries.get(group);
    if (sink === undefined || entry === undefined) return undefined;
    const hold: PendingAcquire = new PendingAcquire(this, entry, NEVER, ++this.#serials, (outcome) => {
      if (outcome.kind === 'admitted') sink.admitted(sequence, outcome, hold);
      else sink.refused(sequence, outcome.refusal);
    });
    this.#open++;
    return hold;
  }

  /** Refuses a caller that is not in the gate; counted as the gate counts. */
  refuse(hold: PendingAcquire, refusal: Refusal, request?: AdmissionRequest): void {
    if (refusal === MOVED) return this.#tellNow(hold, refusal);
    const event: GateEvent = {
      kind: 'refused',
      token: hold,
      group: hold.entry.name,
      key: request?.key ?? '',
      priority: request?.priority ?? hold.entry.settings.priority.default,
      refusal,
      waited: 0,
    };
    this.#deps.onGateEvent(event, this.#clock.now());
    hold.entry.count(event, this.#clock.now(), this.turn.gate.waitingIn(hold.entry.index));
    this.#tellNow(hold, refusal);
  }

  /** Its caller is away but may return: passed over until then. */
  suspend(hold: PendingAcquire): void {
    this.turn.run((now) => {
      if (hold.phase === 'waiting') this.turn.gate.suspend(now, hold.ref);
    });
  }

  /** It is back at its old place. */
  unsuspend(hold: PendingAcquire): void {
    this.turn.run((now) => {
      if (hold.phase === 'waiting') this.turn.gate.unsuspend(now, hold.ref);
    });
  }

  /** Process time less the tree's own: 0 where both are one. */
  get clockOffset(): Micros {
    const { outside } = this.#deps;
    return outside === undefined ? 0 : outside.now() - this.#clock.now();
  }

  /** Ends the waiting of all with this refusal, given in the time of the process. */
  refuseAll(said: Refusal): void {
    const refusal = shiftRefusal(said, -this.clockOffset);
    for (const { hold } of this.#threshold.takeAll()) this.refuse(hold, refusal);
    this.turn.refuseAll(refusal);
  }

  /** Nothing is decided any more, and all held are refused; given in the time of the process. */
  stop(said: Refusal): void {
    const refusal = shiftRefusal(said, -this.clockOffset);
    if (refusal === MOVED) this.#detachWaiters();
    this.turn.stop(refusal);
    for (const { hold } of this.#threshold.takeAll()) this.refuse(hold, refusal);
  }

  /** Another term is to decide for this tree: those that wait or come are refused so; holders of permits are served until it is closed. */
  beginHandoff(): void {
    this.#moving = true;
    this.#detachWaiters();
    this.refuseAll(MOVED);
  }

  /** Arrivals are refused; those held stay. */
  drain(): void {
    this.#draining = true;
  }

  /** In the tree's own time. */
  now(): Instant {
    return this.#clock.now();
  }

  /** Nothing is decided here just now. */
  undecided(): Refusal {
    return { reason: 'undecided', retryAt: plus(this.#clock.now(), UNDECIDED_FOR) };
  }

  // What a held caller calls.

  left(hold: PendingAcquire, was: Phase): void {
    const { permit } = hold;
    if (was === 'waiting') this.turn.run((now) => this.#cancel(now, hold));
    else if ((was === 'granted' || was === 'answered') && permit !== undefined) this.turn.rollback(permit);
  }

  end(hold: PendingAcquire, refusal: Refusal): void {
    const { phase, permit } = hold;
    const { turn } = this;
    if (phase === 'before') this.refuse(hold, refusal);
    else if (phase === 'waiting') turn.run((now) => void turn.gate.evict(now, hold.ref, refusal));
    else if (phase === 'recording') hold.refusal = refusal;
    else if (phase === 'answered') hold.cancel();
    else if (permit !== undefined && phase === 'granted') {
      hold.permit = undefined;
      hold.refusal = refusal;
      turn.rollback(permit);
    } else if (permit !== undefined && phase === 'kept') {
      hold.over();
      if (permit.lease !== undefined) turn.run((now) => void turn.gate.release(now, permit.serial, permit.tag, 'used', undefined));
    }
  }

  convert(hold: PendingAcquire, sequence: number, deadline: Instant): number | undefined {
    if (hold.phase !== 'waiting' || this.turn.waiting.get(hold.ref) !== hold) return undefined;
    const entry = this.turn.gate.becomeStored(hold.ref, sequence, deadline === NEVER ? NEVER : plus(deadline, -this.clockOffset));
    if (entry === undefined) return undefined;
    this.turn.waiting.delete(hold.ref);
    this.closed();
    hold.over();
    return entry;
  }

  closed(): void {
    this.#open--;
    if (this.#open === 0) this.#deps.empty();
  }

  track(hold: PendingAcquire, serial: number): void {
    if (hold.permit?.lease !== undefined) this.turn.tracked.set(serial, hold);
  }

  positionOf(hold: PendingAcquire): QueuePosition | undefined {
    const place = this.turn.gate.position(this.#clock.now(), hold.ref);
    return place && shiftPosition(place, this.clockOffset);
  }

  arrival(hold: PendingAcquire): Arrival | undefined {
    const since = this.turn.gate.arrival(hold.ref);
    return since && shiftArrival(since, this.clockOffset);
  }

  /** Who waits takes its place along. */
  #detachWaiters(): void {
    for (const hold of this.turn.waiting.values()) hold.arrived = this.arrival(hold);
  }

  #tellNow(hold: PendingAcquire, refusal: Refusal): void {
    this.turn.reply(hold, refusal);
    this.turn.queue.flush();
  }

  #cancel(now: Instant, hold: PendingAcquire): void {
    // Only while the reference is still this caller's: another may have it after a wait for the right to decide.
    if (this.turn.waiting.get(hold.ref) !== hold) return;
    this.turn.waiting.delete(hold.ref);
    if (this.turn.gate.cancel(now, hold.ref)) hold.entry.activity.leaves(now, this.turn.gate.waitingIn(hold.entry.index));
  }

  #closed(entry: GroupEntry, now: Instant): Refusal | undefined {
    if (this.#moving || this.turn.closedReason === MOVED) return MOVED;
    if (this.turn.closedReason !== undefined) return { ...this.turn.closedReason, retryAt: plus(now, UNDECIDED_FOR) };
    if (this.#draining) return { reason: 'draining', retryAt: now };
    if (!entry.writes) return undefined;
    return this.turn.writer.closedUntil(now) === undefined ? undefined : this.turn.unstored();
  }

  #admit(now: Instant, hold: PendingAcquire, request: GateRequest): void {
    if (this.#threshold.length === 0 && this.turn.awaitTerm(now) === undefined) {
      this.turn.submit(now, hold, request);
      this.turn.settle(now);
    } else if (this.#threshold.length >= this.#deps.bounds.before) this.refuse(hold, this.undecided());
    else {
      this.#threshold.push(now, hold, request);
      if (this.#entering) return;
      this.#entering = true;
      void this.#submitPending();
    }
  }

  async #submitPending(): Promise<void> {
    for (;;) {
      const now = this.#clock.now();
      const awaited = this.turn.awaitTerm(now);
      if (awaited === undefined || this.turn.closedReason !== undefined) break;
      await awaited;
    }
    this.#entering = false;
    const now = this.#clock.now();
    for (const { hold, request } of this.#threshold.takeAll()) {
      if (this.turn.closedReason === undefined) this.turn.submit(now, hold, request);
      else this.refuse(hold, this.turn.closedReason);
    }
    if (this.turn.closedReason === undefined) this.turn.settle(now);
  }
}
