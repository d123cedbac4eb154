import { type Instant, NEVER } from '../time.ts';
import type { LiveLease } from './live-lease.ts';

/** Entries kept beyond twice the live leases, so that few leases cost no clean-up. */
const SPARE = 32;

/**
 * Leases that hold one concurrency limit, by their ends: when does the first of them end? A heap of the ends as they were
 * when added; a renewal moves its entry when that comes to the top. Adding is O(log n), mostly O(1) since new leases end last.
 */
export class LeaseEnds {
  readonly #ends: number[] = [];
  readonly #leases: LiveLease[] = [];
  #live = 0;

  /** A lease begins. */
  add(lease: LiveLease): void {
    this.#live++;
    this.#push(lease);
  }

  /** A live lease ends earlier than before. Later ends need no call. */
  sooner(lease: LiveLease): void {
    this.#push(lease);
  }

  /** A lease that was added has ended. */
  ended(): void {
    this.#live--;
    if (this.#ends.length > 2 * this.#live + SPARE || this.#live === 0) this.#rebuild();
  }

  /** Leases that live. */
  get live(): number {
    return this.#live;
  }

  /** Returns the live lease that was granted first; undefined if none lives. Looks at all of them. */
  oldest(): LiveLease | undefined {
    let oldest: LiveLease | undefined;
    for (const lease of this.#leases) if (lease.ended === undefined && (oldest === undefined || lease.fence < oldest.fence)) oldest = lease;
    return oldest;
  }

  /** Returns when live leases were granted, of at most `most` of them, taken evenly. */
  starts(most: number): Instant[] {
    const live = [...new Set(this.#leases.filter((lease) => lease.ended === undefined))];
    const step = Math.max(1, live.length / most);
    return Array.from({ length: Math.min(most, live.length) }, (_, index) => (live[Math.floor(index * step)] as LiveLease).grantedAt);
  }

  /** Returns the end of the lease that ends first as leases are now; NEVER if none lives. */
  earliest(): Instant {
    for (;;) {
      const lease = this.#leases[0];
      if (lease === undefined) return NEVER;
      const known = this.#ends[0] as number;
      if (lease.ended === undefined && lease.expiresAt === known) return lease.expiresAt;
      this.#pop();
      // A later end: renewed. An earlier one has an entry of its own.
      if (lease.ended === undefined && lease.expiresAt > known) this.#push(lease);
    }
  }

  #rebuild(): void {
    const live = new Set(this.#leases.filter((lease) => lease.ended === undefined));
    this.#ends.length = 0;
    this.#leases.length = 0;
    for (const lease of live) this.#push(lease);
  }

  #push(lease: LiveLease): void {
    let at = this.#ends.length;
    const end = lease.expiresAt;
    for (; at > 0; ) {
      const parent = (at - 1) >> 1;
      if ((this.#ends[parent] as number) <= end) break;
      this.#ends[at] = this.#ends[parent] as number;
      this.#leases[at] = this.#leases[parent] as LiveLease;
      at = parent;
    }
    this.#ends[at] = end;
    this.#leases[at] = lease;
  }

  #pop(): void {
    const end = this.#ends.pop() as number;
    const lease = this.#leases.pop() as LiveLease;
    const { length } = this.#ends;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && (this.#ends[child + 1] as number) < (this.#ends[child] as number)) child++;
      if ((this.#ends[child] as number) >= end) break;
      this.#ends[at] = this.#ends[child] as number;
      this.#leases[at] = this.#leases[child] as LiveLease;
      at = child;
    }
    this.#ends[at] = end;
    this.#leases[at] = lease;
  }
}
