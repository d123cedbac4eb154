import { type Costs, ONE_REQUEST } from '../group.ts';
import type { PermitTag } from '../permit.ts';

import { type Instant, NEVER } from '../time.ts';
import type { KeyQueue } from './queues.ts';

/** No entry. */
const NONE = -1;
/** Entries at most in one gate. */
const ENTRIES_MAX = 2 ** 26;
const ENTRIES_FIRST = 16;
/** From here on the arrays grow by a quarter, not to twice: so much of them is empty at most. */
const ENTRIES_LARGE = 2 ** 16;

/** What an entry is doing; a number of 0 or more is the slot of the waiter table that it was pulled into. */
const FREE = -1;
const QUEUED = -2;
/** Cancelled while queued: skipped when its queue comes to it. */
const CANCELLED = -3;

/** Doubles of an entry. */
const SEQUENCE = 0;
const ORDER = 1;
const ARRIVAL = 2;
const DOUBLES = 3;

/** Integers of an entry. */
const NEXT = 0;
const STATE = 1;
const TAG_HIGH = 2;
const TAG_LOW = 3;
const INTS = 4;

/** How many older entries one that comes back is moved behind before it is left where it is. */
const STEPS_MAX = 64;

/** The token of a waiter that was pulled from a queue's stored requests; events carry it. */
export class StoredRef {
  /** The number that the store gave the request. */
  readonly sequence: number;
  readonly entry: number;

  constructor(sequence: number, entry: number) {
    this.sequence = sequence;
    this.entry = entry;
  }
}

/** Whether this waiter's token says that it was pulled. */
export function isStored(token: unknown): token is StoredRef {
  return token instanceof StoredRef;
}

/** One stored request, as it enters a queue. */
export interface StoredEntry {
  readonly sequence: number;
  readonly order: number;
  readonly arrivedAt: Instant;
  /** Never admitted after it; NEVER: none. */
  readonly deadline: Instant;
  readonly costs: Costs;
  /** 64 random bits that make the permit's name unguessable. */
  readonly tag: PermitTag;
}

/**
 * Requests that are stored elsewhere and stand in line in typed arrays: 40 bytes each and a reference; deadlines
 * and costs only where there are any.
 * A queue pulls them into the waiter table one at a time, when they come to its head (docs/decisions/0021). Chains of one
 * queue are linked through `next`, oldest first.
 */
export class StoredRequests {
  #doubles = new Float64Array(ENTRIES_FIRST * DOUBLES);
  #ints = new Int32Array(ENTRIES_FIRST * INTS);
  readonly #queues: (KeyQueue | undefined)[] = [];
  /** Of entries that cost more than one request. */
  readonly #costs = new Map<number, Costs>();
  /** Of entries that have one. */
  readonly #deadlines = new Map<number, Instant>();
  #size = ENTRIES_FIRST;
  #used = 0;
  #free = NONE;
  /** Queued in chains, without those that were pulled or cancelled. */
  queued = 0;

  /** A free entry for `stored` in `queue`; not linked yet. Throws when 2^26 are queued. */
  add(queue: KeyQueue, stored: StoredEntry): number {
    const entry = this.#take();
    const d = entry * DOUBLES;
    const doubles = this.#doubles;
    doubles[d + SEQUENCE] = stored.sequence;
    doubles[d + ORDER] = stored.order;
    doubles[d + ARRIVAL] = stored.arrivedAt;
    const i = entry * INTS;
    this.#ints[i + NEXT] = NONE;
    this.#ints[i + STATE] = QUEUED;
    this.#ints[i + TAG_HIGH] = stored.tag.high;
    this.#ints[i + TAG_LOW] = stored.tag.low;
    this.#queues[entry] = queue;
    // An entry of a chain that was dropped keeps what it had until it is used again.
    if (stored.costs !== ONE_REQUEST) this.#costs.set(entry, stored.costs);
    else this.#costs.delete(entry);
    if (stored.deadline !== NEVER) this.#deadlines.set(entry, stored.deadline);
    else this.#deadlines.delete(entry);
    this.queued++;
    return entry;
  }

  /** An entry for a waiter that is in the table already, at `slot`. */
  addPulled(queue: KeyQueue, slot: number, stored: StoredEntry): number {
    const entry = this.add(queue, stored);
    this.pulled(entry, slot);
    return entry;
  }

