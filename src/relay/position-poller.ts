import { shiftPosition } from '../admission/time-shift.ts';
import type { Timers } from '../coordination/replica.ts';
import type { QueuePosition } from '../core/request.ts';
import { type Instant, MILLISECOND, MINUTE, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingCalls } from './calls.ts';
import type { PendingRequest } from './pending-request.ts';

/** Places at peers are asked for so often, and as long as somebody looked at them so lately. */
const ASK_EACH: Micros = 250 * MILLISECOND;
const WATCHED_FOR: Micros = MINUTE + 5 * SECOND;
/** Waiters in one call. */
const BATCH = 2_000;

/** Where callers of this replica stand at peers: asked for while somebody watches, all of a peer in one call. */
export class PositionPoller {
  readonly #parts: { readonly calls: PendingCalls; readonly timers: Timers; readonly now: () => Instant };
  readonly #watched = new Map<PendingRequest, Instant>();
  #armed = false;

  constructor(parts: { calls: PendingCalls; timers: Timers; now: () => Instant }) {
    this.#parts = parts;
  }

  /** As last heard; undefined at first. */
  look(errand: PendingRequest): QueuePosition | undefined {
    this.#watched.set(errand, plus(this.#parts.now(), WATCHED_FOR));
    if (!this.#armed) {
      this.#armed = true;
      this.#parts.timers.after(0, () => this.#ask());
    }
    return errand.lastPlace;
  }

  #ask(): void {
    const now = this.#parts.now();
    const byPeer = new Map<string, Map<number, PendingRequest>>();
    for (const [errand, until] of this.#watched) {
      if (errand.state === 'over' || errand.state === 'told' || until < now) this.#watched.delete(errand);
      else if (errand.state === 'there') {
        const errands = byPeer.get(errand.peer) ?? new Map<number, PendingRequest>();
        if (errands.size < BATCH) byPeer.set(errand.peer, errands.set(errand.requestSeq, errand));
      }
    }
    for (const [peer, errands] of byPeer) void this.#askOne(peer, errands);
    this.#armed = this.#watched.size > 0;
    if (this.#armed) this.#parts.timers.after(ASK_EACH, () => this.#ask());
  }

  async #askOne(peer: string, errands: ReadonlyMap<number, PendingRequest>): Promise<void> {
    const reply = await this.#parts.calls.make(peer, 'places', { wids: [...errands.keys()] }, SECOND);
    if (reply.how !== 'value') return;
    for (const { wid, place } of reply.value as readonly { wid: number; place: QueuePosition }[]) {
      const errand = errands.get(wid);
      if (errand?.requestSeq === wid) errand.lastPlace = shiftPosition(place, reply.by);
    }
  }
}
