import { create } from '@bufbuild/protobuf';
import type { Outcome, PermitView, ReplicaView } from '../admission/admission.ts';
import type { KeysInUse, LimitView } from '../core/gate/views.ts';
import type { Costs } from '../core/group.ts';
import type { LeaseView, Permit, ShadowOutcome } from '../core/permit.ts';
import type { Refusal } from '../core/refusal.ts';
import type { QueuePosition, WaitersAhead, WaiterView, WaitRange } from '../core/request.ts';
import { type Instant, NEVER } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/admission_pb.ts';
import * as groupPb from '../gen/sluice/v1/group_pb.ts';
import { toProto } from './duration.ts';
import { quotaText } from './quota-text.ts';
import { CODES, describe, REFUSAL_STATUS, retryAfter } from './refusal-status.ts';

type Maybe = ReturnType<typeof toProto> | undefined;

/** Time until `at`, at least 0; undefined for NEVER and for no moment. */
export function until(at: Instant | undefined, now: Instant): Maybe {
  return at === undefined || at === NEVER ? undefined : toProto(Math.max(0, at - now));
}

/** Time since `at`, at least 0. */
export function since(at: Instant, now: Instant): ReturnType<typeof toProto> {
  return toProto(Math.max(0, now - at));
}

/** Drops members that are undefined, as exact optional types want it. */
export function filled<T extends object>(members: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  for (const name in members) if (members[name] === undefined) delete members[name];
  return members as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** A permit as its caller sees it. A literal, not `create`: it is made for every admission. */
export function acquireResponse(outcome: Outcome & { kind: 'admitted' }): pb.AcquireResponse {
  const { permit, id } = outcome;
  const response: pb.AcquireResponse = { $typeName: 'sluice.v1.AcquireResponse', permit: id, waited: toProto(permit.waited) };
  if (permit.lease !== undefined) {
    response.fence = permit.lease.fence;
    response.fenceFloor = permit.lease.fenceFloor;
    response.lease = toProto(permit.lease.duration);
  }
  if (permit.shadow !== undefined) response.shadow = shadow(permit, permit.shadow);
  if (outcome.degraded !== undefined) response.degraded = outcome.degraded === 'share' ? pb.Degraded.SHARE : pb.Degraded.OPEN;
  return response;
}

function shadow(permit: Permit, would: ShadowOutcome): pb.Shadow {
  return create(pb.ShadowSchema, filled({ limit: would.limit, held: until(would.readyAt, permit.grantedAt) }));
}

/** A lease after its renewal: its whole new life. */
export function renewResponse(permit: PermitView): pb.RenewResponse {
  const { id, fence, fenceFloor, duration } = permit;
  return create(pb.RenewResponseSchema, { permit: id, fence, fenceFloor, lease: toProto(duration) });
}

/** A lease that lives on in a session that came back: what is left of it. */
export function toResumedPermit(permit: PermitView, now: Instant): pb.RenewResponse {
  const { id, fence, fenceFloor, expiresAt } = permit;
  return create(pb.RenewResponseSchema, filled({ permit: id, fence, fenceFloor, lease: until(expiresAt, now) }));
}

/** Where a caller stands. */
export function place(at: QueuePosition, now: Instant): pb.Place {
  return create(pb.PlaceSchema, filled({ place: whole(at.place), expectedWait: until(at.expectedAt, now), limit: at.limit, range: waitRange(at.range, now) }));
}

/** Who goes before a request. */
export function aheadMessage({ total, moreUrgent, ofKey, next }: WaitersAhead, now: Instant): pb.WaitersAhead {
  const { key, priority, holder } = next;
  const first = create(pb.WaiterAheadSchema, { key, priority, holder, waited: since(next.since, now) });
  return create(pb.WaitersAheadSchema, { total: whole(total), moreUrgent: whole(moreUrgent), ofKey: whole(ofKey), next: first });
}

function waitRange(range: WaitRange | undefined, now: Instant): pb.WaitRange | undefined {
  return range && create(pb.WaitRangeSchema, filled({ earliest: until(range.earliest, now), latest: until(range.latest, now) }));
}

/** A refusal as a message, for answers that are no errors (Explain, Session). */
export function refusalMessage(refusal: Refusal, now: Instant): pb.Refusal {
  const { reason, code } = REFUSAL_STATUS[refusal.reason];
  const wait = retryAfter(refusal, now);
  const retry = wait === undefined ? undefined : toProto(wait);
  const range = waitRange(refusal.range, now);
  return create(pb.RefusalSchema, filled({ reason, limit: refusal.limit ?? '', retryAfter: retry, detail: describe(refusal), code: CODES[code], range }));
}

const KINDS = {
  rate: pb.LimitKind.RATE,
  spacing: pb.LimitKind.SPACING,
  window: pb.LimitKind.WINDOW,
  fixed: pb.LimitKind.FIXED,
  concurrency: pb.LimitKind.CONCURRENCY,
} as const;

/** A limit as it stands. */
export function limit(view: LimitView, now: Instant): pb.Limit {
  return create(
    pb.LimitSchema,
    filled({
      group: view.group,
      name: view.name,
      unit: view.unit,
      kind: KINDS[view.kind],
      scope: view.scope === 'key' ? pb.LimitScope.KEY : pb.LimitScope.GROUP,
      key: view.key,
      capacity: whole(view.capacity),
      used: whole(view.used),
      debt: whole(view.debt),
      resetAfter: until(view.resetAt, now),
      quota: view.quota === undefined ? '' : quotaText(view.quota),
      per: view.per === undefined ? undefined : toProto(view.per),
      readyAfter: until(view.readyAt, now),
      permits: view.permits === undefined ? undefined : whole(view.permits),
      keysInUse: view.keys === undefined ? undefined : whole(view.keys.count),
      fullest: view.keys?.fullest.map((each) => keyUse(each, now)),
    }),
  );
}

function keyUse({ key, capacity, used, debt, resetAt }: KeysInUse['fullest'][number], now: Instant): pb.KeyUse {
  return create(pb.KeyUseSchema, filled({ key, capacity: whole(capacity), used: whole(used), debt: whole(debt), resetAfter: until(resetAt, now) }));
}

/** A replica that lives. */
export function replica({ name, revision, hash, shards, self }: ReplicaView): groupPb.Replica {
  return create(groupPb.ReplicaSchema, { name, revision: whole(revision), hash, shards, self });
}

/** A caller that waits. */
export function waiter(view: WaiterView & { readonly id: string }, now: Instant): groupPb.Waiter {
  const { id, key, priority, holder, costs, since: from, waitUntil, arrivalRange } = view;
  const given = arrivalRange && create(pb.WaitRangeSchema, { earliest: toProto(arrivalRange.earliest - from), latest: toProto(arrivalRange.latest - from) });
  const late = arrivalRange !== undefined && arrivalRange.latest < now;
  return create(
    groupPb.WaiterSchema,
    filled({
      id,
      key,
      priority,
      holder,
      costs: wholes(costs),
      waited: since(from, now),
      ttlLeft: until(waitUntil, now),
      place: place(view, now),
      arrivalRange: given,
      late,
    }),
  );
}

/** A live lease. */
export function lease(view: LeaseView & { readonly id: string }, now: Instant): groupPb.Lease {
  const { id, key, fence, costs, grantedAt, expiresAt, holder } = view;
  return create(
    groupPb.LeaseSchema,
    filled({ permit: id, key, fence, costs: wholes(costs), held: since(grantedAt, now), left: until(expiresAt, now), holder }),
  );
}

function wholes(costs: Costs): Record<string, bigint> {
  return Object.fromEntries(Object.entries(costs).map(([unit, cost]) => [unit, whole(cost)]));
}

/** A count as a 64-bit number; 0 where it is no finite one. */
export function whole(count: number): bigint {
  return Number.isFinite(count) ? BigInt(Math.trunc(count)) : 0n;
}
