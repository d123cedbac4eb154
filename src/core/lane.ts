import { addArrival, removeArrival } from './arrival-order.ts';
import { PRIORITY_DEFERRED } from './group.ts';
import { Heap } from './heap.ts';
import type { KeyState } from './key-state.ts';
import type { GroupNode } from './node.ts';
import { ASIDE, AWAY, NONE, type Slab, WAITING } from './slab.ts';
import { isStored, type StoredEntry, type StoredRequests } from './stored-requests.ts';
import type { Micros } from './time.ts';

/**
 * The waiters of one key in one band: a queue threaded through the slab. Fairness between lanes is start-time fair
 * queueing (Goyal, Vin, Cheng 1996): a lane's start tag is where the service it has had, divided by its weight, ends;
 * the lane with the smallest goes first.
 */
export class Lane {
  readonly band: Band;
  readonly keyState: KeyState;
  head = NONE;
  tail = NONE;
  /** Where the next admission of this lane begins in virtual time. */
  start = 0;
  /** Where the last one ended. */
  finish = 0;
  /** The band's epoch in which `finish` was written. */
  epoch = 0;
  /** Place in the band's heap; -1: not offered (empty or parked). */
  position = -1;
  /** Heads whose callers are away, oldest first. */
  readonly aside: number[] = [];
  /** Chain of stored requests that are not in the waiter table yet, oldest first; NONE: none. */
  storedHead = NONE;
  storedTail = NONE;
  /** Length of that chain without cancelled ones. */
  stored = 0;
  /** Life of the leases of stored requests that are pulled from now on. */
  storedLease: Micros = 0;
  /** The lane's place among the oldest of a deferred band. */
  readonly age = new LaneAge(this);

  constructor(band: Band, keyState: KeyState) {
    this.band = band;
    this.keyState = keyState;
  }

  /** Its past no longer influences the future. */
  get forgettable(): boolean {
    return this.head === NONE && this.aside.length === 0 && (this.epoch !== this.band.epoch || this.finish <= this.band.virtual);
  }
}

/** A lane as it stands in the order of the oldest heads. */
class LaneAge {
  position = -1;
  readonly lane: Lane;

  constructor(lane: Lane) {
    this.lane = lane;
  }
}

/** Waiters of one priority in one group. */
export class Band {
  readonly node: GroupNode;
  readonly priority: number;
  /** Lanes that may be offered, best first. */
  readonly lanes: Heap<Lane>;
  /** The same lanes, the oldest head first; kept for deferred bands only, for the share of overdue requests. */
  readonly #ages: Heap<LaneAge>;
  /** Waiters, stored requests included. */
  waiting = 0;
  /** Virtual time: the start tag of the last lane served. */
  virtual = 0;
  /** Grows when the band runs empty, which forgives all lanes. */
  epoch = 0;
  /** Ends of the list of all its waiters, away or not, by arrival. */
  youngest = NONE;
  oldest = NONE;
  readonly #slab: Slab;
  readonly #stored: StoredRequests;

  constructor(node: GroupNode, priority: number, slab: Slab) {
    this.node = node;
    this.priority = priority;
    this.#slab = slab;
    this.#stored = slab.stored;
    this.#ages = new Heap<LaneAge>((a, b) => slab.orderOf(a.lane.head) < slab.orderOf(b.lane.head));
    this.lanes = new Heap<Lane>((a, b) => (node.fair && a.start !== b.start ? a.start < b.start : slab.orderOf(a.head) < slab.orderOf(b.head)));
  }

  /** Deferred requests come last and never age. */
  get deferred(): boolean {
    return this.priority === PRIORITY_DEFERRED;
  }

  /** The lane of a key, made when first needed. */
  laneFor(keyState: KeyState): Lane {
    for (const lane of keyState.lanes) if (lane.band === this) return lane;
    const lane = new Lane(this, keyState);
    keyState.lanes.push(lane);
    return lane;
  }

