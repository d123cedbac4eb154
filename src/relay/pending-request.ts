import type { AcquireHandle, AdmissionRequest, Outcome } from '../admission/admission.ts';
import type { Permit } from '../core/permit.ts';
import type { Arrival, QueuePosition } from '../core/request.ts';
import { type Instant, later, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupRoute } from './group-directory.ts';

/** A request without a wait timeout still waits this long for an owner. */
const WAIT_LEAST: Micros = SECOND;

/**
 * Where a caller's ask is. `held`: no replica decides for its shard, or it is about to be asked. `opening`: the tree is being
 * opened here. `here`, `there`: in a gate of this process, or of a peer. `told`: a permit was granted and is not delivered.
 */
export type PendingState = 'unrouted' | 'opening' | 'here' | 'there' | 'granted' | 'ended';

/** What an ask wants of the edge. */
export interface PendingRequestOwner {
  /** The caller is gone; in this state. */
  onCancelled(pending: PendingRequest, was: PendingState): void;
  /** A permit was written to its caller. */
  onDelivered(pending: PendingRequest): void;
  /** Where it stands at a peer, as last heard. */
  positionOf(pending: PendingRequest): QueuePosition | undefined;
}

/** One request of a caller of this replica, decided here or at a peer, from its arrival to its end: one object, and one answer. */
export class PendingRequest implements AcquireHandle {
  readonly request: AdmissionRequest;
  route: GroupRoute;
  readonly askedAt: Instant;
  /** In order of arrival at this replica. */
  readonly serial: number;
  readonly #owner: PendingRequestOwner;
  readonly #done: (outcome: Outcome) => void;
  state: PendingState = 'unrouted';
  /** Its place in a gate of this process. */
  localHandle: AcquireHandle | undefined;
  /** What the caller said of its permit before this knew who gave it. */
  earlyEnd: 'cancelled' | 'delivered' | undefined;
  /** Asked there, under this name; of the last attempt. '': of this process. */
  peer = '';
  term = 0n;
  requestSeq = 0;
  /** Its place among all, of this or an earlier attempt. */
  knownArrival: Arrival | undefined;
  lastPosition: QueuePosition | undefined;
  cancelTimer: (() => void) | undefined;
  /** No gate of this process has it. */
  isIndexed = false;
  /** What it was answered. */
  permit: Permit | undefined;
  id = '';

  /** Five arguments, not one object: this runs once per ask. */
  constructor(owner: PendingRequestOwner, request: AdmissionRequest, route: GroupRoute, now: Instant, serial: number, done: (outcome: Outcome) => void) {
    this.#owner = owner;
    this.request = request;
    this.route = route;
    this.askedAt = now;
    this.serial = serial;
    this.#done = done;
  }

  /** End of wait timeout, in process time. */
  get waitUntil(): Instant {
    const { wait } = this.route.settings;
    return plus(this.askedAt, Math.min(this.request.wait ?? wait.default, wait.max, this.request.waitMax ?? wait.max));
  }

  /** End of waiting for an owner. */
  get heldUntil(): Instant {
    return later(this.waitUntil, plus(this.askedAt, WAIT_LEAST));
  }

  /** Until then an owner that was asked may answer: a place that is kept there may end later than this replica's clock says. */
  get answerUntil(): Instant {
    return later(this.heldUntil, plus(this.askedAt, this.request.resumes ?? 0));
  }

  /** The ask as it is made again: with the wait timeout that is left and the place it had. */
  nextAttempt(now: Instant): AdmissionRequest {
    return { ...this.request, wait: Math.max(0, this.waitUntil - now), waitMax: undefined, since: this.knownArrival ?? this.request.since };
  }

  /** Its one answer. */
  reply(outcome: Outcome): void {
    this.state = 'ended';
    if (outcome.kind === 'admitted') {
      this.state = 'granted';
      this.permit = outcome.permit;
      this.id = outcome.id;
    }
    this.#done(outcome);
  }

  cancel(): void {
    const was = this.state;
    if (was === 'ended') return;
    this.state = 'ended';
    this.#owner.onCancelled(this, was);
  }

  delivered(): void {
    if (this.state !== 'granted') return;
    this.state = 'ended';
    this.#owner.onDelivered(this);
  }

  position(): QueuePosition | undefined {
    if (this.state === 'here') return this.localHandle?.position();
    return this.state === 'there' ? this.#owner.positionOf(this) : undefined;
  }

  endsAt(): Instant {
    return this.waitUntil;
  }

  arrival(): Arrival | undefined {
    if (this.state === 'here') return this.localHandle?.arrival();
    return this.state === 'there' ? this.knownArrival : undefined;
  }
}
