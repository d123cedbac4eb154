/** Bounds what is under way at once, over all that share it: attempts of a process and bytes of their bodies, of all shards. */
export class InFlight {
  readonly max: number;
  readonly #bytesMax: number;
  #used = 0;
  #bytes = 0;
  readonly #waiting = new Set<() => void>();
  readonly #waitingForBytes = new Set<() => void>();

  constructor(max: number, bytesMax = Number.POSITIVE_INFINITY) {
    this.max = max;
    this.#bytesMax = bytesMax;
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

  /** Takes bytes; more than all are taken where nothing else is. Returns false if there is no room: `start` is then called once, when there may be. */
  takeBytes(bytes: number, start: () => void): boolean {
    if (this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax) {
      this.#bytes += bytes;
      return true;
    }
    this.#waitingForBytes.add(start);
    return false;
  }

  /** Gives bytes back, and lets those that wait take them, the longest waiting first. */
  releaseBytes(bytes: number): void {
    this.#bytes -= bytes;
    for (const start of [...this.#waitingForBytes]) {
      this.#waitingForBytes.delete(start);
      start();
    }
  }
}
