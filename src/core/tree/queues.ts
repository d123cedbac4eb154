import { Heap } from '../collections/heap.ts';
import { addArrival, removeArrival } from '../gate/arrival-order.ts';
import { isStored, type StoredEntry, type StoredRequests } from '../gate/stored-requests.ts';
import { PRIORITY_DEFERRED } from '../group.ts';
import type { Micros } from '../time.ts';
import type { GroupNode } from './group-node.ts';
import type { KeyState } from './key-state.ts';
import { NO_SLOT, SLOT_DETACHED, SLOT_SUSPENDED, SLOT_WAITING, type WaiterTable } from './waiter-table.ts';

/**
 * The waiters of one key in one band: a queue threaded through the slab. Fairness between lanes is start-time fair
 * queueing (Goyal, Vin, Cheng 1996): a lane's start tag is where the service it has had, divided by its weight, ends;
 * the lane with the smallest goes first.
 */
export class KeyQueue {
  readonly band: PriorityLevel;
  readonly keyState: KeyState;
  head = NO_SLOT;
  tail = NO_SLOT;
  /** Where the next admission of this lane begins in virtual time. */
  startTag = 0;
  /** Where the last one ended. */
  finishTag = 0;
  /** The band's epoch in which `finish` was written. */
  epoch = 0;
  /** Place in the band's heap; -1: not offered (empty or parked). */
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
  /** The lane's place among the oldest of a deferred band. */
  readonly age = new LaneAge(this);

  constructor(band: PriorityLevel, keyState: KeyState) {
    this.band = band;
    this.keyState = keyState;
  }

  /** Its past no longer influences the future. */
  get isEmpty(): boolean {
    return this.head === NO_SLOT && this.detached.length === 0 && (this.epoch !== this.band.epoch || this.finishTag <= this.band.virtualTime);
  }
}

/** A lane as it stands in the order of the oldest heads. */
class LaneAge {
  position = -1;
  readonly lane: KeyQueue;

  constructor(lane: KeyQueue) {
    this.lane = lane;
  }
}

/** Waiters of one priority in one group. */
export class PriorityLevel {
  readonly node: GroupNode;
  readonly priority: number;
  /** Lanes that may be offered, best first. */
  readonly lanes: Heap<KeyQueue>;
  /** The same lanes, the oldest head first; kept for deferred bands only, for the share of overdue requests. */
  readonly #ages: Heap<LaneAge>;
  /** Waiters, stored requests included. */
  waiting = 0;
  /** Virtual time: the start tag of the last lane served. */
  virtualTime = 0;
  /** Grows when the band runs empty, which forgives all lanes. */
  epoch = 0;
  /** Ends of the list of all its waiters, away or not, by arrival. */
  youngest = NO_SLOT;
  oldest = NO_SLOT;
  readonly #slab: WaiterTable;
  readonly #stored: StoredRequests;

  constructor(node: GroupNode, priority: number, slab: WaiterTable) {
    this.node = node;
    this.priority = priority;
    this.#slab = slab;
    this.#stored = slab.stored;
    this.#ages = new Heap<LaneAge>((a, b) => slab.orderOf(a.lane.head) < slab.orderOf(b.lane.head));
    this.lanes = new Heap<KeyQueue>((a, b) => (node.fair && a.startTag !== b.startTag ? a.startTag < b.startTag : slab.orderOf(a.head) < slab.orderOf(b.head)));
  }

  /** Deferred requests come last and never age. */
  get deferred(): boolean {
    return this.priority === PRIORITY_DEFERRED;
  }

  /** The lane of a key, made when first needed. */
  queueFor(keyState: KeyState): KeyQueue {
    for (const lane of keyState.lanes) if (lane.band === this) return lane;
    const lane = new KeyQueue(this, keyState);
    keyState.lanes.push(lane);
    return lane;
  }

