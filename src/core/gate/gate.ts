import { takeAll } from '../collections/take-all.ts';
import type { GateEvent, Reservation } from '../events.ts';
import type { Costs, GroupSpec } from '../group.ts';
import { ReportedWindow, type WindowReport } from '../limits/reported-window.ts';
import type { Claim, Disposition, Lease, LeaseRecord, LeaseView, PauseOnRelease, Permit, PermitTag } from '../permit.ts';
import { type Refusal, withdrawn } from '../refusal.ts';
import type { Arrival, GateRequest, ListFilter, QueuePosition, StoredAsk, WaiterRef, WaiterView } from '../request.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import { type Override, setPause, validateOverride } from '../tree/overrides.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import { acquire } from './acquire.ts';
import { explain } from './arrival-checks.ts';
import { audit } from './audit.ts';
import { type Binding, bindingOf, bindingOfKey } from './binding.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Remembered } from './grants.ts';
import { positionOf } from './position.ts';
import { findOversizedLimit } from './readiness.ts';
import { endLease, release, renew, rollback } from './release.ts';
import { Reservations } from './reservations.ts';
import { restore } from './restore.ts';
import type { GateOptions, GateSnapshot, SealedState } from './snapshot.ts';
import { Ticker } from './ticker.ts';
import {
  claimedOf,
  countLeases,
  countWaiters,
  type GateExplanation,
  type GroupStatus,
  groupStatus,
  type LimitView,
  leaseViews,
  limitViews,
  ownLimitsOf,
  takeSnapshot,
  waiterViews,
} from './views.ts';
import { waitRangeOf } from './wait-ranges.ts';
import { resolveOverdue } from './wait-timeouts.ts';

/** Permits remembered for settling or for telling that they ended, per tree. */
const SETTLED_MAX = 100_000;

/**
 * The decision for one tree of groups in one term: queues, limits and leases in one place, single-threaded, given the
 * time, calling nothing outside. Every call may produce events and reservations: take them after each call, then arm one
 * timer at `wakeAt`.
 *
 * Time may come late: what is due is done in order of time, and a waiter whose wait timeout ended is still admitted for a
 * slot that opened before. Every call does what is due first, so that no new arrival passes a waiter.
 */
export class Gate {
  readonly #all: Dispatcher;
  readonly #ticker: Ticker;

