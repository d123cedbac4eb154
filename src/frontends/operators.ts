import { create } from '@bufbuild/protobuf';
import type { AdmissionService } from '../admission/admission.ts';
import type { Quota } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import * as pb from '../gen/sluice/v1/group_pb.ts';
import { checkGroup, checkName, isRefusal } from './ask.ts';
import type { Ability } from './auth.ts';
import { type Unary, type UnaryCall, unary } from './calls.ts';
import { fromProto, UNREADABLE } from './duration.ts';
import { group, lease, replica, waiter } from './messages.ts';
import { checkPause, toOverride, toPage } from './operator-ask.ts';
import { answer, refuse, type ServiceParts } from './service.ts';

/** The calls of sluice.v1.GroupService: for operators only. */
export function operatorCalls(parts: ServiceParts): readonly UnaryCall[] {
  const { auth } = parts;
  const only = (ability: Ability, calls: readonly UnaryCall[]): readonly UnaryCall[] =>
    calls.map(({ method, call }) => ({
      method,
      call: (facts, request, reply) => {
        const refusal = auth.mayNot(facts.caller, ability);
        return refusal === undefined ? call(facts, request, reply) : refuse(reply, refusal);
      },
    }));
  return [...only('read', looks(parts)), ...only('manage', deeds(parts))];
}

/** Calls that only look. */
function looks(parts: ServiceParts): readonly UnaryCall[] {
  const { admission } = parts;
  const { listGroups, getGroup, listWaiters, listLeases } = pb.GroupService.method;
  const look =
    <I, O extends object>(call: (request: I) => Promise<O | Refusal>): Unary<I, O> =>
    (_facts, request, reply) =>
      answer(parts, call(request), reply);
  return [
    unary(
      listGroups,
      look((request) => groupsPage(admission, request)),
    ),
    unary(
      getGroup,
      look(async (request) => {
        const view = checkGroup(request.group) ?? (await admission.group(request.group));
        return isRefusal(view) ? view : create(pb.GetGroupResponseSchema, { group: group(view, admission.now()) });
      }),
    ),
    unary(
      listWaiters,
      look(async (request) => {
        const page = checkGroup(request.group) ?? toPage(request);
        if (isRefusal(page)) return page;
        const found = await admission.waiters(request.group, page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListWaitersResponseSchema, { waiters: found.items.map((each) => waiter(each, now)), nextPageToken: found.next });
      }),
    ),
    unary(
      listLeases,
      look(async (request) => {
        const page = checkGroup(request.group) ?? toPage(request);
        if (isRefusal(page)) return page;
        const found = await admission.leases(request.group, page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListLeasesResponseSchema, { leases: found.items.map((each) => lease(each, now)), nextPageToken: found.next });
      }),
    ),
  ];
}

/** Calls that change something. */
function deeds(parts: ServiceParts): readonly UnaryCall[] {
  const { admission } = parts;
  const { pause, resume, override, evictWaiter, revokeLease } = pb.GroupService.method;
  const change = <O extends object>(made: O, deed: () => Promise<Refusal | undefined>): Promise<O | Refusal> => deed().then((refusal) => refusal ?? made);
  return [
    unary(pause, (_facts, request, reply) => {
      const duration = fromProto(request.duration);
      const wrong = checkPause(request.group, request.key, duration);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.PauseResponseSchema), () => admission.pause(request.group, request.key, duration)),
        reply,
      );
    }),
    unary(resume, (_facts, request, reply) => {
      const wrong = checkPause(request.group, request.key);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.ResumeResponseSchema), () => admission.resume(request.group, request.key)),
        reply,
      );
    }),
    unary(override, (_facts, request, reply) => {
      const limits = new Map(Object.entries(request.limits).map(([name, quota]) => [name, quotaOf(quota)]));
      const wish = toOverride({ group: request.group, limits, enforce: request.enforce, duration: fromProto(request.duration) });
      if (isRefusal(wish)) return refuse(reply, wish);
      return answer(
        parts,
        change(create(pb.OverrideResponseSchema), () => admission.override(request.group, wish)),
        reply,
      );
    }),
    unary(evictWaiter, (_facts, request, reply) => {
      const wrong = checkGroup(request.group) ?? checkName('waiter', request.waiter);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.EvictWaiterResponseSchema), () => admission.evictWaiter(request.group, request.waiter)),
        reply,
      );
    }),
    unary(revokeLease, (_facts, request, reply) => {
      const wrong = checkGroup(request.group) ?? checkName('permit', request.permit);
      if (wrong !== undefined) return refuse(reply, wrong);
      return answer(
        parts,
        change(create(pb.RevokeLeaseResponseSchema), () => admission.revokeLease(request.group, request.permit)),
        reply,
      );
    }),
  ];
}

/** Groups are few: a page is a slice by name, its token the last name seen. */
async function groupsPage(admission: AdmissionService, request: pb.ListGroupsRequest): Promise<pb.ListGroupsResponse | Refusal> {
  const page = toPage(request);
  if (isRefusal(page)) return page;
  const views = (await admission.groups()).filter((view) => view.name > page.token).sort((a, b) => (a.name < b.name ? -1 : 1));
  const shown = views.slice(0, page.size);
  const now = admission.now();
  const nextPageToken = views.length > shown.length ? (shown.at(-1)?.name ?? '') : '';
  return create(pb.ListGroupsResponseSchema, { groups: shown.map((view) => group(view, now)), nextPageToken, replicas: admission.replicas().map(replica) });
}

/** A quota as the core has it; undefined: the message names no kind. */
function quotaOf(quota: pb.Quota): Quota | undefined {
  const { kind } = quota;
  switch (kind.case) {
    case 'rate':
      return { kind: 'rate', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? UNREADABLE, burst: Number(kind.value.burst) || 1 };
    case 'spacing':
      return { kind: 'spacing', spacing: fromProto(kind.value.spacing) ?? UNREADABLE, slack: fromProto(kind.value.slack) ?? 0 };
    case 'window':
      return { kind: 'window', permits: Number(kind.value.permits), per: fromProto(kind.value.per) ?? UNREADABLE };
    case 'concurrency':
      return { kind: 'concurrency', max: Number(kind.value.max) };
    default:
      return undefined;
  }
}
