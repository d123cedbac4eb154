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
  acquire(request: AdmissionRequest, route: GroupRoute, done: (outcome: Outcome) => void): AcquireHandle;
}

/** What asks are made with. */
interface PendingRequestsDeps {
  readonly admission: LocalAdmissionService;
  readonly openingQueue: OpeningQueue;
  readonly directory: GroupDirectory;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly locate: (shard: number) => ShardLocation;
  readonly send: (to: string, message: RelayMessage) => Sent;
  readonly degraded: DegradedAdmission | undefined;
  /** All own callers of the shard are back in its trees here. */
  readonly onRejoined: (shard: number, term: bigint) => void;
  readonly onLimits: (request: AdmissionRequest, limits: readonly LimitView[]) => void;
  readonly positionOf: (pending: PendingRequest) => QueuePosition | undefined;
  /** Ends a lease that no caller received, wherever it is known now. */
  readonly releaseUnused: (caller: string, permit: string) => void;
  /** Requests held at most while no replica decides for them; beyond: `undecided`. */
  readonly maxHeld: number;
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
  readonly #deps: PendingRequestsDeps;
  /** Who is held. */
  readonly table: PendingTable;
  readonly #index: PendingIndex;
  readonly #retries: ShardRetries;
  readonly #lateGrants: LateGrants;
  #lastSerial = 0;
  #lastRequestSeq = 0;
  #reachable = true;

