import type { AcquireHandle, AdmissionRequest, Outcome } from '../admission/admission.ts';
import { MOVED } from '../admission/moved.ts';
import { shiftArrival, shiftOutcome } from '../admission/time-shift.ts';
import { arrivalOf, type Permit, SERIAL_BITS } from '../core/permit.ts';
import { withdrawn } from '../core/refusal.ts';
import type { QueuePosition } from '../core/request.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingRequestsDeps } from './asks-parts.ts';
import type { GroupRoute } from './group-directory.ts';
import { LateGrants } from './late-grants.ts';
import type { PendingIndex } from './lines.ts';
import { type ErrandState, PendingRequest, type PendingRequestOwner } from './pending-request.ts';
import { PendingTable } from './pending-table.ts';
import { ShardRetries } from './retries.ts';
import type { RelayMessage } from './transport/codec.ts';

/** A grant that took longer to come is given back (docs/design/coordination.md 2.8): what it allows is to happen about when it was decided. */
const GRANT_AGE_MAX: Micros = 2 * SECOND;

/**
 * Every ask of this replica's callers that is not answered:
 *
 *     begin ─▶ a gate here ──▶ answer            MOVED, a new owner, a lost address: asked again where the shard is then,
 *          └─▶ a peer's gate ─▶ answer           with the patience left and the place it had
 *          └─▶ held, until somebody decides
 */
export class PendingRequests implements PendingRequestOwner {
  readonly #parts: PendingRequestsDeps;
  /** Who is held. */
  readonly roll: PendingTable;
  readonly #lines: PendingIndex;
  readonly #retries: ShardRetries;
  readonly #late: LateGrants;
  #serials = 0;
  #wids = 0;
  #reachable = true;

