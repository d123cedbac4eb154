import type { AcquireHandle, AdmissionRequest, Outcome } from '../admission/admission.ts';
import type { Permit } from '../core/permit.ts';
import type { Arrival, QueuePosition } from '../core/request.ts';
import { type Instant, later, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupRoute } from './group-directory.ts';

/** A request with a shorter wait timeout still waits this long for an owner. */
const WAIT_LEAST: Micros = SECOND;

/**
 * Where a caller's request is. `unrouted`: no replica decides for its shard, or it is about to be sent. `opening`: the tree is being
 * opened here. `here`, `there`: in a gate of this process, or of a peer. `granted`: a permit was granted and is not delivered.
 */
export type PendingState = 'unrouted' | 'opening' | 'here' | 'there' | 'granted' | 'ended';

/** Receives what the caller of a pending request does. */
export interface PendingRequestOwner {
  /** The caller cancelled; `was` is the state before. */
  onCancelled(pending: PendingRequest, was: PendingState): void;
  /** The permit was written to its caller. */
  onDelivered(pending: PendingRequest): void;
  /** Returns its queue position at a peer, as last received. */
  positionOf(pending: PendingRequest): QueuePosition | undefined;
}

/** One request of a caller of this replica, decided here or at a peer, from its arrival to its end. It is answered exactly once. */
export class PendingRequest implements AcquireHandle {
  readonly request: AdmissionRequest;
  route: GroupRoute;
  readonly askedAt: Instant;
  /** In order of arrival at this replica. */
  readonly serial: number;
  readonly #owner: PendingRequestOwner;
  readonly #done: (outcome: Outcome) => void;
  state: PendingState = 'unrouted';
  /** Its handle in a gate of this process. */
  localHandle: AcquireHandle | undefined;
  /** What the caller did with its permit before the handle of the grant was known. */
  earlyEnd: 'cancelled' | 'delivered' | undefined;
  /** The peer, the term and the number under which it was last sent. '': it is in this process. */
  peer = '';
  term = 0n;
  requestSeq = 0;
  /** Its arrival in the group's order, from this attempt or an earlier one. */
  knownArrival: Arrival | undefined;
  lastPosition: QueuePosition | undefined;
  cancelTimer: (() => void) | undefined;
  /** It is in the {@link PendingIndex}: no gate of this process has it. */
  isIndexed = false;
  /** The permit that it was answered with. */
  permit: Permit | undefined;
  id = '';

  // Positional: called per request.
  constructor(owner: PendingRequestOwner, request: AdmissionRequest, route: GroupRoute, now: Instant, serial: number, done: (outcome: Outcome) => void) {
    this.#owner = owner;
    this.request = request;
    this.route = route;
    this.askedAt = now;
    this.serial = serial;
    this.#done = done;
  }

  /** When the wait timeout ends, in process time. */
  get waitUntil(): Instant {
    const { wait } = this.route.settings;
    return plus(this.askedAt, Math.min(this.request.wait ?? wait.default, wait.max, this.request.waitMax ?? wait.max));
  }

  /** When waiting for an owner ends. */
  get heldUntil(): Instant {
    return later(this.waitUntil, plus(this.askedAt, WAIT_LEAST));
  }

  /** When waiting for the answer of an owner ends: a position that is kept there may end later than this replica's clock shows. */
  get answerUntil(): Instant {
    return later(this.heldUntil, plus(this.askedAt, this.request.resumes ?? 0));
  }

  /** Returns the request for its next attempt: with the rest of its wait timeout, and the arrival that it had. */
  nextAttempt(now: Instant): AdmissionRequest {
    return { ...this.request, wait: Math.max(0, this.waitUntil - now), waitMax: undefined, since: this.knownArrival ?? this.request.since };
  }

  /** Answers the caller. To be called once. */
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
