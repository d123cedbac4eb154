import { type Costs, costOf, ONE_REQUEST, REQUESTS } from '../group.ts';
import { type AggregateLease, ensureCovered } from '../leases/aggregate-lease.ts';
import type { Claim, Lease, LeaseRecord, Permit, PermitTag, ShadowOutcome } from '../permit.ts';
import { DISTANT_PAST, type Instant, later, type Micros, plus } from '../time.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { type Grant, toLease, toLeaseRecord } from './grants.ts';
import type { GateState } from './state.ts';

/** Who is admitted. */
export interface AdmittedRequest {
  /** The key as the caller named it; `state` may be the group's own where keys do not count. */
  readonly key: string;
  readonly priority: number;
  readonly costs: Costs;
  readonly lease: Micros;
  readonly holder: string;
  readonly tag: PermitTag;
  readonly token: unknown;
  readonly reported?: boolean | undefined;
  readonly claim?: Claim | undefined;
}

/** Charges all limits and makes the permit; everything has been asked before. The request arrived at `since`, as the `order`th. */
export function admit(gate: GateState, now: Instant, state: KeyState, who: AdmittedRequest, since: Instant, order: number): void {
  const { node } = state;
  node.countAdmission(now, who.priority, since);
  const { instances, shadow } = charge(now, state, who.costs);
  const aggregate = node.hasLeases && who.reported === true ? gate.reservations.aggregateFor(now, state, who.tag, gate.grants) : undefined;
  const serial = gate.grants.nextSerial();
  let lease: Lease | undefined;
  let record: LeaseRecord | undefined;
  let settleable = false;
  if (node.hasLeases) {
    const grant = remember(gate, now, state, who, serial, instances, aggregate);
    gate.grants.addLease(grant);
    holds(grant);
    gate.timers.dueBy(grant.expiresAt);
    lease = toLease(grant, now);
    settleable = true;
    aggregate?.add(grant);
    record = requiredWrite(gate, now, grant);
  } else if (namesMore(who.costs)) {
    gate.grants.addSettleable(remember(gate, now, state, who, serial, instances));
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
  gate.events.push({ kind: 'admitted', token: who.token, permit, priority: who.priority, record });
}

/** The lease counts among those that hold its concurrency limits. */
export function holds(grant: Grant): void {
  for (const instance of grant.instances) if (instance.leases !== undefined && costOf(grant.costs, instance.rule.unit) > 0) instance.leases.add(grant);
}

/** Charges every limit instance; what is in shadow and not ready is left out and named in the event. */
function charge(now: Instant, state: KeyState, costs: Costs): { readonly instances: readonly LimitInstance[]; readonly shadow: ShadowOutcome | undefined } {
  let shadow: ShadowOutcome | undefined;
  let skipped: Set<LimitInstance> | undefined;
  for (const instance of state.limits) {
    const cost = costOf(costs, instance.rule.unit);
    if (!instance.enforced) {
      const readyAt = instance.limit.readyAt(now, cost);
      if (readyAt > now) {
        skipped ??= new Set();
        skipped.add(instance);
        if (shadow === undefined || readyAt > shadow.readyAt) shadow = { limit: instance.rule.qualifiedName(state.node), readyAt };
        continue;
      }
    }
    if (cost === 0) continue;
    instance.limit.take(now, cost);
    instance.spentSinceReservation += cost;
  }
  return { instances: skipped === undefined ? state.limits : state.limits.filter((instance) => !skipped.has(instance)), shadow };
}

/** What must be on disk before the lease is reported as it is now; undefined: nothing. */
export function requiredWrite(gate: GateState, now: Instant, grant: Grant): LeaseRecord | undefined {
  if (grant.aggregate !== undefined) return ensureCovered(gate.events, now, grant.aggregate, grant);
  const isWritten = grant.expiresAt <= grant.writtenUntil && grant.duration <= grant.writtenFor;
  return gate.reservations.isDurable && !isWritten ? recordOf(grant, now) : undefined;
}

/** The lease as the ledger keeps it: to its end, so that a new term ends it as reported; once renewed for twice its length, so that most renewals need no write. */
function recordOf(grant: Grant, now: Instant): LeaseRecord {
  const until = grant.recordedUntil === DISTANT_PAST ? grant.expiresAt : plus(now, 2 * grant.duration);
  grant.recordedUntil = later(grant.recordedUntil, until);
  return toLeaseRecord(grant, grant.recordedUntil);
}

function remember(
  gate: GateState,
  now: Instant,
  state: KeyState,
  who: AdmittedRequest,
  serial: number,
  instances: readonly LimitInstance[],
  aggregate?: AggregateLease,
): Grant {
  const expiresAt = plus(now, who.lease);
  return {
    serial,
    fence: gate.grants.fenceOf(serial),
    tag: who.tag,
    node: state.node,
    keyState: state,
    costs: who.costs,
    grantedAt: now,
    holder: who.holder,
    instances,
    leased: state.node.hasLeases,
    grantedThisTerm: true,
    inProcess: who.reported === true && gate.reservations.allowsInProcess,
    aggregate,
    isAggregate: false,
    claim: who.claim,
    duration: who.lease,
    expiresAt,
    recordedUntil: gate.reservations.isDurable ? DISTANT_PAST : expiresAt,
    writtenUntil: DISTANT_PAST,
    writtenFor: who.lease,
    ended: undefined,
    slot: -1,
    nextFence: undefined,
    previousFence: undefined,
  };
}

/** Whether the request names a unit besides `requests`: then its real cost may be reported later. */
function namesMore(costs: Costs): boolean {
  if (costs === ONE_REQUEST) return false;
  for (const unit in costs) if (unit !== REQUESTS) return true;
  return false;
}
