import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { PageRequest } from '../admission/admission.ts';
import { KEY_BYTES_MAX } from '../core/bounds.ts';
import { PRIORITY_DEFERRED } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import * as pb from '../gen/sluice/v1/group_pb.ts';
import { answer, refuse, type ServiceDeps } from './admission-service.ts';
import type { Action } from './auth.ts';
import { type Unary, type UnaryCall, unary } from './call.ts';
import { countGroups, pageOfGroups, selectGroups, toGroupQuery } from './group-list.ts';
import { group, moment } from './group-messages.ts';
import { toPage } from './group-validation.ts';
import { changeCalls, readerOf } from './operator-changes.ts';
import { pageTokenOf, placeOf } from './page-token.ts';
import { filled, lease, replica, waiter } from './proto-messages.ts';
import { checkGroup, checkText, isRefusal, malformed } from './validation.ts';

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
  listActivity: ({ group }) => ({ ability: 'read', ...(group !== '' && { group }) }),
  getMe: () => ({ ability: 'read' }),
  getServer: () => ({ ability: 'read' }),
};

interface Named {
  readonly group?: string;
  readonly key?: string | undefined;
}

/** The calls of sluice.v1.GroupService: for operators only. */
export function operatorCalls(deps: ServiceDeps): readonly UnaryCall[] {
  return [...looks(deps), ...lookAround(deps), ...changeCalls(deps)].map(({ method, call }) => ({
    method,
    call: (facts, request, reply) => {
      const action = ACTIONS[method.localName as keyof typeof ACTIONS](request as Named);
      const refusal = deps.auth.check(facts.caller, action);
      return refusal === undefined ? call(facts, request, reply) : refuse(reply, refusal);
    },
  }));
}

/** Makes calls that answer with what they find. */
function looking(deps: ServiceDeps) {
  return <I, O extends object>(call: (request: I, caller: string) => Promise<O | Refusal>): Unary<I, O> =>
    ({ caller }, request, reply) =>
      answer(deps, call(request, caller), reply);
}

/** Calls that only look at groups. */
function looks(deps: ServiceDeps): readonly UnaryCall[] {
  const { admission, auth } = deps;
  const { listGroups, getGroup, listWaiters, listLeases } = pb.GroupService.method;
  const look = looking(deps);
  return [
    unary(
      listGroups,
      look((request, caller) => groupsPage(deps, request, caller)),
    ),
    unary(
      getGroup,
      look(async (request, caller) => {
        const view = checkGroup(request.group) ?? (await admission.group(request.group));
        return isRefusal(view) ? view : create(pb.GetGroupResponseSchema, { group: group(view, readerOf(deps, caller)) });
      }),
    ),
    unary(
      listWaiters,
      look(async (request, caller) => {
        const asked = itemsAsked('waiters', request, auth.keyOf(caller));
        if (isRefusal(asked)) return asked;
        const found = asked.page === undefined ? NO_ITEMS : await admission.waiters(request.group, asked.page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListWaitersResponseSchema, {
          waiters: found.items.map((each) => waiter(each, now)),
          nextPageToken: pageTokenOf(asked.list, found.next),
          total: found.total ?? 0,
        });
      }),
    ),
    unary(
      listLeases,
      look(async (request, caller) => {
        const asked = itemsAsked('leases', request, auth.keyOf(caller));
        if (isRefusal(asked)) return asked;
        const found = asked.page === undefined ? NO_ITEMS : await admission.leases(request.group, asked.page);
        if (isRefusal(found)) return found;
        const now = admission.now();
        return create(pb.ListLeasesResponseSchema, {
          leases: found.items.map((each) => lease(each, now)),
          nextPageToken: pageTokenOf(asked.list, found.next),
          total: found.total ?? 0,
        });
      }),
    ),
  ];
}

const HOLDER_BYTES_MAX = 256;
const NO_ITEMS = { items: [], next: '', total: 0 } as const;

