import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';

/** Whoever was there this long before counts as there: replicas fall silent one by one before it is known that they cannot be heard. */
const REMEMBER_FOR: Micros = 10 * SECOND;

/** How many replicas there are, this one included, as it was known lately: what one of them may take alone is a part of that. */
export class ReplicaCount {
  readonly #now: () => Instant;
  #counts: { readonly count: number; until: Instant }[] = [];
  #count = 1;

  constructor(now: () => Instant) {
    this.#now = now;
  }

  /** So many are there from now on. */
  set(count: number): void {
    const until = plus(this.#now(), REMEMBER_FOR);
    this.#counts = this.#counts.filter((past) => past.until > this.#now());
    this.#counts.push({ count: this.#count, until });
    this.#count = count;
  }

  /** The most that were there at once within the last 10 s. */
  get most(): number {
    const now = this.#now();
    return Math.max(this.#count, ...this.#counts.filter(({ until }) => until > now).map(({ count }) => count));
  }
}
