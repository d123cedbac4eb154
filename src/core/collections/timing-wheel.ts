import { type Instant, NEVER } from '../time.ts';
import { IdHeap } from './id-heap.ts';

/** A bucket of level 0 is 2^10 microseconds; every level has 2^8 buckets, each as long as the level below. */
const BUCKET_BITS = 10;
const LEVEL_BITS = 8;
const BUCKETS = 1 << LEVEL_BITS;
/** 2^(10 + 8 * 6) microseconds: more than a double counts, so nothing lies beyond the last level. */
const LEVELS = 6;
/** So few timers need no buckets. */
const FEW = 32;
/** Links of an id: next, previous, bucket + 1 (0: in none). */
const NEXT = 0;
const PREVIOUS = 1;
const BUCKET = 2;
const LINKS = 4;
const NONE = -1;

/** Shared by wheels that have only few timers. */
const UNUSED = new Int32Array(0);
const UNTIMED = new Float64Array(0);

const lengths = Array.from({ length: LEVELS + 1 }, (_, level) => 2 ** (BUCKET_BITS + LEVEL_BITS * level));

/**
 * Timers for small integer ids, in exact order of time, then of scheduling: a hierarchical timing wheel (Varghese and
 * Lauck 1987, scheme 7) with a heap for the bucket that time stands in.
 *
 * ```
 *   level 1   │ 262 ms │ 262 ms │ 262 ms │ …     a bucket is as long as the whole level below
 *   level 0   ├┬┬┬┬┬┬┬─┤ 256 buckets of 1.024 ms, of the running bucket of level 1 only
 *   heap       ▲ what is due in the running bucket of level 0
 * ```
 *
 * An id stands on the lowest level at whose length its time still shares a bucket with the cursor, so whatever is on a
 * lower level comes earlier, buckets behind the cursor are empty, and the earliest bucket is found by bitmaps: jumping
 * ahead walks over nothing. Scheduling and cancelling are O(1); each id moves down at most five times.
 *
 * Few timers stay in the heap alone; levels are made when first used (1 KB each).
 */
export class TimingWheel {
  readonly #due = new IdHeap();
  readonly #heads: (Int32Array | undefined)[] = [];
  /** 8 words per level. */
  #bits = UNUSED;
  /** By level: exclusive end of the bucket that the cursor stands in. */
  readonly #ends: number[] = [];
  #links = UNUSED;
  /** Two per id: at, order. */
  #times = UNTIMED;
  /** In buckets. */
  #far = 0;
  #scheduled = 0;
  /** Start of the earliest bucket in use; may be too early when `stale`. */
  #earliest: number = NEVER;
  #stale = false;

  constructor() {
    this.#moveTo(0);
  }

  /** Ids that are scheduled. */
  get size(): number {
    return this.#far + this.#due.size;
  }

