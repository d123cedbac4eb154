/** What one would write without much thought, to compare the gate with: an object per waiter in a 4-ary heap by priority and order, another one for the ends of wait timeout. */

/** A waiter of the simple queue. */
export interface Simple {
  readonly priority: number;
  readonly order: number;
  readonly until: number;
  readonly token: number;
  gone: boolean;
}

/** A 4-ary heap of objects. */
export class FourHeap {
  readonly #before: (a: Simple, b: Simple) => boolean;
  readonly #items: Simple[] = [];

  constructor(before: (a: Simple, b: Simple) => boolean) {
    this.#before = before;
  }

  get first(): Simple | undefined {
    return this.#items[0];
  }

  push(item: Simple): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const above = (at - 1) >> 2;
      const parent = items[above] as Simple;
      if (!this.#before(item, parent)) break;
      items[at] = parent;
      at = above;
    }
    items[at] = item;
  }

  pop(): Simple | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (items.length === 0 || last === undefined) return first;
    let at = 0;
    for (;;) {
      const child = 4 * at + 1;
      if (child >= items.length) break;
      let best = child;
      for (let next = child + 1; next < Math.min(child + 4, items.length); next++) {
        if (this.#before(items[next] as Simple, items[best] as Simple)) best = next;
      }
      if (!this.#before(items[best] as Simple, last)) break;
      items[at] = items[best] as Simple;
      at = best;
    }
    items[at] = last;
    return first;
  }
}

/** A queue of waiters with wait timeout; the cancelled are skipped when they come up. */
export class SimpleQueue {
  readonly #line = new FourHeap((a, b) => a.priority < b.priority || (a.priority === b.priority && a.order < b.order));
  readonly #ends = new FourHeap((a, b) => a.until < b.until);
  #order = 0;

  acquire(priority: number, until: number, token: number): Simple {
    const waiter = { priority, order: this.#order++, until, token, gone: false };
    this.#line.push(waiter);
    this.#ends.push(waiter);
    return waiter;
  }

  /** The next who waits; the ends of those that are gone are dropped as they come first. */
  grant(now: number): Simple | undefined {
    for (;;) {
      const first = this.#ends.first;
      if (first === undefined || (!first.gone && first.until > now)) break;
      this.#ends.pop();
      first.gone = true;
    }
    for (;;) {
      const next = this.#line.pop();
      if (next === undefined || !next.gone) {
        if (next !== undefined) next.gone = true;
        return next;
      }
    }
  }
}
