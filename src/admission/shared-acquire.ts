import type { Refusal, RefusalReason } from '../core/refusal.ts';
import type { Arrival, QueuePosition } from '../core/request.ts';
import { type Instant, later, MINUTE, NEVER, plus, SECOND } from '../core/time.ts';
import type { AcquireHandle, AdmissionRequest, Outcome, PermitView } from './admission.ts';
import type { Clock } from './clock.ts';
import type { GroupEntry } from './group-entry.ts';
import type { PendingAcquire } from './pending-acquire.ts';
import { shiftPermit } from './time-shift.ts';
import type { TreeController } from './tree-controller.ts';

/** How long a place waits for its caller to come back, and an answer is kept (docs/design/coordination.md 2.8). */
export const AWAY_FOR = 10 * SECOND;
/** How long the permit of a request that can be settled is kept (docs/design/coordination.md, decision 8). */
const SETTLE_FOR = 10 * MINUTE;

/** Refusals of a place whose caller was away that it gets when it is back; after any other it may have a place elsewhere, or here again. */
const KEPT_REFUSALS: ReadonlySet<RefusalReason> = new Set(['expired', 'shed', 'oversized', 'cancelled']);

/** One request with a request id, and all callers that sent it. */
export class SharedAcquire {
  readonly name: string;
  /** Of the request, see {@link digestOf}. */
  readonly digest: string;
  readonly #tree: TreeController;
  readonly #clock: Clock;
  readonly #forget: () => void;
  readonly #sweep: (shared: SharedAcquire) => void;
  readonly #attached = new Set<Subscriber>();
  hold: PendingAcquire | undefined;
  outcome: Outcome | undefined;
  isDelivered = false;
  /** Its lease is of an earlier term, and no caller has sent it since. */
  isRecovered = false;
  /** Forgotten, cancelled or refused. */
  over = false;
  /** Kept until then, also when all left. */
  keptUntil = 0 as Instant;

  constructor(deps: { name: string; digest: string; tree: TreeController; clock: Clock; forget: () => void; look: (shared: SharedAcquire) => void }) {
    this.name = deps.name;
    this.digest = deps.digest;
    this.#tree = deps.tree;
    this.#clock = deps.clock;
    this.#forget = deps.forget;
    this.#sweep = deps.look;
  }

