import type { Costs } from '../group.ts';
import type { Refusal } from '../refusal.ts';
import type { GateRequest } from '../request.ts';
import { DISTANT_PAST, type Instant, later, NEVER, plus } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import type { Dispatcher } from './dispatcher.ts';
import { positionAtTail, positionOf } from './position.ts';
import { findOversizedLimit } from './readiness.ts';
import { pausedFor, retryAt } from './retry-at.ts';
import { exceededBacklogBound, victimsFor, wouldMakeRoom } from './shed.ts';
import { type GateExplanation, limitViews } from './views.ts';
import { waitRangeAtTail, withRange } from './wait-ranges.ts';
import { awaitsReservation, DISK_WAIT_MAX, extendForReservation } from './wait-timeouts.ts';
import { waitersAhead } from './waiters-ahead.ts';

const NOBODY: readonly number[] = [];

/**
 * Why a waiter that was just queued may not stay; undefined: it may, and less urgent ones were shed where the backlog is full:
 * the caller of this pumps. Whether the limits alone could admit it in time comes before the bounds of the backlog; who had
 * its place before keeps it, though others filled the backlog meanwhile.
 */
export function checkArrival(dispatcher: Dispatcher, now: Instant, slot: number, request: GateRequest): Refusal | undefined {
  const refusal = arrivalRefusal(dispatcher, now, slot, request);
  return refusal && withRange(dispatcher, now, slot, refusal);
}

function arrivalRefusal(dispatcher: Dispatcher, now: Instant, slot: number, request: GateRequest): Refusal | undefined {
  const { waiters } = dispatcher;
  const state = waiters.keyOf(slot);
  const { node } = state;
  const impossible = infeasible(dispatcher, now, state, request);
  if (impossible !== undefined) return impossible;
  const disk = awaitsReservation(dispatcher, now, slot);
  if (request.waitUntil <= now) {
    if (!disk) return withRetryAt(now, state, request.costs, { reason: 'expired' }, positionOf(dispatcher, now, slot));
    extendForReservation(dispatcher, slot, plus(now, DISK_WAIT_MAX));
  }
  // Only the disk holds it: it takes no place of the backlog. Those behind it do, or a disk that hangs would let in every arrival.
  if (disk && isNext(dispatcher, slot)) return undefined;
  if (isReturning(node, request)) return undefined;
  const bound = exceededBacklogBound(node, state, 0, 0);
  const victims = bound === undefined ? NOBODY : victimsFor(waiters, state, slot);
  if (victims === undefined) return shed(dispatcher, now, slot, bound);
  const tooLong = node.spec.backlog.wait === undefined ? undefined : checkExpectedWait(now, node, positionOf(dispatcher, now, slot).expectedAt);
  if (tooLong !== undefined) return tooLong;
  for (const victim of victims) dispatcher.refuse(now, victim, withRange(dispatcher, now, victim, shed(dispatcher, now, victim, bound)));
  return undefined;
}

function shed(dispatcher: Dispatcher, now: Instant, slot: number, bound: string | undefined): Refusal {
  const { waiters } = dispatcher;
  const refusal: Refusal = { reason: 'shed', ...(bound === undefined ? {} : { limit: bound }) };
  return withRetryAt(now, waiters.keyOf(slot), waiters.costsOf(slot), refusal, positionOf(dispatcher, now, slot));
}

/** What a request would meet: the refusal on arrival, its position, every limit on the way. Nothing that counts changes. */
export function explain(dispatcher: Dispatcher, now: Instant, state: KeyState, request: GateRequest): Omit<GateExplanation, 'binding'> {
  const limits = limitViews(now, state, request.costs);
  const nowhere = { place: 0, expectedAt: NEVER, limit: '' };
  const oversized = findOversizedLimit(state, request.costs);
  const ahead = waitersAhead(dispatcher, state, request.priority);
  if (oversized !== undefined) return { refusal: { reason: 'oversized', limit: oversized }, admitted: false, place: nowhere, ahead, limits };
  const { priority, costs } = request;
  const at = positionAtTail(dispatcher, now, state, priority, costs);
  const who = { state, slot: NO_SLOT, priority, costs, ahead: at.place - 1, aheadOfKey: state.waiting };
  const place = { ...at, range: waitRangeAtTail(dispatcher, now, who) };
  const pausedUntil = pausedFor(state, now);
  const ready = dispatcher.readiness.readyAt(now, state.limits, request.costs);
  const admitted = ready <= now && pausedUntil <= now && now >= dispatcher.from && !hasWaiterAhead(dispatcher, now, state, request.priority);
  if (admitted) return { refusal: undefined, admitted, place: { place: 1, expectedAt: now, limit: '' }, ahead: undefined, limits };
  const refusal =
    infeasible(dispatcher, now, state, request) ??
    (request.waitUntil <= now ? withRetryAt(now, state, request.costs, { reason: 'expired' }, place) : undefined) ??
    checkBacklog(dispatcher, now, state, request, place.expectedAt);
  return { refusal: refusal && { ...refusal, range: place.range }, admitted, place, ahead, limits };
}

