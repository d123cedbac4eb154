import type { RequestView } from '../../deferred/deferred.ts';
import type { Attempt } from '../../deferred/request.ts';
import { pairsOf } from './proto-messages.ts';

/** Where a request is read: `/v1/requests/`, or the proxy's own path. */
export type RequestsPath = string;

/** A request as plain HTTP shows it: states as lower-case words, times of RFC 3339, what is not there left out. Its response is described, not included. */
export function requestJson(view: RequestView, path: RequestsPath): object {
  const { id, state, group, key, route, method, target, bodyBytes, attempts, error, tries, callback, response } = view;
  return {
    ...{ id, state, group, key, route },
    ...(method === '' ? {} : { method, path: target, bodyBytes }),
    acceptedAt: timeText(view.acceptedAt),
    notBefore: timeText(view.notBefore),
    deadlineAt: timeText(view.deadlineAt),
    attempts,
    nextAttemptAt: timeText(view.nextAttemptAt),
    waitsFor: view.waitsFor === '' ? undefined : view.waitsFor,
    error: error === '' ? undefined : error,
    tries: tries.length === 0 ? undefined : tries.map(attemptJson),
    callback: callback === 'none' ? undefined : callback,
    goneAt: timeText(view.goneAt),
    response: response && {
      status: response.status,
      headers: pairsOf(response.headers),
      bytes: response.body.byteLength,
      ...(response.truncated && { truncated: true }),
      location: `${path}${id}/response`,
    },
  };
}

function attemptJson({ number, at, status, error, firstBytes, nextAt }: Attempt): object {
  return {
    number,
    at: timeText(at),
    status: status === 0 ? undefined : status,
    error: error === '' ? undefined : error,
    firstBytes: firstBytes.byteLength === 0 ? undefined : Buffer.from(firstBytes).toString('utf8'),
    nextAt: timeText(nextAt),
  };
}

/** RFC 3339 in UTC; undefined for 0, which stands for no time. */
export function timeText(ms: number | undefined): string | undefined {
  return ms === undefined || ms === 0 || !Number.isFinite(ms) ? undefined : new Date(ms).toISOString();
}
