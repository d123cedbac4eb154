const ARITY = 4;

/** A 4-ary min-heap of small integer ids in order of (at, then order), each to be found and removed by its id. */
export class IdHeap {
  // Plain arrays: V8 keeps them as bare integers and doubles, and an empty one costs next to nothing.
  readonly #ids: number[] = [];
  /** Two per place: at, order. */
  readonly #keys: number[] = [];
  /** By id: place + 1; 0: absent. */
  readonly #places: number[] = [];

  get size(): number {
    return this.#ids.length;
  }

  /** The first id; only while `size` > 0. */
  peek(): number {
    return this.#ids[0] as number;
  }

  /** When the first one is due; only while `size` > 0. */
  peekAt(): number {
    return this.#keys[0] as number;
  }

  has(id: number): boolean {
    return id < this.#places.length && this.#places[id] !== 0;
  }

  /** Adds an id that is absent. */
  push(id: number, at: number, order: number): void {
    while (this.#places.length <= id) this.#places.push(0);
    this.#ids.push(id);
    this.#keys.push(at, order);
    this.#rise(this.#ids.length - 1, id, at, order);
  }

  /** Takes out an id that is present. */
  remove(id: number): void {
    const place = (this.#places[id] as number) - 1;
    this.#places[id] = 0;
    const order = this.#keys.pop() as number;
    const at = this.#keys.pop() as number;
    const moved = this.#ids.pop() as number;
    if (moved === id) return;
    if (!this.#rise(place, moved, at, order)) this.#sink(place, moved, at, order);
  }

  /** Places it at or above `place`; true: above. */
  #rise(place: number, id: number, at: number, order: number): boolean {
    const keys = this.#keys;
    let here = place;
    while (here > 0) {
      const up = (here - 1) >> 2;
      const upAt = keys[up * 2] as number;
      if (upAt < at || (upAt === at && (keys[up * 2 + 1] as number) < order)) break;
      this.#put(here, this.#ids[up] as number, upAt, keys[up * 2 + 1] as number);
      here = up;
    }
    this.#put(here, id, at, order);
    return here !== place;
  }

  #sink(place: number, id: number, at: number, order: number): void {
    const keys = this.#keys;
    let here = place;
    for (;;) {
      const first = here * ARITY + 1;
      if (first >= this.#ids.length) break;
      const end = Math.min(first + ARITY, this.#ids.length);
      let best = first;
      let bestAt = keys[first * 2] as number;
      let bestOrder = keys[first * 2 + 1] as number;
      for (let child = first + 1; child < end; child++) {
        const childAt = keys[child * 2] as number;
        const childOrder = keys[child * 2 + 1] as number;
        if (childAt > bestAt || (childAt === bestAt && childOrder > bestOrder)) continue;
        best = child;
        bestAt = childAt;
        bestOrder = childOrder;
      }
      if (at < bestAt || (at === bestAt && order < bestOrder)) break;
      this.#put(here, this.#ids[best] as number, bestAt, bestOrder);
      here = best;
    }
    this.#put(here, id, at, order);
  }

  #put(place: number, id: number, at: number, order: number): void {
    this.#ids[place] = id;
    this.#keys[place * 2] = at;
    this.#keys[place * 2 + 1] = order;
    this.#places[id] = place + 1;
  }
}
