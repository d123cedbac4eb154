import { admit } from './admit.ts';
import { Alarms } from './alarms.ts';
import { removeArrival } from './arrival-order.ts';
import { refuseOversized, refusePastDeadline } from './door.ts';
import type { GateEvent } from './events.ts';
import { Grants } from './grants.ts';
import { type Costs, costOf, type GroupSpec } from './group.ts';
import type { Keeper } from './keeper.ts';
import type { KeyState } from './key-state.ts';
import type { Lane } from './lane.ts';
import type { GroupNode } from './node.ts';
import { Readiness } from './readiness.ts';
import type { Cell } from './rule.ts';
import { NONE, Slab } from './slab.ts';
import { isStored, type StoredEntry, StoredRef } from './stored-requests.ts';
import { type Instant, LONG_AGO, type Micros } from './time.ts';
import { Tree } from './tree.ts';
import type { Ask, WaiterRef } from './waiter.ts';

/** Admissions, or expiries, in one go: some milliseconds. */
export const SLICE = 5_000;

/**
 * Who goes next. Holds the waiters of one tree and moves offers up from the lanes to the root; whatever reaches the
 * root's offer is admitted at once.
 *
 * Nobody is looked at twice for nothing: a key whose own limits are not ready is *parked* (its lanes leave the heaps)
 * until time or a change of the cell that parked it; a node whose limits are not ready is *blocked*, and holds everyone
 * behind it. Both cost nothing per waiter.
 */
export class Decisions {
  readonly slab: Slab;
  readonly tree: Tree;
  readonly grants: Grants;
  readonly keeper: Keeper;
  readonly alarms = new Alarms();
  /** Waiters whose patience is over and who are kept for the disk. */
  readonly overdue = new Set<WaiterRef>();
  readonly #dirty = new Set<GroupNode>();
  events: GateEvent[] = [];
  readonly readiness: Readiness;
  /** `pump` stopped at the end of its slice. */
  unfinished = false;
  /** Stopped for good: nobody is admitted any more. */
  sealed = false;
  /** No decision before. */
  readonly from: Instant;

  constructor(parts: { term: bigint; groups: readonly GroupSpec[]; from: Instant; firstOrder: number; keeper: Keeper; settledMax: number }) {
    this.slab = new Slab(parts.firstOrder);
    this.keeper = parts.keeper;
    this.from = parts.from;
    this.readiness = new Readiness(parts.keeper, parts.from);
    this.grants = new Grants(parts.term, parts.settledMax);
    this.tree = new Tree({ slab: this.slab, groups: parts.groups, born: (cell) => this.keeper.born(cell) });
  }

  /** The key's state; undefined when the group has as many as it may. */
  keyState(now: Instant, node: GroupNode, key: string): KeyState | undefined {
    const known = node.keys.get(key);
    if (known !== undefined) return known;
    const forget = (state: KeyState): void => this.tree.forgetKey(state);
    node.sweepKeys(now, 2, forget);
    const max = node.spec.backlog.keys;
    if (node.keys.size >= max && node.sweepKeys(now, 64, forget) === 0) return undefined;
    return this.tree.keyState(node, key);
  }

  /** Looks at a key without keeping it: one that was not there is made, shown and forgotten. */
  peekKey<T>(now: Instant, node: GroupNode, key: string, look: (state: KeyState) => T): T {
    const known = node.keys.get(key);
    const state = known ?? this.tree.keyState(node, key);
    const seen = look(state);
    if (known === undefined) for (const link of state.chain) if (link.idle(now)) this.tree.forgetKey(link);
    return seen;
  }

  /** A waiter comes into its lane: at the end, or where it stood before; `pump` decides about it. */
  enqueue(now: Instant, ask: Ask, state: KeyState): number {
    const slot = this.slab.add(now, ask, state);
    const { node } = state;
    const lane = node.band(ask.priority).laneFor(state);
    lane.band.push(lane, slot);
    state.waiting++;
    node.count(slot, 1);
    this.alarms.setPatience(slot, ask.waitUntil);
    if (state.parked && lane.head === slot && (ask.since !== undefined || mostUrgent(state, lane))) this.unpark(state);
    else if (lane.head === slot) this.touch(node, slot);
    return slot;
  }

