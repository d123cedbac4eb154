import type { PermitTag } from '../core/request.ts';

const POOL_BYTES = 8192;

/** 64 random bits per permit, drawn from a pool: one call for randomness per thousand asks. */
export class PermitTagSource {
  readonly #random: (bytes: number) => Uint8Array;
  #pool = new Uint32Array(0);
  #at = 0;

  /** `random` answers that many bytes nobody can guess. */
  constructor(random: (bytes: number) => Uint8Array) {
    this.#random = random;
  }

  /** The next tag; never the same bits twice. */
  next(): PermitTag {
    if (this.#at + 2 > this.#pool.length) {
      // Copied, since an array of bytes may lie at any offset of its buffer.
      this.#pool = new Uint32Array(Uint8Array.from(this.#random(POOL_BYTES)).buffer);
      this.#at = 0;
    }
    const high = this.#pool[this.#at++] as number;
    const low = this.#pool[this.#at++] as number;
    return { high, low };
  }
}
