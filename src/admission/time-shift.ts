import type { Binding } from '../core/gate/binding.ts';
import type { LimitView } from '../core/gate/views.ts';
import type { Lease, LeaseView, Permit } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival, QueuePosition, WaiterView, WaitRange } from '../core/request.ts';
import { DISTANT_PAST, type Instant, type Micros, plus } from '../core/time.ts';
import type { Explanation, GroupStanding, GroupView, Outcome, Page, PermitView, RenewOutcome } from './admission.ts';
import type { OperatorNote } from './operator-notes.ts';

/*
 * From one clock's time into another's: a tree decides in the time of its shard, another replica speaks in its own, and
 * callers get them in the time of the process that holds their connection. Each moves every instant of a value by `by`;
 * NEVER and DISTANT_PAST are no moments and stay. Returns the value itself if `by` is 0.
 */

/** One instant. */
export function shiftInstant(at: Instant, by: Micros): Instant {
  return at === DISTANT_PAST ? at : plus(at, by);
}

function perhaps(at: Instant | undefined, by: Micros): Instant | undefined {
  return at === undefined ? undefined : shiftInstant(at, by);
}

/** A refusal; one without an instant stays the same object. */
export function shiftRefusal(refusal: Refusal, by: Micros): Refusal {
  const { retryAt, range } = refusal;
  if (by === 0 || (retryAt === undefined && range === undefined)) return refusal;
  return { ...refusal, ...(retryAt !== undefined && { retryAt: shiftInstant(retryAt, by) }), ...(range && { range: shiftRange(range, by) }) };
}

/** An earlier arrival. */
export function shiftArrival(since: Arrival, by: Micros): Arrival {
  return by === 0 ? since : { ...since, arrivedAt: shiftInstant(since.arrivedAt, by) };
}

/** The position of a waiter. */
export function shiftPosition<T extends QueuePosition>(place: T, by: Micros): T {
  return by === 0 ? place : { ...place, expectedAt: shiftInstant(place.expectedAt, by), range: place.range && shiftRange(place.range, by) };
}

function shiftRange({ earliest, latest }: WaitRange, by: Micros): WaitRange {
  return { earliest: shiftInstant(earliest, by), latest: shiftInstant(latest, by) };
}

/** A permit with its lease. */
export function shiftPermit(permit: Permit, by: Micros): Permit {
  if (by === 0) return permit;
  const { lease, shadow } = permit;
  return {
    ...permit,
    grantedAt: shiftInstant(permit.grantedAt, by),
    lease: lease && shiftLease(lease, by),
    shadow: shadow && { ...shadow, readyAt: shiftInstant(shadow.readyAt, by) },
  };
}

function shiftLease(lease: Lease, by: Micros): Lease {
  return { ...lease, expiresAt: shiftInstant(lease.expiresAt, by) };
}

/** How a request ended. */
export function shiftOutcome(outcome: Outcome, by: Micros): Outcome {
  if (by === 0) return outcome;
  const limits = outcome.limits && shiftAll(outcome.limits, by, shiftLimit);
  const moved =
    outcome.kind === 'refused' ? { ...outcome, refusal: shiftRefusal(outcome.refusal, by) } : { ...outcome, permit: shiftPermit(outcome.permit, by) };
  return limits === undefined ? moved : { ...moved, limits };
}

/** What is known of a permit. */
export function shiftPermitView(view: PermitView, by: Micros): PermitView {
  return by === 0 ? view : { ...view, expiresAt: shiftInstant(view.expiresAt, by) };
}

/** The answer of a renewal. */
export function shiftRenewal(outcome: RenewOutcome, by: Micros): RenewOutcome {
  return outcome.kind === 'renewed'
    ? { kind: 'renewed', permit: shiftPermitView(outcome.permit, by) }
    : { kind: 'refused', refusal: shiftRefusal(outcome.refusal, by) };
}