  constructor(parts: PendingRequestsDeps) {
    this.#parts = parts;
    this.roll = new PendingTable({ clock: parts.clock, giveUp: (errand) => this.#giveUp(errand) });
    this.#lines = this.roll.lines;
    this.#late = new LateGrants(parts.clock);
    this.#retries = new ShardRetries(parts.timers, (shard) => this.#retry(shard));
  }

  /** Asks for a permit; `done` may be called before this returns. */
  begin(ask: AdmissionRequest, spot: GroupRoute, done: (outcome: Outcome) => void): PendingRequest {
    const errand = new PendingRequest(this, ask, spot, this.#parts.clock.now(), ++this.#serials, done);
    this.roll.add();
    if (this.#parts.door.isLocal(ask.group)) this.#enter(errand, ask);
    else this.#dispatch(errand);
    return errand;
  }

  /** An owner's answer. False: not one of these. */
  onMessage(peer: string, op: RelayMessage, by: Micros): boolean {
    if (op.op !== 'queued' && op.op !== 'moved' && op.op !== 'outcome') return false;
    const errand = this.#lines.named(op.wid);
    if (errand === undefined) {
      // Of an attempt that is over.
      if (op.op === 'outcome' && op.outcome.kind === 'admitted') {
        this.#parts.send(peer, { op: 'cancel', wid: op.wid });
        const caller = this.#late.take(op.wid);
        if (caller !== undefined) this.#returnLate(caller, op.outcome.permit, op.outcome.id);
      }
      return true;
    }
    if (op.op === 'outcome') this.#outcome(errand, shiftOutcome(op.outcome, by), op.again === true);
    else {
      if (op.since !== undefined) errand.knownArrival = shiftArrival(op.since, by);
      if (op.op === 'moved') this.#hold(errand);
    }
    return true;
  }

  /** Another one decides for this shard: everybody is asked again there, in order. */
  onShardLocated(shard: number): void {
    this.#retries.forget(shard);
    const place = this.#parts.place(shard);
    // Its last owner may still answer who was asked there.
    if (place.at === 'nowhere') return;
    for (const errand of this.#lines.of(shard)) {
      const asked = place.at === 'peer' && errand.state === 'there' && errand.peer === place.instance && errand.term === place.term;
      if (!asked) this.#dispatch(errand);
    }
    if (place.at === 'peer') this.#parts.send(place.instance, { op: 'rejoined', shard, term: place.term });
    else if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** A peer's life is over: nobody answers there. */
  onPeerLost(peer: string): void {
    for (const errand of this.#lines.all()) if (errand.state === 'there' && errand.peer === peer) this.#hold(errand);
  }

  /** Everything is asked again from a new address. */
  onInstanceReplaced(): void {
    for (const shard of new Set(this.#lines.all().map((errand) => errand.route.shard))) {
      for (const errand of this.#lines.of(shard)) if (errand.state === 'there') this.#dispatch(errand);
    }
  }

  /** false: no other replica can be reached; the stopgap decides where it may, until true. */
  reachable(reachable: boolean): void {
    this.#reachable = reachable;
    if (!reachable) {
      for (const errand of this.#lines.all()) if (this.#mayDegrade(errand)) this.#dispatch(errand);
      return;
    }
    for (const errand of [...this.roll.astray].sort((a, b) => a.serial - b.serial)) {
      errand.local?.cancel();
      this.#dispatch(errand);
    }
  }

  /** Groups have changed: some may be gone, or belong to another shard. */
  onSettingsChanged(): void {
    for (const errand of this.#lines.all()) {
      const spot = this.#parts.directory.of(errand.ask.group);
      if (spot === undefined) this.roll.refuse(errand, withdrawn(this.#parts.clock.now()));
      else if (spot.shard !== errand.route.shard) {
        this.#resettle(errand, spot);
        this.#dispatch(errand);
      }
    }
  }

  // PendingRequestOwner: what callers do.

  left(errand: PendingRequest, was: ErrandState): void {
    const { local } = errand;
    if (was !== 'told') this.roll.close(errand);
    if (was === 'there') this.#giveUp(errand);
    else if (was === 'told' && errand.peer !== '') this.#parts.send(errand.peer, { op: 'cancel', wid: errand.requestSeq });
    else if (local !== undefined) local.cancel();
    else errand.early = 'left';
    // With a request id its caller may be back already, through another replica: see LateGrants.
    const isOnlyHere = was === 'told' && errand.ask.requestId === undefined;
    if (isOnlyHere && errand.permit !== undefined) this.#returnLate(errand.ask.caller, errand.permit, errand.id);
  }

  kept(errand: PendingRequest): void {
    if (errand.peer !== '') this.#parts.send(errand.peer, { op: 'delivered', wid: errand.requestSeq });
    else if (errand.local !== undefined) errand.local.delivered();
    else errand.early = 'kept';
  }

  watched(errand: PendingRequest): QueuePosition | undefined {
    return this.#parts.watched(errand);
  }

  /** Where its shard is decided now; an earlier attempt is over. */
  #dispatch(errand: PendingRequest): void {
    this.#withdraw(errand);
    if (this.#mayDegrade(errand)) return this.#admitDegraded(errand);
    const { shard } = errand.route;
    const { group } = errand.ask;
    const place = this.#parts.place(shard);
    if (place.at === 'nowhere') return this.#park(errand);
    if (place.at === 'peer') return this.#askThere(errand, place.instance, place.term);
    const opening = this.#parts.door.opening(group);
    if (opening === undefined) return this.#enter(errand, errand.again(this.#parts.clock.now()));
    this.roll.park(errand, 'porch');
    const enter = (): void => {
      if (errand.state === 'porch') this.#enter(errand, errand.again(this.#parts.clock.now()));
      this.#entered(shard, place.term);
    };
    this.#parts.porch.wait(group, opening, { since: () => errand.knownArrival, enter });
  }

  #enter(errand: PendingRequest, ask: AdmissionRequest): void {
    this.roll.unpark(errand);
    errand.state = 'here';
    errand.peer = '';
    this.#settle(
      errand,
      this.#parts.door.acquire(ask, (outcome) => this.#decided(errand, outcome)),
    );
  }

  #admitDegraded(errand: PendingRequest): void {
    this.roll.unpark(errand);
    errand.state = 'here';
    errand.peer = '';
    this.roll.astray.add(errand);
    const ask = errand.again(this.#parts.clock.now());
    const held = this.#parts.stopgap?.acquire(ask, errand.route, (outcome) => this.#decided(errand, outcome));
    if (held !== undefined) this.#settle(errand, held);
  }

  /** The place it has now; what was said before this was known is done. */
  #settle(errand: PendingRequest, held: AcquireHandle): void {
    if (errand.early === 'left') held.cancel();
    else if (errand.early === 'kept') held.delivered();
    else if (errand.state === 'here' || errand.state === 'told') errand.local = held;
  }

  #askThere(errand: PendingRequest, instance: string, term: bigint): void {
    const { limits } = this.#parts;
    const { shard } = errand.route;
    errand.peer = instance;
    errand.term = term;
    errand.requestSeq = ++this.#wids;
    this.roll.park(errand, 'there');
    this.#lines.name(errand);
    const ask = errand.again(this.#parts.clock.now());
    const sent = this.#parts.send(instance, { op: 'ask', wid: errand.requestSeq, shard, term, limits, ask });
    if (sent === 'over') this.#hold(errand);
    else if (sent === 'full') this.roll.refuse(errand, { reason: 'shed', limit: 'replica.window', retryAt: this.#soon() });
  }

  /** A gate of this process has decided. */
  #decided(errand: PendingRequest, outcome: Outcome): void {
    if (errand.state !== 'here') return;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      errand.knownArrival = errand.local?.arrival() ?? errand.knownArrival;
      this.#hold(errand);
    } else this.roll.finish(errand, outcome);
  }

  /** A peer has decided. */
  #outcome(errand: PendingRequest, outcome: Outcome, again: boolean): void {
    if (outcome.kind === 'admitted' && !again && this.#stale(outcome.permit)) {
      errand.knownArrival = arrivalOf(outcome.permit);
      this.#withdraw(errand, true);
      return this.#dispatch(errand);
    }
    if (outcome.limits !== undefined) this.#parts.seen(errand.ask, outcome.limits);
    this.#lines.unname(errand.requestSeq);
    this.roll.finish(errand, outcome);
  }

  /** Tells the peer that was asked that its answer is not awaited any more. */
  #giveUp(errand: PendingRequest): void {
    this.#late.gaveUp(errand);
    this.#parts.send(errand.peer, { op: 'cancel', wid: errand.requestSeq });
  }

  /** Who granted it cannot take it back any more, but whoever decides now knows of its lease. */
  #returnLate(caller: string, { group, lease }: Permit, id: string): void {
    const spot = this.#parts.directory.ofPermit(group);
    if (lease === undefined || spot === undefined) return;
    const place = this.#parts.place(spot.shard);
    if (place.at === 'nowhere' || place.term !== lease.fence >> SERIAL_BITS) this.#parts.unused(caller, id);
  }

  #stale(permit: Permit): boolean {
    return this.#parts.clock.now() - permit.grantedAt > GRANT_AGE_MAX;
  }

  /** The last attempt came to nothing; it is asked again soon, or when its shard is placed. */
  #hold(errand: PendingRequest): void {
    this.#withdraw(errand);
    this.#resettle(errand, this.#parts.directory.of(errand.ask.group) ?? errand.route);
    this.roll.park(errand, 'held');
    this.#retries.plan(errand.route.shard);
  }

  /** Its group may belong elsewhere since it was asked. */
  #resettle(errand: PendingRequest, spot: GroupRoute): void {
    if (spot.shard !== errand.route.shard) this.#lines.remove(errand);
    errand.route = spot;
  }

  /** Nobody decides for it now. */
  #park(errand: PendingRequest): void {
    const isNew = errand.cancelTimer === undefined;
    if (isNew && this.#lines.size >= this.#parts.heldMax) this.roll.refuse(errand, this.roll.undecided());
    else this.roll.park(errand, 'held');
  }

  /** The last attempt is over; its grant, should it still come, is given back. `late`: it came. */
  #withdraw(errand: PendingRequest, late = false): void {
    this.roll.astray.delete(errand);
    if (errand.state !== 'there') return;
    this.#lines.unname(errand.requestSeq);
    if (late) this.#parts.send(errand.peer, { op: 'cancel', wid: errand.requestSeq, late });
    else this.#giveUp(errand);
    errand.state = 'held';
  }

  #retry(shard: number): void {
    for (const errand of this.#lines.of(shard)) if (errand.state === 'held') this.#dispatch(errand);
    const place = this.#parts.place(shard);
    if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** All who are to enter here have. */
  #entered(shard: number, term: bigint): void {
    if (!this.#lines.has(shard)) this.#parts.entered(shard, term);
  }

  #mayDegrade(errand: PendingRequest): boolean {
    return !this.#reachable && this.#parts.stopgap !== undefined && errand.route.settings.unreachable !== 'closed';
  }

  #soon(): Instant {
    return plus(this.#parts.clock.now(), SECOND);
  }
}
