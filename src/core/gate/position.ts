import { type Costs, costOf, type Quota } from '../group.ts';
import type { QueuePosition } from '../request.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER, plus, SECOND } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { KeyQueue, PriorityLevel } from '../tree/queues.ts';
import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { LimitView } from './snapshot.ts';

/** Steps back along a lane before its length is guessed instead of counted. */
const STEPS_MAX = 1_000;
/** Lanes looked at when fair shares are added up. */
const LANES_MAX = 256;

/** Where a waiter stands: exact near the head of its lane, an estimate behind and between keys. */
export function positionOf(decisions: Dispatcher, now: Instant, slot: number): QueuePosition {
  const { slab } = decisions;
  const state = slab.keyOf(slot);
  const lane = slab.queueOf(slot);
  const ahead = aheadOf(slab, state.node, lane, slot);
  return { place: ahead + 1, ...expected(decisions, now, state, slab.costsOf(slot), ahead, rank(slab, lane, slot)) };
}

/** Where an ask would stand that came now. */
export function positionAtTail(decisions: Dispatcher, now: Instant, state: KeyState, priority: number, costs: Costs): QueuePosition {
  const { node } = state;
  let ahead = 0;
  for (const band of node.priorityLevels) if (band.priority <= priority) ahead += band.waiting;
  return { place: ahead + 1, ...expected(decisions, now, state, costs, ahead, state.waiting) };
}

/** A cell as shown to people. */
export function namedLimit(cell: LimitInstance, now: Instant, key: string, costs: Costs | undefined): LimitView {
  const { rule } = cell;
  const quota = rule.quotaFor(key);
  return {
    ...cell.limit.status(now),
    ...(cell.isConcurrency ? { resetAt: cell.opensAt(now, 1) } : {}),
    group: rule.node.name,
    name: rule.name,
    unit: rule.unit,
    kind: quota.kind,
    scope: rule.scope,
    key: cell.keyState?.key,
    per: perOf(quota),
    permits: quota.kind === 'rate' ? quota.permits : undefined,
    readyAt: costs === undefined ? undefined : cell.limit.readyAt(now, costOf(costs, rule.unit)),
  };
}

function perOf(quota: Quota): Micros | undefined {
  switch (quota.kind) {
    case 'rate':
    case 'window':
      return quota.per;
    case 'spacing':
      return quota.spacing + quota.slack;
    case 'fixed':
      return quota.per === 'month' ? 30 * 86_400 * SECOND : quota.per;
    case 'concurrency':
      return undefined;
  }
}

/** Waiters of this group that go before `slot`. */
function aheadOf(slab: WaiterTable, node: GroupNode, lane: KeyQueue, slot: number): number {
  let ahead = 0;
  for (const band of node.priorityLevels) {
    if (band.priority < lane.band.priority) ahead += band.waiting;
  }
  return ahead + aheadInBand(slab, node, lane, slot);
}

function aheadInBand(slab: WaiterTable, node: GroupNode, lane: KeyQueue, slot: number): number {
  const { band } = lane;
  const own = rank(slab, lane, slot);
  if (!node.fair) return own + olderElsewhere(slab, band, lane, slot);
  const weight = node.weightOf(lane.keyState.key);
  let others = 0;
  let seen = 0;
  for (const other of band.lanes.items()) {
    if (other === lane) continue;
    if (++seen > LANES_MAX) break;
    const turns = Math.ceil(((own + (other.startTag <= lane.startTag ? 1 : 0)) * node.weightOf(other.keyState.key)) / weight);
    others += Math.min(turns, lengthUpTo(slab, other, turns));
  }
  const lanes = band.lanes.size - (lane.position >= 0 ? 1 : 0);
  const scaled = seen > LANES_MAX ? Math.round((others * lanes) / LANES_MAX) : others;
  return Math.min(own + scaled, band.waiting - 1);
}

