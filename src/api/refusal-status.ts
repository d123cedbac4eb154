import type { Refusal, RefusalReason } from '../core/refusal.ts';
import { type Instant, type Micros, NEVER, SECOND } from '../core/time.ts';

/** The codes of errors, with the numbers gRPC and Connect share (google.rpc.Code). */
export const CODES = {
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const;

/** A code by its name in Connect. */
export type CodeName = keyof typeof CODES;

/** How one reason looks on the wire. */
export interface Status {
  readonly code: CodeName;
  /** Plain HTTP; Connect has its own, see {@link CONNECT_HTTP}. */
  readonly http: number;
  /** ErrorInfo.reason and Refusal.reason. */
  readonly reason: string;
  /** The group's `refusal` may put another status and body in its place (plain HTTP and proxy). */
  readonly ofGroup: boolean;
  /** What is wrong and what to do next, where the refusal has no detail of its own. */
  readonly sentence: string;
}

/** The one table of refusals: every reason has its place on every wire. */
export const REFUSAL_STATUS: Readonly<Record<RefusalReason, Status>> = {
  malformed: row('malformed', 'invalid_argument', 400, 'The request is not well formed; correct it before trying again.'),
  unknown_group: row('unknown_group', 'not_found', 404, 'No group has this name; look for it in the configuration of the server.'),
  oversized: row('oversized', 'failed_precondition', 400, 'The cost is larger than a limit can ever pass; ask for less.'),
  unauthenticated: row('unauthenticated', 'unauthenticated', 401, 'The credential is missing or not known; send one that is.'),
  forbidden: row('forbidden', 'permission_denied', 403, 'This credential may not do that; ask an operator for another.'),
  too_large: row('too_large', 'resource_exhausted', 413, 'The request is larger than the server takes; send less.'),
  draining: row('draining', 'unavailable', 503, 'This server is shutting down; try again now, elsewhere.'),
  undecided: row('undecided', 'unavailable', 503, 'No replica can decide for this group at the moment; try again after a pause.'),
  unstored: row('unstored', 'unavailable', 503, 'What must be kept cannot be written at the moment; try again after a pause.'),
  shed: row('shed', 'resource_exhausted', 429, 'Too many are waiting already; try again later.', true),
  expired: row('expired', 'resource_exhausted', 429, 'Not admitted within the ttl; try again later, or with a longer wait timeout.', true),
  infeasible: row(
    'infeasible',
    'resource_exhausted',
    429,
    'The limits alone could not admit this within its ttl; try again later, or with a longer wait timeout.',
    true,
  ),
  cancelled: row('cancelled', 'canceled', 499, 'The request was cancelled.'),
  fenced: row('fenced', 'aborted', 409, 'The lease has lapsed or was revoked; stop the work and acquire anew.'),
  unknown_permit: row('unknown_permit', 'not_found', 404, 'No such permit is known here; acquire anew.'),
  unknown_request: row('unknown_request', 'not_found', 404, 'No such request is known here.'),
  conflict: row('conflict', 'already_exists', 409, 'The same name is in use for something else; choose another.'),
  gone: row('gone', 'not_found', 410, 'The request is no longer kept.'),
  fault: row('fault', 'internal', 500, 'Something broke inside the server; its log says what. Try again with care.'),
};

/** Connect's HTTP status of each code: https://connectrpc.com/docs/protocol#error-codes */
export const CONNECT_HTTP: Readonly<Record<CodeName, number>> = {
  canceled: 499,
  unknown: 500,
  deadline_exceeded: 504,
  out_of_range: 400,
  data_loss: 500,
  invalid_argument: 400,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 400,
  aborted: 409,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  unauthenticated: 401,
};

/** The sentence for people: the refusal's own, or the table's with the limit that binds. */
export function describe(refusal: Refusal): string {
  if (refusal.detail !== undefined) return refusal.detail;
  const { sentence } = REFUSAL_STATUS[refusal.reason];
  return refusal.limit === undefined ? sentence : `${sentence} (Limit: ${refusal.limit}.)`;
}

/** Refusals that end by themselves, for those that come without a time of their own. */
const PAUSES: Partial<Record<RefusalReason, Micros>> = { unstored: SECOND, undecided: SECOND };

/** How long to wait before asking again; undefined: never, or not known. */
export function retryAfter(refusal: Refusal, now: Instant): Micros | undefined {
  if (refusal.retryAt === undefined && PAUSES[refusal.reason] !== undefined) return PAUSES[refusal.reason];
  if (refusal.retryAt === undefined || refusal.retryAt === NEVER) return undefined;
  return Math.max(0, refusal.retryAt - now);
}

/** What a throw becomes: its cause is for the log, never for the caller. */
export const INTERNAL_ERROR: Refusal = Object.freeze({ reason: 'fault' });

function row(reason: RefusalReason, code: CodeName, http: number, sentence: string, ofGroup = false): Status {
  return { code, http, reason: reason.toUpperCase(), ofGroup, sentence };
}
