const SIZE_FIRST = 64;

/**
 * Finds slots by a hash of 64 uniform bits, which the caller keeps in a column (two numbers of 32 bits a slot): 4 bytes a place,
 * at most 60 % of the places in use. The slot that was set last for a hash is the one that is found.
 */
export class HashSlots {
  /** Slot + 1; 0: free. Collisions go to the next place. */
  #places = new Int32Array(SIZE_FIRST);
  #used = 0;

  /** Returns the slot of a hash; -1 if there is none. */
  find(hashes: Uint32Array, high: number, low: number): number {
    return (this.#places[this.#placeOf(hashes, high, low)] as number) - 1;
  }

  /** Sets the slot of the hash that its column holds. */
  set(hashes: Uint32Array, slot: number): void {
    if ((this.#used + 1) * 5 > this.#places.length * 3) this.#grow(hashes);
    const place = this.#placeOf(hashes, hashes[slot * 2] as number, hashes[slot * 2 + 1] as number);
    if (this.#places[place] === 0) this.#used++;
    this.#places[place] = slot + 1;
  }

  /** Forgets a slot, unless its hash has another by now. */
  delete(hashes: Uint32Array, slot: number): void {
    const places = this.#places;
    const mask = places.length - 1;
    let hole = this.#placeOf(hashes, hashes[slot * 2] as number, hashes[slot * 2 + 1] as number);
    if (places[hole] !== slot + 1) return;
    this.#used--;
    // A later entry that would no longer be found moves into the hole.
    for (let at = (hole + 1) & mask; places[at] !== 0; at = (at + 1) & mask) {
      const home = (hashes[((places[at] as number) - 1) * 2 + 1] as number) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      places[hole] = places[at] as number;
      hole = at;
    }
    places[hole] = 0;
  }

  /** The place of a hash, or the free one where it would be. */
  #placeOf(hashes: Uint32Array, high: number, low: number): number {
    const places = this.#places;
    const mask = places.length - 1;
    let place = low & mask;
    for (let slot = places[place] as number; slot !== 0; slot = places[place] as number) {
      if (hashes[slot * 2 - 1] === low && hashes[slot * 2 - 2] === high) break;
      place = (place + 1) & mask;
    }
    return place;
  }

  #grow(hashes: Uint32Array): void {
    const before = this.#places;
    this.#places = new Int32Array(before.length * 2);
    for (const slot of before) {
      if (slot !== 0) this.#places[this.#placeOf(hashes, hashes[slot * 2 - 2] as number, hashes[slot * 2 - 1] as number)] = slot;
    }
  }
}