  /** A stored request comes into its lane; `pump` decides about it. Answers its entry, by which {@link cancelStored} knows it. */
  enqueueStored(state: KeyState, priority: number, request: StoredEntry, lease: Micros): number {
    const { node } = state;
    const lane = node.band(priority).laneFor(state);
    const before = lane.head;
    const entry = lane.band.pushStored(lane, request, lease);
    state.waiting++;
    state.stored++;
    node.countStored(request.costs, 1);
    if (lane.head === before) return entry;
    if (state.parked) this.unpark(state);
    else this.touch(node, lane.head);
    return entry;
  }

  /** A stored request goes without being admitted; false: it was decided, or is not known. */
  cancelStored(entry: number, sequence: number): boolean {
    const { stored } = this.slab;
    const slot = stored.slotOf(entry);
    if (slot !== NONE) {
      const token = this.slab.tokenOf(slot);
      if (!isStored(token) || token.entry !== entry || token.sequence !== sequence) return false;
      this.remove(slot);
      return true;
    }
    const lane = stored.laneOf(entry);
    if (lane === undefined || stored.sequenceOf(entry) !== sequence || !lane.band.cancelStored(entry)) return false;
    this.#uncountStored(lane.keyState, stored.costsOf(entry));
    return true;
  }

  /** Forgets all stored requests of a group, without events and without walking them. */
  dropStored(node: GroupNode): void {
    for (const state of node.keys.values()) {
      for (const lane of state.lanes) {
        const dropped = lane.band.dropStored(lane);
        node.uncountStored(dropped);
        state.waiting -= dropped;
        state.stored -= dropped;
        for (let slot = lane.head; slot !== NONE; ) {
          const next = this.slab.nextOf(slot);
          if (isStored(this.slab.tokenOf(slot))) this.remove(slot);
          slot = next;
        }
      }
    }
    node.uncountStored(0);
  }

  /** A waiter stays where it is and is a stored request's from now on. Answers its entry. */
  becomeStored(slot: number, sequence: number, deadline: Instant): number {
    const { slab } = this;
    const state = slab.keyOf(slot);
    const { node } = state;
    const lane = slab.laneOf(slot);
    const costs = slab.costsOf(slot);
    node.count(slot, -1);
    const entry = slab.stored.addPulled(lane, slot, {
      sequence,
      order: slab.orderOf(slot),
      arrivedAt: slab.arrivalOf(slot),
      deadline,
      costs,
      tag: slab.tagOf(slot),
    });
    removeArrival(lane.band, slab, slot);
    slab.becomeStored(slot, new StoredRef(sequence, entry), deadline);
    node.count(slot, 1);
    state.stored++;
    this.alarms.clearPatience(slot);
    return entry;
  }