  /** Links an entry into its queue's chain: at the end, or at the front when it is older than the first, behind at most 64 that are older still. */
  link(entry: number): void {
    const queue = this.#queues[entry] as KeyQueue;
    const order = this.orderOf(entry);
    if (queue.storedTail === NONE || this.orderOf(queue.storedTail) < order) {
      if (queue.storedTail === NONE) queue.storedHead = entry;
      else this.setNext(queue.storedTail, entry);
      queue.storedTail = entry;
      return;
    }
    let before = NONE;
    let at = queue.storedHead;
    for (let step = 0; step < STEPS_MAX && at !== NONE && this.orderOf(at) < order; step++) {
      before = at;
      at = this.nextOf(at);
    }
    this.setNext(entry, at);
    if (before === NONE) queue.storedHead = entry;
    else this.setNext(before, entry);
    if (at === NONE) queue.storedTail = entry;
  }

  /** Takes the first entry out of a queue's chain; cancelled ones before it are freed. NONE: the chain is empty. */
  shift(queue: KeyQueue): number {
    const entry = this.first(queue);
    if (entry !== NONE) this.#unlinkFirst(queue);
    return entry;
  }

  /** The first entry of a queue's chain that is still queued; cancelled ones before it are freed. NONE: none. */
  first(queue: KeyQueue): number {
    for (;;) {
      const entry = queue.storedHead;
      if (entry === NONE || this.isQueued(entry)) return entry;
      this.#unlinkFirst(queue);
      this.free(entry);
    }
  }

  /** Frees a whole chain at once, whatever its length; answers nothing about its entries, which are no longer known. */
  drop(queue: KeyQueue, queued: number): void {
    if (queue.storedHead === NONE) return;
    this.setNext(queue.storedTail, this.#free);
    this.#free = queue.storedHead;
    queue.storedHead = NONE;
    queue.storedTail = NONE;
    this.queued -= queued;
  }

  #unlinkFirst(queue: KeyQueue): void {
    queue.storedHead = this.nextOf(queue.storedHead);
    if (queue.storedHead === NONE) queue.storedTail = NONE;
  }

  /** Gives one entry back. */
  free(entry: number): void {
    this.#ints[entry * INTS + STATE] = FREE;
    this.#queues[entry] = undefined;
    this.#costs.delete(entry);
    this.#deadlines.delete(entry);
    this.setNext(entry, this.#free);
    this.#free = entry;
  }

  /** The entry was pulled into `slot` of the waiter table. */
  pulled(entry: number, slot: number): void {
    if (this.isQueued(entry)) this.queued--;
    this.#ints[entry * INTS + STATE] = slot;
  }

  /** Marks a queued entry, to be freed when its queue comes to it. */
  cancel(entry: number): void {
    this.#ints[entry * INTS + STATE] = CANCELLED;
    this.queued--;
  }

  isQueued(entry: number): boolean {
    return this.#ints[entry * INTS + STATE] === QUEUED;
  }

  /** The waiter's slot; NONE while it is queued, cancelled or free. */
  slotOf(entry: number): number {
    const state = entry >= 0 && entry < this.#used ? (this.#ints[entry * INTS + STATE] as number) : FREE;
    return state >= 0 ? state : NONE;
  }

  /** The queue in which it is queued or was; undefined when free. */
  queueOf(entry: number): KeyQueue | undefined {
    return this.#queues[entry];
  }

  nextOf(entry: number): number {
    return this.#ints[entry * INTS + NEXT] as number;
  }

  setNext(entry: number, next: number): void {
    this.#ints[entry * INTS + NEXT] = next;
  }

  sequenceOf(entry: number): number {
    return this.#doubles[entry * DOUBLES + SEQUENCE] as number;
  }

  orderOf(entry: number): number {
    return this.#doubles[entry * DOUBLES + ORDER] as number;
  }

  arrivalOf(entry: number): Instant {
    return this.#doubles[entry * DOUBLES + ARRIVAL] as Instant;
  }

  deadlineOf(entry: number): Instant {
    return this.#deadlines.get(entry) ?? NEVER;
  }

  tagOf(entry: number): PermitTag {
    const i = entry * INTS;
    return { high: (this.#ints[i + TAG_HIGH] as number) >>> 0, low: (this.#ints[i + TAG_LOW] as number) >>> 0 };
  }

  costsOf(entry: number): Costs {
    return this.#costs.get(entry) ?? ONE_REQUEST;
  }

  #take(): number {
    if (this.#free !== NONE) {
      const entry = this.#free;
      this.#free = this.nextOf(entry);
      return entry;
    }
    if (this.#used === this.#size) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    if (this.#size === ENTRIES_MAX) throw new RangeError('a gate holds at most 2^26 stored requests: lower store.bytes');
    const size = Math.min(ENTRIES_MAX, this.#size < ENTRIES_LARGE ? this.#size * 2 : Math.ceil(this.#size * 1.25));
    const doubles = new Float64Array(size * DOUBLES);
    doubles.set(this.#doubles);
    this.#doubles = doubles;
    const ints = new Int32Array(size * INTS);
    ints.set(this.#ints);
    this.#ints = ints;
    this.#size = size;
  }
}
