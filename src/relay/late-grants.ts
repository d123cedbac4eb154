import type { Clock } from '../admission/clock.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingRequest } from './pending-request.ts';

/** An answer may come so long after its attempt was given up: a peer that is silent for 15 s is gone, and its answers with it. */
const KEPT_FOR: Micros = 20 * SECOND;

/** Attempts remembered; beyond, the oldest is forgotten, and its grant counts as one that nobody was told of. */
const KEPT_MAX = 10_000;

/**
 * Attempts of asks with a request id that were given up and made again. The next owner answers such an ask with the very permit that
 * the first one granted, so that a grant of a given-up attempt must not be returned while its ask may still get it, or has it.
 */
export class LateGrants {
  readonly #clock: Clock;
  readonly #attempts = new Map<number, { readonly errand: PendingRequest; readonly until: Instant }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The last attempt of this ask is given up. */
  gaveUp(errand: PendingRequest): void {
    if (errand.ask.requestId === undefined) return;
    const now = this.#clock.now();
    this.#attempts.set(errand.requestSeq, { errand, until: plus(now, KEPT_FOR) });
    for (const [wid, { until }] of this.#attempts) {
      if (until > now && this.#attempts.size <= KEPT_MAX) return;
      this.#attempts.delete(wid);
    }
  }

  /** Returns the ask of an attempt whose answer has come, once. Returns undefined if it is not known. */
  take(wid: number): PendingRequest | undefined {
    const errand = this.#attempts.get(wid)?.errand;
    this.#attempts.delete(wid);
    return errand;
  }
}
