import { createHash } from 'node:crypto';
import type { GroupSettings } from '../admission/admission.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import { isRefusal } from '../admission/units.ts';
import { type Costs, PRIORITY_DEFERRED } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import { callbackUrl } from './callback-target.ts';
import type { Submission, SubmitOutcome } from './deferred.ts';
import type { DeferredRoute } from './deferred-route.ts';
import type { RequestHead, RequestRow } from './request.ts';

/** What submissions are checked against: the configuration in force. */
export interface CheckDeps {
  readonly routes: () => ReadonlyMap<string, DeferredRoute>;
  /** Settings of a group; undefined: there is none. */
  readonly settings: (group: string) => GroupSettings | undefined;
  readonly line: Pick<StoredLine, 'price'>;
}

/** A submission that may be stored: by which route, in which class, and its costs by its group. */
export interface CheckedSubmission {
  readonly route: DeferredRoute;
  readonly priority: number;
  readonly costs: Costs;
}

/** Checks a submission before anything is stored. `converted`: it was a live request before, and keeps the class of one. `nowMs` in milliseconds since 1970. */
export function checkSubmission({ routes, settings, line }: CheckDeps, submission: Submission, converted: boolean, nowMs: number): CheckedSubmission | Refusal {
  const route = routes().get(submission.route);
  const group = settings(submission.group);
  if (route === undefined || group === undefined) return { reason: 'unknown_group', detail: `There is no deferred route ${JSON.stringify(submission.route)}.` };
  const { priorityClass, notBeforeMs, deadlineMs } = submission;
  const usual = converted ? group.priority.default : PRIORITY_DEFERRED;
  const classed = priorityClass === undefined ? usual : group.priority.classes.get(priorityClass);
  if (classed === undefined) return { reason: 'malformed', detail: `Group ${submission.group} has no priority class ${JSON.stringify(priorityClass)}.` };
  if (notBeforeMs !== undefined && deadlineMs !== undefined && notBeforeMs > nowMs + deadlineMs) {
    return { reason: 'malformed', detail: 'The request may not be sent before its deadline has passed.' };
  }
  const callback = submission.callback === '' ? undefined : callbackUrl(submission.callback, route.callback);
  if (callback !== undefined && 'reason' in callback) return callback;
  const costs = line.price(submission.group, submission.key, submission.costs);
  return isRefusal(costs) ? costs : { route, priority: classed, costs };
}

/** Returns the hash of a submission's idempotency key or id of a delivery; '' without one. */
export function hashOfKey({ caller, group, idempotencyKey, dedupeId, route }: Submission): string {
  if (idempotencyKey === '' && dedupeId === '') return '';
  const scope = dedupeId === '' ? ['key', caller, group, idempotencyKey] : ['dedupe', route, dedupeId];
  return createHash('sha256').update(scope.join('\u0000')).digest('hex').slice(0, 16);
}

/** A submission's row, but for what the store gives it. `attempts`: times it was sent as a live request. */
export function rowOf(
  submission: Submission,
  { route, priority, costs }: CheckedSubmission,
  more: { readonly nowMs: number; readonly idHash: string; readonly requestHash: string; readonly attempts: number },
): Omit<RequestRow, 'sequence' | 'secret'> {
  const { nowMs, idHash, requestHash, attempts } = more;
  return {
    group: submission.group,
    route: route.name,
    caller: submission.caller,
    key: submission.key,
    priority,
    costs,
    acceptedAt: nowMs,
    dueAt: submission.notBeforeMs ?? 0,
    deadlineAt: submission.deadlineMs === undefined ? 0 : nowMs + submission.deadlineMs,
    firstAttemptAt: 0,
    attempts,
    spared: 0,
    idHash,
    requestHash,
    ordered: route.order === 'key',
    callbackOf: 0,
  };
}

/** The rest of a submission, as it is stored. */
export function headOf({ host, method, target, headers, timeoutMs, retries, callback }: Submission, bodyBytes: number): RequestHead {
  return { host, method, target, headers, bodyBytes, timeoutMs, retries, callback };
}

/** The answer to a submission that is not stored. */
export function refused(refusal: Refusal): SubmitOutcome {
  return { kind: 'refused', refusal };
}

/** The answer to a key that another request has. */
export const KEY_TAKEN: SubmitOutcome = {
  kind: 'refused',
  payloadDiffers: true,
  refusal: { reason: 'conflict', detail: 'This Idempotency-Key was used for another request.' },
};