  #uncountStored(state: KeyState, costs: Costs): void {
    state.node.countStored(costs, -1);
    state.waiting--;
    state.stored--;
  }

  /** Marks a node for another look if `slot` could change what it offers. */
  touch(node: GroupNode, slot = NONE): void {
    if (slot !== NONE && node.bestLane()?.head !== slot) return;
    this.#dirty.add(node);
  }

  /** A waiter goes without being admitted; the caller of this says why, and pumps. */
  remove(slot: number): void {
    const lane = this.slab.laneOf(slot);
    const state = this.slab.keyOf(slot);
    const wasHead = lane.head === slot;
    this.#unoffer(state.node, slot);
    this.#relook(state.node);
    lane.band.remove(slot);
    if (wasHead && state.parked) this.unpark(state);
    this.#forget(slot, state);
  }

  /** Keeps its place while its caller is away. */
  goAway(slot: number): void {
    const state = this.slab.keyOf(slot);
    this.slab.laneOf(slot).band.goAway(slot);
    this.#unoffer(state.node, slot);
    this.#relook(state.node);
    if (state.parked) this.unpark(state);
    this.touch(state.node);
  }

  comeBack(slot: number): void {
    const lane = this.slab.laneOf(slot);
    lane.band.comeBack(slot);
    if (lane.keyState.parked && lane.head === slot) this.unpark(lane.keyState);
    this.touch(lane.keyState.node);
  }

  /** A cell has more to give than before: whoever it holds is looked at again. */
  opened(cell: Cell): void {
    if (cell.keyState === undefined) {
      if (cell.rule.node.blockedUntil !== LONG_AGO) this.#dirty.add(cell.rule.node);
      return;
    }
    for (const state of [...cell.keyState.blockees]) this.unpark(state);
  }

  /** A key's lanes are offered again. */
  unpark(state: KeyState): void {
    if (!state.parked) return;
    state.parked = false;
    this.alarms.clearKey(state.id);
    state.parkedBy?.keyState?.blockees.delete(state);
    state.parkedBy = undefined;
    for (const lane of state.lanes) lane.band.offer(lane);
    this.#dirty.add(state.node);
  }

  /** A cell has less to give: what its node offers is asked again. Keys are asked again before they are admitted anyway. */
  tightened(cell: Cell): void {
    this.#dirty.add(cell.rule.node);
  }

  /** Everything of this node and below is looked at again; with `key`, that key only (it was paused or resumed). */
  reconsider(node: GroupNode, key?: string): void {
    for (const below of this.tree.below(node)) {
      const states = key === undefined ? below.keys.values() : [below.keys.get(key)];
      for (const state of states) if (state !== undefined) this.unpark(state);
      this.#dirty.add(below);
    }
  }

  /** The same for exactly these nodes and all their keys. */
  reconsiderAll(nodes: readonly GroupNode[]): void {
    for (const node of nodes) {
      for (const state of node.keys.values()) this.unpark(state);
      this.#dirty.add(node);
    }
  }

  /** Looks again at what has changed and admits everybody who may go now; after a slice the rest is due at once, so that a window that opens for many does not hold up the process. */
  pump(now: Instant): void {
    const { root } = this.tree;
    if (this.sealed) return;
    for (let admitted = 0; ; admitted++) {
      for (const node of this.#dirty) {
        this.#dirty.delete(node);
        this.#climb(now, node);
      }
      this.unfinished = root.offer !== NONE;
      if (!this.unfinished) return;
      if (admitted >= SLICE) {
        this.alarms.dueBy(now);
        return;
      }
      this.#climb(now, this.#grant(now, root.offer));
    }
  }

  /** Looks again at everything whose time has come by `at`, with the limits as they are at `now`. */
  open(at: Instant, now: Instant): void {
    const { alarms } = this;
    for (let id = alarms.popKey(at); id >= 0; id = alarms.popKey(at)) {
      const state = this.tree.keyStates[id];
      if (state !== undefined) this.unpark(state);
    }
    for (let index = alarms.popNode(at); index >= 0; index = alarms.popNode(at)) this.#dirty.add(this.tree.nodes[index] as GroupNode);
    this.pump(now);
  }

  /** From `from` up to the root, or up to and without `end`: what does each offer now? */
  #climb(now: Instant, from: GroupNode, end?: GroupNode): void {
    for (let node: GroupNode | undefined = from; node !== undefined && node !== end; node = node.parent) {
      this.#refresh(now, node);
      const { parent } = node;
      if (parent === undefined) return;
      if (node.offer === NONE) {
        if (node.position >= 0) parent.offers.remove(node);
      } else if (node.position >= 0) parent.offers.update(node);
      else parent.offers.push(node);
    }
  }

  /** What does this node offer now? A child's offer is asked for its key again: another child may have spent it meanwhile. */
  #refresh(now: Instant, node: GroupNode): void {
    const { slab } = this;
    if (node.blockedUntil !== LONG_AGO) this.#unblock(node);
    for (;;) {
      node.askFloor(now);
      const lane = node.bestLane();
      const child = node.offers.peek();
      if (lane === undefined && child === undefined) break;
      const own = lane !== undefined && (child === undefined || node.prefers(lane.head, child.offer));
      const slot = own ? lane.head : (child as GroupNode).offer;
      const state = slab.keyOf(slot);
      if (refusePastDeadline(this, now, slot)) continue;
      if (!this.readiness.keyReady(now, state, slab.costsOf(slot))) {
        if (refuseOversized(this, now, slot)) continue;
        this.#park(state);
        this.#unoffer(state.node, slot);
        this.#climb(now, state.node, node);
        continue;
      }
      if (!this.readiness.nodeReady(now, node, slab.costsOf(slot))) {
        if (refuseOversized(this, now, slot)) continue;
        this.#block(node);
        break;
      }
      node.offer = slot;
      return;
    }
    node.offer = NONE;
  }

  #park(state: KeyState): void {
    const { until, because } = this.readiness;
    state.parked = true;
    state.parkedBy = because;
    because?.keyState?.blockees.add(state);
    this.alarms.setKey(state.id, until);
    for (const lane of state.lanes) lane.band.withdraw(lane);
  }

  #block(node: GroupNode): void {
    const { until, because } = this.readiness;
    node.blockedUntil = until;
    node.blockedBy = because;
    this.alarms.setNode(node.index, until);
  }

  #unblock(node: GroupNode): void {
    this.alarms.clearNode(node.index);
    node.blockedUntil = LONG_AGO;
    node.blockedBy = undefined;
  }

  /** Admits a waiter; answers its node. */
  #grant(now: Instant, slot: number): GroupNode {
    const { slab } = this;
    const state = slab.keyOf(slot);
    const lane = slab.laneOf(slot);
    const { node } = state;
    const costs = slab.costsOf(slot);
    this.#unoffer(node, slot);
    if (!this.readiness.covered(now, state, costs)) return node;
    const unit = node.fairUnit;
    lane.band.serve(lane, unit === undefined ? 1 : costOf(costs, unit), node.weightOf(state.key));
    const [{ key }, { priority }] = [state, lane.band];
    const [lease, reported, claim] = [slab.leaseOf(slot), slab.reportedOf(slot), slab.claimOf(slot)];
    const who = { key, priority, costs, lease, holder: slab.holderOf(slot), tag: slab.tagOf(slot), token: slab.tokenOf(slot), reported, claim };
    admit(this, now, state, who, slab.arrivalOf(slot), slab.orderOf(slot));
    this.#forget(slot, state);
    return node;
  }

  /** Nobody offers this waiter any more. */
  #unoffer(node: GroupNode, slot: number): void {
    for (const above of node.path) {
      if (above.offer !== slot) continue;
      if (above.position >= 0) above.parent?.offers.remove(above);
      above.offer = NONE;
    }
  }

  /** Whoever blocked or was offered may be gone: these nodes choose again. */
  #relook(node: GroupNode): void {
    for (const above of node.path) if (above.offer === NONE) this.#dirty.add(above);
  }

  #forget(slot: number, state: KeyState): void {
    state.node.count(slot, -1);
    const token = this.slab.tokenOf(slot);
    if (isStored(token)) {
      state.stored--;
      this.slab.stored.free(token.entry);
    }
    if (this.overdue.size > 0) this.overdue.delete(this.slab.refOf(slot));
    state.waiting--;
    this.alarms.clearPatience(slot);
    this.slab.free(slot);
  }
}

/** No other lane of this key has anybody as urgent. */
function mostUrgent(state: KeyState, lane: Lane): boolean {
  return state.lanes.every((other) => other === lane || other.head === NONE || other.band.priority > lane.band.priority);
}
