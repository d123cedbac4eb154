import { ONE_REQUEST } from '../group.ts';
import { type Refusal, withdrawn } from '../refusal.ts';
import { DECIDED, type GateRequest, type WaiterRef } from '../request.ts';
import type { Instant } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import { firstArrival, NO_SLOT } from '../tree/waiter-table.ts';
import { admit } from './admit.ts';
import { checkArrival, findOversizedLimit } from './arrival-checks.ts';
import type { Dispatcher } from './dispatcher.ts';

/**
 * An ask comes in: admitted, refused (both as events), or queued. With nobody waiting it needs no place in the queue;
 * otherwise it is queued first and refused afterwards if it may not stay, so that a full backlog never keeps out a
 * caller who could go at once.
 */
export function acquire(all: Dispatcher, now: Instant, node: GroupNode, ask: GateRequest, closed: boolean): WaiterRef {
  if (closed) return refuse(all, node, ask, { reason: 'draining' });
  // It came in before the group was taken out, and waited for the right to decide.
  if (node.removed) return refuse(all, node, ask, withdrawn(now));
  const keyed = node.hasKeyLimits || node.hasLeases;
  const first = all.keyState(now, node, keyed ? ask.key : '');
  const oversized = first === undefined || ask.costs === ONE_REQUEST ? undefined : findOversizedLimit(first, ask.costs);
  if (oversized !== undefined) return refuse(all, node, ask, { reason: 'oversized', limit: oversized });
  if (first !== undefined && all.waiters.length === 0 && all.readiness.allReady(now, first, ask.costs)) {
    admit(all, now, first, ask, firstArrival(now, ask), all.waiters.orderFor(ask));
    return DECIDED;
  }
  const state = keyed ? first : all.keyState(now, node, ask.key);
  if (state === undefined) return refuse(all, node, ask, { reason: 'shed', limit: 'backlog.keys' });
  const slot = all.enqueue(now, ask, state);
  const ref = all.waiters.refOf(slot);
  all.dispatch(now);
  if (all.waiters.slotOf(ref) === NO_SLOT) return DECIDED;
  const waiting = all.waiters.length;
  const refusal = checkArrival(all, now, slot, ask);
  if (refusal === undefined) {
    // Some were shed in its place: whom they held may go now.
    if (all.waiters.length < waiting) all.dispatch(now);
    if (all.waiters.slotOf(ref) === NO_SLOT) return DECIDED;
    all.events.push({ kind: 'queued', group: node.name, key: ask.key, priority: ask.priority, token: ask.token });
    return ref;
  }
  all.remove(slot);
  all.dispatch(now);
  return refuse(all, node, ask, refusal);
}

function refuse(all: Dispatcher, node: GroupNode, ask: GateRequest, refusal: Refusal): WaiterRef {
  const { key, priority, token } = ask;
  all.events.push({ kind: 'refused', token, group: node.name, key, priority, refusal, waited: 0 });
  return DECIDED;
}
