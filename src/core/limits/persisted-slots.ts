import type { Instant, Micros } from '../time.ts';
import type { Bound } from './limit.ts';

/** Sub-slots in a window: what is lost after a crash is at most one of them and the chunk ahead. */
const SLOTS = 32;

/**
 * What of a rolling window is on disk (docs/design/coordination.md 2.7): time is cut into sub-slots of per/32, named by the moment
 * they end, and for each a bound on the units taken in it. A new term counts each bound just before its slot's end, later
 * than any unit can have been taken.
 */
export class PersistedSlots {
  #length: Micros;
  #slot = 0;
  #used = 0;
  /** On disk, the latest slot last. */
  #covered: Bound[] = [];
  /** Taken, perhaps, under an earlier term or slot length, in slots with these ends. */
  #inherited: readonly Bound[] = [];

  constructor(per: Micros) {
    this.#length = Math.ceil(per / SLOTS);
  }

  covers(at: Instant, cost: number): boolean {
    const slot = this.#slotOf(at);
    const needed = this.#usedIn(slot) + cost;
    for (let index = this.#covered.length - 1; index >= 0; index--) {
      const bound = this.#covered[index] as Bound;
      if (bound.slot === slot) return needed <= bound.value;
      if (bound.slot < slot) return false;
    }
    return false;
  }

  /** Covers `cost` at `at`, and up to `ahead` more in the same slot, no more than `permits` in all. */
  bound(at: Instant, cost: number, ahead: number, permits: number): Bound {
    const slot = this.#slotOf(at);
    const needed = this.#usedIn(slot) + cost;
    return { slot, value: Math.max(needed, Math.min(permits, needed + ahead)) };
  }

  cover(bound: Bound): void {
    let index = this.#covered.length;
    while (index > 0 && (this.#covered[index - 1] as Bound).slot >= bound.slot) index -= 1;
    const old = this.#covered[index];
    if (old?.slot !== bound.slot) this.#covered.splice(index, 0, bound);
    else if (old.value < bound.value) this.#covered[index] = bound;
    while ((this.#covered[0] as Bound).slot < bound.slot - (SLOTS + 1) * this.#length) this.#covered.shift();
  }

  /** What still counts at `now`. */
  live(now: Instant): readonly Bound[] {
    return this.#covered.filter((bound) => bound.slot + SLOTS * this.#length > now);
  }

  spend(at: number, units: number): void {
    const slot = this.#slotOf(at);
    this.#used = this.#usedIn(slot) + units;
    this.#slot = slot;
  }

  /** `units` taken at `at` came back. */
  back(at: number, units: number): void {
    if (this.#slotOf(at) === this.#slot) this.#used = Math.max(0, this.#used - units);
  }

  /** Slots get another length. Those on disk keep their ends and say what they said; a new slot with such an end starts from there. */
  reshape(now: Instant, per: Micros): void {
    const length = Math.ceil(per / SLOTS);
    if (length === this.#length) return;
    this.#inherited = [...this.#inherited, ...this.#covered].filter((bound) => bound.slot > now);
    this.#length = length;
    this.#slot = 0;
  }

  /** A new term: what may have been taken before in slots that are not over is taken. */
  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#covered = [];
    for (const bound of bounds) this.cover(bound);
    this.#inherited = bounds.filter((bound) => bound.slot > from);
    this.#slot = 0;
  }

  seal(now: Instant): readonly number[] {
    const open = this.#inherited.filter((bound) => bound.slot > now);
    return [this.#slot, this.#used, ...open.flatMap(({ slot, value }) => [slot, value])];
  }

  unseal(state: readonly number[]): void {
    const inherited: Bound[] = [];
    for (let at = 2; at + 1 < state.length; at += 2) inherited.push({ slot: state[at] ?? 0, value: state[at + 1] ?? 0 });
    this.#inherited = inherited;
    this.#slot = state[0] ?? 0;
    this.#used = state[1] ?? 0;
  }

  #slotOf(at: number): number {
    return (Math.floor(at / this.#length) + 1) * this.#length;
  }

  #usedIn(slot: number): number {
    if (slot === this.#slot) return this.#used;
    let used = 0;
    for (const bound of this.#inherited) if (bound.slot === slot) used = Math.max(used, bound.value);
    return used;
  }
}
