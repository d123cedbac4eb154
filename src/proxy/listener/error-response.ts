import { STATUS_CODES } from 'node:http';
import type { GroupSettings } from '../../admission/admission.ts';
import { PROBLEM_TYPE } from '../../api/problem.ts';
import { REFUSAL_STATUS } from '../../api/refusal-status.ts';
import { type Header, NO_STORE, problemFor, type ResponseDeps } from '../../api/rest/response.ts';
import { RETRY_UNKNOWN_SECONDS } from '../../http/retry-after.ts';
import type { ForwardFailure } from '../incoming.ts';

/** An answer of the proxy itself. `Sluice-Reason` distinguishes it from the backend's. */
export interface ProxyResponse {
  readonly status: number;
  /** Content-Type among them; without what frames. */
  readonly headers: readonly Header[];
  readonly body: string;
}

/** Whom an answer is for. */
export interface RefusedRequest {
  readonly group: string | undefined;
  readonly key: string;
  readonly accept: string;
  /** Of the route; undefined: of the group. */
  readonly refusal: GroupSettings['refusal'];
}

const FAILURES = { 502: 'backend_failed', 503: 'backend_unreachable', 504: 'backend_late' } as const;

/** Returns the response of a caller that gets none of the backend. Of all these only 502 and 504 may mean that the backend saw the request. */
export function toProxyResponse(why: ForwardFailure, whom: RefusedRequest, deps: ResponseDeps): ProxyResponse {
  switch (why.kind) {
    case 'slow':
      return ungroupedProblem(408, 'slow', why.detail);
    case 'malformed':
      return ungroupedProblem(400, 'malformed', why.detail);
    case 'failed':
      return withAttempts(
        ungroupedProblem(why.status, FAILURES[why.status], why.detail, why.status === 503 ? [['Retry-After', String(RETRY_UNKNOWN_SECONDS)]] : []),
        why.attempts,
      );
    case 'refused':
      return withAttempts(refusalAnswer(why, whom, deps), why.attempts);
  }
}

/** A problem that no group has to do with. */
export function ungroupedProblem(status: number, reason: string, detail: string, more: readonly Header[] = []): ProxyResponse {
  const type = `https://sluice.dev/problems/${reason.replaceAll('_', '-')}`;
  const body = `${JSON.stringify({ type, title: STATUS_CODES[status] ?? 'Refused', status, detail, reason })}\n`;
  return { status, headers: [['Content-Type', PROBLEM_TYPE], NO_STORE, ['Sluice-Reason', reason], ...more], body };
}

function refusalAnswer({ refusal }: Extract<ForwardFailure, { kind: 'refused' }>, whom: RefusedRequest, deps: ResponseDeps): ProxyResponse {
  const { group, key, accept } = whom;
  const own: ResponseDeps = whom.refusal === undefined ? deps : { ...deps, refusalOf: () => whom.refusal };
  const { problem, headers, instead } = problemFor(own, refusal, group === undefined ? undefined : { group, key, accept });
  const retry = (problem.status === 503 || REFUSAL_STATUS[refusal.reason].ofGroup) && !headers.some(([name]) => name === 'Retry-After');
  const all: Header[] = [NO_STORE, ['Sluice-Reason', refusal.reason], ...headers];
  if (retry) all.push(['Retry-After', String(RETRY_UNKNOWN_SECONDS)]);
  if (instead !== undefined) return { status: problem.status, headers: [['Content-Type', instead.contentType], ...all], body: instead.body };
  return { status: problem.status, headers: [['Content-Type', PROBLEM_TYPE], ...all], body: `${JSON.stringify(problem)}\n` };
}

function withAttempts(answer: ProxyResponse, attempts: number): ProxyResponse {
  return attempts === 0 ? answer : { ...answer, headers: [...answer.headers, ['Sluice-Attempts', String(attempts)]] };
}
