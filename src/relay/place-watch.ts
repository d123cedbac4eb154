import { shiftPlace } from '../admission/shift.ts';
import type { Timers } from '../coordination/replica.ts';
import { after, type Instant, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';
import type { Place } from '../core/waiter.ts';
import type { Calls } from './calls.ts';
import type { Errand } from './errand.ts';

/** Places at peers are asked for so often, and as long as somebody looked at them so lately. */
const ASK_EACH: Micros = 250 * MILLISECOND;
const WATCHED_FOR: Micros = MINUTE + 5 * SECOND;
/** Waiters in one call. */
const BATCH = 2_000;

/** Where callers of this replica stand at peers: asked for while somebody watches, all of a peer in one call. */
export class PlaceWatch {
  readonly #parts: { readonly calls: Calls; readonly timers: Timers; readonly now: () => Instant };
  readonly #watched = new Map<Errand, Instant>();
  #armed = false;

  constructor(parts: { calls: Calls; timers: Timers; now: () => Instant }) {
    this.#parts = parts;
  }

  /** As last heard; undefined at first. */
  look(errand: Errand): Place | undefined {
    this.#watched.set(errand, after(this.#parts.now(), WATCHED_FOR));
    if (!this.#armed) {
      this.#armed = true;
      this.#parts.timers.after(0, () => this.#ask());
    }
    return errand.lastPlace;
  }

  #ask(): void {
    const now = this.#parts.now();
    const byPeer = new Map<string, Map<number, Errand>>();
    for (const [errand, until] of this.#watched) {
      if (errand.state === 'over' || errand.state === 'told' || until < now) this.#watched.delete(errand);
      else if (errand.state === 'there') {
        const errands = byPeer.get(errand.peer) ?? new Map<number, Errand>();
        if (errands.size < BATCH) byPeer.set(errand.peer, errands.set(errand.wid, errand));
      }
    }
    for (const [peer, errands] of byPeer) void this.#askOne(peer, errands);
    this.#armed = this.#watched.size > 0;
    if (this.#armed) this.#parts.timers.after(ASK_EACH, () => this.#ask());
  }

  async #askOne(peer: string, errands: ReadonlyMap<number, Errand>): Promise<void> {
    const reply = await this.#parts.calls.make(peer, 'places', { wids: [...errands.keys()] }, SECOND);
    if (reply.how !== 'value') return;
    for (const { wid, place } of reply.value as readonly { wid: number; place: Place }[]) {
      const errand = errands.get(wid);
      if (errand?.wid === wid) errand.lastPlace = shiftPlace(place, reply.by);
    }
  }
}
