import type { Refusal } from '../refusal.ts';
import { type Instant, later, type Micros, NEVER, plus, SECOND } from '../time.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import type { Dispatcher } from './dispatcher.ts';
import { pausedFor, retryAt } from './retry-at.ts';
import { withRange } from './wait-ranges.ts';

/** Time beyond its wait timeout that a waiter is kept for the bound it needs, at most. */
export const DISK_WAIT_MAX: Micros = SECOND;

/** Keeps a waiter whose slot has opened beyond its wait timeout: until the bound is on disk, and no longer than `until`. */
export function extendForReservation(dispatcher: Dispatcher, slot: number, until: Instant): void {
  dispatcher.timers.clearWaitTimeout(slot);
  dispatcher.timers.setWaitTimeout(slot, until);
  dispatcher.overdue.add(dispatcher.waiters.refOf(slot));
}

/** Ends the waiters that were kept for a bound and could not go once it was on disk, unless another bound is on its way. */
export function resolveOverdue(dispatcher: Dispatcher, now: Instant): void {
  const overdue = [...dispatcher.overdue];
  dispatcher.overdue.clear();
  for (const ref of overdue) {
    const slot = dispatcher.waiters.slotOf(ref);
    if (slot !== NO_SLOT) expireWaiter(dispatcher, now, slot);
  }
}

/** Ends a waiter whose wait timeout is over, unless only the disk holds it; reports when its limits alone would have let it go. */
export function expireWaiter(dispatcher: Dispatcher, now: Instant, slot: number): void {
  const latest = plus(dispatcher.waiters.deadlineOf(slot), DISK_WAIT_MAX);
  if (latest > now && awaitsReservation(dispatcher, now, slot)) {
    extendForReservation(dispatcher, slot, latest);
    return;
  }
  const state = dispatcher.waiters.keyOf(slot);
  const ready = dispatcher.readiness.readyAt(now, state.limits, dispatcher.waiters.costsOf(slot));
  const instance = dispatcher.readiness.because;
  const paused = pausedFor(state, now);
  const limit = paused > now && paused >= ready ? 'pause' : instance?.rule.qualifiedName(state.node);
  const at = later(ready, paused);
  const refusal: Refusal = {
    reason: 'expired',
    ...(limit === undefined ? {} : { limit }),
    retryAt: retryAt(now, state, dispatcher.waiters.costsOf(slot), at === NEVER ? NEVER : later(now, at)),
  };
  dispatcher.refuse(now, slot, withRange(dispatcher, now, slot, refusal));
}

/** Returns whether a waiter's slot has opened: all its limits agree, and a bound is on its way to the disk. */
export function awaitsReservation(dispatcher: Dispatcher, now: Instant, slot: number): boolean {
  if (!dispatcher.reservations.isDurable) return false;
  const state = dispatcher.waiters.keyOf(slot);
  if (dispatcher.readiness.readyAt(now, state.limits, dispatcher.waiters.costsOf(slot)) > now) return false;
  return state.limits.some((instance) => instance.pending);
}
