/** A budget of bytes, with a line of those who wait for some of it. */
export class ByteBudget {
  readonly max: number;
  #used = 0;
  readonly #line = new Set<{ readonly bytes: number; readonly ready: () => void }>();

  constructor(max: number) {
    this.max = max;
  }

  /** Bytes taken. */
  get used(): number {
    return this.#used;
  }

  /** Whether `take` would take so many now. */
  has(bytes: number): boolean {
    return this.#line.size === 0 && this.#used + bytes <= this.max;
  }

  /** Takes bytes, or nothing where they do not fit or others wait for theirs. */
  take(bytes: number): boolean {
    if (!this.has(bytes)) return false;
    this.#used += bytes;
    return true;
  }

  /** Returns bytes; callbacks that wait and fit now are called, in order. */
  give(bytes: number): void {
    this.#used -= bytes;
    for (const waiting of this.#line) {
      if (this.#used + waiting.bytes > this.max) return;
      this.#line.delete(waiting);
      this.#used += waiting.bytes;
      waiting.ready();
    }
  }

  /** Waits in line; `ready` is called once with the bytes taken. Returns a function that cancels the wait. */
  wait(bytes: number, ready: () => void): () => void {
    const waiting = { bytes, ready };
    this.#line.add(waiting);
    return () => {
      if (!this.#line.delete(waiting)) return;
      // Those behind may fit where this one did not.
      this.give(0);
    };
  }
}
