import { ONE_REQUEST } from '../group.ts';
import { type Refusal, withdrawn } from '../refusal.ts';
import { DECIDED, type GateRequest, type WaiterRef } from '../request.ts';
import type { Instant } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import { firstArrival, NO_SLOT } from '../tree/waiter-table.ts';
import { admit } from './admit.ts';
import { checkArrival } from './arrival-checks.ts';
import type { Dispatcher } from './dispatcher.ts';
import { findOversizedLimit } from './readiness.ts';
import { observeArrival } from './wait-ranges.ts';

/**
 * Admits, refuses (both as events) or queues a request. While no other waits it needs no place in the queue;
 * otherwise it is queued first and refused afterwards if it may not stay, so that a full backlog never keeps out a
 * caller who could go at once.
 */
export function acquire(all: Dispatcher, now: Instant, node: GroupNode, request: GateRequest, closed: boolean): WaiterRef {
  if (closed) return refuse(all, node, request, { reason: 'draining' });
  // It came in before the group was taken out, and waited for the right to decide.
  if (node.removed) return refuse(all, node, request, withdrawn(now));
  const keyed = node.hasKeyLimits || node.hasLeases;
  const first = all.keyState(now, node, keyed ? request.key : '');
  const oversized = first === undefined || request.costs === ONE_REQUEST ? undefined : findOversizedLimit(first, request.costs);
  if (oversized !== undefined) return refuse(all, node, request, { reason: 'oversized', limit: oversized });
  if (first !== undefined && all.waiters.length === 0 && all.readiness.allReady(now, first, request.costs)) {
    admit(all, now, first, request, firstArrival(now, request), all.waiters.orderFor(request));
    return DECIDED;
  }
  const state = keyed ? first : all.keyState(now, node, request.key);
  if (state === undefined) return refuse(all, node, request, { reason: 'shed', limit: 'backlog.keys' });
  const slot = all.enqueue(now, request, state);
  const ref = all.waiters.refOf(slot);
  all.dispatch(now);
  if (all.waiters.slotOf(ref) === NO_SLOT) return DECIDED;
  const waiting = all.waiters.length;
  const refusal = checkArrival(all, now, slot, request);
  if (refusal === undefined) {
    // Some were shed in its place: whom they held may go now.
    if (all.waiters.length < waiting) all.dispatch(now);
    if (all.waiters.slotOf(ref) === NO_SLOT) return DECIDED;
    observeArrival(all, now, slot);
    all.events.push({ kind: 'queued', group: node.name, key: request.key, priority: request.priority, token: request.token });
    return ref;
  }
  all.remove(slot);
  all.dispatch(now);
  return refuse(all, node, request, refusal);
}

function refuse(all: Dispatcher, node: GroupNode, request: GateRequest, refusal: Refusal): WaiterRef {
  const { key, priority, token } = request;
  all.events.push({ kind: 'refused', token, group: node.name, key, priority, refusal, waited: 0 });
  return DECIDED;
}
