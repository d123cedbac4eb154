import type { EndState } from '../request.ts';
import type { Counters } from './lmdb-codec.ts';

/** Ended requests whose times are kept together. */
const BLOCK = 256;

/** An ended request whose row is still in `order`. */
export interface Unswept {
  /** Its entry of `done`. */
  readonly number: number;
  readonly state: EndState;
  readonly goneAt: number;
  /** It has an idempotency key, which must be known after the sweep. */
  readonly keyed: boolean;
}

/** What is in memory of ended requests: those that the sweep has not seen, counts, and when the first of each 256 is gone. */
export class EndedRequests {
  readonly unswept = new Map<number, Unswept>();
  readonly #blocks = new Map<number, number>();
  counters: Counters = { heads: 0, packed: 0, packs: 0, pieces: 0, done: 0, dead: 0, cancelled: 0 };
  /** The next number of `done`. */
  next = 1;

  /** Adds a kept end to its block. */
  keep(number: number, goneAt: number): void {
    const block = Math.floor(number / BLOCK);
    this.#blocks.set(block, Math.min(this.#blocks.get(block) ?? Number.POSITIVE_INFINITY, goneAt));
    this.next = Math.max(this.next, number + 1);
  }

  /** A block in which something is gone by `now`, as numbers of `done`; undefined if there is none. */
  goneBy(now: number): { readonly from: number; readonly to: number } | undefined {
    for (const [block, first] of this.#blocks) if (first <= now) return { from: block * BLOCK, to: (block + 1) * BLOCK };
    return undefined;
  }

  /** Sets when the first of a block is gone; undefined: the block is empty. */
  setFirst(from: number, first: number | undefined): void {
    const block = from / BLOCK;
    if (first === undefined) this.#blocks.delete(block);
    else this.#blocks.set(block, first);
  }
}
