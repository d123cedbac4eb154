import type { Instant } from '../core/time.ts';

/** One scheduled call. */
export interface TimerEntry {
  readonly when: Instant;
  /** Order of arrival: entries due at the same instant are called in it. */
  readonly order: number;
  /** undefined: taken back. */
  wake: (() => void) | undefined;
}

/**
 * Scheduled calls, the earliest first: a binary heap. A cancelled entry stays until it is due or the heap is
 * mostly made of such, when it is built anew; so both ways cost O(log n).
 */
export class TimerHeap {
  #heap: TimerEntry[] = [];
  #order = 0;
  #dead = 0;

  /** Entries that are neither due nor cancelled. */
  get size(): number {
    return this.#heap.length - this.#dead;
  }

  /** The earliest entry that is not cancelled. */
  get first(): TimerEntry | undefined {
    while (this.#heap.length > 0 && this.#heap[0]?.wake === undefined) {
      this.#dead--;
      this.#pop();
    }
    return this.#heap[0];
  }

  add(when: Instant, wake: () => void): TimerEntry {
    const entry: TimerEntry = { when, order: this.#order++, wake };
    this.#heap.push(entry);
    this.#up(this.#heap.length - 1);
    return entry;
  }

  /** Cancels an entry; does nothing if it was called already. */
  cancel(entry: TimerEntry): void {
    if (entry.wake === undefined) return;
    entry.wake = undefined;
    this.#dead++;
    if (this.#dead > 64 && this.#dead * 2 > this.#heap.length) this.#rebuild();
  }

  /** Entries ever added; a mark for `due`. */
  get made(): number {
    return this.#order;
  }

  /** Takes the earliest out if it is due at `now` and was among the first `made`, and answers what to call. */
  due(now: Instant, made = Number.POSITIVE_INFINITY): (() => void) | undefined {
    const first = this.first;
    if (first === undefined || first.when > now || first.order >= made) return undefined;
    const { wake } = first;
    first.wake = undefined;
    this.#pop();
    return wake;
  }

  #rebuild(): void {
    this.#heap = this.#heap.filter((entry) => entry.wake !== undefined).sort((a, b) => (sooner(a, b) ? -1 : 1));
    this.#dead = 0;
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(from: number): void {
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapped(index, parent)) return;
      index = parent;
    }
  }

  #down(from: number): void {
    let index = from;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= this.#heap.length) return;
      if (child + 1 < this.#heap.length && sooner(this.#heap[child + 1] as TimerEntry, this.#heap[child] as TimerEntry)) child++;
      if (!this.#swapped(child, index)) return;
      index = child;
    }
  }

  /** Puts the two in order; false when they were. */
  #swapped(lower: number, upper: number): boolean {
    const low = this.#heap[lower] as TimerEntry;
    const up = this.#heap[upper] as TimerEntry;
    if (!sooner(low, up)) return false;
    this.#heap[lower] = up;
    this.#heap[upper] = low;
    return true;
  }
}

function sooner(a: TimerEntry, b: TimerEntry): boolean {
  return a.when < b.when || (a.when === b.when && a.order < b.order);
}
