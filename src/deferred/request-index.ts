import { type Costs, ONE_REQUEST } from '../core/group.ts';
import type { RequestRow } from './request.ts';

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
const PAGE = 4096;
/** Names of a slot: group, key, route, caller, costs. */
const NAMES = 5;

/**
 * All stored requests of this process in typed columns: 65 bytes each, 12 more with an idempotency key, and what is rare
 * (due times, deadlines, first attempts) in maps. Found by sequence or by the hash of their key.
 */
export class RequestIndex {
  #sequence = new Float64Array(SLOTS_FIRST);
  #acceptedAt = new Float64Array(SLOTS_FIRST);
  #secret = new Uint32Array(SLOTS_FIRST * 2);
  #hash = new Uint32Array(SLOTS_FIRST * 2);
  #names = new Uint32Array(SLOTS_FIRST * NAMES);
  #entry = new Int32Array(SLOTS_FIRST);
  #next = new Int32Array(SLOTS_FIRST);
  #priority = new Uint16Array(SLOTS_FIRST);
  #attempts = new Uint16Array(SLOTS_FIRST);
  #state = new Uint8Array(SLOTS_FIRST);
  #flags = new Uint8Array(SLOTS_FIRST);
  readonly #dueAt = new Map<number, number>();
  readonly #deadlineAt = new Map<number, number>();
  readonly #firstAttemptAt = new Map<number, number>();
  readonly #spared = new Map<number, number>();
  readonly #callbackOf = new Map<number, number>();
  readonly #requestHash = new Map<number, string>();
  readonly #pages = new Map<number, { readonly slots: Int32Array; used: number }>();
  readonly #byHash = new Map<string, number>();
  readonly #strings = new Interned();
  readonly #costs = new Interned();
  #size = SLOTS_FIRST;
  #used = 0;
  #free = NONE;
  /** Requests in the index. */
  length = 0;
  readonly #pending = new Map<string, number>();

