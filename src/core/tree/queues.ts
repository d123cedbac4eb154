import { Heap } from '../collections/heap.ts';
import { PRIORITY_DEFERRED } from '../group.ts';
import type { Micros } from '../time.ts';
import { addArrival, removeArrival } from './arrival-order.ts';
import type { GroupNode } from './group-node.ts';
import type { KeyState } from './key-state.ts';
import { isStored, type StoredEntry, type StoredRequests } from './stored-requests.ts';
import { NO_SLOT, SLOT_DETACHED, SLOT_SUSPENDED, SLOT_WAITING, type WaiterTable } from './waiter-table.ts';

/**
 * The waiters of one key in one priority level: a queue threaded through the waiter table. Fairness between queues is start-time fair
 * queueing (Goyal, Vin, Cheng 1996): a queue's start tag is where the service it has had, divided by its weight, ends;
 * the queue with the smallest goes first.
 */
export class KeyQueue {
  readonly level: PriorityLevel;
  readonly keyState: KeyState;
  head = NO_SLOT;
  tail = NO_SLOT;
  /** Where the next admission of this queue begins in virtual time. */
  startTag = 0;
  /** Where the last one ended. */
  finishTag = 0;
  /** The priority level's epoch in which `finish` was written. */
  epoch = 0;
  /** Place in the priority level's heap; -1: not offered (empty or parked). */
  position = -1;
  /** Heads whose callers are away, oldest first. */
  readonly detached: number[] = [];
  /** Chain of stored requests that are not in the waiter table yet, oldest first; NONE: none. */
  storedHead = NO_SLOT;
  storedTail = NO_SLOT;
  /** Length of that chain without cancelled ones. */
  stored = 0;
  /** Life of the leases of stored requests that are pulled from now on. */
  storedLease: Micros = 0;
  /** The queue's place among the oldest of a deferred priority level. */
  readonly age = new QueueAge(this);

  constructor(level: PriorityLevel, keyState: KeyState) {
    this.level = level;
    this.keyState = keyState;
  }

  /** Its past no longer influences the future. */
  get isEmpty(): boolean {
    return this.head === NO_SLOT && this.detached.length === 0 && (this.epoch !== this.level.epoch || this.finishTag <= this.level.virtualTime);
  }
}

/** A queue as it stands in the order of the oldest heads. */
class QueueAge {
  position = -1;
  readonly queue: KeyQueue;

  constructor(queue: KeyQueue) {
    this.queue = queue;
  }
}

/** Waiters of one priority in one group. */
export class PriorityLevel {
  readonly node: GroupNode;
  readonly priority: number;
  /** Queues that may be offered, best first. */
  readonly queues: Heap<KeyQueue>;
  /** The same queues, the oldest head first; kept for deferred priority levels only, for the share of overdue requests. */
  readonly #ages: Heap<QueueAge>;
  /** Waiters, stored requests included. */
  waiting = 0;
  /** Virtual time: the start tag of the last queue served. */
  virtualTime = 0;
  /** Grows when the priority level runs empty, which forgives all queues. */
  epoch = 0;
  /** Ends of the list of all its waiters, away or not, by arrival. */
  youngest = NO_SLOT;
  oldest = NO_SLOT;
  readonly #waiters: WaiterTable;
  readonly #stored: StoredRequests;

  constructor(node: GroupNode, priority: number, waiters: WaiterTable) {
    this.node = node;
    this.priority = priority;
    this.#waiters = waiters;
    this.#stored = waiters.stored;
    this.#ages = new Heap<QueueAge>((a, b) => waiters.orderOf(a.queue.head) < waiters.orderOf(b.queue.head));
    this.queues = new Heap<KeyQueue>((a, b) =>
      node.fair && a.startTag !== b.startTag ? a.startTag < b.startTag : waiters.orderOf(a.head) < waiters.orderOf(b.head),
    );
  }

  /** Deferred requests come last and never age. */
  get deferred(): boolean {
    return this.priority === PRIORITY_DEFERRED;
  }

  /** The queue of a key, made when first needed. */
  queueFor(keyState: KeyState): KeyQueue {
    for (const queue of keyState.queues) if (queue.level === this) return queue;
    const queue = new KeyQueue(this, keyState);
    keyState.queues.push(queue);
    return queue;
  }

