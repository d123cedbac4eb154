import type { Instant } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { KeyQueue } from '../tree/queues.ts';
import { isStored } from '../tree/stored-requests.ts';
import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';

/** Waiters shed, or looked at, for one arrival at most; only `backlog.bytes` needs more than one. */
const VICTIMS_MAX = 64;

/** The bounds of a group's backlog as names in refusals. */
export type BacklogBound = 'backlog.requests' | 'backlog.perKey' | 'backlog.bytes';

/** Returns the bound that the waiters of this group and key, and `more` of `bytes`, exceed; undefined if none. Callers without a key are no tenant of their own. Stored requests are not counted. */
export function exceededBacklogBound(node: GroupNode, state: KeyState, more: number, bytes: number): BacklogBound | undefined {
  const { backlog } = node.spec;
  if (node.waiting - node.stored + more > backlog.requests) return 'backlog.requests';
  if (overKey(state, more)) return 'backlog.perKey';
  return node.waitingBytes + bytes > backlog.bytes ? 'backlog.bytes' : undefined;
}

function overKey(state: KeyState, more: number): boolean {
  return state.key !== '' && state.waiting - state.stored + more > state.node.spec.backlog.perKey;
}

/**
 * Returns whom to shed so that the arrival in `slot`, which already waits, may stay in a full backlog: the least urgent,
 * of those the youngest. Returns undefined if that is the arrival itself, or if the group sheds the newest. Changes nothing.
 */
export function victimsFor(waiters: WaiterTable, state: KeyState, slot: number): readonly number[] | undefined {
  const { node } = state;
  const { backlog } = node.spec;
  let full = node.waiting - node.stored > backlog.requests;
  const perKey = overKey(state, 0);
  if (backlog.onFull === 'newest' || (full && backlog.requests === 0) || (perKey && backlog.perKey === 0)) return undefined;
  const beyond = node.waitingBytes - backlog.bytes;
  let bytes = beyond <= 0 ? 0 : Math.max(1, Math.min(beyond, waiters.bytesOf(slot)));
  const victims: number[] = [];
  const take = (victim: number): void => {
    victims.push(victim);
    full = false;
    bytes -= waiters.bytesOf(victim);
  };
  if (perKey) {
    const victim = leastUrgentOfKey(waiters, state);
    if (victim === slot) return undefined;
    take(victim);
  }
  let looked = 0;
  for (const each of leastUrgentFirst(waiters, node)) {
    if (!full && bytes <= 0) return victims;
    if (each === slot || ++looked > VICTIMS_MAX) return undefined;
    if ((full || waiters.bytesOf(each) > 0) && !victims.includes(each)) take(each);
  }
  return undefined;
}

/** Whether the backlog would shed a waiter rather than a new request of this key and priority. */
export function wouldMakeRoom(waiters: WaiterTable, state: KeyState, bound: BacklogBound, now: Instant, priority: number): boolean {
  const { node } = state;
  const { backlog } = node.spec;
  if (backlog.onFull === 'newest') return false;
  const after = (victim: number | undefined): boolean => victim !== undefined && victim !== NO_SLOT && node.wouldOvertake(now, priority, victim);
  if (overKey(state, 1)) return backlog.perKey > 0 && (bound !== 'backlog.requests' || backlog.requests > 0) && after(leastUrgentOfKey(waiters, state));
  if (bound === 'backlog.requests') return backlog.requests > 0 && after(leastUrgentFirst(waiters, node).next().value);
  for (const each of leastUrgentFirst(waiters, node)) if (waiters.bytesOf(each) > 0) return after(each);
  return false;
}

/** All waiters of a group, the least urgent first, of one priority the youngest first; with aging by what it has come to. */
function* leastUrgentFirst(waiters: WaiterTable, node: GroupNode): Generator<number, undefined> {
  const next = node.priorityLevels.filter((level) => level.waiting > 0).map((level) => level.youngest);
  for (;;) {
    let last = NO_SLOT;
    let from = 0;
    for (const [index, each] of next.entries()) {
      if (each === NO_SLOT || (last !== NO_SLOT && node.ranksBefore(each, last))) continue;
      last = each;
      from = index;
    }
    if (last === NO_SLOT) return undefined;
    yield last;
    next[from] = waiters.olderOf(last);
  }
}

/** The least urgent, youngest waiter of one key; NONE if none waits. */
function leastUrgentOfKey(waiters: WaiterTable, state: KeyState): number {
  let last = NO_SLOT;
  for (const queue of state.queues) {
    const youngest = youngestOf(waiters, queue);
    if (youngest !== NO_SLOT && (last === NO_SLOT || state.node.ranksBefore(last, youngest))) last = youngest;
  }
  return last;
}

function youngestOf(waiters: WaiterTable, queue: KeyQueue): number {
  let youngest = queue.tail;
  while (youngest !== NO_SLOT && isStored(waiters.tokenOf(youngest))) youngest = waiters.previousOf(youngest);
  for (const slot of queue.detached) if (youngest === NO_SLOT || waiters.orderOf(slot) > waiters.orderOf(youngest)) youngest = slot;
  return youngest;
}
