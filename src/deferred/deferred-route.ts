import type { BlockList } from 'node:net';
import type { CostRule, Route } from '../proxy/route.ts';

/** How a route's stored requests are sent, retried and kept; compiled from the configuration. Times are milliseconds. */
export interface DeferredRoute {
  readonly name: string;
  readonly group: string;
  readonly backend: string;
  /** How a request of this route is sent: the live route, without admission and with one attempt. */
  readonly forward: Route;
  /** Read again from the answer where a rule settles. */
  readonly costs: readonly CostRule[];
  /** Life of a lease, renewed while the attempt lasts. */
  readonly leaseMs: number;
  /** One attempt at most, from its start to the end of the answer. */
  readonly timeoutMs: number;
  /** Statuses that count as delivered: `2xx`, a list, or any. */
  readonly success: SuccessRule;
  readonly retry: RetryPolicy;
  readonly keep: { readonly resultsMs: number; readonly deadMs: number; readonly dedupeMs: number };
  /** `key`: requests of one key are sent one after the other, in the order of their acceptance. */
  readonly order: 'none' | 'key';
  /** With `order: key`, when the head of a key is dead: go on, or hold the key until it is redriven or cancelled. */
  readonly onDead: 'continue' | 'hold';
  /** Whom a `Retry-After` delays: the request and, by the group's `pushback`, others; or the request alone. */
  readonly pushback: 'group' | 'none';
  /** Bytes of a response body that are kept. */
  readonly resultBytesMax: number;
  /** Adds a fresh signature to each attempt; undefined: none. */
  readonly sign: ((fields: SignedFields) => readonly string[]) | undefined;
  /** Where its requests may have their end reported; undefined: nowhere. */
  readonly callback: CallbackPolicy | undefined;
}

/** Which callbacks a route allows, and how they are sent. */
export interface CallbackPolicy {
  /** Lower case: names, `*.name`, with a port only where it counts, or `*` for every host. */
  readonly hosts: readonly string[];
  /** http:// too. */
  readonly plainHttp: boolean;
  /** Private addresses that may be called all the same. */
  readonly addresses: BlockList;
  readonly sign: (fields: SignedFields) => readonly string[];
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
}

/** What a signature covers. */
export interface SignedFields {
  readonly id: string;
  readonly nowMs: number;
  readonly body: Uint8Array;
}

/** Which statuses count as delivered. */
export type SuccessRule = '2xx' | 'any' | ReadonlySet<number>;

/** When to send again. */
export interface RetryPolicy {
  /** Given up this long after the first attempt; 0: never retried. */
  readonly forMs: number;
  readonly firstMs: number;
  readonly maxMs: number;
  /** Instead of backoff: the delay before each further attempt; after the last it is dead. */
  readonly delaysMs: readonly number[] | undefined;
  /** Attempts at most; undefined: `forMs` alone decides. */
  readonly attemptsMax: number | undefined;
}

/** How one attempt ended: an answer with its status, or why there was none. */
export type AttemptOutcome =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfterMs: number | undefined }
  /** `connect`, `timeout`, `reset`, `invalid`, `aborted`, ... */
  | { readonly kind: 'failed'; readonly error: string };

/** What follows from an attempt. */
export type Verdict =
  | { readonly kind: 'done' }
  | { readonly kind: 'dead'; readonly error: string }
  | { readonly kind: 'retry'; readonly error: string; readonly retryAfterMs: number | undefined };

/** Statuses that are a temporary fault of the request although they are 4xx (RFC 9110, RFC 8470, RFC 6585). */
const RETRIED_4XX: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * Returns what follows from an attempt: done by the success rule; dead at once on 3xx (never followed), 410, and 4xx other
 * than 408, 425, 429; else a retry.
 */
export function verdictOf(outcome: AttemptOutcome, success: SuccessRule): Verdict {
  if (outcome.kind === 'failed') return { kind: 'retry', error: outcome.error, retryAfterMs: undefined };
  const { status, retryAfterMs } = outcome;
  const delivered = success === 'any' || (success === '2xx' ? status >= 200 && status < 300 : success.has(status));
  if (delivered) return { kind: 'done' };
  const error = `status_${status}`;
  if (status < 500 && !RETRIED_4XX.has(status)) return { kind: 'dead', error };
  return { kind: 'retry', error, retryAfterMs };
}

/** Returns true if an outcome shows that the backend itself is down: no connection, no answer in time, 502, 504, or 503 without `Retry-After`. A 500 is not. */
export function saysDown(outcome: AttemptOutcome): boolean {
  if (outcome.kind === 'failed') return outcome.error !== 'aborted' && outcome.error !== 'invalid' && outcome.error !== 'fenced';
  return outcome.status === 502 || outcome.status === 504 || (outcome.status === 503 && outcome.retryAfterMs === undefined);
}

/** What a request may narrow of its route's retries. */
export type RequestRetries = { readonly attemptsMax: number } | { readonly delaysMs: readonly number[] } | undefined;

/**
 * Returns when to send again, in milliseconds since 1970; undefined if the request is dead (`retry_expired`). Full jitter:
 * uniform from 0 to the backoff (AWS Architecture Blog, "Exponential Backoff And Jitter"), drawn once by `random` in [0, 1);
 * an explicit list of delays has no jitter; `Retry-After` is a lower bound.
 */
export function nextAttemptAt(
  policy: RetryPolicy,
  narrowed: RequestRetries,
  { attempts, firstAttemptAt, nowMs, retryAfterMs, random }: RetryAsk,
): number | undefined {
  const attemptsMax = Math.min(
    policy.attemptsMax ?? Number.POSITIVE_INFINITY,
    narrowed !== undefined && 'attemptsMax' in narrowed ? narrowed.attemptsMax : Number.POSITIVE_INFINITY,
  );
  const delays = narrowed !== undefined && 'delaysMs' in narrowed ? narrowed.delaysMs : policy.delaysMs;
  if (attempts >= attemptsMax) return undefined;
  const listed = delays?.[attempts - 1];
  if (delays !== undefined && listed === undefined) return undefined;
  const backoff = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(attempts - 1, 40));
  const delay = Math.max(listed ?? Math.ceil(backoff * random), retryAfterMs ?? 0);
  const at = nowMs + delay;
  return delays === undefined && at > firstAttemptAt + policy.forMs ? undefined : at;
}

/** What a retry is reckoned from. */
export interface RetryAsk {
  /** Attempts so far, at least 1. */
  readonly attempts: number;
  readonly firstAttemptAt: number;
  readonly nowMs: number;
  readonly retryAfterMs: number | undefined;
  readonly random: number;
}
