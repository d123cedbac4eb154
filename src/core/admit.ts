import type { Decisions } from './decisions.ts';
import type { Grant } from './grants.ts';
import { type Costs, costOf, ONE_REQUEST, REQUESTS } from './group.ts';
import type { KeyState } from './key-state.ts';
import type { Claim, Lease, LeaseRecord, Permit, Shadow } from './permit.ts';
import type { Cell } from './rule.ts';
import { cover, type StandIn } from './stand-ins.ts';
import { after, type Instant, LONG_AGO, later, type Micros } from './time.ts';
import type { Tag } from './waiter.ts';

/** Who is admitted. */
export interface Admitted {
  /** The key as the caller named it; `state` may be the group's own where keys do not count. */
  readonly key: string;
  readonly priority: number;
  readonly costs: Costs;
  readonly lease: Micros;
  readonly holder: string;
  readonly tag: Tag;
  readonly token: unknown;
  readonly reported?: boolean | undefined;
  readonly claim?: Claim | undefined;
}

/** Charges all limits and makes the permit; everything has been asked before. The ask arrived at `since`, as the `order`th. */
export function admit(decisions: Decisions, now: Instant, state: KeyState, who: Admitted, since: Instant, order: number): void {
  const { node } = state;
  node.countAdmission(now, who.priority, since);
  const { cells, shadow } = charge(now, state, who.costs);
  const standIn = node.leases && who.reported === true ? decisions.keeper.standInFor(now, state, who.tag, decisions.grants) : undefined;
  const serial = decisions.grants.nextSerial();
  let lease: Lease | undefined;
  let record: LeaseRecord | undefined;
  let settleable = false;
  if (node.leases) {
    const grant = remember(decisions, now, state, who, serial, cells, standIn);
    decisions.grants.addLease(grant);
    holds(grant);
    decisions.alarms.dueBy(grant.expiresAt);
    lease = leaseOf(grant, now);
    settleable = true;
    standIn?.joined(grant);
    record = neededBy(decisions, now, grant);
  } else if (namesMore(who.costs)) {
    decisions.grants.addSettleable(remember(decisions, now, state, who, serial, cells));
    settleable = true;
  }
  const permit: Permit = {
    group: node.name,
    key: who.key,
    serial,
    tag: who.tag,
    costs: who.costs,
    grantedAt: now,
    waited: now - since,
    order,
    lease,
    settleable,
    shadow,
  };
  decisions.events.push({ kind: 'admitted', token: who.token, permit, priority: who.priority, record });
}

/** The lease counts among those that hold its concurrency limits. */
export function holds(grant: Grant): void {
  for (const cell of grant.cells) if (cell.leases !== undefined && costOf(grant.costs, cell.rule.unit) > 0) cell.leases.add(grant);
}

/** Charges every cell; what is in shadow and not ready is left out and told. */
function charge(now: Instant, state: KeyState, costs: Costs): { readonly cells: readonly Cell[]; readonly shadow: Shadow | undefined } {
  let shadow: Shadow | undefined;
  let skipped: Set<Cell> | undefined;
  for (const cell of state.charged) {
    const cost = costOf(costs, cell.rule.unit);
    if (!cell.enforced) {
      const readyAt = cell.limit.readyAt(now, cost);
      if (readyAt > now) {
        skipped ??= new Set();
        skipped.add(cell);
        if (shadow === undefined || readyAt > shadow.readyAt) shadow = { limit: cell.rule.labelFor(state.node), readyAt };
        continue;
      }
    }
    if (cost === 0) continue;
    cell.limit.take(now, cost);
    cell.spent += cost;
  }
  return { cells: skipped === undefined ? state.charged : state.charged.filter((cell) => !skipped.has(cell)), shadow };
}

/** The lease as told to its holder; leases that lapse at this very moment are no longer alive. */
export function leaseOf(grant: Grant, now: Instant): Lease {
  let oldest = grant.keyState.fenceHead;
  while (oldest !== undefined && oldest !== grant && oldest.expiresAt <= now) oldest = oldest.nextFence;
  return { fence: grant.fence, fenceFloor: (oldest ?? grant).fence, expiresAt: grant.expiresAt, duration: grant.duration };
}

/** What must be on disk before the lease is told as it is now; undefined: nothing. */
export function neededBy(decisions: Decisions, now: Instant, grant: Grant): LeaseRecord | undefined {
  if (grant.coveredBy !== undefined) return cover(decisions.events, now, grant.coveredBy, grant);
  const isWritten = grant.expiresAt <= grant.writtenUntil && grant.duration <= grant.writtenFor;
  return decisions.keeper.recording && !isWritten ? recordOf(grant, now) : undefined;
}

/** The lease as the ledger keeps it: to its end, so that a new term ends it as told; once renewed for twice its length, so that most renewals need no write. */
function recordOf(grant: Grant, now: Instant): LeaseRecord {
  const until = grant.recordedUntil === LONG_AGO ? grant.expiresAt : after(now, 2 * grant.duration);
  grant.recordedUntil = later(grant.recordedUntil, until);
  return viewOf(grant, grant.recordedUntil);
}

/** A live lease as a record that ends at `expiresAt`. */
export function viewOf(grant: Grant, expiresAt: Instant): LeaseRecord {
  return {
    group: grant.node.name,
    key: grant.keyState.key,
    term: grant.fence >> 40n,
    serial: grant.serial,
    tag: grant.tag,
    costs: grant.costs,
    grantedAt: grant.at,
    expiresAt,
    duration: grant.duration,
    holder: grant.holder,
    standIn: grant.standIn,
    claim: grant.claim,
  };
}

function remember(decisions: Decisions, now: Instant, state: KeyState, who: Admitted, serial: number, cells: readonly Cell[], coveredBy?: StandIn): Grant {
  const expiresAt = after(now, who.lease);
  return {
    serial,
    fence: decisions.grants.fenceOf(serial),
    tag: who.tag,
    node: state.node,
    keyState: state,
    costs: who.costs,
    at: now,
    holder: who.holder,
    cells,
    leased: state.node.leases,
    own: true,
    reported: who.reported === true && decisions.keeper.reports,
    coveredBy,
    standIn: false,
    claim: who.claim,
    duration: who.lease,
    expiresAt,
    recordedUntil: decisions.keeper.recording ? LONG_AGO : expiresAt,
    writtenUntil: LONG_AGO,
    writtenFor: who.lease,
    ended: undefined,
    slot: -1,
    nextFence: undefined,
    previousFence: undefined,
  };
}

/** Whether the ask names a unit besides `requests`: then its real cost may be told later. */
function namesMore(costs: Costs): boolean {
  if (costs === ONE_REQUEST) return false;
  for (const unit in costs) if (unit !== REQUESTS) return true;
  return false;
}
