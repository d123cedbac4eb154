import { STATUS_CODES } from 'node:http';
import type { GroupSettings } from '../admission/admission.ts';
import type { NoAnswer } from '../forward/incoming.ts';
import { PROBLEM_TYPE } from './problem.ts';
import { type AnswerParts, type Header, NO_STORE, problemFor } from './rest-answer.ts';
import { STATUSES } from './status.ts';

/** An answer of the proxy itself. `Sluice-Reason` tells it from the backend's. */
export interface OwnAnswer {
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

/** Seconds to wait where nobody can say: a slot of unknown end, a backend that is down. */
const RETRY_SECONDS = '1';

/** What a caller is told that gets no answer of the backend. Of all these only 502 and 504 may mean that the backend saw the request. */
export function ownAnswer(why: NoAnswer, whom: RefusedRequest, parts: AnswerParts): OwnAnswer {
  switch (why.kind) {
    case 'slow':
      return plainProblem(408, 'slow', why.detail);
    case 'malformed':
      return plainProblem(400, 'malformed', why.detail);
    case 'failed':
      return withAttempts(plainProblem(why.status, FAILURES[why.status], why.detail, why.status === 503 ? [['Retry-After', RETRY_SECONDS]] : []), why.attempts);
    case 'refused':
      return withAttempts(refusalAnswer(why, whom, parts), why.attempts);
  }
}

/** A problem that no group has to do with. */
export function plainProblem(status: number, reason: string, detail: string, more: readonly Header[] = []): OwnAnswer {
  const type = `https://sluice.dev/problems/${reason.replaceAll('_', '-')}`;
  const body = `${JSON.stringify({ type, title: STATUS_CODES[status] ?? 'Refused', status, detail, reason })}\n`;
  return { status, headers: [['Content-Type', PROBLEM_TYPE], NO_STORE, ['Sluice-Reason', reason], ...more], body };
}

function refusalAnswer({ refusal }: Extract<NoAnswer, { kind: 'refused' }>, whom: RefusedRequest, parts: AnswerParts): OwnAnswer {
  const { group, key, accept } = whom;
  const own: AnswerParts = whom.refusal === undefined ? parts : { ...parts, refusalOf: () => whom.refusal };
  const { problem, headers, instead } = problemFor(own, refusal, group === undefined ? undefined : { group, key, accept });
  const retry = (problem.status === 503 || STATUSES[refusal.reason].ofGroup) && !headers.some(([name]) => name === 'Retry-After');
  const all: Header[] = [NO_STORE, ['Sluice-Reason', refusal.reason], ...headers];
  if (retry) all.push(['Retry-After', RETRY_SECONDS]);
  if (instead !== undefined) return { status: problem.status, headers: [['Content-Type', instead.contentType], ...all], body: instead.body };
  return { status: problem.status, headers: [['Content-Type', PROBLEM_TYPE], ...all], body: `${JSON.stringify(problem)}\n` };
}

function withAttempts(answer: OwnAnswer, attempts: number): OwnAnswer {
  return attempts === 0 ? answer : { ...answer, headers: [...answer.headers, ['Sluice-Attempts', String(attempts)]] };
}
