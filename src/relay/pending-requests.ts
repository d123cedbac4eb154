import { type AcquireHandle, type AdmissionRequest, type LocalAdmissionService, MOVED, type Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import { shiftArrival, shiftOutcome } from '../admission/time-shift.ts';
import type { ShardLocation, Timers } from '../coordination/replica.ts';
import type { LimitView } from '../core/gate/views.ts';
import { type Permit, termOf } from '../core/permit.ts';
import { withdrawn } from '../core/refusal.ts';
import { arrivalOf, type QueuePosition } from '../core/request.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupDirectory, GroupRoute } from './group-directory.ts';
import { LateGrants } from './late-grants.ts';
import type { OpeningQueue } from './opening-queue.ts';
import { PendingRequest, type PendingRequestOwner, type PendingState } from './pending-request.ts';
import { type PendingIndex, PendingTable } from './pending-table.ts';
import type { RelayMessage } from './transport/codec.ts';
import type { Sent } from './transport/peer-transport.ts';

/** Decides for groups with `unreachable: share | open` while no other replica can be reached. */
export interface DegradedAdmission {
  acquire(request: AdmissionRequest, route: GroupRoute, done: (outcome: Outcome) => void): AcquireHandle;
}

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
  /** Releases a lease that no caller received, at its owner of now. */
  readonly releaseUnused: (caller: string, permit: string) => void;
  /** Requests held at most while no replica decides for them; beyond: `undecided`. */
  readonly maxHeld: number;
  /** Every outcome is to carry limits. */
  readonly limits: boolean;
}

/** A grant older than this is returned (docs/design/coordination.md 2.8): what it allows is to happen about when it was decided. */
const GRANT_AGE_MAX: Micros = 2 * SECOND;

/**
 * Every request of this replica's callers that is not answered:
 *
 *     begin ─▶ a gate here ──▶ answer            MOVED, a new owner, a lost address: sent again to the owner of then,
 *          └─▶ a peer's gate ─▶ answer           with the rest of the wait timeout and the arrival it had
 *          └─▶ held, until a replica decides
 */
export class PendingRequests implements PendingRequestOwner {
  readonly #deps: PendingRequestsDeps;
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

  /** Requests a permit; `done` may be called before this returns. */
  begin(request: AdmissionRequest, route: GroupRoute, done: (outcome: Outcome) => void): PendingRequest {
    const pending = new PendingRequest(this, request, route, this.#deps.clock.now(), ++this.#lastSerial, done);
    this.table.add();
    if (this.#deps.admission.isLocal(request.group)) this.#enter(pending, request);
    else this.#dispatch(pending);
    return pending;
  }

  /** Handles a message of an owner. Returns false if it is not one about a request. */
  onMessage(peer: string, message: RelayMessage, by: Micros): boolean {
    if (message.op !== 'queued' && message.op !== 'moved' && message.op !== 'outcome') return false;
    const pending = this.#index.bySequence(message.wid);
    if (pending === undefined) {
      // Of an attempt that has ended.
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

  /** Sends every pending request of the shard to its new owner, in order. */
  onShardLocated(shard: number): void {
    this.#retries.forget(shard);
    const location = this.#deps.locate(shard);
    // Its last owner may still answer the requests that were sent there.
    if (location.at === 'nowhere') return;
    for (const pending of this.#index.of(shard)) {
      const asked = location.at === 'peer' && pending.state === 'there' && pending.peer === location.instance && pending.term === location.term;
      if (!asked) this.#dispatch(pending);
    }
    if (location.at === 'peer') this.#deps.send(location.instance, { op: 'rejoined', shard, term: location.term });
    else if (location.at === 'here') this.#entered(shard, location.term);
  }

  /** Retries what was sent to a peer that has ended. */
  onPeerLost(peer: string): void {
    for (const pending of this.#index.all()) if (pending.state === 'there' && pending.peer === peer) this.#retryLater(pending);
  }

  /** Sends everything again, from the new address of this replica. */
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

  /** Refuses requests for groups that were removed, and reroutes those whose group belongs to another shard now. */
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

  // PendingRequestOwner

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

  /** Sends a request to where its shard is decided now. Ends its earlier attempt. */
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

  /** Sets the handle of the request, and does what its caller did before the handle was known. */
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

  /** Handles the decision of a gate of this process. */
  #onDecision(pending: PendingRequest, outcome: Outcome): void {
    if (pending.state !== 'here') return;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      pending.knownArrival = pending.localHandle?.arrival() ?? pending.knownArrival;
      this.#retryLater(pending);
    } else this.table.finish(pending, outcome);
  }

  /** Handles the decision of a peer. */
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

  /** Notifies the peer that its answer is not awaited any more. */
  #giveUp(pending: PendingRequest): void {
    this.#lateGrants.gaveUp(pending);
    this.#deps.send(pending.peer, { op: 'cancel', wid: pending.requestSeq });
  }

  /** Releases a late grant at the owner of now, if it is not the one that granted it. */
  #returnLate(caller: string, { group, lease }: Permit, id: string): void {
    const route = this.#deps.directory.ofPermit(group);
    if (lease === undefined || route === undefined) return;
    const location = this.#deps.locate(route.shard);
    if (location.at === 'nowhere' || location.term !== termOf(lease.fence)) this.#deps.releaseUnused(caller, id);
  }

  #stale(permit: Permit): boolean {
    return this.#deps.clock.now() - permit.grantedAt > GRANT_AGE_MAX;
  }

