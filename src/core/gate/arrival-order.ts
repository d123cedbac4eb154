import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';

/*
 * Waiters of one band by order of arrival, over all keys: a doubly linked list threaded through the slab, so that a full
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
export function addArrival(list: Arrivals, slab: WaiterTable, slot: number): void {
  const { youngest } = list;
  const older = youngest === NO_SLOT || slab.orderOf(youngest) < slab.orderOf(slot) ? youngest : olderThan(list, slab, slab.orderOf(slot));
  const newer = older === NO_SLOT ? list.oldest : slab.newerOf(older);
  join(list, slab, older, slot);
  join(list, slab, slot, newer);
}

/** Removes a waiter in O(1). */
export function removeArrival(list: Arrivals, slab: WaiterTable, slot: number): void {
  join(list, slab, slab.olderOf(slot), slab.newerOf(slot));
}

/** Makes two waiters neighbours; NONE stands for the end of the list. */
function join(list: Arrivals, slab: WaiterTable, older: number, newer: number): void {
  if (newer === NO_SLOT) list.youngest = older;
  else slab.setOlder(newer, older);
  if (older === NO_SLOT) list.oldest = newer;
  else slab.setNewer(older, newer);
}

/** Returns the youngest waiter that arrived before `order`; NONE if there is none. */
function olderThan(list: Arrivals, slab: WaiterTable, order: number): number {
  let fromYoungest = list.youngest;
  let fromOldest = list.oldest;
  for (let step = 0; step < STEPS_MAX && fromYoungest !== NO_SLOT; step++) {
    if (slab.orderOf(fromYoungest) < order) return fromYoungest;
    if (slab.orderOf(fromOldest) > order) return slab.olderOf(fromOldest);
    fromYoungest = slab.olderOf(fromYoungest);
    fromOldest = slab.newerOf(fromOldest);
  }
  return fromYoungest;
}