/** Whether a waiter is queued before a new request of this key and priority. */
function hasWaiterAhead(dispatcher: Dispatcher, now: Instant, state: KeyState, priority: number): boolean {
  if (dispatcher.waiters.length === 0) return false;
  for (const node of state.node.path) if (!node.wouldOvertake(now, priority, node.next())) return true;
  return state.parked && state.queues.some((queue) => !state.node.wouldOvertake(now, priority, queue.head));
}

/** Only if the limits alone, with everyone ahead gone, or a pause with a known end, cannot admit it by the end of its wait timeout. */
function infeasible(dispatcher: Dispatcher, now: Instant, state: KeyState, request: GateRequest): Refusal | undefined {
  const ready = dispatcher.readiness.readyAt(now, state.limits, request.costs, true);
  const instance = dispatcher.readiness.because;
  const paused = pausedFor(state, now);
  const at = later(ready, paused === NEVER ? DISTANT_PAST : paused);
  if (at <= later(now, request.waitUntil)) return undefined;
  const limit = ready >= paused && instance !== undefined ? instance.rule.qualifiedName(state.node) : 'pause';
  return { reason: 'infeasible', limit, retryAt: at };
}

/** The wait that is expected is longer than the group takes on. */
function checkExpectedWait(now: Instant, node: GroupNode, expectedAt: Instant): Refusal | undefined {
  const { wait } = node.spec.backlog;
  if (wait === undefined || expectedAt === NEVER || expectedAt <= plus(now, wait)) return undefined;
  return { reason: 'shed', limit: 'backlog.wait', retryAt: later(now, plus(expectedAt, -wait)) };
}

/** It was admitted in vain: not a new arrival, and counted before. So there are never more of them over the bounds than were admitted. */
function isReturning(node: GroupNode, request: GateRequest): boolean {
  return request.since !== undefined && node.spec.backlog.requests > 0;
}

/** Refuses one more waiter where the backlog has no room for it. */
function checkBacklog(dispatcher: Dispatcher, now: Instant, state: KeyState, request: GateRequest, expectedAt: Instant): Refusal | undefined {
  const { node } = state;
  if (isReturning(node, request)) return undefined;
  const bound = exceededBacklogBound(node, state, 1, request.bytes);
  if (bound === undefined || wouldMakeRoom(dispatcher.waiters, state, bound, now, request.priority)) return checkExpectedWait(now, node, expectedAt);
  return withRetryAt(now, state, request.costs, { reason: 'shed', limit: bound }, { expectedAt, limit: '' });
}

/** A refusal with the limit that binds at this place, and a time to come back. */
function withRetryAt(now: Instant, state: KeyState, costs: Costs, refusal: Refusal, place: { readonly expectedAt: Instant; readonly limit: string }): Refusal {
  const limit = refusal.limit ?? (pausedFor(state, now) === NEVER ? 'pause' : place.limit === '' ? undefined : place.limit);
  return { ...refusal, ...(limit === undefined ? {} : { limit }), retryAt: retryAt(now, state, costs, place.expectedAt) };
}

/** No waiter of its key and priority is before it, and none of its group but those that only their own keys hold. */
function isNext(dispatcher: Dispatcher, slot: number): boolean {
  const queue = dispatcher.waiters.queueOf(slot);
  return queue.head === slot && (queue.keyState.parked || queue.keyState.node.nextQueue() === queue);
}
