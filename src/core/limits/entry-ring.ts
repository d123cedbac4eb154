/**
 * A queue of (time, count) pairs in order of time, in one typed array: no object per entry. Two numbers per entry beside
 * each other, so that reading one touches one line of cache.
 */
export class EntryRing {
  #slots = EMPTY;
  #mask = 0;
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Time of the entry at `index`, 0 the oldest. */
  timeAt(index: number): number {
    return this.#slots[((this.#head + index) & this.#mask) * 2] ?? 0;
  }

  countAt(index: number): number {
    return this.#slots[((this.#head + index) & this.#mask) * 2 + 1] ?? 0;
  }

  /** Times must not go down from entry to entry. */
  set(index: number, time: number, count: number): void {
    const at = ((this.#head + index) & this.#mask) * 2;
    this.#slots[at] = time;
    this.#slots[at + 1] = count;
  }

  push(time: number, count: number): void {
    if (this.#length * 2 === this.#slots.length) this.#makeRoom();
    this.#length += 1;
    this.set(this.#length - 1, time, count);
  }

  dropFirst(): void {
    this.#head = (this.#head + 1) & this.#mask;
    this.#length -= 1;
  }

  dropLast(): void {
    this.#length -= 1;
  }

  clear(): void {
    this.#length = 0;
  }

  /** Index of the first entry not before `time`; `length` where there is none. */
  firstFrom(time: number): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.timeAt(middle) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Entries emptied by refunds are swept out first; twice the room only where that leaves more than half. */
  #makeRoom(): void {
    let kept = 0;
    for (let index = 0; index < this.#length; index++) {
      const count = this.countAt(index);
      if (count === 0) continue;
      this.set(kept, this.timeAt(index), count);
      kept += 1;
    }
    const room = this.#slots.length / 2;
    this.#length = kept;
    if (kept * 2 <= room && room > 0) return;
    const grown = new Float64Array(Math.max(4, room * 2) * 2);
    for (let index = 0; index < kept; index++) {
      grown[index * 2] = this.timeAt(index);
      grown[index * 2 + 1] = this.countAt(index);
    }
    this.#slots = grown;
    this.#mask = grown.length / 2 - 1;
    this.#head = 0;
  }
}

/** Shared by all rings that nothing was ever pushed to. */
const EMPTY = new Float64Array(0);
