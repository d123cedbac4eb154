import type { Micros } from '../core/time.ts';
import type { BodyProblem } from './body/buffered-body.ts';
import { firstHeader } from './headers.ts';
import type { ForwardFailure, IncomingRequest } from './incoming.ts';
import type { Attempt, HeldBody, RawHeaders } from './upstream/forwarder.ts';
import type { Health } from './upstream/load-balancer.ts';

/** Methods that may be sent twice with the effect of once (RFC 9110 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** Whether a request that may have reached its backend may be sent again: by its method, or because it carries a key by which the backend knows it (draft-ietf-httpapi-idempotency-key-header-07). */
export function isIdempotent(method: string, headers: RawHeaders): boolean {
  return IDEMPOTENT.has(method) || (firstHeader(headers, 'idempotency-key') ?? '') !== '';
}

/** Whether another attempt may follow one that was sent: the request may be repeated, its body is still there, and it was not sent too often. */
export function canRetry({ method, headers }: IncomingRequest, body: HeldBody | undefined, attempts: number, attemptsMax: number): boolean {
  return attempts < attemptsMax && (body === undefined || body.replayable) && isIdempotent(method, headers);
}

/** Whether no other URL is dialled with this permit: a second one always is, further ones while wait timeout (microseconds left; undefined: none was asked for) lasts. */
export function dialsEnough(refused: number, left: Micros | undefined): boolean {
  return refused > 1 && left === 0;
}

/** Refuses a request that was in line for a URL of its backend: `shed` where the line was full, `expired` when its wait timeout ended. */
export function lineRefusal(reason: 'shed' | 'expired', attempts: number): ForwardFailure {
  const detail =
    reason === 'shed'
      ? 'Every URL of the backend has as many requests as its `concurrency` allows, and too many wait for one; try again later.'
      : 'No URL of the backend had room (`concurrency`) within the ttl; try again later, or with a longer wait timeout.';
  return { kind: 'refused', refusal: { reason, detail }, attempts };
}

/** What an attempt reports of its URL. A backend that answers, whatever it answers, is well. */
export function healthOf(attempt: Attempt): Health {
  if (attempt.kind === 'answered') return 'well';
  if (attempt.kind === 'broken') return 'failed';
  return attempt.why === 'aborted' || attempt.why === 'invalid' || attempt.why === 'sender' ? 'unknown' : 'failed';
}

/** What is known beside an attempt that failed. */
export interface FailureContext {
  readonly attempts: number;
  /** Why its lease was lost, where it was. */
  readonly lost: Error | undefined;
  /** What is wrong with the body it was to send. */
  readonly fault: BodyProblem | undefined;
}

/** What a caller receives for an attempt that failed. */
export function toFailure(attempt: Exclude<Attempt, { kind: 'answered' }>, { attempts, lost, fault }: FailureContext): ForwardFailure {
  const { cause } = attempt;
  if (attempt.kind === 'failed' && attempt.why === 'sender' && fault !== undefined && fault.kind !== 'gone')
    return fault.kind === 'refused' ? { ...fault, attempts } : fault;
  const failed = (status: 502 | 503 | 504, detail: string): ForwardFailure => ({ kind: 'failed', status, detail, attempts, cause });
  if (lost !== undefined) return failed(502, 'The lease of this request was revoked while the backend worked on it.');
  if (attempt.kind === 'broken') return failed(502, 'The backend answered what cannot be passed on.');
  switch (attempt.why) {
    case 'connect':
      return failed(503, 'No connection to the backend; it has not seen the request.');
    case 'first_byte':
    case 'idle':
      return failed(504, 'The backend did not answer in time; it may have seen the request.');
    case 'invalid':
      return { kind: 'malformed', detail: 'This request cannot be forwarded as it is.' };
    case 'sender':
      return { kind: 'malformed', detail: 'The body of this request did not come as announced.' };
    case 'reset':
    case 'aborted':
      return failed(502, 'The backend closed the connection before its answer; it may have seen the request.');
  }
}