  /** Lets `id` come up at `at`, instead of whenever it was to; at NEVER not at all. */
  schedule(id: number, at: Instant): void {
    this.cancel(id);
    if (at === NEVER) return;
    this.#scheduled += 1;
    if (at < (this.#ends[0] as number) || (this.#far === 0 && this.#due.size < FEW)) {
      this.#due.push(id, at, this.#scheduled);
      return;
    }
    if (id * LINKS >= this.#links.length) this.#grow(id);
    this.#times[id * 2] = at;
    this.#times[id * 2 + 1] = this.#scheduled;
    this.#far += 1;
    this.#file(id, at);
  }

  /** False: it was not scheduled. */
  cancel(id: number): boolean {
    if (this.#due.has(id)) {
      this.#due.remove(id);
      return true;
    }
    const base = id * LINKS;
    if (base >= this.#links.length) return false;
    const bucket = (this.#links[base + BUCKET] as number) - 1;
    if (bucket < 0) return false;
    this.#unlink(base, bucket);
    this.#far -= 1;
    return true;
  }

  /** Not later than the earliest; the exact time once its bucket is the running one. NEVER: nothing is scheduled. */
  nextAt(): Instant {
    if (this.#stale) this.#search();
    const due = this.#due.size > 0 ? this.#due.peekAt() : NEVER;
    return Math.min(due, this.#earliest) as Instant;
  }

  /** Takes out and answers the first id that is due at `now`; -1: none is. */
  pop(now: Instant): number {
    for (;;) {
      if (this.#stale) this.#search();
      const due = this.#due.size > 0 ? this.#due.peekAt() : NEVER;
      // What is in a bucket may be as early as the bucket itself, and scheduled before.
      if (due > now || due >= this.#earliest) {
        if (this.#far > 0 && this.#earliest <= now) {
          this.#unfold(now);
          continue;
        }
        if (now >= (this.#ends[0] as number) && now !== NEVER) this.#moveTo(now);
        return NONE;
      }
      const id = this.#due.peek();
      this.#due.remove(id);
      return id;
    }
  }

  #unlink(base: number, bucket: number): void {
    const next = this.#links[base + NEXT] as number;
    const previous = this.#links[base + PREVIOUS] as number;
    if (next !== NONE) this.#links[next * LINKS + PREVIOUS] = previous;
    if (previous !== NONE) this.#links[previous * LINKS + NEXT] = next;
    else {
      (this.#heads[bucket >> LEVEL_BITS] as Int32Array)[bucket & (BUCKETS - 1)] = next + 1;
      if (next === NONE) this.#empty(bucket);
    }
    this.#links[base + BUCKET] = 0;
  }

  /** Puts an id into its bucket. */
  #file(id: number, at: number): void {
    let level = 0;
    while (at >= (this.#ends[level + 1] as number)) level += 1;
    const length = lengths[level] as number;
    // Exact: a division by a power of two, and a whole number of buckets modulo 2^32.
    const slot = (at / length) & (BUCKETS - 1);
    let heads = this.#heads[level];
    if (heads === undefined) heads = this.#makeLevel(level);
    const first = (heads[slot] as number) - 1;
    const base = id * LINKS;
    this.#links[base + NEXT] = first;
    this.#links[base + PREVIOUS] = NONE;
    this.#links[base + BUCKET] = ((level << LEVEL_BITS) | slot) + 1;
    heads[slot] = id + 1;
    if (first !== NONE) {
      this.#links[first * LINKS + PREVIOUS] = id;
      return;
    }
    const word = (level << 3) | (slot >> 5);
    this.#bits[word] = (this.#bits[word] as number) | (1 << (slot & 31));
    const start = Math.floor(at / length) * length;
    if (start < this.#earliest) this.#earliest = start;
  }

  /** Moves the cursor into the earliest bucket, to `now` if that is in it, and its ids to lower levels or among those due. */
  #unfold(now: Instant): void {
    const start = this.#earliest;
    let level = 0;
    while (start >= (this.#ends[level + 1] as number)) level += 1;
    const slot = (start / (lengths[level] as number)) & (BUCKETS - 1);
    const heads = this.#heads[level] as Int32Array;
    let id = (heads[slot] as number) - 1;
    heads[slot] = 0;
    this.#empty((level << LEVEL_BITS) | slot);
    this.#earliest = NEVER;
    this.#moveTo(Math.min(now, start + (lengths[level] as number) - 1));
    while (id !== NONE) {
      const next = this.#links[id * LINKS + NEXT] as number;
      const at = this.#times[id * 2] as number;
      if (at < (this.#ends[0] as number)) {
        this.#links[id * LINKS + BUCKET] = 0;
        this.#far -= 1;
        this.#due.push(id, at, this.#times[id * 2 + 1] as number);
      } else this.#file(id, at);
      id = next;
    }
    this.#stale = true;
  }

  /** The cursor goes to `at`; all buckets before that are empty. */
  #moveTo(at: number): void {
    for (let level = 0; level <= LEVELS; level++) {
      const length = lengths[level] as number;
      this.#ends[level] = (Math.floor(at / length) + 1) * length;
    }
  }

  #empty(bucket: number): void {
    const word = bucket >> 5;
    this.#bits[word] = (this.#bits[word] as number) & ~(1 << (bucket & 31));
    this.#stale = true;
  }

  #makeLevel(level: number): Int32Array {
    if (this.#bits === UNUSED) this.#bits = new Int32Array(LEVELS * 8);
    const heads = new Int32Array(BUCKETS);
    while (this.#heads.length <= level) this.#heads.push(undefined);
    this.#heads[level] = heads;
    return heads;
  }

  /** Finds the earliest bucket: the first of the lowest level in use. */
  #search(): void {
    this.#stale = false;
    this.#earliest = NEVER;
    if (this.#far === 0) return;
    for (let word = 0; word < LEVELS * 8; word++) {
      const bits = this.#bits[word] as number;
      if (bits === 0) continue;
      const level = word >> 3;
      const slot = ((word & 7) << 5) | (31 - Math.clz32(bits & -bits));
      this.#earliest = (this.#ends[level + 1] as number) - (BUCKETS - slot) * (lengths[level] as number);
      return;
    }
  }

  #grow(id: number): void {
    const room = Math.max(64, id + 1, (this.#links.length / LINKS) * 2);
    const links = new Int32Array(room * LINKS);
    links.set(this.#links);
    this.#links = links;
    const times = new Float64Array(room * 2);
    times.set(this.#times);
    this.#times = times;
  }
}
