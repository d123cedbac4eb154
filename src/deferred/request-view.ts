import type { RequestFilter, RequestScope, RequestView } from './deferred.ts';
import { type RequestEnd, type RequestHead, type RequestRow, requestId } from './request.ts';
import type { EndedFilter } from './store.ts';

/** Returns whether a credential may see this request. */
export function inScope(scope: RequestScope, { caller, group, key }: Pick<RequestRow, 'caller' | 'group' | 'key'>): boolean {
  if (!scope.all && caller !== scope.caller) return false;
  return (scope.groups === undefined || scope.groups.has(group)) && (scope.key === undefined || scope.key === key);
}

/** The key that a list is narrowed to: the filter's, else the credential's. */
export function narrowed(scope: RequestScope, filter: RequestFilter): { readonly key: string | undefined } {
  return { key: filter.key ?? scope.key };
}

/** Returns true if a pending request matches a filter. */
export function fits(filter: RequestFilter, row: RequestRow): boolean {
  if (filter.group !== undefined && filter.group !== row.group) return false;
  if (filter.key !== undefined && filter.key !== row.key) return false;
  return (filter.since === undefined || row.acceptedAt >= filter.since) && (filter.until === undefined || row.acceptedAt < filter.until);
}

/** Returns true if an ended request matches a filter. */
export function matches(filter: EndedFilter, row: RequestRow, end: RequestEnd): boolean {
  if (end.state !== filter.state) return false;
  if (filter.group !== undefined && row.group !== filter.group) return false;
  if (filter.key !== undefined && row.key !== filter.key) return false;
  if (filter.error !== undefined && end.error !== filter.error) return false;
  return (filter.since === undefined || end.at >= filter.since) && (filter.until === undefined || end.at < filter.until);
}

/** A request as it is shown. */
export function viewOf(row: RequestRow, head: RequestHead | undefined, end: RequestEnd | undefined, state: RequestView['state']): RequestView {
  return {
    id: requestId(row.sequence, row.secret),
    state,
    group: row.group,
    key: row.key,
    route: row.route,
    method: head?.method ?? '',
    target: head?.target ?? '',
    bodyBytes: head?.bodyBytes ?? 0,
    acceptedAt: row.acceptedAt,
    notBefore: row.attempts === 0 ? row.dueAt : 0,
    deadlineAt: row.deadlineAt,
    attempts: end?.attempts ?? row.attempts,
    nextAttemptAt: end === undefined ? row.dueAt : 0,
    waitsFor: '',
    error: end?.error ?? '',
    tries: [],
    response: end?.response,
    callback: 'none',
    goneAt: end?.goneAt ?? 0,
  };
}
