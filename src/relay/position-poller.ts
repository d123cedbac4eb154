import { shiftPosition } from '../admission/time-shift.ts';
import type { Timers } from '../coordination/replica.ts';
import type { QueuePosition } from '../core/request.ts';
import { type Instant, MILLISECOND, MINUTE, type Micros, plus, SECOND } from '../core/time.ts';
import type { PendingCalls } from './owner-client.ts';
import type { PendingRequest } from './pending-request.ts';

/** Interval of polls for positions at peers. */
const POLL_EACH: Micros = 250 * MILLISECOND;
/** A position is polled this long after its caller last read it. */
const WATCHED_FOR: Micros = MINUTE + 5 * SECOND;
/** Waiters in one call. */
const BATCH = 2_000;

/** Polls peers for the queue positions of this replica's callers while the callers read them, all of one peer in one call. */
export class PositionPoller {
  readonly #deps: { readonly calls: PendingCalls; readonly timers: Timers; readonly now: () => Instant };
  readonly #watched = new Map<PendingRequest, Instant>();
  #armed = false;

  constructor(deps: { calls: PendingCalls; timers: Timers; now: () => Instant }) {
    this.#deps = deps;
  }

  /** Returns the position as last received; undefined at first. Keeps polling it for 65 s. */
  position(pending: PendingRequest): QueuePosition | undefined {
    this.#watched.set(pending, plus(this.#deps.now(), WATCHED_FOR));
    if (!this.#armed) {
      this.#armed = true;
      this.#deps.timers.after(0, () => this.#poll());
    }
    return pending.lastPosition;
  }

  #poll(): void {
    const now = this.#deps.now();
    const byPeer = new Map<string, Map<number, PendingRequest>>();
    for (const [pending, until] of this.#watched) {
      if (pending.state === 'ended' || pending.state === 'granted' || until < now) this.#watched.delete(pending);
      else if (pending.state === 'there') {
        const pendingRequests = byPeer.get(pending.peer) ?? new Map<number, PendingRequest>();
        if (pendingRequests.size < BATCH) byPeer.set(pending.peer, pendingRequests.set(pending.requestSeq, pending));
      }
    }
    for (const [peer, pendingRequests] of byPeer) void this.#pollPeer(peer, pendingRequests);
    this.#armed = this.#watched.size > 0;
    if (this.#armed) this.#deps.timers.after(POLL_EACH, () => this.#poll());
  }

  async #pollPeer(peer: string, pendingRequests: ReadonlyMap<number, PendingRequest>): Promise<void> {
    const reply = await this.#deps.calls.make(peer, 'places', { wids: [...pendingRequests.keys()] }, SECOND);
    if (reply.how !== 'value') return;
    for (const { wid, place } of reply.value as readonly { wid: number; place: QueuePosition }[]) {
      const pending = pendingRequests.get(wid);
      if (pending?.requestSeq === wid) pending.lastPosition = shiftPosition(place, reply.by);
    }
  }
}
