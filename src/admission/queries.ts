import { PAGE_MAX } from '../core/bounds.ts';
import type { GroupStatus, LimitView } from '../core/gate/views.ts';
import type { LeaseView } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { WaiterRef, WaiterView } from '../core/request.ts';
import { DISTANT_PAST, type Instant, plus } from '../core/time.ts';
import type { AdmissionRequest, Explanation, GroupStanding, GroupView, Page, PageRequest } from './admission.ts';
import { type GroupEntry, priorityOf } from './group-entry.ts';
import { groupState } from './group-state.ts';
import { PendingAcquire } from './pending-acquire.ts';
import { permitId } from './permit-id.ts';
import type { TreeController } from './tree-controller.ts';
import type { GroupLocation } from './tree-registry.ts';
import { isRefusal } from './units.ts';

const OFFSET_FORM = /^(?:[1-9a-z][0-9a-z]{0,6})?$/;

const WAITER_FORM = /^w([0-9a-z]{1,11})-([0-9a-z]{1,11})$/;

/** A group with its own limits, as people see it. */
export function groupView(now: Instant, tree: TreeController, entry: GroupEntry): GroupView {
  const { gate } = tree.turn;
  const status = gate.status(now, entry.index);
  const pausedUntil = status.pausedUntil === undefined || status.pausedUntil <= now ? undefined : status.pausedUntil;
  return {
    name: entry.name,
    parent: entry.settings.spec.parent?.group,
    enforce: status.enforce,
    limits: gate.ownLimits(now, entry.index),
    waiting: status.waiting,
    waitingBytes: status.waitingBytes,
    waitingByPriority: status.waitingByPriority,
    oldestWaiterSince: status.oldestSince,
    leases: status.leases,
    keys: status.keys,
    pausedUntil,
    pausedKeys: status.pausedKeys,
    overriddenUntil: status.overriddenUntil === DISTANT_PAST ? undefined : status.overriddenUntil,
    counters: entry.counters.view(),
    standing: standingOf(now, tree, entry, status),
  };
}

function standingOf(now: Instant, { turn: { gate } }: TreeController, { index, activity, notes }: GroupEntry, status: GroupStatus): GroupStanding {
  const binding = gate.binding(now, index);
  const figures = activity.view(now);
  const { pausedUntil, override } = status;
  const pause = pausedUntil === undefined ? undefined : notes.pause;
  const facts = { ...status, oldestWaiterSince: status.oldestSince, pausedSince: pause?.since, binding, activity: figures };
  const { state, since } = groupState(now, facts);
  return {
    state,
    stateSince: since,
    binding,
    activity: figures,
    pause,
    keyPauses: status.keyPauses.map(({ key, until }) => ({ key, until, note: notes.ofKey(key) })),
    override: override && { ...override, note: notes.override },
    history: activity.history(now),
  };
}

/** Limits of a group and its ancestors as this key sees them. */
export function limitViews(now: Instant, tree: TreeController, entry: GroupEntry, key: string): readonly LimitView[] {
  return tree.turn.gate.limits(now, entry.index, key);
}

/** One page of those who wait; the token is an offset. */
export function waiterPage(now: Instant, tree: TreeController, entry: GroupEntry, page: PageRequest): Page<WaiterView & { readonly id: string }> | Refusal {
  const { gate } = tree.turn;
  return paged(page, gate.listed('waiters', entry.index, page), (from, count) =>
    gate.waiters(now, entry.index, from, count, page).map((view) => ({ ...view, id: waiterId(view.ref, view.token) })),
  );
}

/** One page of the live leases. */
export function leasePage(tree: TreeController, entry: GroupEntry, page: PageRequest): Page<LeaseView & { readonly id: string }> | Refusal {
  const { gate } = tree.turn;
  return paged(page, gate.listed('leases', entry.index, page), (from, count) =>
    gate.leases(entry.index, from, count, page).map((view) => ({ ...view, id: permitId(view.group, view.serial, view.tag) })),
  );
}

/** What would happen to this request now; changes nothing. */
export function explain({ tree, entry }: GroupLocation, now: Instant, request: AdmissionRequest, draining: boolean): Explanation | Refusal {
  const { turn } = tree;
  if (turn.closedReason !== undefined) return turn.closedReason;
  const priority = priorityOf(request, entry.settings);
  if (typeof priority !== 'number') return priority;
  const costs = entry.units.priced(request.costs);
  if (isRefusal(costs)) return costs;
  // The gate first does what is due. Where a caller waits that may admit, which needs the term.
  const may = turn.waiting.size === 0 || turn.awaitTerm(now) === undefined;
  if (!may) return { reason: 'undecided', retryAt: now };
  const { settings } = entry;
  const waitUntil = plus(now, Math.min(request.wait ?? settings.wait.default, settings.wait.max, request.waitMax ?? settings.wait.max));
  const { admitted, refusal, place, ahead, limits, binding } = turn.gate.explain(now, tree.request(entry, request, priority, costs, waitUntil, undefined));
  turn.settle(now);
  return draining
    ? { group: entry.name, admitted: false, refusal: { reason: 'draining', retryAt: now }, place, ahead, limits, binding }
    : { group: entry.name, admitted, refusal, place, ahead, limits, binding };
}

/** The waiting caller that a name on a page stands for; undefined: it no longer waits. */
export function findWaiter(tree: TreeController, entry: GroupEntry, id: string): PendingAcquire | undefined {
  const parts = WAITER_FORM.exec(id);
  if (parts === null) return undefined;
  const hold = tree.turn.waiting.get(Number.parseInt(parts[1] as string, 36) as WaiterRef);
  const serial = Number.parseInt(parts[2] as string, 36);
  return hold?.serial === serial && hold.entry === entry ? hold : undefined;
}

/** A waiter's name for people: its reference, which another may have later, and its serial, which no other has. */
function waiterId(ref: WaiterRef, token: unknown): string {
  return `w${ref.toString(36)}-${token instanceof PendingAcquire ? token.serial.toString(36) : '0'}`;
}

function paged<T>(page: PageRequest, total: number, read: (from: number, count: number) => readonly T[]): Page<T> | Refusal {
  const from = OFFSET_FORM.test(page.token) ? Number.parseInt(page.token || '0', 36) : Number.NaN;
  if (!Number.isSafeInteger(from)) return { reason: 'malformed', detail: 'The page token is not one of ours.' };
  const count = Math.min(Math.max(1, page.size), PAGE_MAX);
  const items = read(from, count + 1);
  return items.length > count ? { items: items.slice(0, count), total, next: (from + count).toString(36) } : { items, total, next: '' };
}
