import type { Costs } from '../core/group.ts';
import type { RawHeaders } from '../proxy/upstream/forwarder.ts';

/** State of a stored request. */
export type RequestState = 'pending' | 'sending' | 'done' | 'dead' | 'cancelled';

/** States after which a request is never sent again, unless it is redriven. */
export type EndState = 'done' | 'dead' | 'cancelled';

/**
 * What is kept in memory of each request, and in one row of the store: all that order, retries and look-up need. Times are
 * milliseconds since 1970 (the wall clock survives a restart; 0: none).
 */
export interface RequestRow {
  /** Given by the store in the order of acceptance; never used twice. */
  readonly sequence: number;
  /** 64 random bits as 16 hexadecimal digits; with the sequence they make the public id. */
  readonly secret: string;
  readonly group: string;
  /** The route that accepted it, by name. If it is gone, another deferred route of the group sends it; without one it waits. */
  readonly route: string;
  /** Name of the credential that submitted it; '' without auth. */
  readonly caller: string;
  /** '' where the request names none. */
  readonly key: string;
  /** 0 .. 999 where the route names a class, else PRIORITY_DEFERRED. */
  readonly priority: number;
  readonly costs: Costs;
  readonly acceptedAt: number;
  /** Not sent before: the caller's `not_before`, then the next attempt after a failure. 0: at once. */
  readonly dueAt: number;
  /** Given up when not delivered by then; 0: `retry.for` alone decides. */
  readonly deadlineAt: number;
  /** When it was sent first; 0: never. `retry.for` counts from here. */
  readonly firstAttemptAt: number;
  /** Attempts that were armed: an upper bound of how often the backend saw it. */
  readonly attempts: number;
  /** Of these, how many do not count against its retries: its backend was down. */
  readonly spared: number;
  /** First 64 bits of SHA-256 over credential, scope and idempotency key or dedupe id, as 16 hexadecimal digits; '' without one. */
  readonly idHash: string;
  /** First 64 bits of SHA-256 over method, host, target and body, as 16 hexadecimal digits: distinguishes requests under one key. */
  readonly requestHash: string;
  /** Stays in order within its key (`order: key`): a younger one of the same key is not sent before it has ended. */
  readonly ordered: boolean;
  /** A callback that reports the end of another request, not a request of a caller. */
  readonly callbackOf: number;
  /** In a cluster, of a live request that was stored in its place in line: when it came, and its order in its tree. */
  readonly since?: { readonly at: number; readonly order: number } | undefined;
}

/** The rest of a request: read when it is sent or shown, written once. */
export interface RequestHead {
  readonly host: string;
  readonly method: string;
  /** Path and query as the backend sees them. */
  readonly target: string;
  readonly headers: RawHeaders;
  readonly bodyBytes: number;
  /** Narrower than the route's, if the request sets it; milliseconds. */
  readonly timeoutMs: number | undefined;
  /** Attempts at most, or the delays between them in milliseconds; undefined: the route's. */
  readonly retries: { readonly attemptsMax: number } | { readonly delaysMs: readonly number[] } | undefined;
  /** Where the end is reported; '' for nowhere. */
  readonly callback: string;
}

/** One attempt as it is shown. */
export interface Attempt {
  readonly number: number;
  readonly at: number;
  /** HTTP status; 0: there was no answer. */
  readonly status: number;
  /** Why it failed: `connect`, `timeout`, `reset`, `status`, ... ; '' when it did not. */
  readonly error: string;
  /** First bytes of the answer, at most 256. */
  readonly firstBytes: Uint8Array;
  /** When the next one is due; 0: none. */
  readonly nextAt: number;
}

/** A backend's answer as it is kept. */
export interface StoredResponse {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Uint8Array;
  /** The body was longer than `results.bytes`, or there was no room for it: what is kept is its beginning, or nothing. */
  readonly truncated: boolean;
}

/** How a request ended. */
export interface RequestEnd {
  readonly sequence: number;
  readonly state: EndState;
  readonly at: number;
  readonly attempts: number;
  /** Why it is dead (`status`, `retry_expired`, `deadline`, `oversized`, ...); '' when it is not. */
  readonly error: string;
  readonly response: StoredResponse | undefined;
  /** Kept until then. */
  readonly goneAt: number;
}

/** Base32 (Crockford) of a sequence, `-`, and the secret: the id that callers see. */
export function requestId(sequence: number, secret: string): string {
  let text = '';
  for (let rest = sequence; rest > 0; rest = Math.floor(rest / 32)) text = ALPHABET.charAt(rest % 32) + text;
  return `${text === '' ? '0' : text}-${secret}`;
}

/** Returns the parts of an id; undefined if it cannot be one. */
export function parseRequestId(id: string): { readonly sequence: number; readonly secret: string } | undefined {
  const match = /^([0-9a-hjkmnp-tv-z]{1,11})-([0-9a-f]{16})$/.exec(id);
  if (match === null) return undefined;
  let sequence = 0;
  for (const digit of match[1] as string) sequence = sequence * 32 + ALPHABET.indexOf(digit);
  return Number.isSafeInteger(sequence) ? { sequence, secret: match[2] as string } : undefined;
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