/** Checks a list of waiters or leases; `own`: the only key that its caller sees. The page is undefined where that is another than is asked for. */
function itemsAsked(
  what: 'waiters' | 'leases',
  request: pb.ListWaitersRequest | pb.ListLeasesRequest,
  own: string | undefined,
): { readonly list: string; readonly page: PageRequest | undefined } | Refusal {
  const { group: name, key, holder } = request;
  const priority = 'priority' in request ? request.priority : undefined;
  const list = [`${what} of ${name}`, ...(key !== undefined || priority !== undefined || holder !== '' ? [JSON.stringify([key, priority, holder])] : [])].join(
    ' ',
  );
  const beyond = priority !== undefined && (priority < 0 || priority > PRIORITY_DEFERRED);
  const badPriority = beyond ? malformed(`\`priority\` must be a whole number from 0 to ${PRIORITY_DEFERRED}.`) : undefined;
  const wrong = checkGroup(name) ?? badPriority ?? checkText('key', key ?? '', KEY_BYTES_MAX) ?? checkText('holder', holder, HOLDER_BYTES_MAX);
  const page = wrong ?? toPage(list, request);
  if (isRefusal(page)) return page;
  if (own !== undefined && key !== undefined && key !== own) return { list, page: undefined };
  return { list, page: { ...page, key: own ?? key, priority, holder: holder === '' ? undefined : holder } };
}

/** Calls that return who calls, what runs, and what was done. */
function lookAround(deps: ServiceDeps): readonly UnaryCall[] {
  const { admission, auth } = deps;
  const { listActivity, getMe, getServer } = pb.GroupService.method;
  const look = looking(deps);
  return [
    unary(
      listActivity,
      look(async (request, caller) => activityPage(deps, request, caller)),
    ),
    unary(
      getMe,
      look(async (_request, caller) => {
        const { can, groups = [], key } = auth.rightsOf(caller);
        return create(pb.GetMeResponseSchema, filled({ name: caller, can: [...can], groups: [...groups], key }));
      }),
    ),
    unary(
      getServer,
      look(async () => {
        const { version, revision, listeners } = deps.server?.() ?? { version: '', revision: 0, listeners: {} };
        const now = moment(admission.now(), { epoch: (at) => admission.epoch(at) });
        return create(pb.GetServerResponseSchema, filled({ version, revision: BigInt(revision), auth: auth.demanded, listeners: { ...listeners }, now }));
      }),
    ),
  ];
}

/** Groups that match, a page of them; counts are of all that the caller may see. */
async function groupsPage(deps: ServiceDeps, request: pb.ListGroupsRequest, caller: string): Promise<pb.ListGroupsResponse | Refusal> {
  const { admission, auth } = deps;
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
  const reader = readerOf(deps, caller);
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

/** What operators did at this replica, the newest first. */
function activityPage(deps: ServiceDeps, request: pb.ListActivityRequest, caller: string): pb.ListActivityResponse | Refusal {
  const { auth, activity } = deps;
  const page = request.group === '' ? undefined : checkGroup(request.group);
  const size = page ?? toPage('activity', request);
  if (isRefusal(size)) return size;
  const visible = (group: string) => auth.check(caller, { ability: 'read', ...(group !== '' && { group }) }) === undefined;
  const found = activity?.list(size.size + 1, size.token, ({ group }) => (request.group === '' || group === request.group) && visible(group)) ?? [];
  const shown = found.slice(0, size.size);
  return create(pb.ListActivityResponseSchema, {
    activity: shown.map(({ id, at, who, what, group, reason, text, refused }) =>
      create(pb.ActivitySchema, { id, at: timestampFromMs(at), who, what, group, reason, text, refused, severity: refused === '' ? 'info' : 'warn' }),
    ),
    nextPageToken: pageTokenOf('activity', found.length > shown.length ? (shown.at(-1)?.id ?? '') : ''),
  });
}
