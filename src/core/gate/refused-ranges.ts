import type { WaitRange } from '../request.ts';
import { DISTANT_PAST, type Instant, MILLISECOND, type Micros } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';

/** A range is worked out once in so long: a server that refuses all it is asked must not spend its time on estimates. */
const HOLDS_FOR: Micros = 10 * MILLISECOND;

/** The range that refused requests are given: the last one, for 10 ms, for those of the same key and priority. */
export class RefusedRanges {
  #at: Instant = DISTANT_PAST;
  #node: GroupNode | undefined;
  #key = '';
  #priority = 0;
  #range: WaitRange | undefined;

  /** Returns the range; undefined: not known, or another was worked out just now. */
  of(now: Instant, { node, key }: KeyState, priority: number, estimate: () => WaitRange | undefined): WaitRange | undefined {
    if (now - this.#at < HOLDS_FOR) return node === this.#node && key === this.#key && priority === this.#priority ? this.#range : undefined;
    this.#at = now;
    this.#node = node;
    this.#key = key;
    this.#priority = priority;
    this.#range = estimate();
    return this.#range;
  }
}
