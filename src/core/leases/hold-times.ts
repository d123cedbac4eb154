import type { Micros } from '../time.ts';

/** Holding times that are kept. */
const KEPT = 256;
/** So many must be longer than an age for the rest of a lease of that age to be drawn from them. */
const LONGER_LEAST = 4;

/** How long leases of one limit were held lately: the last 256, 1 KB, taken with the first. */
export class HoldTimes {
  #times: Float32Array | undefined;
  #count = 0;
  #next = 0;
  #sorted: Float32Array | undefined;
  #mean = 0;

  /** A lease ended after `held`. */
  add(held: Micros): void {
    this.#times ??= new Float32Array(KEPT);
    this.#times[this.#next] = held;
    this.#next = (this.#next + 1) % KEPT;
    if (this.#count < KEPT) this.#count++;
    this.#sorted = undefined;
  }

  /** Whether no lease has ended yet. */
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Mean of what is kept; 0: nothing is. */
  get mean(): Micros {
    this.#sort();
    return this.#mean;
  }

  /** Draws how long a new lease is held; `part` from 0 to 1. */
  draw(part: number): Micros {
    const sorted = this.#sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
  }

  /** Draws how much longer a lease is held that has been held for `age`. Beyond all that is known the rest grows with the age. */
  drawRest(age: Micros, part: number): Micros {
    const sorted = this.#sort();
    const longer = sorted.length - firstLonger(sorted, age);
    if (longer < LONGER_LEAST) return (Math.max(age, this.#mean) * part) / (1 - part * (1 - 1 / KEPT));
    return Math.max(0, (sorted[sorted.length - longer + Math.min(longer - 1, Math.floor(part * longer))] as number) - age);
  }

  #sort(): Float32Array {
    if (this.#sorted !== undefined) return this.#sorted;
    const sorted = (this.#times ?? new Float32Array(0)).slice(0, this.#count).sort();
    let sum = 0;
    for (const time of sorted) sum += time;
    this.#mean = sorted.length === 0 ? 0 : sum / sorted.length;
    this.#sorted = sorted;
    return sorted;
  }
}

function firstLonger(sorted: Float32Array, age: Micros): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) > age) high = middle;
    else low = middle + 1;
  }
  return low;
}