  /** Adds a row; its slot is valid until `remove`. */
  add(row: RequestRow): number {
    const slot = this.#take();
    this.#sequence[slot] = row.sequence;
    this.#acceptedAt[slot] = row.acceptedAt;
    putHex(this.#secret, slot, row.secret);
    putHex(this.#hash, slot, row.idHash === '' ? ZERO : row.idHash);
    const at = slot * NAMES;
    this.#names[at] = this.#strings.intern(row.group);
    this.#names[at + 1] = this.#strings.intern(row.key);
    this.#names[at + 2] = this.#strings.intern(row.route);
    this.#names[at + 3] = this.#strings.intern(row.caller);
    this.#names[at + 4] = row.costs === ONE_REQUEST ? 0 : this.#costs.intern(JSON.stringify(row.costs));
    this.#entry[slot] = NONE;
    this.#next[slot] = NONE;
    this.#priority[slot] = row.priority;
    this.#attempts[slot] = row.attempts;
    this.#state[slot] = PENDING;
    this.#flags[slot] = row.ordered ? 1 : 0;
    putRare(this.#dueAt, slot, row.dueAt);
    putRare(this.#deadlineAt, slot, row.deadlineAt);
    putRare(this.#firstAttemptAt, slot, row.firstAttemptAt);
    putRare(this.#spared, slot, row.spared);
    putRare(this.#callbackOf, slot, row.callbackOf);
    if (row.idHash !== '') {
      this.#byHash.set(row.idHash, slot);
      this.#requestHash.set(slot, row.requestHash);
    }
    this.#page(row.sequence).slots[row.sequence % PAGE] = slot + 1;
    this.#page(row.sequence).used++;
    this.length++;
    this.#count(row.group, 1);
    return slot;
  }

  /** Forgets a request. */
  remove(slot: number): void {
    if (this.stateOf(slot) !== ENDED) this.#count(this.groupOf(slot), -1);
    const sequence = this.sequenceOf(slot);
    const number = Math.floor(sequence / PAGE);
    const page = this.#pages.get(number);
    if (page !== undefined) {
      page.slots[sequence % PAGE] = 0;
      page.used--;
      if (page.used === 0) this.#pages.delete(number);
    }
    const hash = this.idHashOf(slot);
    if (hash !== '' && this.#byHash.get(hash) === slot) this.#byHash.delete(hash);
    for (const rare of [this.#dueAt, this.#deadlineAt, this.#firstAttemptAt, this.#spared, this.#callbackOf, this.#requestHash]) rare.delete(slot);
    const at = slot * NAMES;
    for (let name = 0; name < 4; name++) this.#strings.release(this.#names[at + name] as number);
    if (this.#names[at + 4] !== 0) this.#costs.release(this.#names[at + 4] as number);
    this.#next[slot] = this.#free;
    this.#free = slot;
    this.length--;
  }

  /** The slot of a sequence; NONE if it is not in the index. */
  slotOf(sequence: number): number {
    const page = this.#pages.get(Math.floor(sequence / PAGE));
    return page === undefined ? NONE : (page.slots[sequence % PAGE] as number) - 1;
  }

  /** The slot behind an idempotency key's hash; NONE if none is known. */
  slotOfHash(idHash: string): number {
    return this.#byHash.get(idHash) ?? NONE;
  }

  /** The newest request of a key stands for it: a dead or cancelled one that was submitted again does no more. */
  forgetHash(slot: number): void {
    const hash = this.idHashOf(slot);
    if (hash !== '' && this.#byHash.get(hash) === slot) this.#byHash.delete(hash);
  }

  /** All slots in use, in no order. */
  *slots(): IterableIterator<number> {
    for (const { slots } of this.#pages.values()) for (const slot of slots) if (slot > 0) yield slot - 1;
  }

  /** The row as it is now. */
  row(slot: number): RequestRow {
    return {
      sequence: this.sequenceOf(slot),
      secret: this.secretOf(slot),
      group: this.groupOf(slot),
      route: this.routeOf(slot),
      caller: this.callerOf(slot),
      key: this.keyOf(slot),
      priority: this.#priority[slot] as number,
      costs: this.costsOf(slot),
      acceptedAt: this.acceptedAtOf(slot),
      dueAt: this.dueAtOf(slot),
      deadlineAt: this.deadlineAtOf(slot),
      firstAttemptAt: this.firstAttemptAtOf(slot),
      attempts: this.attemptsOf(slot),
      spared: this.sparedOf(slot),
      idHash: this.idHashOf(slot),
      requestHash: this.#requestHash.get(slot) ?? '',
      ordered: this.orderedOf(slot),
      callbackOf: this.#callbackOf.get(slot) ?? 0,
    };
  }

  sequenceOf(slot: number): number {
    return this.#sequence[slot] as number;
  }

  acceptedAtOf(slot: number): number {
    return this.#acceptedAt[slot] as number;
  }

  /** A redriven request is a newcomer. */
  setAcceptedAt(slot: number, at: number): void {
    this.#acceptedAt[slot] = at;
  }

  secretOf(slot: number): string {
    return hexOf(this.#secret, slot);
  }

  /** '' without an idempotency key. */
  idHashOf(slot: number): string {
    const hash = hexOf(this.#hash, slot);
    return hash === ZERO ? '' : hash;
  }

  requestHashOf(slot: number): string {
    return this.#requestHash.get(slot) ?? '';
  }

  groupOf(slot: number): string {
    return this.#strings.text(this.#names[slot * NAMES] as number);
  }

  keyOf(slot: number): string {
    return this.#strings.text(this.#names[slot * NAMES + 1] as number);
  }

  routeOf(slot: number): string {
    return this.#strings.text(this.#names[slot * NAMES + 2] as number);
  }

  callerOf(slot: number): string {
    return this.#strings.text(this.#names[slot * NAMES + 3] as number);
  }

  /** A small number for the group, to compare it by without its text; 0: no request has this group. */
  groupNumber(group: string): number {
    return this.#strings.indexOf(group);
  }

  groupNumberOf(slot: number): number {
    return this.#names[slot * NAMES] as number;
  }

  costsOf(slot: number): Costs {
    const index = this.#names[slot * NAMES + 4] as number;
    return index === 0 ? ONE_REQUEST : (this.#costs.value(index, (text) => JSON.parse(text) as Costs) as Costs);
  }

  priorityOf(slot: number): number {
    return this.#priority[slot] as number;
  }

  orderedOf(slot: number): boolean {
    return this.#flags[slot] === 1;
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

  /** Attempts that do not count against its retries. */
  sparedOf(slot: number): number {
    return this.#spared.get(slot) ?? 0;
  }

  setSpared(slot: number, spared: number): void {
    putRare(this.#spared, slot, spared);
  }

  setState(slot: number, state: number): void {
    const before = this.#state[slot];
    this.#state[slot] = state;
    if ((before === ENDED) !== (state === ENDED)) this.#count(this.groupOf(slot), state === ENDED ? -1 : 1);
  }

  /** Requests that have not ended, by group; a group without any is left out. */
  get pending(): ReadonlyMap<string, number> {
    return this.#pending;
  }

  /** The entry in its group's line; NONE while it is in none. */
  entryOf(slot: number): number {
    return this.#entry[slot] as number;
  }

  setEntry(slot: number, entry: number): void {
    this.#entry[slot] = entry;
  }

  #count(group: string, more: number): void {
    const count = (this.#pending.get(group) ?? 0) + more;
    if (count === 0) this.#pending.delete(group);
    else this.#pending.set(group, count);
  }

  #page(sequence: number): { readonly slots: Int32Array; used: number } {
    const number = Math.floor(sequence / PAGE);
    const known = this.#pages.get(number);
    if (known !== undefined) return known;
    const page = { slots: new Int32Array(PAGE), used: 0 };
    this.#pages.set(number, page);
    return page;
  }

  #take(): number {
    if (this.#free !== NONE) {
      const slot = this.#free;
      this.#free = this.#next[slot] as number;
      return slot;
    }
    if (this.#used === this.#size) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const size = this.#size * 2;
    this.#sequence = grown(this.#sequence, new Float64Array(size));
    this.#acceptedAt = grown(this.#acceptedAt, new Float64Array(size));
    this.#secret = grown(this.#secret, new Uint32Array(size * 2));
    this.#hash = grown(this.#hash, new Uint32Array(size * 2));
    this.#names = grown(this.#names, new Uint32Array(size * NAMES));
    this.#entry = grown(this.#entry, new Int32Array(size));
    this.#next = grown(this.#next, new Int32Array(size));
    this.#priority = grown(this.#priority, new Uint16Array(size));
    this.#attempts = grown(this.#attempts, new Uint16Array(size));
    this.#state = grown(this.#state, new Uint8Array(size));
    this.#flags = grown(this.#flags, new Uint8Array(size));
    this.#size = size;
  }
}

const ZERO = '0'.repeat(16);

function putHex(columns: Uint32Array, slot: number, hex: string): void {
  columns[slot * 2] = Number.parseInt(hex.slice(0, 8), 16);
  columns[slot * 2 + 1] = Number.parseInt(hex.slice(8), 16);
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

/** Texts that many requests share, counted: one is forgotten with its last use. Index 0 is never given out. */
class Interned {
  readonly #indexes = new Map<string, number>();
  readonly #texts: (string | undefined)[] = [undefined];
  readonly #uses: number[] = [0];
  readonly #values: unknown[] = [undefined];
  readonly #freed: number[] = [];

  intern(text: string): number {
    let index = this.#indexes.get(text);
    if (index === undefined) {
      index = this.#freed.pop() ?? this.#texts.length;
      this.#texts[index] = text;
      this.#uses[index] = 0;
      this.#values[index] = undefined;
      this.#indexes.set(text, index);
    }
    this.#uses[index] = (this.#uses[index] as number) + 1;
    return index;
  }

  /** 0: it is not in use. */
  indexOf(text: string): number {
    return this.#indexes.get(text) ?? 0;
  }

  release(index: number): void {
    const uses = (this.#uses[index] as number) - 1;
    this.#uses[index] = uses;
    if (uses > 0) return;
    this.#indexes.delete(this.#texts[index] as string);
    this.#texts[index] = undefined;
    this.#values[index] = undefined;
    this.#freed.push(index);
  }

  text(index: number): string {
    return this.#texts[index] as string;
  }

  /** What `parse` makes of the text, made once. */
  value(index: number, parse: (text: string) => unknown): unknown {
    this.#values[index] ??= parse(this.text(index));
    return this.#values[index];
  }
}
