import { NO_SLOT, type WaiterTable } from './waiter-table.ts';

/*
 * Waiters of one priority level by order of arrival, over all keys: a doubly linked list threaded through the waiter table, so that a full
 * backlog finds its youngest waiter without a walk.
 */

/** Steps from both ends at most to place an arrival that is older than the youngest. */
const STEPS_MAX = 1_000;

/** Ends of one list; NONE if it is empty. */
export interface Arrivals {
  youngest: number;
  oldest: number;
}

/**
 * Adds a waiter in O(1) if it is the youngest. One that returns with its old order is placed by at most 1,000 steps from
 * both ends; where that is not enough it stands approximately.
 */
export function addArrival(list: Arrivals, waiters: WaiterTable, slot: number): void {
  const { youngest } = list;
  const older = youngest === NO_SLOT || waiters.orderOf(youngest) < waiters.orderOf(slot) ? youngest : olderThan(list, waiters, waiters.orderOf(slot));
  const newer = older === NO_SLOT ? list.oldest : waiters.newerOf(older);
  join(list, waiters, older, slot);
  join(list, waiters, slot, newer);
}

/** Removes a waiter in O(1). */
export function removeArrival(list: Arrivals, waiters: WaiterTable, slot: number): void {
  join(list, waiters, waiters.olderOf(slot), waiters.newerOf(slot));
}

/** Makes two waiters neighbours; NONE stands for the end of the list. */
function join(list: Arrivals, waiters: WaiterTable, older: number, newer: number): void {
  if (newer === NO_SLOT) list.youngest = older;
  else waiters.setOlder(newer, older);
  if (older === NO_SLOT) list.oldest = newer;
  else waiters.setNewer(older, newer);
}

/** Returns the youngest waiter that arrived before `order`; NONE if there is none. */
function olderThan(list: Arrivals, waiters: WaiterTable, order: number): number {
  let fromYoungest = list.youngest;
  let fromOldest = list.oldest;
  for (let step = 0; step < STEPS_MAX && fromYoungest !== NO_SLOT; step++) {
    if (waiters.orderOf(fromYoungest) < order) return fromYoungest;
    if (waiters.orderOf(fromOldest) > order) return waiters.olderOf(fromOldest);
    fromYoungest = waiters.olderOf(fromYoungest);
    fromOldest = waiters.newerOf(fromOldest);
  }
  return fromYoungest;
}
