import type { Clock } from '../admission/clock.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingRequest } from './pending-request.ts';

/** An answer may arrive this long after its attempt was given up: a peer that is silent for 15 s is given up, and its answers with it. */
const KEPT_FOR: Micros = 20 * SECOND;

/** Attempts remembered; beyond, the oldest is forgotten, and its grant lasts until its lease expires. */
const KEPT_MAX = 10_000;

/**
 * Remembers attempts that were given up and whose grant, should it still arrive, may be returned to the owner of then. Only this
 * replica could have passed such a grant on, and it did not.
 *
 * Attempts with a request id are not remembered: the same caller may have requested the same permit through another replica, from the
 * owner before or from the one after, and hold it. Neither this replica nor the next owner can know; so its lease expires by itself.
 */
export class LateGrants {
  readonly #clock: Clock;
  readonly #attempts = new Map<number, { readonly caller: string; readonly until: Instant }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Remembers the last attempt of this request, whose answer has not arrived, for 20 s. */
  gaveUp({ requestSeq, request }: PendingRequest): void {
    if (request.requestId !== undefined) return;
    const now = this.#clock.now();
    this.#attempts.set(requestSeq, { caller: request.caller, until: plus(now, KEPT_FOR) });
    for (const [oldest, { until }] of this.#attempts) {
      if (until > now && this.#attempts.size <= KEPT_MAX) return;
      this.#attempts.delete(oldest);
    }
  }

  /** Returns the caller of an attempt whose grant has arrived, once. Returns undefined if the grant must not be returned. */
  take(requestSeq: number): string | undefined {
    const caller = this.#attempts.get(requestSeq)?.caller;
    this.#attempts.delete(requestSeq);
    return caller;
  }
}