  constructor(deps: PendingRequestsDeps) {
    this.#deps = deps;
    this.table = new PendingTable({ clock: deps.clock, giveUp: (pending) => this.#giveUp(pending) });
    this.#index = this.table.index;
    this.#lateGrants = new LateGrants(deps.clock);
    this.#retries = new ShardRetries(deps.timers, (shard) => this.#retry(shard));
  }

  /** Asks for a permit; `done` may be called before this returns. */
  begin(request: AdmissionRequest, route: GroupRoute, done: (outcome: Outcome) => void): PendingRequest {
    const pending = new PendingRequest(this, request, route, this.#deps.clock.now(), ++this.#lastSerial, done);
    this.table.add();
    if (this.#deps.admission.isLocal(request.group)) this.#enter(pending, request);
    else this.#dispatch(pending);
    return pending;
  }

  /** An owner's answer. False: not one of these. */
  onMessage(peer: string, message: RelayMessage, by: Micros): boolean {
    if (message.op !== 'queued' && message.op !== 'moved' && message.op !== 'outcome') return false;
    const pending = this.#index.bySequence(message.wid);
    if (pending === undefined) {
      // Of an attempt that is over.
      if (message.op === 'outcome' && message.outcome.kind === 'admitted') {
        this.#deps.send(peer, { op: 'cancel', wid: message.wid });
        const caller = this.#lateGrants.take(message.wid);
        if (caller !== undefined) this.#returnLate(caller, message.outcome.permit, message.outcome.id);
      }
      return true;
    }
    if (message.op === 'outcome') this.#onOutcome(pending, shiftOutcome(message.outcome, by), message.again === true);
    else {
      if (message.since !== undefined) pending.knownArrival = shiftArrival(message.since, by);
      if (message.op === 'moved') this.#retryLater(pending);
    }
    return true;
  }

  /** Another replica decides for this shard: every pending request is sent there again, in order. */
  onShardLocated(shard: number): void {
    this.#retries.forget(shard);
    const location = this.#deps.locate(shard);
    // Its last owner may still answer who was asked there.
    if (location.at === 'nowhere') return;
    for (const pending of this.#index.of(shard)) {
      const asked = location.at === 'peer' && pending.state === 'there' && pending.peer === location.instance && pending.term === location.term;
      if (!asked) this.#dispatch(pending);
    }
    if (location.at === 'peer') this.#deps.send(location.instance, { op: 'rejoined', shard, term: location.term });
    else if (location.at === 'here') this.#entered(shard, location.term);
  }

  /** A peer's life is over: it answers no more. */
  onPeerLost(peer: string): void {
    for (const pending of this.#index.all()) if (pending.state === 'there' && pending.peer === peer) this.#retryLater(pending);
  }

  /** Everything is asked again from a new address. */
  onInstanceReplaced(): void {
    for (const shard of new Set(this.#index.all().map((pending) => pending.route.shard))) {
      for (const pending of this.#index.of(shard)) if (pending.state === 'there') this.#dispatch(pending);
    }
  }

  /** false: no other replica can be reached; degraded admission decides where it may, until true. */
  reachable(reachable: boolean): void {
    this.#reachable = reachable;
    if (!reachable) {
      for (const pending of this.#index.all()) if (this.#mayDegrade(pending)) this.#dispatch(pending);
      return;
    }
    for (const pending of [...this.table.degraded].sort((a, b) => a.serial - b.serial)) {
      pending.localHandle?.cancel();
      this.#dispatch(pending);
    }
  }

  /** Groups have changed: some may be gone, or belong to another shard. */
  onSettingsChanged(): void {
    for (const pending of this.#index.all()) {
      const route = this.#deps.directory.of(pending.request.group);
      if (route === undefined) this.table.refuse(pending, withdrawn(this.#deps.clock.now()));
      else if (route.shard !== pending.route.shard) {
        this.#reroute(pending, route);
        this.#dispatch(pending);
      }
    }
  }

  // PendingRequestOwner: what callers do.

  onCancelled(pending: PendingRequest, was: PendingState): void {
    const { localHandle: local } = pending;
    if (was !== 'granted') this.table.close(pending);
    if (was === 'there') this.#giveUp(pending);
    else if (was === 'granted' && pending.peer !== '') this.#deps.send(pending.peer, { op: 'cancel', wid: pending.requestSeq });
    else if (local !== undefined) local.cancel();
    else pending.earlyEnd = 'cancelled';
    // With a request id its caller may be back already, through another replica: see LateGrants.
    const isOnlyHere = was === 'granted' && pending.request.requestId === undefined;
    if (isOnlyHere && pending.permit !== undefined) this.#returnLate(pending.request.caller, pending.permit, pending.id);
  }

  onDelivered(pending: PendingRequest): void {
    if (pending.peer !== '') this.#deps.send(pending.peer, { op: 'delivered', wid: pending.requestSeq });
    else if (pending.localHandle !== undefined) pending.localHandle.delivered();
    else pending.earlyEnd = 'delivered';
  }

  positionOf(pending: PendingRequest): QueuePosition | undefined {
    return this.#deps.positionOf(pending);
  }

  /** Where its shard is decided now; an earlier attempt is over. */
  #dispatch(pending: PendingRequest): void {
    this.#withdraw(pending);
    if (this.#mayDegrade(pending)) return this.#admitDegraded(pending);
    const { shard } = pending.route;
    const { group } = pending.request;
    const location = this.#deps.locate(shard);
    if (location.at === 'nowhere') return this.#awaitOwner(pending);
    if (location.at === 'peer') return this.#sendToOwner(pending, location.instance, location.term);
    const opening = this.#deps.admission.opening(group);
    if (opening === undefined) return this.#enter(pending, pending.nextAttempt(this.#deps.clock.now()));
    this.table.park(pending, 'opening');
    const enter = (): void => {
      if (pending.state === 'opening') this.#enter(pending, pending.nextAttempt(this.#deps.clock.now()));
      this.#entered(shard, location.term);
    };
    this.#deps.openingQueue.wait(group, opening, { since: () => pending.knownArrival, enter });
  }

  #enter(pending: PendingRequest, request: AdmissionRequest): void {
    this.table.unpark(pending);
    pending.state = 'here';
    pending.peer = '';
    this.#setHandle(
      pending,
      this.#deps.admission.acquire(request, (outcome) => this.#onDecision(pending, outcome)),
    );
  }

  #admitDegraded(pending: PendingRequest): void {
    this.table.unpark(pending);
    pending.state = 'here';
    pending.peer = '';
    this.table.degraded.add(pending);
    const request = pending.nextAttempt(this.#deps.clock.now());
    const handle = this.#deps.degraded?.acquire(request, pending.route, (outcome) => this.#onDecision(pending, outcome));
    if (handle !== undefined) this.#setHandle(pending, handle);
  }

  /** The place it has now; what was said before this was known is done. */
  #setHandle(pending: PendingRequest, handle: AcquireHandle): void {
    if (pending.earlyEnd === 'cancelled') handle.cancel();
    else if (pending.earlyEnd === 'delivered') handle.delivered();
    else if (pending.state === 'here' || pending.state === 'granted') pending.localHandle = handle;
  }

  #sendToOwner(pending: PendingRequest, instance: string, term: bigint): void {
    const { limits } = this.#deps;
    const { shard } = pending.route;
    pending.peer = instance;
    pending.term = term;
    pending.requestSeq = ++this.#lastRequestSeq;
    this.table.park(pending, 'there');
    this.#index.addSequence(pending);
    const request = pending.nextAttempt(this.#deps.clock.now());
    const sent = this.#deps.send(instance, { op: 'ask', wid: pending.requestSeq, shard, term, limits, ask: request });
    if (sent === 'ended') this.#retryLater(pending);
    else if (sent === 'full') this.table.refuse(pending, { reason: 'shed', limit: 'replica.window', retryAt: this.#soon() });
  }

  /** A gate of this process has decided. */
  #onDecision(pending: PendingRequest, outcome: Outcome): void {
    if (pending.state !== 'here') return;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      pending.knownArrival = pending.localHandle?.arrival() ?? pending.knownArrival;
      this.#retryLater(pending);
    } else this.table.finish(pending, outcome);
  }

  /** A peer has decided. */
  #onOutcome(pending: PendingRequest, outcome: Outcome, again: boolean): void {
    if (outcome.kind === 'admitted' && !again && this.#stale(outcome.permit)) {
      pending.knownArrival = arrivalOf(outcome.permit);
      this.#withdraw(pending, true);
      return this.#dispatch(pending);
    }
    if (outcome.limits !== undefined) this.#deps.onLimits(pending.request, outcome.limits);
    this.#index.removeSequence(pending.requestSeq);
    this.table.finish(pending, outcome);
  }

  /** Tells the peer that was asked that its answer is not awaited any more. */
  #giveUp(pending: PendingRequest): void {
    this.#lateGrants.gaveUp(pending);
    this.#deps.send(pending.peer, { op: 'cancel', wid: pending.requestSeq });
  }

  /** Who granted it cannot take it back any more, but whoever decides now knows of its lease. */
  #returnLate(caller: string, { group, lease }: Permit, id: string): void {
    const route = this.#deps.directory.ofPermit(group);
    if (lease === undefined || route === undefined) return;
    const location = this.#deps.locate(route.shard);
    if (location.at === 'nowhere' || location.term !== lease.fence >> SERIAL_BITS) this.#deps.releaseUnused(caller, id);
  }

  #stale(permit: Permit): boolean {
    return this.#deps.clock.now() - permit.grantedAt > GRANT_AGE_MAX;
  }

  /** The last attempt came to nothing; it is asked again soon, or when its shard is placed. */
  #retryLater(pending: PendingRequest): void {
    this.#withdraw(pending);
    this.#reroute(pending, this.#deps.directory.of(pending.request.group) ?? pending.route);
    this.table.park(pending, 'unrouted');
    this.#retries.plan(pending.route.shard);
  }

  /** Its group may belong elsewhere since it was asked. */
  #reroute(pending: PendingRequest, route: GroupRoute): void {
    if (route.shard !== pending.route.shard) this.#index.remove(pending);
    pending.route = route;
  }

  /** No replica decides for it now. */
  #awaitOwner(pending: PendingRequest): void {
    const isNew = pending.cancelTimer === undefined;
    if (isNew && this.#index.size >= this.#deps.maxHeld) this.table.refuse(pending, this.table.undecided());
    else this.table.park(pending, 'unrouted');
  }

  /** The last attempt is over; its grant, should it still come, is given back. `late`: it came. */
  #withdraw(pending: PendingRequest, late = false): void {
    this.table.degraded.delete(pending);
    if (pending.state !== 'there') return;
    this.#index.removeSequence(pending.requestSeq);
    if (late) this.#deps.send(pending.peer, { op: 'cancel', wid: pending.requestSeq, late });
    else this.#giveUp(pending);
    pending.state = 'unrouted';
  }

