import { type Costs, ONE_REQUEST } from '../group.ts';
import type { Claim, PermitTag } from '../permit.ts';
import type { GateRequest, WaiterRef } from '../request.ts';
import { earlier, type Instant, type Micros } from '../time.ts';
import type { KeyState } from './key-state.ts';
import type { KeyQueue } from './queues.ts';
import { StoredRef, StoredRequests } from './stored-requests.ts';

/** When a request came, the first time. */
export function firstArrival(now: Instant, { since }: GateRequest): Instant {
  return since === undefined ? now : earlier(now, since.arrivedAt);
}

/** No slot. */
export const NO_SLOT = -1;

/** Slots at most in one waiter table; a reference holds 26 bits of slot and 27 of generation. */
const SLOTS_MAX = 2 ** 26;
const GENERATIONS = 2 ** 27;
const SLOTS_FIRST = 4;

/** What a slot is doing. */
export const SLOT_FREE = 0;
export const SLOT_WAITING = 1;
/** Its caller is away: still in its queue, passed over. */
export const SLOT_SUSPENDED = 2;
/** Away, and taken out of its queue when it came to the head of it. */
export const SLOT_DETACHED = 3;

/** Doubles of a slot: arrival, end of wait timeout, order of arrival, life of the lease, bytes held. */
const ARRIVAL = 0;
const UNTIL = 1;
const ORDER = 2;
const LEASE = 3;
const BYTES = 4;
const DOUBLES = 5;

/** Integers of a slot. */
const NEXT = 0;
const PREVIOUS = 1;
const TAG_HIGH = 2;
const TAG_LOW = 3;
const GENERATION = 4;
const STATE = 5;
/** Bits: its lease would be reported; the range of its wait is kept. */
const REPORTED = 6;
const OLDER = 7;
const NEWER = 8;
/** Priority it counts as, plus one; 0: that of its priority level. */
const LENT = 9;
const INTS = 10;

/** References of a slot. */
const QUEUE = 0;
const KEY = 1;
const COSTS = 2;
const HOLDER = 3;
const TOKEN = 4;
const CLAIM = 5;
const OBJECTS = 6;

/**
 * All waiters of one gate in three blocks, slot by slot: what is looked at together lies together, about 116 bytes a
 * waiter, and no object for the garbage collector to walk. A {@link WaiterRef} adds the slot's generation, so that a late
 * cancel never meets another waiter.
 */
export class WaiterTable {
  #doubles = new Float64Array(SLOTS_FIRST * DOUBLES);
  #ints = new Int32Array(SLOTS_FIRST * INTS);
  readonly #objects: unknown[] = [];
  /** Waiters now. */
  length = 0;
  #used = 0;
  #size = SLOTS_FIRST;
  #free = NO_SLOT;
  #orders: number;
  /** Requests that wait in line outside this table, until their queue pulls them. */
  readonly stored = new StoredRequests();

  /** The first arrival is `firstOrder` + 1. */
  constructor(firstOrder = 0) {
    this.#orders = firstOrder;
  }

  /** The place of an arrival in the order of all; an earlier one where the request has it. That of another gate, which counted further, is cut to this one's. */
  orderFor({ since }: Pick<GateRequest, 'since'>): number {
    const next = ++this.#orders;
    return since === undefined ? next : Math.min(since.order, next);
  }

  /** A slot for `request`, in no queue yet. Throws when 2^26 wait: the bounds of the groups must be lower. */
  add(now: Instant, request: GateRequest, keyState: KeyState): number {
    const slot = this.#slot();
    const doubles = this.#doubles;
    const d = slot * DOUBLES;
    doubles[d + ARRIVAL] = firstArrival(now, request);
    doubles[d + UNTIL] = request.waitUntil;
    doubles[d + ORDER] = this.orderFor(request);
    doubles[d + LEASE] = request.lease;
    doubles[d + BYTES] = request.bytes;
    const ints = this.#ints;
    const i = slot * INTS;
    ints[i + NEXT] = NO_SLOT;
    ints[i + PREVIOUS] = NO_SLOT;
    ints[i + TAG_HIGH] = request.tag.high;
    ints[i + TAG_LOW] = request.tag.low;
    ints[i + STATE] = SLOT_WAITING;
    ints[i + REPORTED] = request.reported === true ? 1 : 0;
    ints[i + LENT] = 0;
    const objects = this.#objects;
    const o = slot * OBJECTS;
    objects[o + QUEUE] = undefined;
    objects[o + KEY] = keyState;
    objects[o + COSTS] = request.costs;
    objects[o + HOLDER] = request.holder;
    objects[o + TOKEN] = request.token;
    objects[o + CLAIM] = request.claim;
    this.length++;
    return slot;
  }

