import { type Costs, costOf } from '../group.ts';
import type { Refusal } from '../refusal.ts';
import type { GateRequest } from '../request.ts';
import { DISTANT_PAST, type Instant, type Micros, NEVER } from '../time.ts';
import { removeArrival } from '../tree/arrival-order.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { KeyQueue } from '../tree/queues.ts';
import { isStored, type StoredEntry, StoredRef } from '../tree/stored-requests.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import { admit } from './admit.ts';
import { findOversizedLimit } from './readiness.ts';
import { GateState } from './state.ts';

/** Admissions, or expiries, in one go: some milliseconds. */
export const MAX_BATCH = 5_000;

/**
 * Who goes next. Holds the waiters of one tree and moves offers up from the queues to the root; whatever reaches the
 * root's offer is admitted at once.
 *
 * No waiter is looked at twice for nothing: a key whose own limits are not ready is *parked* (its queues leave the heaps)
 * until time or a change of the limit instance that parked it; a node whose limits are not ready is *blocked*, and holds everyone
 * behind it. Both cost nothing per waiter.
 */
export class Dispatcher extends GateState {
  readonly #dirty = new Set<GroupNode>();

  /** The key's state; undefined when the group has as many as it may. */
  keyState(now: Instant, node: GroupNode, key: string): KeyState | undefined {
    const known = node.keys.get(key);
    if (known !== undefined) return known;
    const forget = (state: KeyState): void => this.tree.dropKey(state);
    node.collectIdleKeys(now, 2, forget);
    const max = node.spec.backlog.keys;
    if (node.keys.size >= max && node.collectIdleKeys(now, 64, forget) === 0) return undefined;
    return this.tree.keyState(node, key);
  }

  /** Looks at a key without keeping it: one that was not there is made, shown and forgotten. */
  peekKey<T>(now: Instant, node: GroupNode, key: string, look: (state: KeyState) => T): T {
    const known = node.keys.get(key);
    const state = known ?? this.tree.keyState(node, key);
    const seen = look(state);
    if (known === undefined) for (const link of state.path) if (link.idle(now)) this.tree.dropKey(link);
    return seen;
  }

  /** A waiter comes into its queue: at the end, or where it stood before; `pump` decides about it. */
  enqueue(now: Instant, request: GateRequest, state: KeyState): number {
    const slot = this.waiters.add(now, request, state);
    const { node } = state;
    const queue = node.level(request.priority).queueFor(state);
    queue.level.push(queue, slot);
    state.waiting++;
    node.count(slot, 1);
    this.timers.setWaitTimeout(slot, request.waitUntil);
    if (state.parked && queue.head === slot && (request.since !== undefined || mostUrgent(state, queue))) this.unpark(state);
    else if (queue.head === slot) this.markDirty(node, slot);
    return slot;
  }

  /** A stored request comes into its queue; `pump` decides about it. Answers its entry, by which {@link cancelStored} knows it. */
  enqueueStored(state: KeyState, priority: number, request: StoredEntry, lease: Micros): number {
    const { node } = state;
    const queue = node.level(priority).queueFor(state);
    const before = queue.head;
    const entry = queue.level.pushStored(queue, request, lease);
    state.waiting++;
    state.stored++;
    node.countStored(request.costs, 1);
    if (queue.head === before) return entry;
    if (state.parked) this.unpark(state);
    else this.markDirty(node, queue.head);
    return entry;
  }

  /** A stored request goes without being admitted; false: it was decided, or is not known. */
  cancelStored(entry: number, sequence: number): boolean {
    const { stored } = this.waiters;
    const slot = stored.slotOf(entry);
    if (slot !== NO_SLOT) {
      const token = this.waiters.tokenOf(slot);
      if (!isStored(token) || token.entry !== entry || token.sequence !== sequence) return false;
      this.remove(slot);
      return true;
    }
    const queue = stored.queueOf(entry);
    if (queue === undefined || stored.sequenceOf(entry) !== sequence || !queue.level.cancelStored(entry)) return false;
    this.#uncountStored(queue.keyState, stored.costsOf(entry));
    return true;
  }

  /** Forgets all stored requests of a group, without events and without walking them. */
  dropStored(node: GroupNode): void {
    for (const state of node.keys.values()) {
      for (const queue of state.queues) {
        const dropped = queue.level.dropStored(queue);
        node.uncountStored(dropped);
        state.waiting -= dropped;
        state.stored -= dropped;
        for (let slot = queue.head; slot !== NO_SLOT; ) {
          const next = this.waiters.nextOf(slot);
          if (isStored(this.waiters.tokenOf(slot))) this.remove(slot);
          slot = next;
        }
      }
    }
    node.uncountStored(0);
  }

