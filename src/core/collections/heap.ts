/** What stands in a {@link Heap}: it carries its own place, so that it can be moved or removed without a search. */
export interface HeapItem {
  /** Index in the heap; -1: in none. Written by the heap only. */
  position: number;
}

/** Children of a node: four fit a cache line of references, and halve the depth of a binary heap. */
const ARITY = 4;

/** An indexed 4-ary heap: the first by `before` is on top; push, update and remove are O(log n), peek is O(1). */
export class Heap<T extends HeapItem> {
  readonly #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  /** `before(a, b)`: a comes out first. It may look at anything that changes only together with an `update`. */
  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The first; undefined when empty. */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** All, in no order that means anything. */
  items(): readonly T[] {
    return this.#items;
  }

  /** Adds an item that is in no heap. */
  push(item: T): void {
    item.position = this.#items.length;
    this.#items.push(item);
    this.#rise(item);
  }

  /** The item's order has changed. */
  update(item: T): void {
    if (!this.#rise(item)) this.#sink(item);
  }

  /** Takes an item out; its own order is not looked at. */
  remove(item: T): void {
    const at = item.position;
    item.position = -1;
    const last = this.#items.pop() as T;
    if (last === item) return;
    this.#items[at] = last;
    last.position = at;
    this.update(last);
  }

  #rise(item: T): boolean {
    const items = this.#items;
    let at = item.position;
    const start = at;
    while (at > 0) {
      const up = (at - 1) >> 2;
      const parent = items[up] as T;
      if (!this.#before(item, parent)) break;
      items[at] = parent;
      parent.position = at;
      at = up;
    }
    items[at] = item;
    item.position = at;
    return at !== start;
  }

  #sink(item: T): void {
    const items = this.#items;
    const { length } = items;
    let at = item.position;
    for (;;) {
      const first = at * ARITY + 1;
      if (first >= length) break;
      let best = first;
      const end = Math.min(first + ARITY, length);
      for (let child = first + 1; child < end; child++) if (this.#before(items[child] as T, items[best] as T)) best = child;
      const child = items[best] as T;
      if (!this.#before(child, item)) break;
      items[at] = child;
      child.position = at;
      at = best;
    }
    items[at] = item;
    item.position = at;
  }
}