  /** Puts a waiter into its queue: at its end, unless its order is an older one. */
  push(queue: KeyQueue, slot: number): void {
    this.#waiters.setQueue(slot, queue);
    this.waiting++;
    addArrival(this, this.#waiters, slot);
    this.#insert(queue, slot);
  }

  /** Puts a stored request into its queue: at the end, or at the front when it is older than the rest. Answers its entry. */
  pushStored(queue: KeyQueue, request: StoredEntry, lease: Micros): number {
    const entry = this.#stored.add(queue, request);
    queue.storedLease = lease;
    queue.stored++;
    this.waiting++;
    this.#stored.link(entry);
    if (this.#pull(queue)) this.#headChanged(queue);
    return entry;
  }

  /** A stored request that is still queued leaves its queue; false: it was pulled or is not known. */
  cancelStored(entry: number): boolean {
    const queue = this.#stored.queueOf(entry);
    if (queue === undefined || queue.stored === 0 || !this.#stored.isQueued(entry)) return false;
    this.#stored.cancel(entry);
    queue.stored--;
    this.waiting--;
    return true;
  }

  /** Forgets all stored requests of a queue that are not in the waiter table, in constant time; answers how many. */
  dropStored(queue: KeyQueue): number {
    const { stored } = queue;
    this.#stored.drop(queue, stored);
    queue.stored = 0;
    this.waiting -= stored;
    return stored;
  }

  /** Offers a queue that has a waiter and is not parked. */
  activate(queue: KeyQueue): void {
    if (queue.head === NO_SLOT || queue.keyState.parked || queue.position >= 0) return;
    const finish = queue.epoch === this.epoch ? queue.finishTag : 0;
    queue.startTag = Math.max(finish, this.virtualTime);
    this.queues.push(queue);
    if (this.deferred) this.#ages.push(queue.age);
  }

  /** Takes a queue out of the offers. */
  deactivate(queue: KeyQueue): void {
    if (queue.position < 0) return;
    this.queues.remove(queue);
    if (this.deferred) this.#ages.remove(queue.age);
  }

  /** A waiter leaves its queue without service. */
  remove(slot: number): void {
    const queue = this.#waiters.queueOf(slot);
    this.waiting--;
    if (!isStored(this.#waiters.tokenOf(slot))) removeArrival(this, this.#waiters, slot);
    if (this.#waiters.stateOf(slot) === SLOT_DETACHED) queue.detached.splice(queue.detached.indexOf(slot), 1);
    else this.#unlink(queue, slot);
    this.#emptied();
  }

  /** The queue's head is admitted at this cost. */
  advanceVirtualTime(queue: KeyQueue, cost: number, weight: number): void {
    const slot = queue.head;
    this.virtualTime = Math.max(this.virtualTime, queue.startTag);
    queue.finishTag = queue.startTag + (cost > 0 ? cost : 1) / weight;
    queue.epoch = this.epoch;
    queue.startTag = queue.finishTag;
    this.waiting--;
    if (!isStored(this.#waiters.tokenOf(slot))) removeArrival(this, this.#waiters, slot);
    this.#unlink(queue, slot);
    this.#emptied();
  }

  /** First queue whose head is there; heads that are away are set aside on the way. */
  head(): KeyQueue | undefined {
    const waiters = this.#waiters;
    for (;;) {
      const queue = this.queues.peek();
      if (queue === undefined || waiters.stateOf(queue.head) === SLOT_WAITING) return queue;
      const slot = queue.head;
      waiters.setState(slot, SLOT_DETACHED);
      queue.detached.push(slot);
      this.#unlink(queue, slot);
    }
  }

  /** The queue with the oldest head, of a deferred priority level only; undefined: none is offered. */
  oldestQueue(): KeyQueue | undefined {
    return this.#ages.peek()?.queue;
  }

  /** Its caller is back: the waiter stands where its order puts it. */
  comeBack(slot: number): void {
    const waiters = this.#waiters;
    const queue = waiters.queueOf(slot);
    if (waiters.stateOf(slot) === SLOT_DETACHED) {
      queue.detached.splice(queue.detached.indexOf(slot), 1);
      this.#insert(queue, slot);
    }
    waiters.setState(slot, SLOT_WAITING);
  }

  /** Its caller went away but may return. */
  goAway(slot: number): void {
    if (this.#waiters.stateOf(slot) === SLOT_WAITING) this.#waiters.setState(slot, SLOT_SUSPENDED);
  }

  /** Links a waiter where its order puts it; from the head, since who comes back late is among the oldest. */
  #insert(queue: KeyQueue, slot: number): void {
    const waiters = this.#waiters;
    const order = waiters.orderOf(slot);
    let before = queue.tail;
    let after = NO_SLOT;
    if (before !== NO_SLOT && waiters.orderOf(before) > order) {
      before = NO_SLOT;
      after = queue.head;
      while (after !== NO_SLOT && waiters.orderOf(after) < order) {
        before = after;
        after = waiters.nextOf(after);
      }
    }
    this.#link(queue, before, slot, after);
    if (queue.head === slot) this.#headChanged(queue);
  }

  /** The queue stands where its new head puts it: among the offers, or in none when it is empty. */
  #headChanged(queue: KeyQueue): void {
    if (queue.position < 0) this.activate(queue);
    else if (queue.head === NO_SLOT) this.deactivate(queue);
    else {
      this.queues.update(queue);
      if (this.deferred) this.#ages.update(queue.age);
    }
  }

  /** Moves the first stored request into the waiter table when it is older than the queue's head; false: it is not, or there is none. */
  #pull(queue: KeyQueue): boolean {
    if (queue.stored === 0) return false;
    const waiters = this.#waiters;
    const stored = this.#stored;
    const entry = stored.first(queue);
    if (queue.head !== NO_SLOT && waiters.orderOf(queue.head) < stored.orderOf(entry)) return false;
    stored.shift(queue);
    queue.stored--;
    const slot = waiters.addStored(entry, queue);
    stored.pulled(entry, slot);
    this.#link(queue, NO_SLOT, slot, queue.head);
    return true;
  }

  #link(queue: KeyQueue, before: number, slot: number, after: number): void {
    const waiters = this.#waiters;
    waiters.setPrevious(slot, before);
    waiters.setNext(slot, after);
    if (before === NO_SLOT) queue.head = slot;
    else waiters.setNext(before, slot);
    if (after === NO_SLOT) queue.tail = slot;
    else waiters.setPrevious(after, slot);
  }

  #unlink(queue: KeyQueue, slot: number): void {
    const waiters = this.#waiters;
    const before = waiters.previousOf(slot);
    const after = waiters.nextOf(slot);
    if (before === NO_SLOT) queue.head = after;
    else waiters.setNext(before, after);
    if (after === NO_SLOT) queue.tail = before;
    else waiters.setPrevious(after, before);
    waiters.setNext(slot, NO_SLOT);
    waiters.setPrevious(slot, NO_SLOT);
    if (before !== NO_SLOT) return;
    this.#pull(queue);
    if (queue.position >= 0) this.#headChanged(queue);
  }

  #emptied(): void {
    if (this.waiting > 0) return;
    this.virtualTime = 0;
    this.epoch++;
  }
}