  /** Ends the last attempt. The request is sent again soon, or when its shard has an owner. */
  #retryLater(pending: PendingRequest): void {
    this.#withdraw(pending);
    this.#reroute(pending, this.#deps.directory.of(pending.request.group) ?? pending.route);
    this.table.park(pending, 'unrouted');
    this.#retries.plan(pending.route.shard);
  }

  /** Sets the route of the request, which changes when its group moves to another shard. */
  #reroute(pending: PendingRequest, route: GroupRoute): void {
    if (route.shard !== pending.route.shard) this.#index.remove(pending);
    pending.route = route;
  }

  /** Keeps a request while no replica decides for it; refuses a new one beyond the bound. */
  #awaitOwner(pending: PendingRequest): void {
    const isNew = pending.cancelTimer === undefined;
    if (isNew && this.#index.size >= this.#deps.maxHeld) this.table.refuse(pending, this.table.undecided());
    else this.table.park(pending, 'unrouted');
  }

  /** Ends the last attempt; its grant is returned if it still arrives. `late`: it has arrived. */
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

  /** Reports that all own callers of the shard have entered, if they have. */
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

/** The first delay before failed attempts are sent again. It doubles up to {@link RETRY_LAST} while they fail. */
const RETRY_FIRST: Micros = 50 * MILLISECOND;
const RETRY_LAST: Micros = 800 * MILLISECOND;

/** Schedules retries for shards whose supposed owner does not decide for them. */
class ShardRetries {
  readonly #timers: Timers;
  readonly #retry: (shard: number) => void;
  readonly #planned = new Map<number, { cancel: (() => void) | undefined; delay: Micros }>();

  constructor(timers: Timers, again: (shard: number) => void) {
    this.#timers = timers;
    this.#retry = again;
  }

  /** Schedules one retry of the shard, for all requests that come before it is due. */
  plan(shard: number): void {
    const plan = this.#planned.get(shard) ?? { cancel: undefined, delay: RETRY_FIRST };
    this.#planned.set(shard, plan);
    plan.cancel ??= this.#timers.after(plan.delay, () => {
      plan.cancel = undefined;
      plan.delay = Math.min(RETRY_LAST, plan.delay * 2);
      this.#retry(shard);
    });
  }

  /** Cancels the retry and resets the delay, since the owner has changed. */
  forget(shard: number): void {
    this.#planned.get(shard)?.cancel?.();
    this.#planned.delete(shard);
  }
}