  /** Puts a waiter into its lane: at its end, unless its order is an older one. */
  push(lane: Lane, slot: number): void {
    this.#slab.setLane(slot, lane);
    this.waiting++;
    addArrival(this, this.#slab, slot);
    this.#insert(lane, slot);
  }

  /** Puts a stored request into its lane: at the end, or at the front when it is older than the rest. Answers its entry. */
  pushStored(lane: Lane, request: StoredEntry, lease: Micros): number {
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
  dropStored(lane: Lane): number {
    const { stored } = lane;
    this.#stored.drop(lane, stored);
    lane.stored = 0;
    this.waiting -= stored;
    return stored;
  }

  /** Offers a lane that has somebody and is not parked. */
  offer(lane: Lane): void {
    if (lane.head === NONE || lane.keyState.parked || lane.position >= 0) return;
    const finish = lane.epoch === this.epoch ? lane.finish : 0;
    lane.start = Math.max(finish, this.virtual);
    this.lanes.push(lane);
    if (this.deferred) this.#ages.push(lane.age);
  }

  /** Takes a lane out of the offers. */
  withdraw(lane: Lane): void {
    if (lane.position < 0) return;
    this.lanes.remove(lane);
    if (this.deferred) this.#ages.remove(lane.age);
  }

  /** A waiter leaves its lane without service. */
  remove(slot: number): void {
    const lane = this.#slab.laneOf(slot);
    this.waiting--;
    if (!isStored(this.#slab.tokenOf(slot))) removeArrival(this, this.#slab, slot);
    if (this.#slab.stateOf(slot) === ASIDE) lane.aside.splice(lane.aside.indexOf(slot), 1);
    else this.#unlink(lane, slot);
    this.#emptied();
  }

  /** The lane's head is admitted at this cost. */
  serve(lane: Lane, cost: number, weight: number): void {
    const slot = lane.head;
    this.virtual = Math.max(this.virtual, lane.start);
    lane.finish = lane.start + (cost > 0 ? cost : 1) / weight;
    lane.epoch = this.epoch;
    lane.start = lane.finish;
    this.waiting--;
    if (!isStored(this.#slab.tokenOf(slot))) removeArrival(this, this.#slab, slot);
    this.#unlink(lane, slot);
    this.#emptied();
  }

  /** First lane whose head is there; heads that are away are set aside on the way. */
  best(): Lane | undefined {
    const slab = this.#slab;
    for (;;) {
      const lane = this.lanes.peek();
      if (lane === undefined || slab.stateOf(lane.head) === WAITING) return lane;
      const slot = lane.head;
      slab.setState(slot, ASIDE);
      lane.aside.push(slot);
      this.#unlink(lane, slot);
    }
  }

  /** The lane with the oldest head, of a deferred band only; undefined: none is offered. */
  oldestLane(): Lane | undefined {
    return this.#ages.peek()?.lane;
  }

  /** Its caller is back: the waiter stands where its order puts it. */
  comeBack(slot: number): void {
    const slab = this.#slab;
    const lane = slab.laneOf(slot);
    if (slab.stateOf(slot) === ASIDE) {
      lane.aside.splice(lane.aside.indexOf(slot), 1);
      this.#insert(lane, slot);
    }
    slab.setState(slot, WAITING);
  }

  /** Its caller went away but may return. */
  goAway(slot: number): void {
    if (this.#slab.stateOf(slot) === WAITING) this.#slab.setState(slot, AWAY);
  }

  /** Links a waiter where its order puts it; from the head, since who comes back late is among the oldest. */
  #insert(lane: Lane, slot: number): void {
    const slab = this.#slab;
    const order = slab.orderOf(slot);
    let before = lane.tail;
    let after = NONE;
    if (before !== NONE && slab.orderOf(before) > order) {
      before = NONE;
      after = lane.head;
      while (after !== NONE && slab.orderOf(after) < order) {
        before = after;
        after = slab.nextOf(after);
      }
    }
    this.#link(lane, before, slot, after);
    if (lane.head === slot) this.#headChanged(lane);
  }

  /** The lane stands where its new head puts it: among the offers, or in none when it is empty. */
  #headChanged(lane: Lane): void {
    if (lane.position < 0) this.offer(lane);
    else if (lane.head === NONE) this.withdraw(lane);
    else {
      this.lanes.update(lane);
      if (this.deferred) this.#ages.update(lane.age);
    }
  }

  /** Moves the first stored request into the waiter table when it is older than the lane's head; false: it is not, or there is none. */
  #pull(lane: Lane): boolean {
    if (lane.stored === 0) return false;
    const slab = this.#slab;
    const stored = this.#stored;
    const entry = stored.first(lane);
    if (lane.head !== NONE && slab.orderOf(lane.head) < stored.orderOf(entry)) return false;
    stored.shift(lane);
    lane.stored--;
    const slot = slab.addStored(entry, lane);
    stored.pulled(entry, slot);
    this.#link(lane, NONE, slot, lane.head);
    return true;
  }

  #link(lane: Lane, before: number, slot: number, after: number): void {
    const slab = this.#slab;
    slab.setPrevious(slot, before);
    slab.setNext(slot, after);
    if (before === NONE) lane.head = slot;
    else slab.setNext(before, slot);
    if (after === NONE) lane.tail = slot;
    else slab.setPrevious(after, slot);
  }

  #unlink(lane: Lane, slot: number): void {
    const slab = this.#slab;
    const before = slab.previousOf(slot);
    const after = slab.nextOf(slot);
    if (before === NONE) lane.head = after;
    else slab.setNext(before, after);
    if (after === NONE) lane.tail = before;
    else slab.setPrevious(after, before);
    slab.setNext(slot, NONE);
    slab.setPrevious(slot, NONE);
    if (before !== NONE) return;
    this.#pull(lane);
    if (lane.position >= 0) this.#headChanged(lane);
  }

  #emptied(): void {
    if (this.waiting > 0) return;
    this.virtual = 0;
    this.epoch++;
  }
}
