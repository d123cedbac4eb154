import { type AcquireHandle, type AdmissionRequest, type LocalAdmissionService, MOVED, type Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import { shiftArrival, shiftOutcome } from '../admission/time-shift.ts';
import type { ShardLocation, Timers } from '../coordination/replica.ts';
import type { LimitView } from '../core/gate/views.ts';
import { arrivalOf, type Permit, SERIAL_BITS } from '../core/permit.ts';
import { withdrawn } from '../core/refusal.ts';
import type { QueuePosition } from '../core/request.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupDirectory, GroupRoute } from './group-directory.ts';
import { LateGrants } from './late-grants.ts';
import type { OpeningQueue } from './opening-queue.ts';
import { PendingRequest, type PendingRequestOwner, type PendingState } from './pending-request.ts';
import { type PendingIndex, PendingTable } from './pending-table.ts';
import type { RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

/** Decides for groups that may go on while no other replica can be reached. */
export interface DegradedAdmission {
  acquire(ask: AdmissionRequest, spot: GroupRoute, done: (outcome: Outcome) => void): AcquireHandle;
}

/** What asks are made with. */
interface PendingRequestsDeps {
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
  /** Ends a lease that no caller received, wherever it is known now. */
  readonly unused: (caller: string, permit: string) => void;
  /** Requests held at most while no replica decides for them; beyond: `undecided`. */
  readonly heldMax: number;
  /** Limits are to come along with every outcome. */
  readonly limits: boolean;
}

/** A grant that took longer to come is given back (docs/design/coordination.md 2.8): what it allows is to happen about when it was decided. */
const GRANT_AGE_MAX: Micros = 2 * SECOND;

/**
 * Every ask of this replica's callers that is not answered:
 *
 *     begin ─▶ a gate here ──▶ answer            MOVED, a new owner, a lost address: asked again where the shard is then,
 *          └─▶ a peer's gate ─▶ answer           with the wait timeout left and the place it had
 *          └─▶ held, until a replica decides
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
    this.roll = new PendingTable({ clock: parts.clock, giveUp: (pending) => this.#giveUp(pending) });
    this.#lines = this.roll.lines;
    this.#late = new LateGrants(parts.clock);
    this.#retries = new ShardRetries(parts.timers, (shard) => this.#retry(shard));
  }

  /** Asks for a permit; `done` may be called before this returns. */
  begin(ask: AdmissionRequest, spot: GroupRoute, done: (outcome: Outcome) => void): PendingRequest {
    const pending = new PendingRequest(this, ask, spot, this.#parts.clock.now(), ++this.#serials, done);
    this.roll.add();
    if (this.#parts.admission.isLocal(ask.group)) this.#enter(pending, ask);
    else this.#dispatch(pending);
    return pending;
  }

  /** An owner's answer. False: not one of these. */
  onMessage(peer: string, op: RelayMessage, by: Micros): boolean {
    if (op.op !== 'queued' && op.op !== 'moved' && op.op !== 'outcome') return false;
    const pending = this.#lines.named(op.wid);
    if (pending === undefined) {
      // Of an attempt that is over.
      if (op.op === 'outcome' && op.outcome.kind === 'admitted') {
        this.#parts.send(peer, { op: 'cancel', wid: op.wid });
        const caller = this.#late.take(op.wid);
        if (caller !== undefined) this.#returnLate(caller, op.outcome.permit, op.outcome.id);
      }
      return true;
    }
    if (op.op === 'outcome') this.#outcome(pending, shiftOutcome(op.outcome, by), op.again === true);
    else {
      if (op.since !== undefined) pending.knownArrival = shiftArrival(op.since, by);
      if (op.op === 'moved') this.#hold(pending);
    }
    return true;
  }

  /** Another replica decides for this shard: every pending request is sent there again, in order. */
  onShardLocated(shard: number): void {
    this.#retries.forget(shard);
    const place = this.#parts.place(shard);
    // Its last owner may still answer who was asked there.
    if (place.at === 'nowhere') return;
    for (const pending of this.#lines.of(shard)) {
      const asked = place.at === 'peer' && pending.state === 'there' && pending.peer === place.instance && pending.term === place.term;
      if (!asked) this.#dispatch(pending);
    }
    if (place.at === 'peer') this.#parts.send(place.instance, { op: 'rejoined', shard, term: place.term });
    else if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** A peer's life is over: it answers no more. */
  onPeerLost(peer: string): void {
    for (const pending of this.#lines.all()) if (pending.state === 'there' && pending.peer === peer) this.#hold(pending);
  }

  /** Everything is asked again from a new address. */
  onInstanceReplaced(): void {
    for (const shard of new Set(this.#lines.all().map((pending) => pending.route.shard))) {
      for (const pending of this.#lines.of(shard)) if (pending.state === 'there') this.#dispatch(pending);
    }
  }

  /** false: no other replica can be reached; degraded admission decides where it may, until true. */
  reachable(reachable: boolean): void {
    this.#reachable = reachable;
    if (!reachable) {
      for (const pending of this.#lines.all()) if (this.#mayDegrade(pending)) this.#dispatch(pending);
      return;
    }
    for (const pending of [...this.roll.astray].sort((a, b) => a.serial - b.serial)) {
      pending.local?.cancel();
      this.#dispatch(pending);
    }
  }

  /** Groups have changed: some may be gone, or belong to another shard. */
  onSettingsChanged(): void {
    for (const pending of this.#lines.all()) {
      const spot = this.#parts.directory.of(pending.ask.group);
      if (spot === undefined) this.roll.refuse(pending, withdrawn(this.#parts.clock.now()));
      else if (spot.shard !== pending.route.shard) {
        this.#resettle(pending, spot);
        this.#dispatch(pending);
      }
    }
  }

  // PendingRequestOwner: what callers do.

  left(pending: PendingRequest, was: PendingState): void {
    const { local } = pending;
    if (was !== 'told') this.roll.close(pending);
    if (was === 'there') this.#giveUp(pending);
    else if (was === 'told' && pending.peer !== '') this.#parts.send(pending.peer, { op: 'cancel', wid: pending.requestSeq });
    else if (local !== undefined) local.cancel();
    else pending.early = 'left';
    // With a request id its caller may be back already, through another replica: see LateGrants.
    const isOnlyHere = was === 'told' && pending.ask.requestId === undefined;
    if (isOnlyHere && pending.permit !== undefined) this.#returnLate(pending.ask.caller, pending.permit, pending.id);
  }

  kept(pending: PendingRequest): void {
    if (pending.peer !== '') this.#parts.send(pending.peer, { op: 'delivered', wid: pending.requestSeq });
    else if (pending.local !== undefined) pending.local.delivered();
    else pending.early = 'kept';
  }

  watched(pending: PendingRequest): QueuePosition | undefined {
    return this.#parts.watched(pending);
  }

  /** Where its shard is decided now; an earlier attempt is over. */
  #dispatch(pending: PendingRequest): void {
    this.#withdraw(pending);
    if (this.#mayDegrade(pending)) return this.#admitDegraded(pending);
    const { shard } = pending.route;
    const { group } = pending.ask;
    const place = this.#parts.place(shard);
    if (place.at === 'nowhere') return this.#park(pending);
    if (place.at === 'peer') return this.#askThere(pending, place.instance, place.term);
    const opening = this.#parts.admission.opening(group);
    if (opening === undefined) return this.#enter(pending, pending.again(this.#parts.clock.now()));
    this.roll.park(pending, 'opening');
    const enter = (): void => {
      if (pending.state === 'opening') this.#enter(pending, pending.again(this.#parts.clock.now()));
      this.#entered(shard, place.term);
    };
    this.#parts.openingQueue.wait(group, opening, { since: () => pending.knownArrival, enter });
  }

  #enter(pending: PendingRequest, ask: AdmissionRequest): void {
    this.roll.unpark(pending);
    pending.state = 'here';
    pending.peer = '';
    this.#settle(
      pending,
      this.#parts.admission.acquire(ask, (outcome) => this.#decided(pending, outcome)),
    );
  }

  #admitDegraded(pending: PendingRequest): void {
    this.roll.unpark(pending);
    pending.state = 'here';
    pending.peer = '';
    this.roll.astray.add(pending);
    const ask = pending.again(this.#parts.clock.now());
    const held = this.#parts.stopgap?.acquire(ask, pending.route, (outcome) => this.#decided(pending, outcome));
    if (held !== undefined) this.#settle(pending, held);
  }

  /** The place it has now; what was said before this was known is done. */
  #settle(pending: PendingRequest, held: AcquireHandle): void {
    if (pending.early === 'left') held.cancel();
    else if (pending.early === 'kept') held.delivered();
    else if (pending.state === 'here' || pending.state === 'told') pending.local = held;
  }

  #askThere(pending: PendingRequest, instance: string, term: bigint): void {
    const { limits } = this.#parts;
    const { shard } = pending.route;
    pending.peer = instance;
    pending.term = term;
    pending.requestSeq = ++this.#wids;
    this.roll.park(pending, 'there');
    this.#lines.name(pending);
    const ask = pending.again(this.#parts.clock.now());
    const sent = this.#parts.send(instance, { op: 'ask', wid: pending.requestSeq, shard, term, limits, ask });
    if (sent === 'over') this.#hold(pending);
    else if (sent === 'full') this.roll.refuse(pending, { reason: 'shed', limit: 'replica.window', retryAt: this.#soon() });
  }

  /** A gate of this process has decided. */
  #decided(pending: PendingRequest, outcome: Outcome): void {
    if (pending.state !== 'here') return;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      pending.knownArrival = pending.local?.arrival() ?? pending.knownArrival;
      this.#hold(pending);
    } else this.roll.finish(pending, outcome);
  }

  /** A peer has decided. */
  #outcome(pending: PendingRequest, outcome: Outcome, again: boolean): void {
    if (outcome.kind === 'admitted' && !again && this.#stale(outcome.permit)) {
      pending.knownArrival = arrivalOf(outcome.permit);
      this.#withdraw(pending, true);
      return this.#dispatch(pending);
    }
    if (outcome.limits !== undefined) this.#parts.seen(pending.ask, outcome.limits);
    this.#lines.unname(pending.requestSeq);
    this.roll.finish(pending, outcome);
  }

  /** Tells the peer that was asked that its answer is not awaited any more. */
  #giveUp(pending: PendingRequest): void {
    this.#late.gaveUp(pending);
    this.#parts.send(pending.peer, { op: 'cancel', wid: pending.requestSeq });
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
  #hold(pending: PendingRequest): void {
    this.#withdraw(pending);
    this.#resettle(pending, this.#parts.directory.of(pending.ask.group) ?? pending.route);
    this.roll.park(pending, 'held');
    this.#retries.plan(pending.route.shard);
  }

  /** Its group may belong elsewhere since it was asked. */
  #resettle(pending: PendingRequest, spot: GroupRoute): void {
    if (spot.shard !== pending.route.shard) this.#lines.remove(pending);
    pending.route = spot;
  }

  /** No replica decides for it now. */
  #park(pending: PendingRequest): void {
    const isNew = pending.cancelTimer === undefined;
    if (isNew && this.#lines.size >= this.#parts.heldMax) this.roll.refuse(pending, this.roll.undecided());
    else this.roll.park(pending, 'held');
  }

  /** The last attempt is over; its grant, should it still come, is given back. `late`: it came. */
  #withdraw(pending: PendingRequest, late = false): void {
    this.roll.astray.delete(pending);
    if (pending.state !== 'there') return;
    this.#lines.unname(pending.requestSeq);
    if (late) this.#parts.send(pending.peer, { op: 'cancel', wid: pending.requestSeq, late });
    else this.#giveUp(pending);
    pending.state = 'held';
  }

  #retry(shard: number): void {
    for (const pending of this.#lines.of(shard)) if (pending.state === 'held') this.#dispatch(pending);
    const place = this.#parts.place(shard);
    if (place.at === 'here') this.#entered(shard, place.term);
  }

  /** All who are to enter here have. */
  #entered(shard: number, term: bigint): void {
    if (!this.#lines.has(shard)) this.#parts.entered(shard, term);
  }

  #mayDegrade(pending: PendingRequest): boolean {
    return !this.#reachable && this.#parts.stopgap !== undefined && pending.route.settings.unreachable !== 'closed';
  }

  #soon(): Instant {
    return plus(this.#parts.clock.now(), SECOND);
  }
}

/** Asks that came to nothing are made again after this long, and ever longer while that does not help. */
const RETRY_FIRST: Micros = 50 * MILLISECOND;
const RETRY_LAST: Micros = 800 * MILLISECOND;

/** When to ask again for a shard whose supposed owner does not decide for it. */
class ShardRetries {
  readonly #timers: Timers;
  readonly #again: (shard: number) => void;
  readonly #planned = new Map<number, { cancel: (() => void) | undefined; delay: Micros }>();

  constructor(timers: Timers, again: (shard: number) => void) {
    this.#timers = timers;
    this.#again = again;
  }

  /** Once, for all who come before it is due. */
  plan(shard: number): void {
    const plan = this.#planned.get(shard) ?? { cancel: undefined, delay: RETRY_FIRST };
    this.#planned.set(shard, plan);
    plan.cancel ??= this.#timers.after(plan.delay, () => {
      plan.cancel = undefined;
      plan.delay = Math.min(RETRY_LAST, plan.delay * 2);
      this.#again(shard);
    });
  }

  /** Its owner has changed: from the beginning. */
  forget(shard: number): void {
    this.#planned.get(shard)?.cancel?.();
    this.#planned.delete(shard);
  }
}
