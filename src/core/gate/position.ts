import { type Costs, costOf } from '../group.ts';
import type { QueuePosition } from '../request.ts';
import { DISTANT_PAST, type Instant, later, NEVER, plus } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { KeyQueue, PriorityLevel } from '../tree/queues.ts';
import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';
import type { GateState } from './state.ts';

/** Steps back along a queue before its length is guessed instead of counted. */
const STEPS_MAX = 1_000;
/** Queues looked at when fair shares are added up. */
const QUEUES_MAX = 256;

/** The position of a waiter: exact near the head of its queue, an estimate behind and between keys. */
export function positionOf(gate: GateState, now: Instant, slot: number): QueuePosition {
  const { waiters } = gate;
  const state = waiters.keyOf(slot);
  const queue = waiters.queueOf(slot);
  const ahead = aheadOf(waiters, state.node, queue, slot);
  return { place: ahead + 1, ...expected(gate, now, state, waiters.costsOf(slot), ahead, rank(waiters, queue, slot)) };
}

/** The position of a request that came now. */
export function positionAtTail(gate: GateState, now: Instant, state: KeyState, priority: number, costs: Costs): QueuePosition {
  const { node } = state;
  let ahead = 0;
  for (const level of node.priorityLevels) if (level.priority <= priority) ahead += level.waiting;
  return { place: ahead + 1, ...expected(gate, now, state, costs, ahead, state.waiting) };
}

/** Waiters of this group that go before `slot`. */
export function aheadOf(waiters: WaiterTable, node: GroupNode, queue: KeyQueue, slot: number): number {
  let ahead = 0;
  for (const level of node.priorityLevels) {
    if (level.priority < queue.level.priority) ahead += level.waiting;
  }
  return ahead + aheadInLevel(waiters, node, queue, slot);
}

function aheadInLevel(waiters: WaiterTable, node: GroupNode, queue: KeyQueue, slot: number): number {
  const { level } = queue;
  const own = rank(waiters, queue, slot);
  if (!node.fair) return own + olderElsewhere(waiters, level, queue, slot);
  const weight = node.weightOf(queue.keyState.key);
  let others = 0;
  let seen = 0;
  for (const other of level.queues.items()) {
    if (other === queue) continue;
    if (++seen > QUEUES_MAX) break;
    const turns = Math.ceil(((own + (other.startTag <= queue.startTag ? 1 : 0)) * node.weightOf(other.keyState.key)) / weight);
    others += Math.min(turns, lengthUpTo(waiters, other, turns));
  }
  const queues = level.queues.size - (queue.position >= 0 ? 1 : 0);
  const scaled = seen > QUEUES_MAX ? Math.round((others * queues) / QUEUES_MAX) : others;
  return Math.min(own + scaled, level.waiting - 1);
}

/** First in, first out over several keys: who of the other queues is older, by the shares of their ranges. */
function olderElsewhere(waiters: WaiterTable, level: PriorityLevel, queue: KeyQueue, slot: number): number {
  const order = waiters.orderOf(slot);
  let older = 0;
  let seen = 0;
  for (const other of level.queues.items()) {
    if (other === queue) continue;
    if (++seen > QUEUES_MAX) break;
    let at = other.head;
    for (let step = 0; step < STEPS_MAX && at !== NO_SLOT && waiters.orderOf(at) < order; step++) {
      older++;
      at = waiters.nextOf(at);
    }
    older += storedBefore(waiters, other, order);
  }
  return Math.min(older, level.waiting - 1);
}

/** Waiters of a queue, counted no further than `most` and 1,000; stored requests included. */
export function lengthUpTo(waiters: WaiterTable, queue: KeyQueue, most: number): number {
  if (queue.keyState.queues.length === 1) return Math.min(most, queue.keyState.waiting);
  let length = 0;
  for (let at = queue.head; at !== NO_SLOT && length < Math.min(most, STEPS_MAX); at = waiters.nextOf(at)) length++;
  return Math.min(most, length + queue.stored);
}

/** Stored requests of a queue that are older than `order`: by the share of their range. */
function storedBefore(waiters: WaiterTable, queue: KeyQueue, order: number): number {
  if (queue.stored === 0) return 0;
  const first = waiters.stored.orderOf(queue.storedHead);
  const last = waiters.stored.orderOf(queue.storedTail);
  if (order > last) return queue.stored;
  return order < first ? 0 : Math.round((queue.stored * (order - first)) / Math.max(1, last - first));
}

/** Waiters before `slot` in its queue: counted up to a bound, then guessed from the orders of arrival. */
export function rank(waiters: WaiterTable, queue: KeyQueue, slot: number): number {
  return storedBefore(waiters, queue, waiters.orderOf(slot)) + waitersBefore(waiters, queue, slot);
}

function waitersBefore(waiters: WaiterTable, queue: KeyQueue, slot: number): number {
  let steps = 0;
  for (let at = waiters.previousOf(slot); at !== NO_SLOT; at = waiters.previousOf(at)) {
    if (++steps < STEPS_MAX) continue;
    const head = waiters.orderOf(queue.head);
    const tail = waiters.orderOf(queue.tail);
    const share = (waiters.orderOf(slot) - head) / Math.max(1, tail - head);
    return Math.max(steps, Math.round(share * queue.keyState.waiting));
  }
  return steps;
}

/** When `costs` would go with so many ahead in the group and in its key, and what binds it. */
function expected(gate: GateState, now: Instant, state: KeyState, costs: Costs, ahead: number, aheadOfKey: number): Omit<QueuePosition, 'place'> {
  const { node } = state;
  let expectedAt = later(now, gate.from);
  let limit = '';
  let worst: Instant = now;
  for (const instance of state.limits) {
    if (!instance.enforced) continue;
    const cost = costOf(costs, instance.rule.unit);
    const units = aheadUnits(instance, node, ahead, aheadOfKey, cost);
    expectedAt = later(expectedAt, expectedOf(instance, now, units, cost));
    const ready = instance.limit.readyAt(now, cost);
    if (ready > worst) {
      worst = ready;
      limit = instance.rule.qualifiedName(node);
    }
  }
  for (const above of node.path) expectedAt = later(expectedAt, later(above.pausedUntil, above.keyPausedUntil(state.key, now)));
  if (limit === '' && ahead > 0) limit = bindingOf(node);
  return { expectedAt, limit };
}

/** The limit that blocks this group or one above it now. */
function bindingOf(node: GroupNode): string {
  for (const above of node.path) if (above.blockedUntil !== DISTANT_PAST && above.blockedBy !== undefined) return above.blockedBy.rule.qualifiedName(node);
  return '';
}

/** Units that are taken from a limit instance before this waiter, if all are like the mean of those that wait. */
function aheadUnits(instance: LimitInstance, node: GroupNode, ahead: number, aheadOfKey: number, cost: number): number {
  const mean = node.waiting > 0 ? node.unitsWaiting(instance.rule.unit) / node.waiting : cost;
  return Math.round(mean * (instance.keyState === undefined ? ahead : aheadOfKey));
}

/** For concurrency by the mean holding time, NEVER while none is known. */
function expectedOf(instance: LimitInstance, now: Instant, ahead: number, cost: number): Instant {
  if (!instance.isConcurrency) return instance.limit.readyAfter(now, ahead, cost);
  const { capacity, used, debt } = instance.limit.status(now);
  const over = used + debt + ahead + cost - capacity;
  if (over <= 0) return now;
  if (instance.heldFor === 0) return NEVER;
  return plus(now, Math.ceil((instance.heldFor * over) / Math.max(1, capacity)));
}