/** First in, first out over several keys: who of the other lanes is older, by the shares of their ranges. */
function olderElsewhere(slab: WaiterTable, band: PriorityLevel, lane: KeyQueue, slot: number): number {
  const order = slab.orderOf(slot);
  let older = 0;
  let seen = 0;
  for (const other of band.lanes.items()) {
    if (other === lane) continue;
    if (++seen > LANES_MAX) break;
    let at = other.head;
    for (let step = 0; step < STEPS_MAX && at !== NO_SLOT && slab.orderOf(at) < order; step++) {
      older++;
      at = slab.nextOf(at);
    }
    older += storedBefore(slab, other, order);
  }
  return Math.min(older, band.waiting - 1);
}

function lengthUpTo(slab: WaiterTable, lane: KeyQueue, most: number): number {
  let length = 0;
  for (let at = lane.head; at !== NO_SLOT && length < Math.min(most, STEPS_MAX); at = slab.nextOf(at)) length++;
  return Math.min(most, length + lane.stored);
}

/** Stored requests of a lane that are older than `order`: by the share of their range. */
function storedBefore(slab: WaiterTable, lane: KeyQueue, order: number): number {
  if (lane.stored === 0) return 0;
  const first = slab.stored.orderOf(lane.storedHead);
  const last = slab.stored.orderOf(lane.storedTail);
  if (order > last) return lane.stored;
  return order < first ? 0 : Math.round((lane.stored * (order - first)) / Math.max(1, last - first));
}

/** Waiters before `slot` in its lane: counted up to a bound, then guessed from the orders of arrival. */
function rank(slab: WaiterTable, lane: KeyQueue, slot: number): number {
  return storedBefore(slab, lane, slab.orderOf(slot)) + waitersBefore(slab, lane, slot);
}

function waitersBefore(slab: WaiterTable, lane: KeyQueue, slot: number): number {
  let steps = 0;
  for (let at = slab.previousOf(slot); at !== NO_SLOT; at = slab.previousOf(at)) {
    if (++steps < STEPS_MAX) continue;
    const head = slab.orderOf(lane.head);
    const tail = slab.orderOf(lane.tail);
    const share = (slab.orderOf(slot) - head) / Math.max(1, tail - head);
    return Math.max(steps, Math.round(share * lane.keyState.waiting));
  }
  return steps;
}

/** When `costs` would go with so many ahead in the group and in its key, and what binds it. */
function expected(decisions: Dispatcher, now: Instant, state: KeyState, costs: Costs, ahead: number, aheadOfKey: number): Omit<QueuePosition, 'place'> {
  const { node } = state;
  let expectedAt = later(now, decisions.from);
  let limit = '';
  let worst: Instant = now;
  for (const cell of state.limits) {
    if (!cell.enforced) continue;
    const cost = costOf(costs, cell.rule.unit);
    const units = aheadUnits(cell, node, ahead, aheadOfKey, cost);
    expectedAt = later(expectedAt, expectedOf(cell, now, units, cost));
    const ready = cell.limit.readyAt(now, cost);
    if (ready > worst) {
      worst = ready;
      limit = cell.rule.qualifiedName(node);
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

/** Units that are taken from a cell before this waiter, if all are like the mean of those that wait. */
function aheadUnits(cell: LimitInstance, node: GroupNode, ahead: number, aheadOfKey: number, cost: number): number {
  const mean = node.waiting > 0 ? node.unitsWaiting(cell.rule.unit) / node.waiting : cost;
  return Math.round(mean * (cell.keyState === undefined ? ahead : aheadOfKey));
}

/** For concurrency by the mean holding time, NEVER while nobody knows one. */
function expectedOf(cell: LimitInstance, now: Instant, ahead: number, cost: number): Instant {
  if (!cell.isConcurrency) return cell.limit.readyAfter(now, ahead, cost);
  const { capacity, used, debt } = cell.limit.status(now);
  const over = used + debt + ahead + cost - capacity;
  if (over <= 0) return now;
  if (cell.heldFor === 0) return NEVER;
  return plus(now, Math.ceil((cell.heldFor * over) / Math.max(1, capacity)));
}
