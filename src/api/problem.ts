import { STATUS_CODES } from 'node:http';
import type { Refusal, RefusalReason } from '../core/refusal.ts';
import type { Instant } from '../core/time.ts';
import type { EngineReply, EngineRequest } from '../http/engine.ts';
import { toRetrySeconds } from '../http/retry-after.ts';
import { toText } from './duration.ts';
import { describe, REFUSAL_STATUS, retryAfter } from './refusal-status.ts';

/** RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json';

/** Problem types of draft-ietf-httpapi-ratelimit-headers-11, for limits that refused and for capacity that is gone. */
const IANA = 'https://iana.org/assignments/http-problem-types';
const QUOTA_EXCEEDED = { type: `${IANA}#quota-exceeded`, title: 'Request cannot be satisfied as assigned quota has been exceeded' };
const REDUCED_CAPACITY = { type: `${IANA}#temporary-reduced-capacity`, title: 'Request cannot be satisfied due to temporary server capacity constraints' };

/** One title per type of our own; the two of IANA have theirs. */
const TITLES: Readonly<Record<RefusalReason, string>> = {
  malformed: 'Malformed request',
  unknown_group: 'Unknown group',
  oversized: 'Cost beyond a limit',
  unauthenticated: 'Unknown credential',
  forbidden: 'Not allowed',
  too_large: 'Request too large',
  draining: 'Shutting down',
  undecided: 'No replica can decide',
  unstored: 'Nothing can be stored',
  shed: 'Too many waiting',
  expired: 'Wait timeout ended',
  infeasible: 'Cannot pass in time',
  cancelled: 'Given up',
  fenced: 'Lease lost',
  unknown_permit: 'Unknown permit',
  unknown_request: 'Unknown request',
  conflict: 'Conflict',
  gone: 'Gone',
  fault: 'Internal fault',
};

/** A problem's body. `retryAfter` is a duration (`12.5s`), as exact as it is known; the header of that name is whole seconds. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly reason?: RefusalReason;
  readonly limit?: string;
  readonly retryAfter?: string;
  /** When a request like this one, asked again now, would be admitted if it waited: durations from now. */
  readonly range?: { readonly earliest: string; readonly latest: string };
  /** Names of the RateLimit policies that refused. */
  readonly 'violated-policies'?: readonly string[];
}

/** A limit, not the backlog's bound, refused. */
export function isQuota({ reason, limit }: Refusal): boolean {
  return REFUSAL_STATUS[reason].ofGroup && limit !== undefined && !limit.startsWith('backlog.');
}

/** A refusal as a problem. `status` may be the group's own. */
export function problemOf(refusal: Refusal, status: number, now: Instant): Problem {
  const { reason, limit, range } = refusal;
  const quota = isQuota(refusal);
  const wait = retryAfter(refusal, now);
  return {
    ...(quota ? QUOTA_EXCEEDED : REFUSAL_STATUS[reason].http === 503 ? REDUCED_CAPACITY : { type: typeOf(reason), title: TITLES[reason] }),
    status,
    detail: describe(refusal),
    reason,
    ...(limit === undefined ? {} : { limit }),
    ...(wait === undefined ? {} : { retryAfter: toText(wait) }),
    ...(range === undefined ? {} : { range: { earliest: toText(Math.max(0, range.earliest - now)), latest: toText(Math.max(0, range.latest - now)) } }),
    ...(quota && limit !== undefined ? { 'violated-policies': [limit] } : {}),
  };
}

/**
 * Retry-After in whole seconds: never before the wait is over, nor before `leastSeconds` (what RateLimit contains, which it
 * outranks: RFC 9110 10.2.3). Up to a tenth more, by `random` (0..1), so that callers refused together do not come
 * back together.
 */
export function retrySeconds(refusal: Refusal, now: Instant, leastSeconds: number, random: number): number | undefined {
  const wait = retryAfter(refusal, now);
  if (wait === undefined) return undefined;
  return Math.max(leastSeconds, toRetrySeconds(wait * (1 + random / 10)));
}

const ENGINE_REASONS: Readonly<Record<number, RefusalReason>> = { 413: 'too_large', 500: 'fault', 503: 'unstored' };

/** A refusal of an engine, which knows no reasons; for `EngineOptions.problem`. */
export function engineProblem(status: number, detail: string): { readonly contentType: string; readonly body: string } {
  const reason = ENGINE_REASONS[status] ?? 'malformed';
  const problem: Problem = { type: typeOf(reason), title: STATUS_CODES[status] ?? TITLES[reason], status, detail, reason };
  return { contentType: PROBLEM_TYPE, body: `${JSON.stringify(problem)}\n` };
}

/** Answers 405 to a method other than GET and HEAD, with these fields beside its own. Returns whether it did. */
export function refusesMethod({ method }: EngineRequest, reply: EngineReply, fields: readonly (readonly [string, string])[] = []): boolean {
  if (method === 'GET' || method === 'HEAD') return false;
  const { contentType, body } = engineProblem(405, 'Use GET, HEAD at this path.');
  reply.send(405, [...fields, ['Content-Type', contentType], ['Allow', 'GET, HEAD']], body);
  return true;
}

function typeOf(reason: RefusalReason): string {
  return `https://sluice.dev/problems/${reason.replaceAll('_', '-')}`;
}
