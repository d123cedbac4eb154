import { type Costs, ONE_REQUEST } from '../core/group.ts';
import { type GroupList, GroupLists, type GroupWalk } from './group-lists.ts';
import { HashSlots } from './hash-slots.ts';
import { Interned } from './interned.ts';
import type { RequestRow } from './request.ts';
import { SequenceSlots } from './sequence-slots.ts';

/** No slot. */
export const NONE = -1;

/** What a request in the index is doing. */
export const PENDING = 0;
export const SENDING = 1;
/** Waits outside the line: for its due time, its turn within its key, or its backend. */
export const WAITING = 2;
/** Ended; kept because its idempotency key is. */
export const ENDED = 3;

const SLOTS_FIRST = 64;
/** From here on columns grow by a quarter, not to twice: a quarter of them is empty at most. */
const LARGE = 1 << 16;

/** What requests of one route, caller and class have in common. */
interface Profile {
  readonly group: string;
  readonly route: string;
  readonly caller: string;
  readonly priority: number;
  readonly costs: Costs;
  readonly ordered: boolean;
}

/**
 * All stored requests of this process in typed columns: 47 bytes each and 4 for its sequence, with an idempotency key 23 to 29 more, and what is
 * rare (due times, deadlines, first attempts) in maps. Found by sequence or by the hash of their key; those that have not ended
 * are in the list of their group, in the order of acceptance.
 */
export class RequestIndex {
  #sequence = new Float64Array(SLOTS_FIRST);
  #acceptedAt = new Float64Array(SLOTS_FIRST);
  #secret = new Uint32Array(SLOTS_FIRST * 2);
  /** Of keys and of requests; empty until the first one has a key. */
  #hash = new Uint32Array(0);
  #requestHash = new Uint32Array(0);
  #profile = new Uint32Array(SLOTS_FIRST);
  #key = new Uint32Array(SLOTS_FIRST);
  #entry = new Int32Array(SLOTS_FIRST);
  #attempts = new Uint16Array(SLOTS_FIRST);
  #state = new Uint8Array(SLOTS_FIRST);
  readonly #dueAt = new Map<number, number>();
  readonly #deadlineAt = new Map<number, number>();
  readonly #firstAttemptAt = new Map<number, number>();
  readonly #spared = new Map<number, number>();
  readonly #callbackOf = new Map<number, number>();
  readonly #bySequence = new SequenceSlots();
  readonly #byHash = new HashSlots();
  readonly #lists = new GroupLists((slot) => this.acceptedAtOf(slot));
  readonly #keys = new Interned<string>();
  readonly #profiles = new Interned<Profile>();
  #lastProfile = 0;
  #size = SLOTS_FIRST;
  #used = 0;
  #free = NONE;
  /** Requests in the index. */
  length = 0;

  /** Adds a row that has not ended; its slot is valid until `remove`. */
  add(row: RequestRow): number {
    const slot = this.#put(row);
    this.#state[slot] = PENDING;
    this.#lists.push(row.group, slot);
    return slot;
  }

  /** Adds a row that has ended, and is kept because its idempotency key is. */
  addEnded(row: RequestRow): number {
    const slot = this.#put(row);
    this.#state[slot] = ENDED;
    return slot;
  }

