import type { QueuePosition } from '../core/request.ts';
import { type Instant, type Micros, SECOND } from '../core/time.ts';
import type { SetInterval } from './watch.ts';

/** How often places are looked at: one timer for all who watch. */
const LOOK_EACH: Micros = SECOND;
/** Silence after which a heartbeat is sent: balancers and proxies cut what is idle. */
const HEARTBEAT: Micros = 15 * SECOND;

/** One who watches its place. */
export interface PositionSubscriber {
  /** undefined: it waits no longer, or is not to be told now. */
  place(): QueuePosition | undefined;
  /** Its place has changed. */
  moved(place: QueuePosition, now: Instant): void;
  /** Nothing was said for 15 s. */
  silent(): void;
}

interface Watched {
  readonly watcher: PositionSubscriber;
  said: Instant;
  last: QueuePosition | undefined;
}

/** Tells watchers where they stand, once a second at most, and only what has changed. */
export class PositionNotifier {
  readonly #every: SetInterval;
  readonly #now: () => Instant;
  readonly #watched = new Set<Watched>();
  #stop: (() => void) | undefined;

  constructor(every: SetInterval, now: () => Instant) {
    this.#every = every;
    this.#now = now;
  }

  /** Tells the place now, and whenever it changes; answers how to end it. */
  watch(watcher: PositionSubscriber): () => void {
    const watched: Watched = { watcher, said: this.#now(), last: undefined };
    this.#watched.add(watched);
    this.#look(watched, this.#now());
    this.#stop ??= this.#every(LOOK_EACH, () => this.#tick());
    return () => {
      this.#watched.delete(watched);
      if (this.#watched.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #tick(): void {
    const now = this.#now();
    for (const watched of this.#watched) this.#look(watched, now);
  }

  #look(watched: Watched, now: Instant): void {
    const { watcher, last } = watched;
    const place = watcher.place();
    if (place !== undefined && (last === undefined || place.place !== last.place || place.limit !== last.limit)) {
      watched.last = place;
      watched.said = now;
      watcher.moved(place, now);
    } else if (now - watched.said >= HEARTBEAT) {
      watched.said = now;
      watcher.silent();
    }
  }
}
