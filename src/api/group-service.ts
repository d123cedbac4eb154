import { create } from '@bufbuild/protobuf';
import type { Quota } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import * as pb from '../gen/sluice/v1/group_pb.ts';
import { answer, refuse, type ServiceDeps } from './admission-service.ts';
import type { Action } from './auth.ts';
import { type Unary, type UnaryCall, unary } from './call.ts';
import { fromProto, INVALID_DURATION } from './duration.ts';
import { countGroups, pageOfGroups, selectGroups, toGroupQuery } from './group-list.ts';
import { group, moment, type Reader } from './group-messages.ts';
import { checkPause, toOverride, toPage } from './group-validation.ts';
import type { OperatorEvent } from './operator-event.ts';
import { pageTokenOf, placeOf } from './page-token.ts';
import { filled, lease, replica, waiter } from './proto-messages.ts';
import { checkGroup, checkName, checkText, isRefusal } from './validation.ts';
import { viewerOf } from './viewer.ts';

/** What each call of sluice.v1.GroupService does, by the fields of its request: a new one does not compile until it is listed. */
const ACTIONS: { readonly [name in keyof typeof pb.GroupService.method]: (request: Named) => Action } = {
  listGroups: () => ({ ability: 'read' }),
  getGroup: ({ group }) => ({ ability: 'read', group }),
  listWaiters: ({ group }) => ({ ability: 'read', group }),
  listLeases: ({ group }) => ({ ability: 'read', group }),
  pause: ({ group, key }) => ({ ability: 'manage', group, key: { of: key } }),
  resume: ({ group, key }) => ({ ability: 'manage', group, key: { of: key } }),
  override: ({ group }) => ({ ability: 'manage', group, key: { of: undefined } }),
  evictWaiter: ({ group }) => ({ ability: 'manage', group }),
  revokeLease: ({ group }) => ({ ability: 'manage', group }),
};

interface Named {
  readonly group?: string;
  readonly key?: string | undefined;
}

/** The calls of sluice.v1.GroupService: for operators only. */
export function operatorCalls(parts: ServiceDeps): readonly UnaryCall[] {
  return [...looks(parts), ...deeds(parts)].map(({ method, call }) => ({
    method,
    call: (facts, request, reply) => {
      const action = ACTIONS[method.localName as keyof typeof ACTIONS](request as Named);
      const refusal = parts.auth.check(facts.caller, action);
      return refusal === undefined ? call(facts, request, reply) : refuse(reply, refusal);
    },
  }));
}

/** Calls that only look. */
function looks(parts: ServiceDeps): readonly UnaryCall[] {
  const { admission, auth } = parts;
  const { listGroups, getGroup, listWaiters, listLeases } = pb.GroupService.method;
  const look =
    <I, O extends object>(call: (request: I, caller: string) => Promise<O | Refusal>): Unary<I, O> =>
    ({ caller }, request, reply) =>
      answer(parts, call(request, caller), reply);
  // A page may be shorter than asked for where a credential sees one key only.
  const seen = <T extends { readonly key: string }>(items: readonly T[], caller: string): readonly T[] => {
    const key = auth.keyOf(caller);
    return key === undefined ? items : items.filter((item) => item.key === key);
  };
  return [
    unary(
      listGroups,
      look((request, caller) => groupsPage(parts, request, caller)),
    ),
    unary(
      getGroup,
      look(async (request, caller) => {
        const view = checkGroup(request.group) ?? (await admission.group(request.group));
        return isRefusal(view) ? view : create(pb.GetGroupResponseSchema, { group: group(view, readerOf(parts, caller)) });
      }),
    ),
    unary(
      listWaiters,
      look(async (request, caller) => {
        const list = `waiters of ${request.group}`;
        const page = checkGroup(request.group) ?? toPage(list, request);
        if (isRefusal(page)) return page;
        const found = await admission.waiters(request.group, page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListWaitersResponseSchema, {
          waiters: seen(found.items, caller).map((each) => waiter(each, now)),
          nextPageToken: pageTokenOf(list, found.next),
        });
      }),
    ),
    unary(
      listLeases,
      look(async (request, caller) => {
        const list = `leases of ${request.group}`;
        const page = checkGroup(request.group) ?? toPage(list, request);
        if (isRefusal(page)) return page;
        const found = await admission.leases(request.group, page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListLeasesResponseSchema, {
          leases: seen(found.items, caller).map((each) => lease(each, now)),
          nextPageToken: pageTokenOf(list, found.next),
        });
      }),
    ),
  ];
}

/** Does something, reports it to the log, and answers with what was made before. */
function changing({ onOperator }: ServiceDeps) {
  return async <O extends object>(made: O, event: OperatorEvent, deed: () => Promise<Refusal | undefined>): Promise<O | Refusal> => {
    const refusal = await deed();
    onOperator?.(refusal === undefined ? event : { ...event, refused: refusal.reason });
    return refusal ?? made;
  };
}