  constructor(parts: GateOptions) {
    const { restored, term, groups } = parts;
    const from = restored?.seal === undefined ? parts.from : DISTANT_PAST;
    const reservations = new Reservations({ isDurable: parts.recording, allowsInProcess: parts.reports ?? false, from, restored });
    this.#all = new Dispatcher({ term, groups, from, reservations, firstOrder: parts.firstOrder ?? 0, settledMax: parts.settledMax ?? SETTLED_MAX });
    this.#ticker = new Ticker(this.#all);
    if (restored === undefined) return;
    restore(this.#all, this.#ticker, restored, from);
    this.#all.events.length = 0;
  }

  /** Index of a group by name; undefined: not of this tree. */
  groupOf(name: string): number | undefined {
    return this.#all.tree.node(name)?.index;
  }

  /** Admits, queues or refuses; the outcome is an event. Answers the waiter when queued, else DECIDED. */
  acquire(now: Instant, request: GateRequest): WaiterRef {
    this.#catchUp(now);
    return acquire(this.#all, now, this.#node(request.group), request, this.#all.sealed);
  }

  /**
   * A stored request comes into line, without a wait timeout and outside the bounds of the backlog. Returns its entry, for
   * {@link cancelStored}, or that it could never pass; undefined if the group has as many keys as it may, or is gone. Decides nothing:
   * call {@link decideStored} after one call or many. Events report the outcome, with a `StoredRef` as token. `since` puts a request
   * that was tried before back to its old place; the order of the rest is that of the calls.
   */
  enqueueStored(now: Instant, request: StoredAsk): { readonly entry: number } | { readonly refusal: Refusal } | undefined {
    const node = this.#node(request.group);
    const state = node.removed || this.#all.sealed ? undefined : this.#all.keyState(now, node, request.key);
    if (state === undefined) return undefined;
    const oversized = findOversizedLimit(state, request.costs);
    if (oversized !== undefined) return { refusal: { reason: 'oversized', limit: oversized } };
    const order = this.#all.waiters.orderFor(request);
    const entry = { sequence: request.sequence, order, arrivedAt: request.arrivedAt, deadline: request.deadline, costs: request.costs, tag: request.tag };
    return { entry: this.#all.enqueueStored(state, request.priority, entry, request.lease) };
  }

  /** A stored request leaves the line, without an event; call {@link decideStored} after. Returns false if it was decided, or never came. */
  cancelStored(entry: number, sequence: number): boolean {
    return this.#all.cancelStored(entry, sequence);
  }

  /** Decides about what {@link enqueueStored} and {@link cancelStored} changed. */
  decideStored(now: Instant): void {
    this.#settle(now);
  }

  /** Forgets all stored requests of a group in line, without events except one `unqueued` if it had any. */
  dropStored(group: number): void {
    this.#unqueue(this.#node(group));
  }

  /** A waiter whose request has been stored keeps its place and waits on as a stored request. Answers its entry; undefined: it was decided. */
  becomeStored(ref: WaiterRef, sequence: number, deadline: Instant): number | undefined {
    const slot = this.#all.waiters.slotOf(ref);
    return slot === NO_SLOT ? undefined : this.#all.becomeStored(slot, sequence, deadline);
  }

  /** The caller left: no event, no cost. False when already decided. */
  cancel(now: Instant, ref: WaiterRef): boolean {
    return this.#waiting(now, ref, (slot) => {
      if (this.#all.waiters.isRangeKept(slot)) this.#all.waitRanges.ended(now, ref, false);
      this.#all.remove(slot);
    });
  }

  /** The caller is away but may return: keeps its place, is passed over. */
  suspend(now: Instant, ref: WaiterRef): void {
    this.#waiting(now, ref, (slot) => this.#all.suspend(slot));
  }

  /** It is back, at its old place. */
  unsuspend(now: Instant, ref: WaiterRef): void {
    this.#waiting(now, ref, (slot) => this.#all.resume(slot));
  }

  /** Refuses one waiter with the given refusal (an operator's eviction, a drain). */
  evict(now: Instant, ref: WaiterRef, refusal: Refusal): boolean {
    return this.#waiting(now, ref, (slot) => this.#all.refuse(now, slot, refusal));
  }

  /** The key of a waiter; undefined when decided. */
  keyOfWaiter(ref: WaiterRef): string | undefined {
    const slot = this.#all.waiters.slotOf(ref);
    return slot === NO_SLOT ? undefined : this.#all.waiters.keyOf(slot).key;
  }

  /** Live leases that were asked for with a request id, as permits: those of earlier terms too. */
  claimed(now: Instant): readonly { readonly permit: Permit; readonly claim: Claim }[] {
    return claimedOf(this.#all, now);
  }

  /** What is remembered of the permit of this name; undefined: nothing, or it has another name. */
  remembered(group: string, serial: number, tag: PermitTag): Remembered | undefined {
    return this.#all.grants.named(group, serial, tag);
  }

  /** Longer life for a lease, as long as before where `lease` is undefined; a refusal when it lapsed or was never known. */
  renew(now: Instant, serial: number, tag: PermitTag, lease: Micros | undefined): Lease | Refusal {
    this.#catchUp(now);
    return renew(this.#all, now, serial, tag, lease);
  }

  /** Ends a permit and settles `costs` by unit; `quiet` begins before anyone takes what it held. False: it ended before. Refusals: `fenced`, `unknown_permit`. */
  release(now: Instant, serial: number, tag: PermitTag, how: Disposition, costs: Costs | undefined, quiet?: PauseOnRelease): boolean | Refusal {
    this.#catchUp(now);
    const held = quiet && this.#all.grants.bySerial(serial);
    const key = quiet?.key ?? (held !== undefined && 'keyState' in held ? held.keyState.key : '');
    const released = release(this.#all, now, serial, tag, how, costs);
    if (released === true && quiet !== undefined) {
      this.#pause(this.#node(quiet.group), quiet.scope === 'key' ? key : undefined, quiet.until);
    }
    this.#pump(now);
    return released;
  }

  /** A permit that never reached its caller: all that still counts goes back. */
  rollback(now: Instant, permit: Permit): void {
    this.#catchUp(now);
    rollback(this.#all, now, permit);
    this.#pump(now);
  }

  /** Ends a lease without its holder. */
  revoke(now: Instant, serial: number): boolean {
    this.#catchUp(now);
    const grant = this.#all.grants.bySerial(serial);
    if (grant === undefined || grant.ended !== undefined) return false;
    endLease(this.#all, now, grant, 'revoked');
    this.#pump(now);
    return true;
  }

  /** Admits no waiter of the group (and below), or of one key of it, until then; NEVER: until resumed. A pause never shortens a running one. */
  pause(now: Instant, group: number, until: Instant, key?: string): void {
    this.#catchUp(now);
    this.#pause(this.#node(group), key, until);
    this.#pump(now);
  }

  resume(now: Instant, group: number, key?: string): void {
    this.#catchUp(now);
    const node = this.#node(group);
    if (key === undefined) node.pausedUntil = DISTANT_PAST;
    else node.pausedKeys.delete(key);
    this.#pauseChanged(node, key, now);
    this.#pump(now);
  }

  /** Changes limits or `enforce` until a stated time; undefined ends a running override. Answers why it cannot be done. */
  override(now: Instant, group: number, override: Override | undefined): string | undefined {
    this.#catchUp(now);
    const node = this.#node(group);
    const wrong = override === undefined ? undefined : validateOverride(node, override);
    if (wrong !== undefined) return wrong;
    this.#ticker.override(now, node, override);
    this.#pump(now);
    return undefined;
  }

  /** Drops all debt of the group's own limits, for every key: who waited for it to be paid goes on under what is used. */
  forgive(now: Instant, group: number): void {
    this.#catchUp(now);
    const node = this.#node(group);
    for (const instance of [...node.instances, ...[...node.keys.values()].flatMap((state) => state.instances)]) {
      instance.limit.forgive(now);
      this.#all.onLimitReady(instance);
    }
    this.#pump(now);
  }

  /** Takes what an authority outside says of a window of the group that it enforces (align `reported`). Returns why it cannot be done, changing nothing. */
  report(now: Instant, group: number, limit: string, report: WindowReport): string | undefined {
    this.#catchUp(now);
    const node = this.#node(group);
    const instance = node.instances.find((each) => each.rule.name === limit);
    if (!(instance?.limit instanceof ReportedWindow)) return `group ${node.name} has no limit ${limit} whose windows are reported`;
    instance.limit.report(now, report);
    this.#all.onLimitReady(instance);
    this.#all.onLimitTightened(instance);
    this.#pump(now);
    return undefined;
  }

  /** New limits for the same tree; waiters stay in line, those of groups that are gone are refused. Answers why it cannot be done, changing nothing. */
  reconfigure(now: Instant, groups: readonly GroupSpec[]): string | undefined {
    const wrong = this.mistakeIn(groups);
    if (wrong !== undefined) return wrong;
    this.#catchUp(now);
    const { gone, changed } = this.#all.tree.rebuild(now, groups);
    for (const node of gone) {
      this.#unqueue(node);
      this.#all.refuseNode(now, node, withdrawn(now));
    }
    this.#ticker.rebuilt(now, changed);
    this.#pump(now);
    return undefined;
  }

  /** New limits for some groups of the tree, which keep their parents; the rest stays as it is. For a change of many groups, a part at a time. Every waiter stays in line. */
  respecify(now: Instant, groups: readonly GroupSpec[]): void {
    this.#catchUp(now);
    this.#ticker.rebuilt(now, this.#all.tree.respecify(now, groups));
    this.#pump(now);
  }

  /** Returns why {@link reconfigure} would refuse these groups; undefined if it would take them. Depends on the groups and on the root alone. */
  mistakeIn(groups: readonly GroupSpec[]): string | undefined {
    return this.#all.tree.validate(groups);
  }

  /** Refuses all that are still held. */
  refuseAll(now: Instant, refusal: Refusal): void {
    for (const node of this.#all.tree.nodes) {
      this.#unqueue(node);
      this.#all.refuseNode(now, node, refusal);
    }
  }

  /** Lets time pass: in order of time, a slot open at or before the end of wait timeout is given first, then the rest expire. Thousands at once are done in slices: `wakeAt` is then now. Extra calls do nothing. */
  tick(now: Instant): void {
    this.#ticker.advance(now);
  }

  /** When `tick` is next worth a call; NEVER: not before another call. */
  wakeAt(now: Instant): Instant {
    if (this.#all.sealed) return NEVER;
    return later(now, this.#ticker.nextAt(now));
  }

  /** When {@link sweep} is next worth a call: DISTANT_PAST while some group has keys, the end of the oldest remembered permit after that; NEVER if nothing is kept. */
  get sweepAt(): Instant {
    return this.#all.tree.hasKeys ? DISTANT_PAST : this.#all.grants.fadesAt;
  }

  /** Looks at `steps` keys of each group at most and forgets those that no longer matter, and permits that were remembered long enough; no decision depends on it. */
  sweep(now: Instant, steps: number): void {
    const { tree, grants } = this.#all;
    grants.prune(now);
    if (!tree.hasKeys) return;
    for (const node of tree.nodes) {
      if (node.keys.size > 0) node.collectIdleKeys(now, Math.min(steps, node.keys.size + 1), (key) => tree.dropKey(key));
    }
  }

  /** Events since the last take, in order. */
  takeEvents(): readonly GateEvent[] {
    return takeAll(this.#all.events);
  }

  /** Bounds that must be written; each is asked for once. */
  takeReservations(): readonly Reservation[] {
    return takeAll(this.#all.reservations.wanted);
  }

  /** These bounds are on disk: waiters that waited for them go. `written` false: they could not be written, and are asked for again by the next waiter that needs them. */
  onReservationsPersisted(now: Instant, reservations: readonly Reservation[], written = true): void {
    for (const instance of this.#all.reservations.onPersisted(this.#all.tree, reservations, written)) this.#all.onLimitReady(instance);
    this.#settle(now);
    if (this.#all.overdue.size === 0) return;
    resolveOverdue(this.#all, now);
    this.#pump(now);
  }

  /** This record of a lease or an aggregate lease is on disk: what it covers is reported at once from now on. `done` false: it could not be written. */
  onAggregatePersisted(record: LeaseRecord, done = true): void {
    if (record.aggregate) this.#all.reservations.aggregates.written(record, done);
    else this.#all.grants.written(record, done);
  }

  /** The position of a waiter; undefined when decided. */
  position(now: Instant, ref: WaiterRef): QueuePosition | undefined {
    const slot = this.#all.waiters.slotOf(ref);
    return slot === NO_SLOT ? undefined : { ...positionOf(this.#all, now, slot), range: waitRangeOf(this.#all, now, slot) };
  }

  /** A waiter's place among all arrivals, for a request that is to be queued there again; undefined when decided. */
  arrival(ref: WaiterRef): Arrival | undefined {
    const { waiters } = this.#all;
    const slot = waiters.slotOf(ref);
    return slot === NO_SLOT ? undefined : { arrivedAt: waiters.arrivalOf(slot), order: waiters.orderOf(slot) };
  }

  /** Would it pass, when, which limit binds; changes nothing that counts. */
  explain(now: Instant, request: GateRequest): GateExplanation {
    this.#settle(now);
    return this.#all.peekKey(now, this.#node(request.group), request.key, (state) => ({
      ...explain(this.#all, now, state, request),
      binding: bindingOfKey(this.#all, now, state, request.costs),
    }));
  }

  /** Returns the limit that could never let this cost pass; undefined if there is none. Changes nothing. */
  oversized(now: Instant, group: number, key: string, costs: Costs): string | undefined {
    return this.#all.peekKey(now, this.#node(group), key, (state) => findOversizedLimit(state, costs));
  }

  /** All limits that a request of this group and key meets, the group's own first, then upwards. */
  limits(now: Instant, group: number, key: string, costs?: Costs): readonly LimitView[] {
    return this.#all.peekKey(now, this.#node(group), key, (state) => limitViews(now, state, costs));
  }

  /** The group's own limits, those counted by key with the keys that use them. */
  ownLimits(now: Instant, group: number): readonly LimitView[] {
    return this.#all.peekKey(now, this.#node(group), '', (state) => ownLimitsOf(now, state));
  }

  /** Returns what holds up the next waiter of a group; undefined if no caller waits, or only its turn is awaited. Changes nothing. */
  binding(now: Instant, group: number): Binding | undefined {
    return bindingOf(this.#all, now, this.#node(group));
  }

  /** Waiters of a group, stored requests included. */
  waitingIn(group: number): number {
    return this.#node(group).waiting;
  }

  status(now: Instant, group: number): GroupStatus {
    return groupStatus(this.#all, now, this.#node(group));
  }

  /** Waiters of a group in the order in which they would go, `from` an index of a page. */
  waiters(now: Instant, group: number, from: number, count: number, filter: ListFilter = {}): readonly WaiterView[] {
    return waiterViews(this.#all, now, this.#node(group), { from, count }, filter);
  }

  leases(group: number, from: number, count: number, filter: ListFilter = {}): readonly LeaseView[] {
    return leaseViews(this.#all, this.#node(group), { from, count }, filter);
  }

  /** Returns how many items {@link waiters} or {@link leases} has without a page. */
  listed(list: 'waiters' | 'leases', group: number, filter: ListFilter): number {
    return (list === 'waiters' ? countWaiters : countLeases)(this.#all, this.#node(group), filter);
  }

  /** Live leases, pauses, overrides and bounds, for a snapshot. */
  snapshot(now: Instant): Omit<GateSnapshot, 'seal'> {
    return takeSnapshot(this.#all, now);
  }

  /** Stops deciding for good and answers the exact state. Refuse or hand over the waiters before. */
  seal(now: Instant): SealedState {
    this.#all.sealed = true;
    return this.#all.reservations.seal(now, this.#all.tree);
  }

  /** Recounts everything from scratch and names what disagrees; for tests and simulation. Empty: sound. */
  audit(now: Instant): readonly string[] {
    return audit(this.#all, now);
  }

  #unqueue(node: GroupNode): void {
    if (node.stored === 0) return;
    this.#all.dropStored(node);
    this.#all.events.push({ kind: 'unqueued', group: node.name });
  }

  #node(index: number): GroupNode {
    const node = this.#all.tree.nodes[index];
    if (node === undefined) throw new RangeError(`no group ${index} in this tree`);
    return node;
  }

  #pause(node: GroupNode, key: string | undefined, until: Instant): void {
    setPause(node, until, key);
    this.#pauseChanged(node, key, until);
  }

  #pauseChanged(node: GroupNode, key: string | undefined, until: Instant): void {
    this.#all.events.push({ kind: 'paused', group: node.name, key, until });
    if (key === undefined) this.#all.markDirty(node);
    else this.#all.invalidate(node, key);
  }

  /** Does something to a waiter that is still there; false: it was decided. */
  #waiting(now: Instant, ref: WaiterRef, act: (slot: number) => void): boolean {
    const slot = this.#all.waiters.slotOf(ref);
    if (slot === NO_SLOT) return false;
    act(slot);
    this.#settle(now);
    return true;
  }

  /** Does what is due, if anything is. */
  #catchUp(now: Instant): void {
    if (this.#all.timers.due <= now) this.#ticker.advance(now);
  }

  #settle(now: Instant): void {
    this.#catchUp(now);
    this.#pump(now);
  }

  /** Admits the waiters that may go now. Where thousands are due before, they come first, in their order, at the next tick. */
  #pump(now: Instant): void {
    if (this.#ticker.nextAt(now) > now) this.#all.dispatch(now);
  }
}
