import type { Micros } from '../../src/core/time.ts';

interface Item {
  readonly at: Micros;
  readonly serial: number;
  readonly act: () => void;
}

/** What is to happen, in order of time, then of asking. */
export class Agenda {
  readonly #heap: Item[] = [];
  #serial = 0;
  /** Real time, in microseconds since the simulation began. */
  now: Micros = 0;

  at(when: Micros, act: () => void): void {
    this.#push({ at: Math.max(when, this.now), serial: this.#serial++, act });
  }

  after(delay: Micros, act: () => void): void {
    this.at(this.now + delay, act);
  }

  /** Does the next thing, if it is due by `end`; false: nothing is. */
  step(end: Micros): boolean {
    const first = this.#heap[0];
    if (first === undefined || first.at > end) return false;
    this.#pop();
    this.now = first.at;
    first.act();
    return true;
  }

  #push(item: Item): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!before(item, heap[up] as Item)) break;
      heap[at] = heap[up] as Item;
      at = up;
    }
    heap[at] = item;
  }

  #pop(): void {
    const heap = this.#heap;
    const item = heap.pop() as Item;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Item, heap[child] as Item)) child++;
      if (!before(heap[child] as Item, item)) break;
      heap[at] = heap[child] as Item;
      at = child;
    }
    heap[at] = item;
  }
}

function before(a: Item, b: Item): boolean {
  return a.at < b.at || (a.at === b.at && a.serial < b.serial);
}