/** Calls that change something. */
function deeds(parts: ServiceDeps): readonly UnaryCall[] {
  const { admission, auth } = parts;
  const { pause, resume, evictWaiter, revokeLease } = pb.GroupService.method;
  const change = changing(parts);
  return [
    unary(pause, ({ caller }, request, reply) => {
      const duration = fromProto(request.duration);
      const wrong = checkPause(request.group, request.key, duration) ?? checkReason(request.reason);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.PauseResponseSchema), { kind: 'group_paused', caller, group: request.group, key: request.key, forMs: millis(duration) }, () =>
          admission.pause(request.group, request.key, duration, { by: caller, reason: request.reason }),
        ),
        reply,
      );
    }),
    unary(resume, ({ caller }, request, reply) => {
      const wrong = checkPause(request.group, request.key);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.ResumeResponseSchema), { kind: 'group_resumed', caller, group: request.group, key: request.key }, () =>
          admission.resume(request.group, request.key),
        ),
        reply,
      );
    }),
    overriding(parts),
    unary(evictWaiter, ({ caller }, request, reply) => {
      const wrong = checkGroup(request.group) ?? checkName('waiter', request.waiter);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.EvictWaiterResponseSchema), { kind: 'waiter_evicted', caller, group: request.group, waiter: request.waiter }, () =>
          admission.evictWaiter(request.group, request.waiter, auth.keyOf(caller)),
        ),
        reply,
      );
    }),
    unary(revokeLease, ({ caller }, request, reply) => {
      const wrong = checkGroup(request.group) ?? checkName('permit', request.permit);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.RevokeLeaseResponseSchema), { kind: 'lease_revoked', caller, group: request.group, permit: request.permit }, () =>
          admission.revokeLease(request.group, request.permit, auth.keyOf(caller)),
        ),
        reply,
      );
    }),
  ];
}

/** The call that changes limits for a stated time. */
function overriding(parts: ServiceDeps): UnaryCall {
  const change = changing(parts);
  return unary(pb.GroupService.method.override, ({ caller }, request, reply) => {
    const limits = new Map(Object.entries(request.limits).map(([name, quota]) => [name, quotaOf(quota)]));
    const override =
      checkReason(request.reason) ??
      toOverride({ group: request.group, limits, enforce: request.enforce, duration: fromProto(request.duration), forgive: request.forgiveDebt });
    if (isRefusal(override)) return refuse(reply, override);
    return answer(
      parts,
      change(
        create(pb.OverrideResponseSchema),
        {
          kind: 'group_overridden',
          caller,
          group: request.group,
          limits: [...limits.keys()],
          enforce: request.enforce,
          forMs: millis(override.for),
          forgiveDebt: request.forgiveDebt || undefined,
        },
        () => parts.admission.override(request.group, override, { by: caller, reason: request.reason }),
      ),
      reply,
    );
  });
}

/** Who reads the answer, and when. */
export function readerOf({ admission, auth }: ServiceDeps, caller: string): Reader {
  return { now: admission.now(), epoch: (at) => admission.epoch(at), viewer: viewerOf(caller, auth.keyOf(caller)) };
}

/** Groups that match, a page of them; counts are of all that the caller may see. */
async function groupsPage(parts: ServiceDeps, request: pb.ListGroupsRequest, caller: string): Promise<pb.ListGroupsResponse | Refusal> {
  const { admission, auth } = parts;
  const page = toPage('groups', { pageSize: request.pageSize });
  if (isRefusal(page)) return page;
  const query = toGroupQuery(request);
  if (isRefusal(query)) return query;
  const visible = (await admission.groups()).filter(({ name }) => auth.check(caller, { ability: 'read', group: name }) === undefined);
  const found = selectGroups(visible, query);
  const list = `groups by ${query.sort}`;
  const from = placeOf(list, request.pageToken);
  if (isRefusal(from)) return from;
  const { shown, next } = pageOfGroups(found, query.sort, from.place, page.size);
  const reader = readerOf(parts, caller);
  return create(
    pb.ListGroupsResponseSchema,
    filled({
      groups: shown.map((view) => group(view, reader)),
      nextPageToken: pageTokenOf(list, next),
      replicas: admission.replicas().map(replica),
      total: found.length,
      counts: countGroups(visible),
      now: moment(reader.now, reader),
    }),
  );
}

/** A quota as the core has it; undefined: the message names no kind. */
function quotaOf(quota: pb.Quota): Quota | undefined {
  const { kind } = quota;
  switch (kind.case) {
    case 'rate':
      return { kind: 'rate', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? INVALID_DURATION, burst: Number(kind.value.burst) || 1 };
    case 'spacing':
      return { kind: 'spacing', spacing: fromProto(kind.value.spacing) ?? INVALID_DURATION, slack: fromProto(kind.value.slack) ?? 0 };
    case 'window':
      return { kind: 'window', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? INVALID_DURATION };
    case 'concurrency':
      return { kind: 'concurrency', max: Number(kind.value.max) };
    default:
      return undefined;
  }
}

const REASON_BYTES_MAX = 256;

function checkReason(reason: string): Refusal | undefined {
  return checkText('reason', reason, REASON_BYTES_MAX);
}

function millis(micros: Micros | undefined): number | undefined {
  return micros === undefined ? undefined : micros / MILLISECOND;
}