  /** Puts a waiter into its lane: at its end, unless its order is an older one. */
  push(lane: KeyQueue, slot: number): void {
    this.#slab.setLane(slot, lane);
    this.waiting++;
    addArrival(this, this.#slab, slot);
    this.#insert(lane, slot);
  }

  /** Puts a stored request into its lane: at the end, or at the front when it is older than the rest. Answers its entry. */
  pushStored(lane: KeyQueue, request: StoredEntry, lease: Micros): number {
    const entry = this.#stored.add(lane, request);
    lane.storedLease = lease;
    lane.stored++;
    this.waiting++;
    this.#stored.link(entry);
    if (this.#pull(lane)) this.#headChanged(lane);
    return entry;
  }

  /** A stored request that is still queued leaves its lane; false: it was pulled or is not known. */
  cancelStored(entry: number): boolean {
    const lane = this.#stored.laneOf(entry);
    if (lane === undefined || lane.stored === 0 || !this.#stored.isQueued(entry)) return false;
    this.#stored.cancel(entry);
    lane.stored--;
    this.waiting--;
    return true;
  }

  /** Forgets all stored requests of a lane that are not in the waiter table, in constant time; answers how many. */
  dropStored(lane: KeyQueue): number {
    const { stored } = lane;
    this.#stored.drop(lane, stored);
    lane.stored = 0;
    this.waiting -= stored;
    return stored;
  }

  /** Offers a lane that has somebody and is not parked. */
  activate(lane: KeyQueue): void {
    if (lane.head === NO_SLOT || lane.keyState.parked || lane.position >= 0) return;
    const finish = lane.epoch === this.epoch ? lane.finishTag : 0;
    lane.startTag = Math.max(finish, this.virtualTime);
    this.lanes.push(lane);
    if (this.deferred) this.#ages.push(lane.age);
  }

  /** Takes a lane out of the offers. */
  deactivate(lane: KeyQueue): void {
    if (lane.position < 0) return;
    this.lanes.remove(lane);
    if (this.deferred) this.#ages.remove(lane.age);
  }

  /** A waiter leaves its lane without service. */
  remove(slot: number): void {
    const lane = this.#slab.queueOf(slot);
    this.waiting--;
    if (!isStored(this.#slab.tokenOf(slot))) removeArrival(this, this.#slab, slot);
    if (this.#slab.stateOf(slot) === SLOT_DETACHED) lane.detached.splice(lane.detached.indexOf(slot), 1);
    else this.#unlink(lane, slot);
    this.#emptied();
  }

  /** The lane's head is admitted at this cost. */
  advanceVirtualTime(lane: KeyQueue, cost: number, weight: number): void {
    const slot = lane.head;
    this.virtualTime = Math.max(this.virtualTime, lane.startTag);
    lane.finishTag = lane.startTag + (cost > 0 ? cost : 1) / weight;
    lane.epoch = this.epoch;
    lane.startTag = lane.finishTag;
    this.waiting--;
    if (!isStored(this.#slab.tokenOf(slot))) removeArrival(this, this.#slab, slot);
    this.#unlink(lane, slot);
    this.#emptied();
  }

  /** First lane whose head is there; heads that are away are set aside on the way. */
  head(): KeyQueue | undefined {
    const slab = this.#slab;
    for (;;) {
      const lane = this.lanes.peek();
      if (lane === undefined || slab.stateOf(lane.head) === SLOT_WAITING) return lane;
      const slot = lane.head;
      slab.setState(slot, SLOT_DETACHED);
      lane.detached.push(slot);
      this.#unlink(lane, slot);
    }
  }

  /** The lane with the oldest head, of a deferred band only; undefined: none is offered. */
  oldestLane(): KeyQueue | undefined {
    return this.#ages.peek()?.lane;
  }

  /** Its caller is back: the waiter stands where its order puts it. */
  comeBack(slot: number): void {
    const slab = this.#slab;
    const lane = slab.queueOf(slot);
    if (slab.stateOf(slot) === SLOT_DETACHED) {
      lane.detached.splice(lane.detached.indexOf(slot), 1);
      this.#insert(lane, slot);
    }
    slab.setState(slot, SLOT_WAITING);
  }

  /** Its caller went away but may return. */
  goAway(slot: number): void {
    if (this.#slab.stateOf(slot) === SLOT_WAITING) this.#slab.setState(slot, SLOT_SUSPENDED);
  }

  /** Links a waiter where its order puts it; from the head, since who comes back late is among the oldest. */
  #insert(lane: KeyQueue, slot: number): void {
    const slab = this.#slab;
    const order = slab.orderOf(slot);
    let before = lane.tail;
    let after = NO_SLOT;
    if (before !== NO_SLOT && slab.orderOf(before) > order) {
      before = NO_SLOT;
      after = lane.head;
      while (after !== NO_SLOT && slab.orderOf(after) < order) {
        before = after;
        after = slab.nextOf(after);
      }
    }
    this.#link(lane, before, slot, after);
    if (lane.head === slot) this.#headChanged(lane);
  }

  /** The lane stands where its new head puts it: among the offers, or in none when it is empty. */
  #headChanged(lane: KeyQueue): void {
    if (lane.position < 0) this.activate(lane);
    else if (lane.head === NO_SLOT) this.deactivate(lane);
    else {
      this.lanes.update(lane);
      if (this.deferred) this.#ages.update(lane.age);
    }
  }

  /** Moves the first stored request into the waiter table when it is older than the lane's head; false: it is not, or there is none. */
  #pull(lane: KeyQueue): boolean {
    if (lane.stored === 0) return false;
    const slab = this.#slab;
    const stored = this.#stored;
    const entry = stored.first(lane);
    if (lane.head !== NO_SLOT && slab.orderOf(lane.head) < stored.orderOf(entry)) return false;
    stored.shift(lane);
    lane.stored--;
    const slot = slab.addStored(entry, lane);
    stored.pulled(entry, slot);
    this.#link(lane, NO_SLOT, slot, lane.head);
    return true;
  }

  #link(lane: KeyQueue, before: number, slot: number, after: number): void {
    const slab = this.#slab;
    slab.setPrevious(slot, before);
    slab.setNext(slot, after);
    if (before === NO_SLOT) lane.head = slot;
    else slab.setNext(before, slot);
    if (after === NO_SLOT) lane.tail = slot;
    else slab.setPrevious(after, slot);
  }

  #unlink(lane: KeyQueue, slot: number): void {
    const slab = this.#slab;
    const before = slab.previousOf(slot);
    const after = slab.nextOf(slot);
    if (before === NO_SLOT) lane.head = after;
    else slab.setNext(before, after);
    if (after === NO_SLOT) lane.tail = before;
    else slab.setPrevious(after, before);
    slab.setNext(slot, NO_SLOT);
    slab.setPrevious(slot, NO_SLOT);
    if (before !== NO_SLOT) return;
    this.#pull(lane);
    if (lane.position >= 0) this.#headChanged(lane);
  }

  #emptied(): void {
    if (this.waiting > 0) return;
    this.virtualTime = 0;
    this.epoch++;
  }
}