  get waitUntil(): Instant {
    return this.hold === undefined ? NEVER : plus(this.hold.waitUntil, this.#tree.clockOffset);
  }

  /** A caller waits for it or is being answered, or its lease lives. */
  get inUse(): boolean {
    if (this.outcome === undefined) return this.#attached.size > 0;
    if (!this.isDelivered) return this.#attached.size > 0;
    return this.hold?.phase === 'kept' && this.hold.permit?.lease !== undefined;
  }

  /** Asks for the place. */
  open(entry: GroupEntry, request: AdmissionRequest): void {
    this.hold = this.#tree.acquire(entry, request, (outcome) => this.#settled(outcome));
    // So that it learns when its lease ends.
    this.hold.watch(() => {});
  }

  /** Takes a lease of an earlier term for its answer. */
  recover(hold: PendingAcquire): void {
    this.hold = hold;
    this.isDelivered = true;
    this.isRecovered = true;
    const { permit } = hold;
    if (permit !== undefined) this.outcome = { kind: 'admitted', permit: shiftPermit(permit, this.#tree.clockOffset), id: hold.id };
    hold.watch(() => {});
    this.#sweep(this);
  }

  /** One more caller for the same answer. */
  attach(done: (outcome: Outcome) => void): Subscriber {
    const attachment = new Subscriber(this, done);
    const back = this.#allAway && this.hold !== undefined && this.outcome === undefined;
    this.#attached.add(attachment);
    if (back && this.hold !== undefined) this.#tree.unsuspend(this.hold);
    if (this.outcome !== undefined) attachment.answer(this.#outcomeNow(this.outcome));
    if (this.outcome?.kind === 'refused') this.drop();
    return attachment;
  }

  /** One caller is gone; the last one leaves the place suspended, or the permit to be fetched again. */
  detach(attachment: Subscriber): void {
    if (!this.#attached.delete(attachment) || this.#attached.size > 0 || this.over || this.isDelivered) return;
    if (this.hold?.phase === 'before') return this.drop();
    this.keep(plus(this.#clock.now(), AWAY_FOR));
    if (this.hold !== undefined && this.outcome === undefined) this.#tree.suspend(this.hold);
  }

  /** As `detach`, and nothing is kept of an answer that no caller got. */
  giveBack(attachment: Subscriber): void {
    if (this.#attached.delete(attachment) && this.#attached.size === 0 && !this.isDelivered) this.drop();
  }

  /** A caller cannot be reached, or can again. The place is passed over while that goes for all of them. */
  refreshReachability(): void {
    if (this.hold === undefined || this.outcome !== undefined) return;
    if (this.#allAway) this.#tree.suspend(this.hold);
    else this.#tree.unsuspend(this.hold);
  }

  get #allAway(): boolean {
    return [...this.#attached].every((attachment) => attachment.isAway);
  }

  delivered(): void {
    this.isDelivered = true;
    this.hold?.delivered();
  }

  /** All callers are away until then at most; those that did not leave are notified. */
  suspend(until: Instant): void {
    for (const attachment of [...this.#attached]) {
      if (this.outcome === undefined) attachment.answer({ kind: 'refused', refusal: { reason: 'cancelled' } });
      attachment.cancel();
    }
    this.keep(until);
  }

  /** Nothing is left of it: a place goes, an answer that no caller got is given back. */
  drop(): void {
    if (this.over) return;
    this.over = true;
    this.#forget();
    this.hold?.cancel();
  }

  /** A session's end: place and lease go at once. */
  end(refusal: Refusal): void {
    this.over = true;
    this.#forget();
    this.hold?.end(refusal);
  }

  view(): PermitView | undefined {
    return this.hold?.view();
  }

  keep(until: Instant): void {
    this.keptUntil = later(this.keptUntil, until);
    this.#sweep(this);
  }

  /** Who sends it again later gets what is left of the lease, counted from now. */
  #outcomeNow(outcome: Outcome): Outcome {
    const lease = this.isDelivered ? this.hold?.view() : undefined;
    if (outcome.kind === 'refused' || outcome.permit.lease === undefined || lease === undefined) return outcome;
    const { expiresAt } = lease;
    const duration = Math.max(0, Math.min(lease.duration, expiresAt - this.#clock.now()));
    return { ...outcome, permit: { ...outcome.permit, lease: { ...outcome.permit.lease, expiresAt, duration } } };
  }

  #settled(outcome: Outcome): void {
    this.outcome = outcome;
    if (outcome.kind === 'refused' && !this.over && this.#attached.size === 0 && KEPT_REFUSALS.has(outcome.refusal.reason)) {
      this.keep(plus(this.#clock.now(), AWAY_FOR));
    } else if (outcome.kind === 'refused') {
      this.over = true;
      this.#forget();
    } else {
      const { lease, settleable, grantedAt } = outcome.permit;
      this.keep(plus(this.#clock.now(), AWAY_FOR));
      if (lease === undefined && settleable) this.keep(plus(grantedAt, SETTLE_FOR));
    }
    for (const attachment of [...this.#attached]) attachment.answer(outcome);
  }
}

/** One caller of a shared request. */
class Subscriber implements AcquireHandle {
  readonly #shared: SharedAcquire;
  #done: ((outcome: Outcome) => void) | undefined;
  #cancel: (() => void) | undefined;
  isAway = false;

  constructor(shared: SharedAcquire, done: (outcome: Outcome) => void) {
    this.#shared = shared;
    this.#done = done;
  }

  get waits(): boolean {
    return this.#done !== undefined;
  }

  answer(outcome: Outcome): void {
    const done = this.#done;
    this.#done = undefined;
    this.#cancel?.();
    done?.(outcome);
  }

  /** This caller has less wait timeout than the place. */
  limit(clock: Clock, until: Instant): void {
    this.#cancel = clock.at(until, () => {
      this.answer({ kind: 'refused', refusal: { reason: 'expired' } });
      this.#shared.detach(this);
    });
  }

  cancel(): void {
    this.#done = undefined;
    this.#cancel?.();
    this.#shared.detach(this);
  }

  delivered(): void {
    this.#shared.delivered();
    this.#shared.detach(this);
  }

  reject(): void {
    this.#done = undefined;
    this.#cancel?.();
    this.#shared.giveBack(this);
  }

  position(): QueuePosition | undefined {
    return this.#done === undefined ? undefined : this.#shared.hold?.position();
  }

  endsAt(): Instant {
    return this.#shared.waitUntil;
  }

  arrival(): Arrival | undefined {
    return this.#shared.hold?.arrival();
  }

  setAway(isAway: boolean): void {
    this.isAway = isAway;
    this.#shared.refreshReachability();
  }
}