  /** Forgets a request. */
  remove(slot: number): void {
    this.leaveList(slot);
    this.#bySequence.delete(this.sequenceOf(slot));
    this.forgetHash(slot);
    for (const rare of [this.#dueAt, this.#deadlineAt, this.#firstAttemptAt, this.#spared, this.#callbackOf]) rare.delete(slot);
    this.#keys.release(this.#key[slot] as number);
    this.#profiles.release(this.#profile[slot] as number);
    this.#lists.setNext(slot, this.#free);
    this.#free = slot;
    this.length--;
  }

  /** The end of a request is stored: it leaves the list of its group. */
  leaveList(slot: number): void {
    this.setEntry(slot, NONE);
    this.#lists.remove(this.groupOf(slot), slot);
  }

  /** The slot of a sequence; NONE if it is not in the index. */
  slotOf(sequence: number): number {
    return this.#bySequence.find(sequence);
  }

  /** The slot behind an idempotency key's hash; NONE if none is known. */
  slotOfHash(idHash: string): number {
    return this.#hash.length === 0 ? NONE : this.#byHash.find(this.#hash, highOf(idHash), lowOf(idHash));
  }

  /** The newest request of a key stands for it: a dead or cancelled one that was submitted again does no more. */
  forgetHash(slot: number): void {
    if (this.#hasHash(slot)) this.#byHash.delete(this.#hash, slot);
  }

  /** Walks through the requests of these groups that have not ended, in the order of acceptance; of all groups where none are named. */
  walk(groups: Iterable<string> = this.#lists.lists.keys()): GroupWalk {
    return this.#lists.walk(groups);
  }

  /** Slots in the order of their sequences from this one on, ended ones too. The index may not change meanwhile. */
  from(sequence: number): IterableIterator<number> {
    return this.#bySequence.from(sequence);
  }

  /** Groups of requests that have not ended. */
  get groups(): ReadonlyMap<string, Readonly<GroupList>> {
    return this.#lists.lists;
  }

  /** Groups and routes that requests name, each pair at least once. */
  get profiles(): IterableIterator<Pick<Profile, 'group' | 'route'>> {
    return this.#profiles.values();
  }

  /** Callbacks that have not ended, oldest first. */
  *callbacks(): IterableIterator<number> {
    for (const slot of this.#callbackOf.keys()) if (this.stateOf(slot) !== ENDED) yield slot;
  }

  /** The oldest request of a group that has not ended; NONE if there is none. One whose end is being stored counts. */
  oldestOf(group: string): number {
    return this.#lists.get(group)?.first ?? NONE;
  }

  /** The row as it is now. */
  row(slot: number): RequestRow {
    const { group, route, caller, priority, costs, ordered } = this.#profileOf(slot);
    const idHash = this.idHashOf(slot);
    return {
      sequence: this.sequenceOf(slot),
      secret: this.secretOf(slot),
      ...{ group, route, caller, priority, costs, ordered },
      key: this.keyOf(slot),
      acceptedAt: this.acceptedAtOf(slot),
      dueAt: this.dueAtOf(slot),
      deadlineAt: this.deadlineAtOf(slot),
      firstAttemptAt: this.firstAttemptAtOf(slot),
      attempts: this.attemptsOf(slot),
      spared: this.sparedOf(slot),
      idHash,
      requestHash: idHash === '' ? '' : hexOf(this.#requestHash, slot),
      callbackOf: this.callbackOf(slot),
    };
  }

  sequenceOf(slot: number): number {
    return this.#sequence[slot] as number;
  }

  acceptedAtOf(slot: number): number {
    return this.#acceptedAt[slot] as number;
  }

  secretOf(slot: number): string {
    return hexOf(this.#secret, slot);
  }

  /** '' without an idempotency key. */
  idHashOf(slot: number): string {
    return this.#hasHash(slot) ? hexOf(this.#hash, slot) : '';
  }

  groupOf(slot: number): string {
    return this.#profileOf(slot).group;
  }

  keyOf(slot: number): string {
    return this.#keys.value(this.#key[slot] as number);
  }

  routeOf(slot: number): string {
    return this.#profileOf(slot).route;
  }

  callerOf(slot: number): string {
    return this.#profileOf(slot).caller;
  }

  costsOf(slot: number): Costs {
    return this.#profileOf(slot).costs;
  }

  priorityOf(slot: number): number {
    return this.#profileOf(slot).priority;
  }

  orderedOf(slot: number): boolean {
    return this.#profileOf(slot).ordered;
  }

  callbackOf(slot: number): number {
    return this.#callbackOf.get(slot) ?? 0;
  }

  dueAtOf(slot: number): number {
    return this.#dueAt.get(slot) ?? 0;
  }

  setDueAt(slot: number, at: number): void {
    putRare(this.#dueAt, slot, at);
  }

  deadlineAtOf(slot: number): number {
    return this.#deadlineAt.get(slot) ?? 0;
  }

  firstAttemptAtOf(slot: number): number {
    return this.#firstAttemptAt.get(slot) ?? 0;
  }

  setFirstAttemptAt(slot: number, at: number): void {
    putRare(this.#firstAttemptAt, slot, at);
  }

  attemptsOf(slot: number): number {
    return this.#attempts[slot] as number;
  }

  setAttempts(slot: number, attempts: number): void {
    this.#attempts[slot] = Math.min(attempts, 65_535);
  }

  stateOf(slot: number): number {
    return this.#state[slot] as number;
  }

  /** An ended request stays in its list until {@link leaveList}. */
  setState(slot: number, state: number): void {
    this.#state[slot] = state;
  }

  /** Attempts that do not count against its retries. */
  sparedOf(slot: number): number {
    return this.#spared.get(slot) ?? 0;
  }

  setSpared(slot: number, spared: number): void {
    putRare(this.#spared, slot, spared);
  }

  /** The entry in its group's line; NONE while it is in none. */
  entryOf(slot: number): number {
    return this.#entry[slot] as number;
  }

  setEntry(slot: number, entry: number): void {
    const before = this.#entry[slot] as number;
    this.#entry[slot] = entry;
    const list = (before === NONE) === (entry === NONE) ? undefined : this.#lists.get(this.groupOf(slot));
    if (list !== undefined) list.inLine += entry === NONE ? -1 : 1;
  }

  #profileOf(slot: number): Profile {
    return this.#profiles.value(this.#profile[slot] as number);
  }

  #hasHash(slot: number): boolean {
    return this.#hash.length > 0 && (this.#hash[slot * 2] !== 0 || this.#hash[slot * 2 + 1] !== 0);
  }

  #put(row: RequestRow): number {
    const slot = this.#take();
    this.#sequence[slot] = row.sequence;
    this.#acceptedAt[slot] = row.acceptedAt;
    putHex(this.#secret, slot, row.secret);
    this.#profile[slot] = this.#profileFor(row);
    this.#key[slot] = this.#keys.intern(row.key, () => row.key);
    this.#entry[slot] = NONE;
    this.#attempts[slot] = row.attempts;
    putRare(this.#dueAt, slot, row.dueAt);
    putRare(this.#deadlineAt, slot, row.deadlineAt);
    putRare(this.#firstAttemptAt, slot, row.firstAttemptAt);
    putRare(this.#spared, slot, row.spared);
    putRare(this.#callbackOf, slot, row.callbackOf);
    this.#putHashes(slot, row);
    this.#bySequence.set(row.sequence, slot);
    this.length++;
    return slot;
  }

  /** Most rows have what the row before had. */
  #profileFor({ group, route, caller, priority, ordered, costs }: RequestRow): number {
    if (this.#profiles.has(this.#lastProfile)) {
      const last = this.#profiles.value(this.#lastProfile);
      const same = last.group === group && last.route === route && last.caller === caller && last.priority === priority && last.ordered === ordered;
      if (same && last.costs === costs) return this.#profiles.again(this.#lastProfile);
    }
    const name = [group, route, priority, ordered ? 'o' : '', costs === ONE_REQUEST ? '' : JSON.stringify(costs), caller].join('\u0000');
    this.#lastProfile = this.#profiles.intern(name, () => ({ group, route, caller, priority, ordered, costs }));
    return this.#lastProfile;
  }

  #putHashes(slot: number, { idHash, requestHash }: RequestRow): void {
    if (idHash === '') {
      if (this.#hash.length > 0) this.#hash[slot * 2] = this.#hash[slot * 2 + 1] = 0;
      return;
    }
    if (this.#hash.length === 0) {
      this.#hash = new Uint32Array(this.#size * 2);
      this.#requestHash = new Uint32Array(this.#size * 2);
    }
    putHex(this.#hash, slot, idHash);
    putHex(this.#requestHash, slot, requestHash === '' ? ZERO : requestHash);
    if (this.#hasHash(slot)) this.#byHash.set(this.#hash, slot);
  }

  #take(): number {
    if (this.#free !== NONE) {
      const slot = this.#free;
      this.#free = this.#lists.nextOf(slot);
      return slot;
    }
    if (this.#used === this.#size) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const size = this.#size < LARGE ? this.#size * 2 : Math.ceil(this.#size * 1.25);
    this.#sequence = grown(this.#sequence, new Float64Array(size));
    this.#acceptedAt = grown(this.#acceptedAt, new Float64Array(size));
    this.#secret = grown(this.#secret, new Uint32Array(size * 2));
    if (this.#hash.length > 0) {
      this.#hash = grown(this.#hash, new Uint32Array(size * 2));
      this.#requestHash = grown(this.#requestHash, new Uint32Array(size * 2));
    }
    this.#profile = grown(this.#profile, new Uint32Array(size));
    this.#key = grown(this.#key, new Uint32Array(size));
    this.#entry = grown(this.#entry, new Int32Array(size));
    this.#attempts = grown(this.#attempts, new Uint16Array(size));
    this.#state = grown(this.#state, new Uint8Array(size));
    this.#lists.grow(size);
    this.#size = size;
  }
}

const ZERO = '0'.repeat(16);

function highOf(hex: string): number {
  return numberOf(hex, 0);
}

function lowOf(hex: string): number {
  return numberOf(hex, 8);
}

/** The number that 8 hexadecimal digits from `at` on are. */
function numberOf(hex: string, at: number): number {
  let value = 0;
  for (let index = at; index < at + 8; index++) {
    const code = hex.charCodeAt(index);
    // 0 to 9 have the codes from 48 on, a to f those from 97 on.
    value = (value << 4) | (code < 58 ? code - 48 : (code | 32) - 87);
  }
  return value >>> 0;
}

function putHex(columns: Uint32Array, slot: number, hex: string): void {
  columns[slot * 2] = highOf(hex);
  columns[slot * 2 + 1] = lowOf(hex);
}

function hexOf(columns: Uint32Array, slot: number): string {
  const high = columns[slot * 2] as number;
  const low = columns[slot * 2 + 1] as number;
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

function putRare(map: Map<number, number>, slot: number, value: number): void {
  if (value === 0) map.delete(slot);
  else map.set(slot, value);
}

function grown<T extends Float64Array | Uint32Array | Int32Array | Uint16Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
