import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';

/** Seconds of Retry-After where no instant is known: a slot of unknown end, a backend that is down, buffers that are full. */
export const RETRY_UNKNOWN_SECONDS = 1;

/** Seconds of Retry-After where the request may come back at once, to another address. */
export const RETRY_NOW_SECONDS = 0;

/** Converts a wait to Retry-After (RFC 9110 10.2.3): whole seconds, rounded up, so that no caller comes back early. */
export function toRetrySeconds(wait: Micros): number {
  return Math.ceil(wait / SECOND);
}

/** Converts a wait to `retry-after-ms` of gRPC and gRPC-Web: whole milliseconds, rounded up. */
export function toRetryMillis(wait: Micros): number {
  return Math.ceil(wait / MILLISECOND);
}
