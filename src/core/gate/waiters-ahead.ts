import type { WaitersAhead } from '../request.ts';
import type { KeyState } from '../tree/key-state.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import { nextSlot } from './binding.ts';
import { lengthUpTo } from './position.ts';
import type { GateState } from './state.ts';

/** Returns who goes before a request of this key and priority that comes now; undefined: no caller that can be reached waits in its group. */
export function waitersAhead(gate: GateState, state: KeyState, priority: number): WaitersAhead | undefined {
  const { waiters } = gate;
  const { node } = state;
  const slot = nextSlot(gate, node);
  if (slot === NO_SLOT) return undefined;
  let [total, moreUrgent] = [0, 0];
  for (const level of node.priorityLevels) {
    if (level.priority < priority) moreUrgent += level.waiting;
    if (level.priority <= priority) total += level.waiting;
  }
  const ofKey = state.queues.reduce((sum, queue) => sum + (queue.level.priority <= priority ? lengthUpTo(waiters, queue, Number.POSITIVE_INFINITY) : 0), 0);
  const next = {
    key: waiters.keyOf(slot).key,
    priority: waiters.queueOf(slot).level.priority,
    since: waiters.arrivalOf(slot),
    holder: waiters.holderOf(slot),
  };
  return { total, moreUrgent, ofKey, next };
}
