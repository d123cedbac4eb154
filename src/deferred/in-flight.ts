/** So many may be under way at once, over all that share it: attempts of a process, whatever shard they are of. */
export class InFlight {
  readonly max: number;
  #used = 0;
  readonly #waiting = new Set<() => void>();

  constructor(max: number) {
    this.max = max;
  }

  /** Takes a slot. Returns false if all are taken: `start` is then called once, when one may be free. */
  take(start: () => void): boolean {
    if (this.#used < this.max) {
      this.#used++;
      return true;
    }
    this.#waiting.add(start);
    return false;
  }

  /** Gives a slot back, and lets those that wait take it, the longest waiting first. */
  release(): void {
    this.#used--;
    for (const start of this.#waiting) {
      if (this.#used >= this.max) return;
      this.#waiting.delete(start);
      start();
    }
  }
}