  /** A slot for a stored request of `queue`, which it is in. */
  addStored(entry: number, queue: KeyQueue): number {
    const { stored } = this;
    const slot = this.#slot();
    const doubles = this.#doubles;
    const d = slot * DOUBLES;
    doubles[d + ARRIVAL] = stored.arrivalOf(entry);
    doubles[d + UNTIL] = stored.deadlineOf(entry);
    doubles[d + ORDER] = stored.orderOf(entry);
    doubles[d + LEASE] = queue.storedLease;
    doubles[d + BYTES] = 0;
    const tag = stored.tagOf(entry);
    const ints = this.#ints;
    const i = slot * INTS;
    ints[i + NEXT] = NO_SLOT;
    ints[i + PREVIOUS] = NO_SLOT;
    ints[i + TAG_HIGH] = tag.high;
    ints[i + TAG_LOW] = tag.low;
    ints[i + STATE] = SLOT_WAITING;
    ints[i + REPORTED] = 1;
    ints[i + LENT] = 0;
    const objects = this.#objects;
    const o = slot * OBJECTS;
    objects[o + QUEUE] = queue;
    objects[o + KEY] = queue.keyState;
    objects[o + COSTS] = stored.costsOf(entry);
    objects[o + HOLDER] = '';
    objects[o + TOKEN] = new StoredRef(stored.sequenceOf(entry), entry);
    objects[o + CLAIM] = undefined;
    this.length++;
    return slot;
  }

  /** From here on the waiter is a stored request's: it has another token, and an end of its own. */
  becomeStored(slot: number, token: StoredRef, deadline: Instant): void {
    this.#doubles[slot * DOUBLES + UNTIL] = deadline;
    this.#doubles[slot * DOUBLES + BYTES] = 0;
    this.#objects[slot * OBJECTS + TOKEN] = token;
  }

  /** Gives the slot back; every reference to it is dead from here on. */
  free(slot: number): void {
    const i = slot * INTS;
    const ints = this.#ints;
    ints[i + STATE] = SLOT_FREE;
    ints[i + GENERATION] = ((ints[i + GENERATION] as number) + 1) % GENERATIONS;
    ints[i + NEXT] = this.#free;
    this.#free = slot;
    const objects = this.#objects;
    const o = slot * OBJECTS;
    objects[o + QUEUE] = undefined;
    objects[o + KEY] = undefined;
    objects[o + COSTS] = ONE_REQUEST;
    objects[o + HOLDER] = '';
    objects[o + TOKEN] = undefined;
    objects[o + CLAIM] = undefined;
    this.length--;
  }

