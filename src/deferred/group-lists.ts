import { Heap } from '../core/collections/heap.ts';

/** No slot. */
const NONE = -1;
/** In `previous`: the slot is in no list. */
const UNLISTED = -2;
const SLOTS_FIRST = 64;

/** The requests of one group that have not ended, in the order in which they were accepted (or redriven). */
export interface GroupList {
  readonly group: string;
  first: number;
  last: number;
  /** Requests in the list. */
  length: number;
  /** Of these, how many are in line. */
  inLine: number;
}

interface Cursor {
  readonly list: GroupList;
  slot: number;
  position: number;
}

/** Lists of slots by group, linked through two columns of 4 bytes a slot. A walk goes on whatever enters or leaves meanwhile. */
export class GroupLists {
  #previous = new Int32Array(SLOTS_FIRST).fill(UNLISTED);
  #next = new Int32Array(SLOTS_FIRST);
  readonly #lists = new Map<string, GroupList>();
  readonly #walks = new Set<GroupWalk>();
  readonly #acceptedAt: (slot: number) => number;

  /** `acceptedAt`: by it a walk over several groups takes turns. */
  constructor(acceptedAt: (slot: number) => number) {
    this.#acceptedAt = acceptedAt;
  }

  /** The list of a group; undefined if it has no requests. */
  get(group: string): GroupList | undefined {
    return this.#lists.get(group);
  }

  /** Groups that have requests. */
  get lists(): ReadonlyMap<string, GroupList> {
    return this.#lists;
  }

  /** Makes room for this many slots. */
  grow(size: number): void {
    const previous = new Int32Array(size).fill(UNLISTED, this.#previous.length);
    previous.set(this.#previous);
    this.#previous = previous;
    const next = new Int32Array(size);
    next.set(this.#next);
    this.#next = next;
  }

  has(slot: number): boolean {
    return this.#previous[slot] !== UNLISTED;
  }

  nextOf(slot: number): number {
    return this.#next[slot] as number;
  }

  /** Uses the `next` column of a slot that is in no list. */
  setNext(slot: number, next: number): void {
    this.#next[slot] = next;
  }

  /** Adds a slot at the end of its group's list. */
  push(group: string, slot: number): void {
    let list = this.#lists.get(group);
    if (list === undefined) {
      list = { group, first: NONE, last: NONE, length: 0, inLine: 0 };
      this.#lists.set(group, list);
    }
    this.#previous[slot] = list.last;
    this.#next[slot] = NONE;
    if (list.last === NONE) list.first = slot;
    else this.#next[list.last] = slot;
    list.last = slot;
    list.length++;
  }

  /** Takes a slot out; nothing happens if it is in no list. */
  remove(group: string, slot: number): void {
    const list = this.#lists.get(group);
    if (list === undefined || !this.has(slot)) return;
    for (const walk of this.#walks) walk.leaves(list, slot, this.nextOf(slot));
    const previous = this.#previous[slot] as number;
    const next = this.#next[slot] as number;
    if (previous === NONE) list.first = next;
    else this.#next[previous] = next;
    if (next === NONE) list.last = previous;
    else this.#previous[next] = previous;
    this.#previous[slot] = UNLISTED;
    list.length--;
    if (list.length === 0) this.#lists.delete(group);
  }

  /** Walks through these groups in the order of acceptance. End it, or come to its end. */
  walk(groups: Iterable<string>): GroupWalk {
    const walk: GroupWalk = new GroupWalk(
      (slot) => this.nextOf(slot),
      this.#acceptedAt,
      () => this.#walks.delete(walk),
    );
    for (const group of groups) {
      const list = this.#lists.get(group);
      if (list !== undefined) walk.enter(list);
    }
    this.#walks.add(walk);
    return walk;
  }
}

/** A way through the lists of some groups, an item at a time, over any number of turns of the event loop. */
export class GroupWalk {
  readonly #nextOf: (slot: number) => number;
  readonly #onEnd: () => void;
  readonly #cursors = new Map<GroupList, Cursor>();
  readonly #heap: Heap<Cursor>;

  constructor(nextOf: (slot: number) => number, acceptedAt: (slot: number) => number, onEnd: () => void) {
    this.#nextOf = nextOf;
    this.#onEnd = onEnd;
    this.#heap = new Heap((a, b) => acceptedAt(a.slot) < acceptedAt(b.slot));
  }

  /** The next slot; -1 at the end. */
  next(): number {
    const cursor = this.#heap.peek();
    if (cursor === undefined) {
      this.end();
      return NONE;
    }
    const { slot } = cursor;
    this.#move(cursor, this.#nextOf(slot));
    return slot;
  }

  /** Goes no further. Twice does nothing. */
  end(): void {
    for (const cursor of this.#cursors.values()) this.#heap.remove(cursor);
    this.#cursors.clear();
    this.#onEnd();
  }

  /** For the lists. */
  enter(list: GroupList): void {
    const cursor = { list, slot: list.first, position: -1 };
    this.#cursors.set(list, cursor);
    this.#heap.push(cursor);
  }

  /** For the lists: `slot` is about to leave. */
  leaves(list: GroupList, slot: number, next: number): void {
    const cursor = this.#cursors.get(list);
    if (cursor?.slot === slot) this.#move(cursor, next);
  }

  #move(cursor: Cursor, next: number): void {
    cursor.slot = next;
    if (next !== NONE) return this.#heap.update(cursor);
    this.#heap.remove(cursor);
    this.#cursors.delete(cursor.list);
  }
}
