import type { Costs } from './group.ts';
import { ONE_REQUEST } from './group.ts';
import type { KeyState } from './key-state.ts';
import type { Lane } from './lane.ts';
import type { Instant, Micros } from './time.ts';
import type { Ask, WaiterRef } from './waiter.ts';

/** No slot. */
export const NONE = -1;

/** Slots at most in one slab; a reference holds 26 bits of slot and 27 of generation. */
const SLOTS_MAX = 2 ** 26;
const GENERATIONS = 2 ** 27;
const SLOTS_FIRST = 16;

/** What a slot is doing. */
export const FREE = 0;
export const WAITING = 1;
/** Its caller is away: still in its lane, passed over. */
export const AWAY = 2;
/** Away, and taken out of its lane when it came to the head of it. */
export const ASIDE = 3;

/**
 * All waiters of one gate, side by side in typed arrays: about 130 bytes each with their timer, and no object for the
 * garbage collector to walk. A waiter is a slot; a {@link WaiterRef} adds the slot's generation, so that a late cancel
 * never meets another waiter.
 */
export class Slab {
  arrival = new Float64Array(SLOTS_FIRST);
  until = new Float64Array(SLOTS_FIRST);
  /** Order of arrival at the gate: what first in, first out means. */
  order = new Float64Array(SLOTS_FIRST);
  lease = new Float64Array(SLOTS_FIRST);
  bytes = new Float64Array(SLOTS_FIRST);
  tagHigh = new Uint32Array(SLOTS_FIRST);
  tagLow = new Uint32Array(SLOTS_FIRST);
  next = new Int32Array(SLOTS_FIRST);
  previous = new Int32Array(SLOTS_FIRST);
  generation = new Uint32Array(SLOTS_FIRST);
  state = new Uint8Array(SLOTS_FIRST);
  readonly lane: (Lane | undefined)[] = [];
  readonly keyState: (KeyState | undefined)[] = [];
  readonly costs: Costs[] = [];
  readonly holder: string[] = [];
  readonly token: unknown[] = [];
  /** Waiters now. */
  length = 0;
  #used = 0;
  #free = NONE;
  #orders = 0;

  /** A slot for `ask`, in no lane yet. Throws when 2^26 wait: the bounds of the groups must be lower. */
  add(now: Instant, ask: Ask, keyState: KeyState): number {
    const slot = this.#slot();
    this.arrival[slot] = now;
    this.until[slot] = ask.waitUntil;
    this.order[slot] = ++this.#orders;
    this.lease[slot] = ask.lease;
    this.bytes[slot] = ask.bytes;
    this.tagHigh[slot] = ask.tag.high;
    this.tagLow[slot] = ask.tag.low;
    this.next[slot] = NONE;
    this.previous[slot] = NONE;
    this.state[slot] = WAITING;
    this.lane[slot] = undefined;
    this.keyState[slot] = keyState;
    this.costs[slot] = ask.costs;
    this.holder[slot] = ask.holder;
    this.token[slot] = ask.token;
    this.length++;
    return slot;
  }

  /** Gives the slot back; every reference to it is dead from here on. */
  free(slot: number): void {
    this.state[slot] = FREE;
    this.generation[slot] = ((this.generation[slot] as number) + 1) % GENERATIONS;
    this.lane[slot] = undefined;
    this.keyState[slot] = undefined;
    this.costs[slot] = ONE_REQUEST;
    this.holder[slot] = '';
    this.token[slot] = undefined;
    this.next[slot] = this.#free;
    this.#free = slot;
    this.length--;
  }

  /** The name of a slot's present waiter. */
  refOf(slot: number): WaiterRef {
    return ((this.generation[slot] as number) * SLOTS_MAX + slot) as WaiterRef;
  }

  /** The slot of a waiter, or NONE when it was decided. */
  slotOf(ref: WaiterRef): number {
    if (ref < 0) return NONE;
    const slot = ref % SLOTS_MAX;
    const generation = Math.floor(ref / SLOTS_MAX);
    return slot < this.#used && this.state[slot] !== FREE && this.generation[slot] === generation ? slot : NONE;
  }

  /** Slots ever used, for walks over all of them. */
  get used(): number {
    return this.#used;
  }

  arrivalOf(slot: number): Instant {
    return this.arrival[slot] as Instant;
  }

  untilOf(slot: number): Instant {
    return this.until[slot] as Instant;
  }

  leaseOf(slot: number): Micros {
    return this.lease[slot] as Micros;
  }

  #slot(): number {
    if (this.#free !== NONE) {
      const slot = this.#free;
      this.#free = this.next[slot] as number;
      return slot;
    }
    if (this.#used === this.next.length) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const size = this.next.length * 2;
    if (size > SLOTS_MAX) throw new RangeError('a gate holds at most 2^26 waiters: lower backlog.requests');
    this.arrival = wider(this.arrival, new Float64Array(size));
    this.until = wider(this.until, new Float64Array(size));
    this.order = wider(this.order, new Float64Array(size));
    this.lease = wider(this.lease, new Float64Array(size));
    this.bytes = wider(this.bytes, new Float64Array(size));
    this.tagHigh = wider(this.tagHigh, new Uint32Array(size));
    this.tagLow = wider(this.tagLow, new Uint32Array(size));
    this.next = wider(this.next, new Int32Array(size));
    this.previous = wider(this.previous, new Int32Array(size));
    this.generation = wider(this.generation, new Uint32Array(size));
    this.state = wider(this.state, new Uint8Array(size));
  }
}

function wider<A extends Float64Array | Uint32Array | Int32Array | Uint8Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