  #retry(shard: number): void {
    for (const pending of this.#index.of(shard)) if (pending.state === 'unrouted') this.#dispatch(pending);
    const location = this.#deps.locate(shard);
    if (location.at === 'here') this.#entered(shard, location.term);
  }

  /** All who are to enter here have. */
  #entered(shard: number, term: bigint): void {
    if (!this.#index.has(shard)) this.#deps.onRejoined(shard, term);
  }

  #mayDegrade(pending: PendingRequest): boolean {
    return !this.#reachable && this.#deps.degraded !== undefined && pending.route.settings.unreachable !== 'closed';
  }

  #soon(): Instant {
    return plus(this.#deps.clock.now(), SECOND);
  }
}

/** Asks that came to nothing are made again after this long, and ever longer while that does not help. */
const RETRY_FIRST: Micros = 50 * MILLISECOND;
const RETRY_LAST: Micros = 800 * MILLISECOND;

/** When to ask again for a shard whose supposed owner does not decide for it. */
class ShardRetries {
  readonly #timers: Timers;
  readonly #retry: (shard: number) => void;
  readonly #planned = new Map<number, { cancel: (() => void) | undefined; delay: Micros }>();

  constructor(timers: Timers, again: (shard: number) => void) {
    this.#timers = timers;
    this.#retry = again;
  }

  /** Once, for all who come before it is due. */
  plan(shard: number): void {
    const plan = this.#planned.get(shard) ?? { cancel: undefined, delay: RETRY_FIRST };
    this.#planned.set(shard, plan);
    plan.cancel ??= this.#timers.after(plan.delay, () => {
      plan.cancel = undefined;
      plan.delay = Math.min(RETRY_LAST, plan.delay * 2);
      this.#retry(shard);
    });
  }

  /** Its owner has changed: from the beginning. */
  forget(shard: number): void {
    this.#planned.get(shard)?.cancel?.();
    this.#planned.delete(shard);
  }
}
