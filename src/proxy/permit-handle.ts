import type { AcquireHandle, AdmissionService, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Costs } from '../core/group.ts';
import type { Permit } from '../core/permit.ts';
import { type Instant, type Micros, plus } from '../core/time.ts';
import type { WatchedLater, WatchLater } from './body/watch-later.ts';

/** Part of a lease's life after which it is renewed. */
const RENEW_AFTER = 1 / 3;

const DONE = Promise.resolve();

type Admitted = Extract<Outcome, { kind: 'admitted' }>;

/** Whose pass it is. */
export interface PermitHandleDeps {
  readonly deps: { readonly admission: AdmissionService; readonly clock: Clock; readonly onError: (error: unknown) => void; readonly passes: WatchLater };
  readonly incoming: { readonly facts: { readonly caller: string } };
}

/** Who uses a pass. */
export interface PermitCallbacks {
  /** Once, if the lease is revoked, or lapses because it could not be renewed. */
  onLost(cause: Error): void;
}

/**
 * A permit in the hands of forwarding. Its lease is renewed until its end; that ends it in exactly one way. While nothing
 * was sent the permit counts as not delivered, so that all it cost can go back.
 */
export class PermitHandle implements WatchedLater {
  place = -1;
  readonly permit: Permit;
  readonly #admitted: Admitted;
  readonly #held: AcquireHandle;
  readonly #of: PermitHandleDeps;
  readonly #user: PermitCallbacks;
  #renewAt = 0 as Instant;
  #stopRenewing: (() => void) | undefined;
  #over = false;

  /** Four arguments, not one object: this runs once per request. */
  constructor(of: PermitHandleDeps, held: AcquireHandle, admitted: Admitted, user: PermitCallbacks) {
    this.permit = admitted.permit;
    this.#admitted = admitted;
    this.#held = held;
    this.#of = of;
    this.#user = user;
    const { lease } = admitted.permit;
    if (lease === undefined) return;
    const now = of.deps.clock.now();
    this.#renewAt = plus(now, Math.ceil(lease.duration * RENEW_AFTER));
    if (!of.deps.passes.take(this, now, this.#renewAt)) this.watch();
  }

  /** Admitted outside the promises, and how; undefined: within them. */
  get degraded(): Admitted['degraded'] {
    return this.#admitted.degraded;
  }

  /** Its lease is to be renewed when it is time. */
  watch(): void {
    this.#stopRenewing = this.#of.deps.clock.at(this.#renewAt, () => void this.#renew());
  }

  /** Nothing was sent: everything it cost goes back. */
  rollback(): void {
    if (this.#finish()) this.#held.cancel();
  }

  /** Something was sent; `costs` are the real ones, where known; `quiet`: the backend wants no more for so long. Resolves once that is in force. */
  release(costs: Costs | undefined, quiet?: Micros): Promise<void> {
    if (!this.#finish()) return DONE;
    this.#held.delivered();
    const { lease, settleable } = this.permit;
    return lease !== undefined || quiet !== undefined || (settleable && costs !== undefined) ? this.#release('used', costs, quiet) : DONE;
  }

  /** The backend pushed back, or did not answer in time. Resolves once the pause is in force: a request made before that might be admitted into it. */
  async releasePushedBack(retryAfter: Micros | undefined): Promise<void> {
    if (!this.#finish()) return;
    this.#held.delivered();
    await this.#release('dropped', undefined, retryAfter);
  }

  #finish(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#of.deps.passes.leave(this);
    this.#stopRenewing?.();
    return true;
  }

  async #release(how: 'used' | 'dropped', costs: Costs | undefined, retryAfter: Micros | undefined): Promise<void> {
    const { deps, incoming } = this.#of;
    try {
      await deps.admission.release({ caller: incoming.facts.caller, permit: this.#admitted.id, disposition: how, costs, retryAfter, key: this.permit.key });
    } catch (cause) {
      deps.onError(cause);
    }
  }

  #renewAfter(wait: Micros): void {
    this.#renewAt = plus(this.#of.deps.clock.now(), Math.ceil(wait));
    this.watch();
  }

  async #renew(): Promise<void> {
    const { deps, incoming } = this.#of;
    const duration = this.permit.lease?.duration ?? 0;
    try {
      const outcome = await deps.admission.renew(incoming.facts.caller, this.#admitted.id, duration);
      if (this.#over) return;
      if (outcome.kind === 'renewed') return this.#renewAfter(outcome.permit.duration * RENEW_AFTER);
      const { reason } = outcome.refusal;
      if (reason === 'fenced' || reason === 'unknown_permit') return this.#user.onLost(new Error(`The lease was lost: ${reason}.`));
    } catch (cause) {
      deps.onError(cause);
      if (this.#over) return;
    }
    // No replica decides at the moment, or the disk does not write: tried again while the lease lives, and after.
    this.#renewAfter(duration * RENEW_AFTER * RENEW_AFTER);
  }
}