  /** The name of a slot's present waiter. */
  refOf(slot: number): WaiterRef {
    return ((this.#ints[slot * INTS + GENERATION] as number) * SLOTS_MAX + slot) as WaiterRef;
  }

  /** The slot of a waiter, or NONE when it was decided. */
  slotOf(ref: WaiterRef): number {
    if (ref < 0) return NO_SLOT;
    const slot = ref % SLOTS_MAX;
    if (slot >= this.#used || this.stateOf(slot) === SLOT_FREE) return NO_SLOT;
    return this.#ints[slot * INTS + GENERATION] === Math.floor(ref / SLOTS_MAX) ? slot : NO_SLOT;
  }

  /** Slots ever used, for walks over all of them. */
  get used(): number {
    return this.#used;
  }

  arrivalOf(slot: number): Instant {
    return this.#doubles[slot * DOUBLES + ARRIVAL] as Instant;
  }

  deadlineOf(slot: number): Instant {
    return this.#doubles[slot * DOUBLES + UNTIL] as Instant;
  }

  /** Order of arrival at the gate: what first in, first out means. */
  orderOf(slot: number): number {
    return this.#doubles[slot * DOUBLES + ORDER] as number;
  }

  leaseOf(slot: number): Micros {
    return this.#doubles[slot * DOUBLES + LEASE] as Micros;
  }

  /** The priority it counts as while the floor of its group lets it go first; -1: that of its priority level. */
  lentOf(slot: number): number {
    return (this.#ints[slot * INTS + LENT] as number) - 1;
  }

  lend(slot: number, priority: number): void {
    this.#ints[slot * INTS + LENT] = priority + 1;
  }

  /** Its lease would be reported. */
  inProcessOf(slot: number): boolean {
    return ((this.#ints[slot * INTS + REPORTED] as number) & 1) === 1;
  }

  /** The range of its wait is remembered. */
  isRangeKept(slot: number): boolean {
    return (this.#ints[slot * INTS + REPORTED] as number) > 1;
  }

  keepRange(slot: number): void {
    (this.#ints[slot * INTS + REPORTED] as number) |= 2;
  }

  bytesOf(slot: number): number {
    return this.#doubles[slot * DOUBLES + BYTES] as number;
  }

  tagOf(slot: number): PermitTag {
    const i = slot * INTS;
    return { high: (this.#ints[i + TAG_HIGH] as number) >>> 0, low: (this.#ints[i + TAG_LOW] as number) >>> 0 };
  }

  nextOf(slot: number): number {
    return this.#ints[slot * INTS + NEXT] as number;
  }

  setNext(slot: number, next: number): void {
    this.#ints[slot * INTS + NEXT] = next;
  }

  previousOf(slot: number): number {
    return this.#ints[slot * INTS + PREVIOUS] as number;
  }

  setPrevious(slot: number, previous: number): void {
    this.#ints[slot * INTS + PREVIOUS] = previous;
  }

  /** Next older waiter of the same priority level; NONE: it is the oldest. Kept by `arrival-order.ts`. */
  olderOf(slot: number): number {
    return this.#ints[slot * INTS + OLDER] as number;
  }

  setOlder(slot: number, older: number): void {
    this.#ints[slot * INTS + OLDER] = older;
  }

  /** Next newer waiter of the same priority level; NONE: it is the youngest. */
  newerOf(slot: number): number {
    return this.#ints[slot * INTS + NEWER] as number;
  }

  setNewer(slot: number, newer: number): void {
    this.#ints[slot * INTS + NEWER] = newer;
  }

  stateOf(slot: number): number {
    return this.#ints[slot * INTS + STATE] as number;
  }

  setState(slot: number, state: number): void {
    this.#ints[slot * INTS + STATE] = state;
  }

  queueOf(slot: number): KeyQueue {
    return this.#objects[slot * OBJECTS + QUEUE] as KeyQueue;
  }

  setQueue(slot: number, queue: KeyQueue): void {
    this.#objects[slot * OBJECTS + QUEUE] = queue;
  }

  keyOf(slot: number): KeyState {
    return this.#objects[slot * OBJECTS + KEY] as KeyState;
  }

  costsOf(slot: number): Costs {
    return this.#objects[slot * OBJECTS + COSTS] as Costs;
  }

  holderOf(slot: number): string {
    return this.#objects[slot * OBJECTS + HOLDER] as string;
  }

  tokenOf(slot: number): unknown {
    return this.#objects[slot * OBJECTS + TOKEN];
  }

  claimOf(slot: number): Claim | undefined {
    return this.#objects[slot * OBJECTS + CLAIM] as Claim | undefined;
  }

  #slot(): number {
    if (this.#free !== NO_SLOT) {
      const slot = this.#free;
      this.#free = this.nextOf(slot);
      return slot;
    }
    if (this.#used === this.#size) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const size = this.#size * 2;
    if (size > SLOTS_MAX) throw new RangeError('a gate holds at most 2^26 waiters: lower backlog.requests');
    const doubles = new Float64Array(size * DOUBLES);
    doubles.set(this.#doubles);
    this.#doubles = doubles;
    const ints = new Int32Array(size * INTS);
    ints.set(this.#ints);
    this.#ints = ints;
    this.#size = size;
  }
}