/** A limit as shown. */
export function shiftLimit(view: LimitView, by: Micros): LimitView {
  if (by === 0) return view;
  const { keys } = view;
  const fullest = keys?.fullest.map((each) => ({ ...each, resetAt: shiftInstant(each.resetAt, by) })) ?? [];
  return { ...view, resetAt: shiftInstant(view.resetAt, by), readyAt: perhaps(view.readyAt, by), ...(keys && { keys: { ...keys, fullest } }) };
}

/** A group as shown. */
export function shiftGroup(view: GroupView, by: Micros): GroupView {
  if (by === 0) return view;
  return {
    ...view,
    limits: shiftAll(view.limits, by, shiftLimit),
    oldestWaiterSince: perhaps(view.oldestWaiterSince, by),
    pausedUntil: perhaps(view.pausedUntil, by),
    overriddenUntil: perhaps(view.overriddenUntil, by),
    standing: view.standing && shiftStanding(view.standing, by),
  };
}

function shiftStanding(standing: GroupStanding, by: Micros): GroupStanding {
  const { stateSince, binding, activity, pause, keyPauses, override, history } = standing;
  const { lastAdmittedAt, busySince, idleSince } = activity;
  return {
    ...standing,
    stateSince: perhaps(stateSince, by),
    binding: binding && shiftBinding(binding, by),
    activity: { ...activity, lastAdmittedAt: perhaps(lastAdmittedAt, by), busySince: perhaps(busySince, by), idleSince: perhaps(idleSince, by) },
    pause: pause && shiftNote(pause, by),
    keyPauses: keyPauses.map((each) => ({ ...each, until: shiftInstant(each.until, by), note: each.note && shiftNote(each.note, by) })),
    override: override && { ...override, until: shiftInstant(override.until, by), note: override.note && shiftNote(override.note, by) },
    history: history && { ...history, from: shiftInstant(history.from, by) },
  };
}

function shiftNote(note: OperatorNote, by: Micros): OperatorNote {
  return { ...note, since: shiftInstant(note.since, by) };
}

/** What holds a waiter up. */
export function shiftBinding(binding: Binding, by: Micros): Binding {
  if (by === 0) return binding;
  const { opensAt, holders } = binding;
  const oldest = holders?.oldest && { ...holders.oldest, since: shiftInstant(holders.oldest.since, by), expiresAt: shiftInstant(holders.oldest.expiresAt, by) };
  return { ...binding, opensAt: shiftInstant(opensAt, by), holders: holders && { ...holders, oldest } };
}

/** What would happen to a request. */
export function shiftExplanation(explanation: Explanation, by: Micros): Explanation {
  if (by === 0) return explanation;
  const { refusal, place, ahead, limits, binding } = explanation;
  return {
    ...explanation,
    refusal: refusal && shiftRefusal(refusal, by),
    place: shiftPosition(place, by),
    ahead: ahead && { ...ahead, next: { ...ahead.next, since: shiftInstant(ahead.next.since, by) } },
    limits: shiftAll(limits, by, shiftLimit),
    binding: binding && shiftBinding(binding, by),
  };
}

/** A waiter as shown. */
export function shiftWaiter<T extends WaiterView>(view: T, by: Micros): T {
  if (by === 0) return view;
  const { since, waitUntil, arrivalRange } = view;
  const moved = { since: shiftInstant(since, by), waitUntil: shiftInstant(waitUntil, by), arrivalRange: arrivalRange && shiftRange(arrivalRange, by) };
  return { ...shiftPosition(view, by), ...moved };
}

/** A lease as shown. */
export function shiftLeaseView<T extends LeaseView>(view: T, by: Micros): T {
  return by === 0 ? view : { ...view, grantedAt: shiftInstant(view.grantedAt, by), expiresAt: shiftInstant(view.expiresAt, by) };
}

/** Each item of a page. */
export function shiftPage<T>(page: Page<T>, by: Micros, one: (item: T, by: Micros) => T): Page<T> {
  return by === 0 ? page : { ...page, items: shiftAll(page.items, by, one) };
}

/** Each of a list. */
export function shiftAll<T>(all: readonly T[], by: Micros, one: (item: T, by: Micros) => T): readonly T[] {
  return by === 0 ? all : all.map((item) => one(item, by));
}
