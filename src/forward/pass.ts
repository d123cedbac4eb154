import type { AdmissionService, Held, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Costs } from '../core/group.ts';
import type { Permit } from '../core/permit.ts';
import { after, type Micros } from '../core/time.ts';

/** Part of a lease's life after which it is renewed. */
const RENEW_AFTER = 1 / 3;

const DONE = Promise.resolve();

/** What a pass works with. */
export interface PassParts {
  readonly admission: AdmissionService;
  readonly clock: Clock;
  readonly caller: string;
  readonly onFault: (error: unknown) => void;
}

/**
 * A permit in the hands of forwarding. Its lease is renewed until its end; that ends it in exactly one way. While nothing
 * was sent the permit counts as not delivered, so that all it cost can go back.
 */
export class Pass {
  readonly permit: Permit;
  readonly #id: string;
  readonly #held: Held;
  readonly #parts: PassParts;
  readonly #lost: (cause: Error) => void;
  #stopRenewing: (() => void) | undefined;
  #over = false;

  /** `lost` is called once if the lease is revoked, or lapses because it could not be renewed. */
  constructor(parts: PassParts, held: Held, admitted: Extract<Outcome, { kind: 'admitted' }>, lost: (cause: Error) => void) {
    this.permit = admitted.permit;
    this.#id = admitted.id;
    this.#held = held;
    this.#parts = parts;
    this.#lost = lost;
    const { lease } = admitted.permit;
    if (lease !== undefined) this.#renewAfter(lease.duration * RENEW_AFTER);
  }

  /** Nothing was sent: everything it cost goes back. */
  unused(): void {
    if (this.#finish()) this.#held.leave();
  }

  /** Something was sent; `costs` are the real ones, where known. Resolves once that is in force. */
  used(costs: Costs | undefined): Promise<void> {
    if (!this.#finish()) return DONE;
    this.#held.delivered();
    const { lease, settleable } = this.permit;
    return lease !== undefined || (settleable && costs !== undefined) ? this.#release('used', costs, undefined) : DONE;
  }

  /** The backend pushed back, or did not answer in time. Resolves once the pause is in force: who asks before might be admitted into it. */
  async dropped(retryAfter: Micros | undefined): Promise<void> {
    if (!this.#finish()) return;
    this.#held.delivered();
    await this.#release('dropped', undefined, retryAfter);
  }

  #finish(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#stopRenewing?.();
    return true;
  }

  async #release(how: 'used' | 'dropped', costs: Costs | undefined, retryAfter: Micros | undefined): Promise<void> {
    const { admission, caller, onFault } = this.#parts;
    try {
      await admission.release(caller, this.#id, how, costs, retryAfter, this.permit.key);
    } catch (cause) {
      onFault(cause);
    }
  }

  #renewAfter(wait: Micros): void {
    const { clock } = this.#parts;
    this.#stopRenewing = clock.at(after(clock.now(), Math.ceil(wait)), () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const { admission, caller, onFault } = this.#parts;
    const duration = this.permit.lease?.duration ?? 0;
    try {
      const outcome = await admission.renew(caller, this.#id, duration);
      if (this.#over) return;
      if (outcome.kind === 'renewed') return this.#renewAfter(outcome.permit.duration * RENEW_AFTER);
      const { reason } = outcome.refusal;
      if (reason === 'fenced' || reason === 'unknown_permit') return this.#lost(new Error(`The lease was lost: ${reason}.`));
    } catch (cause) {
      onFault(cause);
      if (this.#over) return;
    }
    // Nobody decides at the moment, or the disk does not write: asked again while the lease lives, and after.
    this.#renewAfter(duration * RENEW_AFTER * RENEW_AFTER);
  }
}
