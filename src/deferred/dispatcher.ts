import type { AcquireHandle, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { StoredLine, StoredSink } from '../admission/stored-line.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival } from '../core/request.ts';
import { type Instant, MILLISECOND, NEVER, plus } from '../core/time.ts';
import { Agenda } from './agenda.ts';
import type { DeferredRoute } from './deferred-route.ts';
import type { GroupWalk } from './group-lists.ts';
import type { InFlight } from './in-flight.ts';
import { KeyOrder } from './key-order.ts';
import type { RequestRow } from './request.ts';
import { ENDED, NONE, PENDING, type RequestIndex, SENDING, WAITING } from './request-index.ts';

/** Requests entered in one turn of the event loop when a group opens. */
const SLICE = 2_000;
/** Requests looked at for one probe; the next one goes on there. */
const PROBE_LOOKED_MAX = 10_000;
/** A request that found no room for its key, or no owner, tries again after this long at the latest. */
const AGAIN_MS = 1_000;

type Admitted = Extract<Outcome, { kind: 'admitted' }>;

/** Dependencies of the dispatcher. */
export interface DispatcherDeps {
  readonly index: RequestIndex;
  readonly line: StoredLine;
  readonly clock: Clock;
  /** How this request is sent; undefined if its group has no deferred route any more. */
  readonly routeOf: (slot: number) => DeferredRoute | undefined;
  /** The backend that requests of this group and route go to; undefined if none does any more. */
  readonly backendOf: (group: string, route: string) => string | undefined;
  /** The request's backend is down: it stays out of line unless it is the probe. */
  readonly isDown: (backend: string) => boolean;
  /** Sends it for this permit; the caller reports the end by `retryAt` or `ended`. */
  readonly start: (slot: number, admitted: Admitted, held: AcquireHandle) => void;
  /** It can never be sent: `deadline`, or `oversized`. */
  readonly giveUp: (slot: number, error: string) => void;
  /** Runs something in the next turn of the event loop. */
  readonly defer: (run: () => void) => void;
  /** Attempts at once, perhaps with those of others. */
  readonly inFlight: InFlight;
}

/**
 * Brings stored requests into the lines of their groups when they may go, and out again: due times, deadlines, order within a
 * key, backends that are down, groups that come and go. Decides nothing about order: that is the gate's.
 */
export class Dispatcher implements StoredSink {
  readonly #deps: DispatcherDeps;
  readonly #open = new Set<string>();
  /** Groups whose requests are being entered, in the order of their sequence; new requests are met on the way. */
  readonly #filling = new Map<string, object>();
  /** Sequences to be entered when no fill is under way. */
  readonly #missed: number[] = [];
  readonly #due: Agenda;
  readonly #deadlines: Agenda;
  readonly #order = new KeyOrder();
  /** Places of requests that were sent before, by sequence: they come back to where they stood. */
  readonly #places = new Map<number, Arrival>();
  /** Requests that found no room for their key, oldest first, by group. */
  readonly #overflow = new Map<string, Set<number>>();
  #retrying = false;
  /** So many were admitted that all lines were left until they are sent. */
  #overloaded = false;
  /** The one request of each backend that probes it, by sequence. */
  readonly #probes = new Set<number>();
  /** By backend: where its next probe is looked for, and the sequence of the last one; 0: there was none. */
  readonly #probing = new Map<string, { readonly walk: GroupWalk; sequence: number }>();
  readonly #admitted: { readonly slot: number; readonly sequence: number; readonly admitted: Admitted; readonly held: AcquireHandle }[] = [];
  #inFlight = 0;
  readonly #start = (): void => this.#startNext();
  #stopped = false;

  constructor(deps: DispatcherDeps) {
    this.#deps = deps;
    this.#due = new Agenda(deps.clock, (sequence) => this.#isDue(sequence));
    this.#deadlines = new Agenda(deps.clock, (sequence) => this.#isOver(sequence));
  }

  /** Attempts under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Requests that wait for their due time or the next attempt. */
  get delayed(): number {
    return this.#due.length;
  }

  /** The line is ready; the index holds what the store had. */
  begin(): void {
    const { index, line } = this.#deps;
    const walk = index.walk();
    for (let slot = walk.next(); slot !== NONE; slot = walk.next()) if (index.callbackOf(slot) === 0) this.#watch(slot);
    line.attach(this);
  }

  /** A request was stored (or redriven, or is to be tried again): it enters its line as soon as it may. */
  add(slot: number): void {
    if (this.#stopped) return;
    this.#watch(slot);
    if (this.#filling.has(this.#deps.index.groupOf(slot))) {
      // A new request is met on the way; one that came back may be behind the fill.
      this.#deps.index.setState(slot, WAITING);
      this.#missed.push(this.#deps.index.sequenceOf(slot));
    } else this.#enter(slot);
  }

  /** A request that stood in line before it was stored enters there, not as a new request. */
  stand(slot: number, { at, order }: NonNullable<RequestRow['since']>): void {
    const sequence = this.#deps.index.sequenceOf(slot);
    if (!this.#places.has(sequence)) this.#places.set(sequence, { arrivedAt: this.#instantOf(at), order });
  }

  /** A live caller's place became this request's: it is in line already. */
  adopt(slot: number, entry: number): void {
    this.#watch(slot);
    this.#deps.index.setEntry(slot, entry);
    this.#deps.index.setState(slot, PENDING);
  }

  /** Whether it need not wait for another of its key. */
  isNext(slot: number): boolean {
    this.#watch(slot);
    return this.isHead(slot);
  }

  /** No other request of its key goes before it, or its route keeps no order. */
  isHead(slot: number): boolean {
    const { index } = this.#deps;
    return !index.orderedOf(slot) || this.#order.isHead(index.groupOf(slot), index.keyOf(slot), index.sequenceOf(slot));
  }

  /** Whether it is admitted is about to be known, by its place as a live request: {@link adoptAdmitted}, or `add`. */
  await(slot: number): void {
    this.#watch(slot);
    this.#deps.index.setState(slot, PENDING);
  }

  /** A live caller was admitted while its request was being stored: the permit is the request's, and its first attempt begins. */
  adoptAdmitted(sequence: number, admitted: Admitted, held: AcquireHandle): void {
    const { index, line } = this.#deps;
    const slot = index.slotOf(sequence);
    if (slot === NONE || index.stateOf(slot) === ENDED || index.stateOf(slot) === SENDING) return held.cancel();
    const entry = index.entryOf(slot);
    // It entered its line meanwhile, by a fill of its group.
    if (entry !== NONE) line.cancel(index.groupOf(slot), entry, sequence);
    this.#due.delete(sequence);
    index.setState(slot, PENDING);
    this.admitted(sequence, admitted, held);
  }

  /** The request is no longer to be sent: it leaves the line unless it was decided. The order of its key is kept until {@link release}. */
  leave(slot: number): void {
    const { index, line } = this.#deps;
    const sequence = index.sequenceOf(slot);
    const entry = index.entryOf(slot);
    if (entry !== NONE) line.cancel(index.groupOf(slot), entry, sequence);
    index.setEntry(slot, NONE);
    this.#due.delete(sequence);
    this.#deadlines.delete(sequence);
    this.#places.delete(sequence);
    this.#probes.delete(sequence);
    this.#overflow.get(index.groupOf(slot))?.delete(sequence);
  }

  /** A request of an ordered key has ended: the next of its key may go. */
  release(group: string, key: string, sequence: number): void {
    const next = this.#order.leave(group, key, sequence);
    if (next !== undefined) this.#enterSequence(next);
  }

  /** Ends an attempt; `again`: the request is pending, due at its due time. */
  attemptOver(slot: number, again: boolean): void {
    this.#inFlight--;
    if (again) this.add(slot);
    this.#deps.inFlight.release();
    this.#startNext();
  }

  /** Requests of this backend leave their lines, a slice in each turn of the event loop; one that is admitted meanwhile gives its permit back. */
  withdraw(backend: string): void {
    const { index, line, routeOf, isDown, defer } = this.#deps;
    const walk = index.walk(this.#groupsOf(backend));
    const slice = (): void => {
      if (this.#stopped || !isDown(backend)) return walk.end();
      for (let looked = 0; looked < SLICE; looked++) {
        const slot = walk.next();
        if (slot === NONE) return;
        const entry = index.entryOf(slot);
        if (entry === NONE || index.stateOf(slot) !== PENDING || routeOf(slot)?.backend !== backend || this.#probes.has(index.sequenceOf(slot))) continue;
        line.cancel(index.groupOf(slot), entry, index.sequenceOf(slot));
        index.setEntry(slot, NONE);
        index.setState(slot, WAITING);
      }
      defer(slice);
    };
    slice();
  }

  /**
   * One request of a backend that is down enters its line alone: the oldest, which keeps the order; with `another` the next after
   * the one that probed last, so that a request that breaks whatever takes it keeps no other from finding out. Returns false
   * if there is none, or the last probe is not over.
   */
  probe(backend: string, another: boolean): boolean {
    const { index } = this.#deps;
    const probing = this.#probing.get(backend);
    const before = index.slotOf(probing?.sequence ?? 0);
    if (before !== NONE && (index.entryOf(before) !== NONE || index.stateOf(before) === SENDING)) return false;
    // The oldest, from the beginning; else on from where the last probe was, or where the last look ended.
    if (probing !== undefined && !another && probing.sequence !== 0) this.#endProbing(backend);
    let { walk } = this.#probing.get(backend) ?? this.#beginProbing(backend);
    let isAgain = false;
    for (let looked = 0; looked < PROBE_LOOKED_MAX; looked++) {
      const slot = walk.next();
      if (slot !== NONE && this.#mayProbe(slot, backend)) return this.#sendProbe(slot, backend);
      if (slot !== NONE) continue;
      if (isAgain || probing === undefined) break;
      // Once round, from the oldest on.
      isAgain = true;
      ({ walk } = this.#beginProbing(backend));
    }
    return false;
  }

  #beginProbing(backend: string): { readonly walk: GroupWalk; sequence: number } {
    this.#endProbing(backend);
    const probing = { walk: this.#deps.index.walk(this.#groupsOf(backend)), sequence: 0 };
    this.#probing.set(backend, probing);
    return probing;
  }

  #endProbing(backend: string): void {
    this.#probing.get(backend)?.walk.end();
    this.#probing.delete(backend);
  }

  /** Groups of which some request goes to this backend. */
  #groupsOf(backend: string): ReadonlySet<string> {
    const { index, backendOf } = this.#deps;
    const groups = new Set<string>();
    for (const { group, route } of index.profiles) if (backendOf(group, route) === backend) groups.add(group);
    return groups;
  }

  #mayProbe(slot: number, backend: string): boolean {
    const { index, routeOf } = this.#deps;
    if (index.stateOf(slot) === ENDED || index.callbackOf(slot) !== 0 || routeOf(slot)?.backend !== backend) return false;
    if (!this.#open.has(index.groupOf(slot)) || index.entryOf(slot) !== NONE || index.stateOf(slot) === SENDING) return false;
    return this.isHead(slot);
  }

  #sendProbe(slot: number, backend: string): true {
    const sequence = this.#deps.index.sequenceOf(slot);
    const probing = this.#probing.get(backend);
    if (probing !== undefined) probing.sequence = sequence;
    this.#due.delete(sequence);
    this.#probes.add(sequence);
    this.#enqueue(slot);
    return true;
  }

  /** The backend answers again: what waited for it enters, in the order of its sequences, due or not by backoff. */
  restore(backend: string): void {
    this.#endProbing(backend);
    this.#fill([...this.#groupsOf(backend)].filter((group) => this.#open.has(group)));
  }

  /** Starts nothing any more; what is in line is forgotten. */
  stop(): void {
    this.#stopped = true;
    this.#due.stop();
    this.#deadlines.stop();
    this.#filling.clear();
    for (const group of this.#open) this.#deps.line.withdraw(group);
    for (const { held } of this.#admitted.splice(0)) held.cancel();
  }

  // StoredSink

  admitted(sequence: number, admitted: Admitted, held: AcquireHandle): void {
    const { index, clock } = this.#deps;
    const slot = index.slotOf(sequence);
    if (this.#stopped || slot === NONE || index.stateOf(slot) !== PENDING) return held.cancel();
    const { permit } = admitted;
    index.setEntry(slot, NONE);
    this.#places.set(sequence, { arrivedAt: plus(permit.grantedAt, -permit.waited), order: permit.order });
    const deadline = index.deadlineAtOf(slot);
    if (deadline !== 0 && deadline < clock.epoch(clock.now())) {
      held.cancel();
      return this.#deps.giveUp(slot, 'deadline');
    }
    const backend = this.#deps.routeOf(slot)?.backend;
    if (!this.#probes.delete(sequence) && backend !== undefined && this.#deps.isDown(backend)) {
      index.setState(slot, WAITING);
      return held.cancel();
    }
    index.setState(slot, SENDING);
    this.#admitted.push({ slot, sequence, admitted, held });
    this.#startNext();
    if (this.#admitted.length >= this.#deps.inFlight.max) this.#overload();
    else this.#placeOverflow(index.groupOf(slot));
  }

  /** More were admitted than can be sent: all lines are left until half of them are on their way. */
  #overload(): void {
    if (this.#overloaded) return;
    this.#overloaded = true;
    for (const group of this.#open) this.#deps.line.withdraw(group);
  }

  refused(sequence: number, refusal: Refusal): void {
    const { index } = this.#deps;
    const slot = index.slotOf(sequence);
    if (slot === NONE || index.stateOf(slot) !== PENDING) return;
    index.setEntry(slot, NONE);
    if (refusal.reason === 'oversized') this.#deps.giveUp(slot, 'oversized');
    else if (refusal.reason === 'expired') this.#deps.giveUp(slot, 'deadline');
    else this.#again(slot);
  }

  opened(groups: readonly string[]): void {
    for (const group of groups) this.#open.add(group);
    this.#fill(groups);
  }

  closed(groups: readonly string[]): void {
    for (const group of groups) {
      this.#open.delete(group);
      this.#filling.delete(group);
      this.#overflow.delete(group);
    }
    for (const group of groups) this.#forget(group);
  }

  unqueued(group: string): void {
    this.#forget(group);
  }

  /** The entries of this group are no longer in line. Most are at the beginning of its list: looks no further than the last of them. */
  #forget(group: string): void {
    const { index } = this.#deps;
    const list = index.groups.get(group);
    if (list === undefined || list.inLine === 0) return;
    const walk = index.walk([group]);
    while (list.inLine > 0) {
      const slot = walk.next();
      if (slot === NONE) break;
      if (index.entryOf(slot) === NONE) continue;
      index.setEntry(slot, NONE);
      if (index.stateOf(slot) === PENDING) index.setState(slot, WAITING);
    }
    walk.end();
  }

  #startNext(): void {
    const { index, inFlight } = this.#deps;
    while (!this.#stopped) {
      const [next] = this.#admitted;
      if (next === undefined) break;
      // It was cancelled while it waited for its turn.
      if (index.slotOf(next.sequence) !== next.slot || index.stateOf(next.slot) !== SENDING) {
        this.#admitted.shift();
        next.held.cancel();
        continue;
      }
      if (!inFlight.take(this.#start)) break;
      this.#admitted.shift();
      this.#inFlight++;
      this.#deps.start(next.slot, next.admitted, next.held);
    }
    if (!this.#overloaded || this.#admitted.length > inFlight.max / 2) return;
    this.#overloaded = false;
    this.#fill([...this.#open]);
  }

  /** Its deadline has a timer, and its key an order. */
  #watch(slot: number): void {
    const { index } = this.#deps;
    const sequence = index.sequenceOf(slot);
    const deadline = index.deadlineAtOf(slot);
    if (deadline !== 0) this.#deadlines.set(sequence, this.#instantOf(deadline));
    if (index.orderedOf(slot)) this.#order.enter(index.groupOf(slot), index.keyOf(slot), sequence);
  }

  /** Enters its line, or waits for what it has to wait for. */
  #enter(slot: number): void {
    const { index, clock, isDown, routeOf } = this.#deps;
    if (this.#stopped || index.entryOf(slot) !== NONE) return;
    const sequence = index.sequenceOf(slot);
    index.setState(slot, WAITING);
    if (!this.isHead(slot)) return;
    const dueAt = index.dueAtOf(slot);
    if (dueAt > clock.epoch(clock.now())) return this.#due.set(sequence, this.#instantOf(dueAt));
    if (this.#overloaded || !this.#open.has(index.groupOf(slot))) return;
    const route = routeOf(slot);
    if (route === undefined || isDown(route.backend)) return;
    this.#enqueue(slot);
  }

  #enqueue(slot: number): void {
    const { index, line, clock, routeOf } = this.#deps;
    const sequence = index.sequenceOf(slot);
    const group = index.groupOf(slot);
    const deadline = index.deadlineAtOf(slot);
    index.setState(slot, PENDING);
    const queued = line.enqueue(group, {
      key: index.keyOf(slot),
      priority: index.priorityOf(slot),
      costs: index.costsOf(slot),
      sequence,
      arrivedAt: this.#instantOf(Math.min(index.acceptedAtOf(slot), clock.epoch(clock.now()))),
      deadline: deadline === 0 ? NEVER : this.#instantOf(deadline),
      lease: (routeOf(slot)?.leaseMs ?? 10_000) * MILLISECOND,
      since: this.#places.get(sequence),
    });
    if (queued === undefined) this.#again(slot);
    else if ('refusal' in queued) this.#deps.giveUp(slot, queued.refusal.reason);
    else index.setEntry(slot, queued.entry);
  }

  /** There was no room for its key, or no replica decides just now. */
  #again(slot: number): void {
    const { index, clock } = this.#deps;
    const group = index.groupOf(slot);
    index.setState(slot, WAITING);
    const overflow = this.#overflow.get(group) ?? new Set();
    overflow.add(index.sequenceOf(slot));
    this.#overflow.set(group, overflow);
    if (this.#retrying) return;
    this.#retrying = true;
    clock.at(plus(clock.now(), AGAIN_MS * MILLISECOND), () => {
      this.#retrying = false;
      if (!this.#stopped) for (const each of [...this.#overflow.keys()]) this.#placeOverflow(each);
    });
  }

  /** Retries the requests that found no room, oldest first, until one finds none. */
  #placeOverflow(group: string): void {
    const overflow = this.#overflow.get(group);
    if (overflow === undefined || !this.#open.has(group)) return;
    for (const sequence of [...overflow].slice(0, SLICE)) {
      overflow.delete(sequence);
      const slot = this.#deps.index.slotOf(sequence);
      if (slot === NONE || this.#deps.index.stateOf(slot) !== WAITING) continue;
      this.#enter(slot);
      if (overflow.has(sequence)) break;
    }
    if (overflow.size === 0) this.#overflow.delete(group);
  }

  /** Enters all requests of these groups that may go, in the order of their sequence, a slice in each turn of the event loop. */
  #fill(groups: readonly string[]): void {
    const filling = {};
    for (const group of groups) this.#filling.set(group, filling);
    const { index, defer } = this.#deps;
    const walk = index.walk(groups);
    const slice = (): void => {
      if (this.#stopped) return walk.end();
      for (let looked = 0; looked < SLICE; looked++) {
        // Where more were admitted than can be sent, all begins anew when they are on their way.
        const slot = this.#overloaded ? NONE : walk.next();
        if (slot === NONE) {
          walk.end();
          for (const [group, by] of this.#filling) if (by === filling) this.#filling.delete(group);
          return this.#enterMissed();
        }
        if (index.stateOf(slot) === ENDED || index.callbackOf(slot) !== 0 || this.#filling.get(index.groupOf(slot)) !== filling) continue;
        if (index.stateOf(slot) !== SENDING) this.#enter(slot);
      }
      defer(slice);
    };
    slice();
  }

  /** Retries that fell due, and redriven requests, while their group was being filled past them. */
  #enterMissed(): void {
    for (const sequence of this.#missed.splice(0)) this.#enterSequence(sequence);
  }

  #enterSequence(sequence: number): void {
    const slot = this.#deps.index.slotOf(sequence);
    if (slot === NONE || this.#deps.index.stateOf(slot) === ENDED || this.#deps.index.stateOf(slot) === SENDING) return;
    if (this.#filling.has(this.#deps.index.groupOf(slot))) this.#missed.push(sequence);
    else this.#enter(slot);
  }

  #isDue(sequence: number): void {
    const { index } = this.#deps;
    const slot = index.slotOf(sequence);
    if (slot === NONE || index.stateOf(slot) !== WAITING) return;
    index.setDueAt(slot, 0);
    this.#enter(slot);
  }

  #isOver(sequence: number): void {
    const { index } = this.#deps;
    const slot = index.slotOf(sequence);
    if (slot === NONE || index.stateOf(slot) === SENDING || index.stateOf(slot) === ENDED) return;
    this.#deps.giveUp(slot, 'deadline');
  }

  /** The moment of a wall time, in the time of the process. */
  #instantOf(epochMs: number): Instant {
    const { clock } = this.#deps;
    const now = clock.now();
    return plus(now, Math.round((epochMs - clock.epoch(now)) * MILLISECOND));
  }
}
