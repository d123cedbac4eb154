const PAGE = 4096;

interface SlotPage {
  readonly number: number;
  readonly slots: Int32Array;
  used: number;
}

/** Finds slots by sequence: 4 bytes for each sequence of a page of 4,096 in which one is in use. */
export class SequenceSlots {
  readonly #pages = new Map<number, SlotPage>();
  /** In the order of their numbers. */
  readonly #ordered: SlotPage[] = [];

  /** Returns the slot of a sequence; -1 if there is none. */
  find(sequence: number): number {
    const page = this.#pages.get(Math.floor(sequence / PAGE));
    return page === undefined ? -1 : (page.slots[sequence % PAGE] as number) - 1;
  }

  set(sequence: number, slot: number): void {
    const number = Math.floor(sequence / PAGE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = { number, slots: new Int32Array(PAGE), used: 0 };
      this.#pages.set(number, page);
      this.#ordered.splice(this.#indexOf(number), 0, page);
    }
    if (page.slots[sequence % PAGE] === 0) page.used++;
    page.slots[sequence % PAGE] = slot + 1;
  }

  delete(sequence: number): void {
    const number = Math.floor(sequence / PAGE);
    const page = this.#pages.get(number);
    if (page === undefined || page.slots[sequence % PAGE] === 0) return;
    page.slots[sequence % PAGE] = 0;
    page.used--;
    if (page.used > 0) return;
    this.#pages.delete(number);
    this.#ordered.splice(this.#indexOf(number), 1);
  }

  /** Slots in the order of their sequences, from this one on. Nothing may be set or deleted meanwhile. */
  *from(sequence: number): IterableIterator<number> {
    const number = Math.floor(sequence / PAGE);
    for (let index = this.#indexOf(number); index < this.#ordered.length; index++) {
      const page = this.#ordered[index] as SlotPage;
      for (let at = page.number === number ? sequence % PAGE : 0; at < PAGE; at++) {
        const slot = page.slots[at] as number;
        if (slot > 0) yield slot - 1;
      }
    }
  }

  /** Where a page of this number is, or would be. */
  #indexOf(number: number): number {
    let low = 0;
    let high = this.#ordered.length;
    if (high > 0 && (this.#ordered[high - 1] as SlotPage).number < number) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ordered[middle] as SlotPage).number < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