  /** A waiter stays where it is and is a stored request's from now on. Answers its entry. */
  becomeStored(slot: number, sequence: number, deadline: Instant): number {
    const { waiters } = this;
    const state = waiters.keyOf(slot);
    const { node } = state;
    const queue = waiters.queueOf(slot);
    const costs = waiters.costsOf(slot);
    node.count(slot, -1);
    const entry = waiters.stored.addPulled(queue, slot, {
      sequence,
      order: waiters.orderOf(slot),
      arrivedAt: waiters.arrivalOf(slot),
      deadline,
      costs,
      tag: waiters.tagOf(slot),
    });
    removeArrival(queue.level, waiters, slot);
    waiters.becomeStored(slot, new StoredRef(sequence, entry), deadline);
    node.count(slot, 1);
    state.stored++;
    this.timers.clearWaitTimeout(slot);
    return entry;
  }

  #uncountStored(state: KeyState, costs: Costs): void {
    state.node.countStored(costs, -1);
    state.waiting--;
    state.stored--;
  }

  /** Marks a node for another look if `slot` could change what it offers. */
  markDirty(node: GroupNode, slot = NO_SLOT): void {
    if (slot !== NO_SLOT && node.nextQueue()?.head !== slot) return;
    this.#dirty.add(node);
  }

  /** A waiter goes without being admitted; the caller of this says why, and pumps. */
  remove(slot: number): void {
    const queue = this.waiters.queueOf(slot);
    const state = this.waiters.keyOf(slot);
    const wasHead = queue.head === slot;
    this.#clearCandidate(state.node, slot);
    this.#recompute(state.node);
    queue.level.remove(slot);
    if (wasHead && state.parked) this.unpark(state);
    this.#removeWaiter(slot, state);
  }

  /** Ends a waiter with a refusal. The caller of this pumps. */
  refuse(now: Instant, slot: number, refusal: Refusal): void {
    const { waiters } = this;
    const state = waiters.keyOf(slot);
    const { priority } = waiters.queueOf(slot).level;
    const waited = now - waiters.arrivalOf(slot);
    this.events.push({ kind: 'refused', token: waiters.tokenOf(slot), group: state.node.name, key: state.key, priority, refusal, waited });
    if (waiters.isRangeKept(slot)) this.waitRanges.ended(now, waiters.refOf(slot), false);
    this.remove(slot);
  }

  /** Ends every waiter of one group. */
  refuseNode(now: Instant, node: GroupNode, refusal: Refusal): void {
    const { waiters } = this;
    for (let slot = 0; slot < waiters.used && node.waiting > 0; slot++) if (waiters.keyOf(slot)?.node === node) this.refuse(now, slot, refusal);
  }

  /** Keeps its place while its caller is away. */
  suspend(slot: number): void {
    const state = this.waiters.keyOf(slot);
    this.waiters.queueOf(slot).level.goAway(slot);
    this.#clearCandidate(state.node, slot);
    this.#recompute(state.node);
    if (state.parked) this.unpark(state);
    this.markDirty(state.node);
  }

  resume(slot: number): void {
    const queue = this.waiters.queueOf(slot);
    queue.level.comeBack(slot);
    if (queue.keyState.parked && queue.head === slot) this.unpark(queue.keyState);
    this.markDirty(queue.keyState.node);
  }

  /** A limit instance has more to give than before: the waiters it holds are looked at again. */
  onLimitReady(instance: LimitInstance): void {
    if (instance.keyState === undefined) {
      if (instance.rule.node.blockedUntil !== DISTANT_PAST) this.#dirty.add(instance.rule.node);
      return;
    }
    for (const state of [...instance.keyState.blockedKeys]) this.unpark(state);
  }

  /** A key's queues are offered again. */
  unpark(state: KeyState): void {
    if (!state.parked) return;
    state.parked = false;
    this.timers.clearKey(state.id);
    state.parkedBy?.keyState?.blockedKeys.delete(state);
    state.parkedBy = undefined;
    for (const queue of state.queues) queue.level.activate(queue);
    this.#dirty.add(state.node);
  }

  /** A limit instance has less to give: what its node offers is asked again. Keys are asked again before they are admitted anyway. */
  onLimitTightened(instance: LimitInstance): void {
    this.#dirty.add(instance.rule.node);
  }

  /** Everything of this node and below is looked at again; with `key`, that key only (it was paused or resumed). */
  invalidate(node: GroupNode, key?: string): void {
    for (const below of this.tree.descendants(node)) {
      const states = key === undefined ? below.keys.values() : [below.keys.get(key)];
      for (const state of states) if (state !== undefined) this.unpark(state);
      this.#dirty.add(below);
    }
  }

  /** The same for exactly these nodes, all their keys, and what is below because of them: keys that wait for a limit of theirs, and what they are offered. */
  reconsiderAll(nodes: readonly GroupNode[]): void {
    for (const node of nodes) {
      for (const state of node.keys.values()) {
        this.unpark(state);
        for (const below of [...state.blockedKeys]) this.unpark(below);
      }
      for (const child of node.childCandidates.items()) this.#dirty.add(child);
      this.#dirty.add(node);
    }
  }

  /** Looks again at what has changed and admits all waiters that may go now; after a slice the rest is due at once, so that a window that opens for many does not hold up the process. */
  dispatch(now: Instant): void {
    const { root } = this.tree;
    if (this.sealed) return;
    for (let admitted = 0; ; admitted++) {
      for (const node of this.#dirty) {
        this.#dirty.delete(node);
        this.#propagate(now, node);
      }
      this.hasMoreWork = root.candidate !== NO_SLOT;
      if (!this.hasMoreWork) return;
      if (admitted >= MAX_BATCH) {
        this.timers.dueBy(now);
        return;
      }
      this.#propagate(now, this.#admitHead(now, root.candidate));
    }
  }

  /** Looks again at everything whose time has come by `at`, with the limits as they are at `now`. */
  dispatchAt(at: Instant, now: Instant): void {
    const { timers } = this;
    for (let id = timers.popKey(at); id >= 0; id = timers.popKey(at)) {
      const state = this.tree.keyStates[id];
      if (state !== undefined) this.unpark(state);
    }
    for (let index = timers.popNode(at); index >= 0; index = timers.popNode(at)) this.#dirty.add(this.tree.nodes[index] as GroupNode);
    this.dispatch(now);
  }

  /** From `from` up to the root, or up to and without `end`: what does each offer now? */
  #propagate(now: Instant, from: GroupNode, end?: GroupNode): void {
    for (let node: GroupNode | undefined = from; node !== undefined && node !== end; node = node.parent) {
      this.#refresh(now, node);
      const { parent } = node;
      if (parent === undefined) return;
      if (node.candidate === NO_SLOT) {
        if (node.position >= 0) parent.childCandidates.remove(node);
      } else if (node.position >= 0) parent.childCandidates.update(node);
      else parent.childCandidates.push(node);
    }
  }

  /** What does this node offer now? A child's offer is asked for its key again: another child may have spent it meanwhile. */
  #refresh(now: Instant, node: GroupNode): void {
    const { waiters } = this;
    if (node.blockedUntil !== DISTANT_PAST) this.#unblock(node);
    for (;;) {
      node.askFloor(now);
      const queue = node.nextQueue();
      const child = node.childCandidates.peek();
      if (queue === undefined && child === undefined) break;
      const own = queue !== undefined && (child === undefined || node.ranksBefore(queue.head, child.candidate));
      const slot = own ? queue.head : (child as GroupNode).candidate;
      const state = waiters.keyOf(slot);
      if (this.#refusePastDeadline(now, slot)) continue;
      if (!this.readiness.keyReady(now, state, waiters.costsOf(slot))) {
        if (this.#refuseOversized(now, slot)) continue;
        this.#park(state);
        this.#clearCandidate(state.node, slot);
        this.#propagate(now, state.node, node);
        continue;
      }
      if (!this.readiness.nodeReady(now, node, waiters.costsOf(slot))) {
        if (this.#refuseOversized(now, slot)) continue;
        this.#block(node);
        break;
      }
      node.candidate = slot;
      return;
    }
    node.candidate = NO_SLOT;
  }

  /**
   * Refuses a waiter that the limit just found not ready can never pass: it became smaller while the waiter was queued. Done when
   * its turn comes, or it would hold the line to the end of its wait timeout.
   */
  #refuseOversized(now: Instant, slot: number): boolean {
    const { waiters } = this;
    const { until, because } = this.readiness;
    // No end of wait timeout would free the line of a stored request: all its limits are asked, whichever binds.
    const stored = isStored(waiters.tokenOf(slot));
    if ((until !== NEVER || because === undefined) && !stored) return false;
    const limit = stored
      ? findOversizedLimit(waiters.keyOf(slot), waiters.costsOf(slot))
      : oversizedByOne(because as LimitInstance, waiters.costsOf(slot), waiters.keyOf(slot));
    if (limit === undefined) return false;
    this.refuse(now, slot, { reason: 'oversized', limit });
    return true;
  }

  /** Ends a stored request whose deadline has passed: its turn came too late. */
  #refusePastDeadline(now: Instant, slot: number): boolean {
    const { waiters } = this;
    if (waiters.deadlineOf(slot) >= now || !isStored(waiters.tokenOf(slot))) return false;
    this.refuse(now, slot, { reason: 'expired' });
    return true;
  }

  #park(state: KeyState): void {
    const { until, because } = this.readiness;
    state.parked = true;
    state.parkedBy = because;
    because?.keyState?.blockedKeys.add(state);
    this.timers.setKey(state.id, until);
    for (const queue of state.queues) queue.level.deactivate(queue);
  }

  #block(node: GroupNode): void {
    const { until, because } = this.readiness;
    node.blockedUntil = until;
    node.blockedBy = because;
    this.timers.setNode(node.index, until);
  }

  #unblock(node: GroupNode): void {
    this.timers.clearNode(node.index);
    node.blockedUntil = DISTANT_PAST;
    node.blockedBy = undefined;
  }

  /** Admits a waiter; answers its node. */
  #admitHead(now: Instant, slot: number): GroupNode {
    const { waiters } = this;
    const state = waiters.keyOf(slot);
    const queue = waiters.queueOf(slot);
    const { node } = state;
    const costs = waiters.costsOf(slot);
    this.#clearCandidate(node, slot);
    if (!this.readiness.covered(now, state, costs)) return node;
    if (waiters.isRangeKept(slot)) this.waitRanges.ended(now, waiters.refOf(slot), true);
    const unit = node.fairUnit;
    queue.level.advanceVirtualTime(queue, unit === undefined ? 1 : costOf(costs, unit), node.weightOf(state.key));
    const [{ key }, { priority }] = [state, queue.level];
    const [lease, reported, claim] = [waiters.leaseOf(slot), waiters.inProcessOf(slot), waiters.claimOf(slot)];
    const who = { key, priority, costs, lease, holder: waiters.holderOf(slot), tag: waiters.tagOf(slot), token: waiters.tokenOf(slot), reported, claim };
    admit(this, now, state, who, waiters.arrivalOf(slot), waiters.orderOf(slot));
    this.#removeWaiter(slot, state);
    return node;
  }

  /** No node offers this waiter any more. */
  #clearCandidate(node: GroupNode, slot: number): void {
    for (const above of node.path) {
      if (above.candidate !== slot) continue;
      if (above.position >= 0) above.parent?.childCandidates.remove(above);
      above.candidate = NO_SLOT;
    }
  }

  /** The waiter that blocked or was offered may be gone: these nodes choose again. */
  #recompute(node: GroupNode): void {
    for (const above of node.path) if (above.candidate === NO_SLOT) this.#dirty.add(above);
  }

  #removeWaiter(slot: number, state: KeyState): void {
    state.node.count(slot, -1);
    if (this.waiters.isRangeKept(slot)) this.waitRanges.forget(this.waiters.refOf(slot));
    const token = this.waiters.tokenOf(slot);
    if (isStored(token)) {
      state.stored--;
      this.waiters.stored.free(token.entry);
    }
    if (this.overdue.size > 0) this.overdue.delete(this.waiters.refOf(slot));
    state.waiting--;
    this.timers.clearWaitTimeout(slot);
    this.waiters.free(slot);
  }
}

/** No other queue of this key has a waiter as urgent. */
function mostUrgent(state: KeyState, queue: KeyQueue): boolean {
  return state.queues.every((other) => other === queue || other.head === NO_SLOT || other.level.priority > queue.level.priority);
}

function oversizedByOne(instance: LimitInstance, costs: Costs, state: KeyState): string | undefined {
  return costOf(costs, instance.rule.unit) > instance.limit.capacity ? instance.rule.qualifiedName(state.node) : undefined;
}
