import { type Instant, NEVER } from '../time.ts';
import type { Grant } from './grants.ts';

/** Entries kept beyond twice the live leases, so that few leases cost no clean-up. */
const SPARE = 32;

/**
 * Leases that hold one concurrency limit, by their ends: when does the first of them end? A heap of the ends as they were
 * when added; a renewal moves its entry when that comes to the top. Adding is O(log n), mostly O(1) since new leases end last.
 */
export class LeaseEnds {
  readonly #ends: number[] = [];
  readonly #grants: Grant[] = [];
  #live = 0;

  /** A lease begins. */
  add(grant: Grant): void {
    this.#live++;
    this.#push(grant);
  }

  /** A live lease ends earlier than before. Later ends need no call. */
  sooner(grant: Grant): void {
    this.#push(grant);
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
  oldest(): Grant | undefined {
    let oldest: Grant | undefined;
    for (const grant of this.#grants) if (grant.ended === undefined && (oldest === undefined || grant.fence < oldest.fence)) oldest = grant;
    return oldest;
  }

  /** Returns the end of the lease that ends first as leases are now; NEVER if none lives. */
  earliest(): Instant {
    for (;;) {
      const grant = this.#grants[0];
      if (grant === undefined) return NEVER;
      const known = this.#ends[0] as number;
      if (grant.ended === undefined && grant.expiresAt === known) return grant.expiresAt;
      this.#pop();
      // A later end: renewed. An earlier one has an entry of its own.
      if (grant.ended === undefined && grant.expiresAt > known) this.#push(grant);
    }
  }

  #rebuild(): void {
    const live = new Set(this.#grants.filter((grant) => grant.ended === undefined));
    this.#ends.length = 0;
    this.#grants.length = 0;
    for (const grant of live) this.#push(grant);
  }

  #push(grant: Grant): void {
    let at = this.#ends.length;
    const end = grant.expiresAt;
    for (; at > 0; ) {
      const parent = (at - 1) >> 1;
      if ((this.#ends[parent] as number) <= end) break;
      this.#ends[at] = this.#ends[parent] as number;
      this.#grants[at] = this.#grants[parent] as Grant;
      at = parent;
    }
    this.#ends[at] = end;
    this.#grants[at] = grant;
  }

  #pop(): void {
    const end = this.#ends.pop() as number;
    const grant = this.#grants.pop() as Grant;
    const { length } = this.#ends;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && (this.#ends[child + 1] as number) < (this.#ends[child] as number)) child++;
      if ((this.#ends[child] as number) >= end) break;
      this.#ends[at] = this.#ends[child] as number;
      this.#grants[at] = this.#grants[child] as Grant;
      at = child;
    }
    this.#ends[at] = end;
    this.#grants[at] = grant;
  }
}
