import { type Instant, NEVER, plus, SECOND } from '../core/time.ts';
import { type AcquireHandle, type AdmissionRequest, NO_HANDLE, type Outcome } from './admission.ts';
import type { Clock } from './clock.ts';
import { DelayQueue } from './delay-queue.ts';
import type { GroupEntry } from './group-entry.ts';
import type { PendingAcquire } from './pending-acquire.ts';
import { digestOf } from './request-digest.ts';
import { AWAY_FOR, SharedAcquire } from './shared-acquire.ts';
import type { TreeController } from './tree-controller.ts';

/**
 * Requests with a request id. The same id of the same caller and group comes back to the same place, or gets the same permit
 * again; two at once both get the answer. A refusal that reached a caller is not kept: the id may be asked again at once, as
 * a new request. One that was decided while its caller was away is kept for 10 s, or its wait timeout would begin anew.
 */
export class RequestIdTable {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #shared = new Map<string, SharedAcquire>();
  readonly #later: DelayQueue<SharedAcquire>;

  constructor(deps: { clock: Clock; max: number }) {
    this.#clock = deps.clock;
    this.#max = deps.max;
    this.#later = new DelayQueue({ clock: deps.clock, delay: AWAY_FOR, due: (shared, now) => this.#sweep(shared, now) });
  }

  /** Ids remembered. */
  get size(): number {
    return this.#shared.size;
  }

  /** Places, re-attaches, or answers with what was decided. `opened` is called with a new place, once. */
  acquire(
    tree: TreeController,
    entry: GroupEntry,
    request: AdmissionRequest,
    done: (outcome: Outcome) => void,
    opened: (shared: SharedAcquire) => void,
  ): AcquireHandle {
    const name = nameOf(request.caller, request.group, request.requestId ?? '');
    const known = this.#shared.get(name);
    if (known !== undefined && (known.inUse || known.keptUntil > this.#clock.now())) {
      const held = this.#again(known, request, done);
      if (held !== NO_HANDLE && known.isRecovered) opened(known);
      known.isRecovered &&= held === NO_HANDLE;
      return held;
    }
    known?.drop();
    // Nothing is left of it and its wait timeout is over: it is not asked anew.
    if (request.resumes !== undefined && request.wait === 0) {
      done({ kind: 'refused', refusal: { reason: 'expired', retryAt: this.#clock.now() } });
      return NO_HANDLE;
    }
    if (this.#shared.size >= this.#max && !this.#forgetOne()) {
      done({ kind: 'refused', refusal: { reason: 'shed', limit: 'requests', retryAt: plus(this.#clock.now(), SECOND) } });
      return NO_HANDLE;
    }
    const shared = this.#share(name, digestOf(request), tree);
    const held = shared.attach(done);
    shared.open(entry, request);
    if (!shared.over) opened(shared);
    return held;
  }

  /** Remembers the request ids of leases that lived before this tree was opened here: who sends it again gets the same permit, and its end gives it up. */
  recover(tree: TreeController): void {
    for (const { permit, claim } of tree.turn.gate.claimed(tree.now())) {
      const entry = tree.turn.entries.get(permit.group);
      if (entry === undefined || claim.request === undefined || this.#shared.size >= this.#max) continue;
      const name = nameOf(claim.caller, permit.group, claim.request.id);
      const known = this.#shared.get(name);
      if (known?.inUse) continue;
      known?.drop();
      this.#share(name, claim.request.digest, tree).recover(tree.recover(entry, permit, claim));
    }
  }

  #share(name: string, digest: string, tree: TreeController): SharedAcquire {
    const shared = new SharedAcquire({
      name,
      digest,
      tree,
      clock: this.#clock,
      forget: () => this.#forget(name, shared),
      look: (one) => this.#later.push(one),
    });
    this.#shared.set(name, shared);
    return shared;
  }

  #forget(name: string, shared: SharedAcquire): void {
    if (this.#shared.get(name) === shared) this.#shared.delete(name);
  }

  /** Cancels the request at once, waiting or admitted. Returns undefined if there is none of this id. */
  release(caller: string, group: string, requestId: string): PendingAcquire | undefined {
    const shared = this.#shared.get(nameOf(caller, group, requestId));
    if (shared === undefined) return undefined;
    const { hold } = shared;
    shared.over = true;
    this.#shared.delete(shared.name);
    return hold;
  }

  #again(shared: SharedAcquire, request: AdmissionRequest, done: (outcome: Outcome) => void): AcquireHandle {
    if (shared.digest !== digestOf(request)) {
      const detail = 'This request id was used with other fields: use a new id for a new request.';
      done({ kind: 'refused', refusal: { reason: 'malformed', detail } });
      return NO_HANDLE;
    }
    const held = shared.attach(done);
    const until = request.wait === undefined || request.resumes !== undefined ? NEVER : plus(this.#clock.now(), request.wait);
    if (until < shared.waitUntil && held.waits) held.limit(this.#clock, until);
    return held;
  }

  /** The oldest that no caller waits for, among the first few. */
  #forgetOne(): boolean {
    let looked = 0;
    for (const shared of this.#shared.values()) {
      if (shared.outcome?.kind === 'refused' || (shared.outcome !== undefined && shared.isDelivered)) return this.#shared.delete(shared.name);
      if (++looked === 64) break;
    }
    return false;
  }

  #sweep(shared: SharedAcquire, now: Instant): void {
    if (shared.over) return;
    if (shared.keptUntil > now || shared.inUse) this.#later.push(shared);
    else shared.drop();
  }
}

function nameOf(caller: string, group: string, requestId: string): string {
  return `${caller}\u0000${group}\u0000${requestId}`;
}
