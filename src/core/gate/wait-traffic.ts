import { DISTANT_PAST, type Instant, type Micros } from '../time.ts';

/** Arrivals over which the mean time between two is taken. */
const MEAN_OVER = 64;
/** A gap counts at most as so many times the mean: for the rest of it no caller waited. */
const GAP_MAX = 8;
/** Priorities that are distinguished; the rest are counted with the least urgent of them. */
const PRIORITIES_MAX = 16;
/** Waiters that ended, after which what was seen counts half. */
const ENDED_MAX = 256;

interface Arrivals {
  readonly priority: number;
  last: Instant;
  between: Micros;
  count: number;
}

/** Who comes to a group while others wait, and who leaves by itself: means that forget. */
export class WaitTraffic {
  readonly #arrivals: Arrivals[] = [];
  #left = 0;
  #ended = 0;
  #waited = 0;

  /** A caller of this priority was queued. */
  arrives(now: Instant, priority: number): void {
    const known = this.#of(priority);
    if (known.last !== DISTANT_PAST) {
      const gap = now - known.last;
      if (known.between === 0) known.between = gap;
      else known.between += (Math.min(gap, GAP_MAX * known.between) - known.between) / Math.min(++known.count, MEAN_OVER);
    }
    known.last = now;
  }

  /** An observed waiter ended after `waited`; `left`: by itself. */
  ends(waited: Micros, left: boolean): void {
    this.#ended++;
    this.#waited += waited;
    if (left) this.#left++;
    if (this.#ended < ENDED_MAX) return;
    this.#ended /= 2;
    this.#waited /= 2;
    this.#left /= 2;
  }

  /** Callers of a priority that leave in a microsecond, of one that waits. */
  get leaving(): number {
    return this.#waited === 0 ? 0 : this.#left / this.#waited;
  }

  /** Callers that come within `during` and go before one of this priority that came at the beginning. */
  overtaking(now: Instant, priority: number, during: Micros, aging: Micros | undefined): number {
    let count = 0;
    for (const each of this.#arrivals) {
      if (each.priority >= priority) continue;
      const open = aging === undefined ? during : Math.min(during, aging * (priority - each.priority));
      count += open * this.#rate(now, each);
    }
    return count;
  }

  /** Callers of a priority that come within `during`. */
  coming(now: Instant, priority: number, during: Micros): number {
    const known = this.#arrivals.find((each) => each.priority === priority);
    return known === undefined ? 0 : during * this.#rate(now, known);
  }

  #rate(now: Instant, { last, between }: Arrivals): number {
    return between === 0 ? 0 : 1 / Math.max(between, (now - last) / GAP_MAX);
  }

  #of(priority: number): Arrivals {
    for (const each of this.#arrivals) if (each.priority === priority) return each;
    if (this.#arrivals.length >= PRIORITIES_MAX) return this.#arrivals.at(-1) as Arrivals;
    const made = { priority, last: DISTANT_PAST, between: 0, count: 1 };
    this.#arrivals.push(made);
    return made;
  }
}
