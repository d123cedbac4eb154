import type { AcquireHandle, Outcome } from '../admission/admission.ts';
import type { Costs } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { RawHeaders } from '../proxy/upstream/forwarder.ts';
import type { Attempt, RequestState, StoredResponse } from './request.ts';

/** What a front end knows of a request that is to be stored; checked and bounded before. */
export interface Submission {
  /** Name of the route that takes it; its group, key, class and costs are resolved here. */
  readonly route: string;
  readonly group: string;
  readonly key: string;
  /** Name of a class of the group; undefined: after every class. */
  readonly priorityClass: string | undefined;
  readonly costs: Costs;
  readonly host: string;
  readonly method: string;
  readonly target: string;
  /** End-to-end fields as the backend is to see them. */
  readonly headers: RawHeaders;
  /** Whole, or as it arrives: larger ones are stored in pieces. Reading it ends early when the submission is refused. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
  /** The credential's name; '' without auth. */
  readonly caller: string;
  /** The client's `Idempotency-Key`: the same request under it gets the same ticket, another is a conflict. '' for none. */
  readonly idempotencyKey: string;
  /** A sender's own id of a delivery (`dedupe`): a known one gets its first ticket, whatever it carries. '' for none. */
  readonly dedupeId: string;
  /** Milliseconds since 1970; undefined: at once. */
  readonly notBeforeMs: number | undefined;
  /** Milliseconds from acceptance; undefined: none. */
  readonly deadlineMs: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly retries: { readonly attemptsMax: number } | { readonly delaysMs: readonly number[] } | undefined;
  /** Where the end is reported; '' for nowhere. */
  readonly callback: string;
}

/** A live request that is stored in place of being refused (`Prefer: respond-async, wait=N`); the class and place that it had are kept. */
export interface Conversion {
  /** Its place in line; undefined: it has none, and enters as a new request of its class. */
  readonly place: ConvertedPlace | undefined;
  /** Times it was sent as a live request. */
  readonly attempts: number;
}

/** A place in line that a live caller hands over. It is handed on, or left, by the end of the submission. */
export interface ConvertedPlace {
  readonly held: AcquireHandle;
  /** Calls `then` with what is decided for it, once, now or later; never where it was handed on or left before. */
  decided(then: (outcome: Outcome) => void): void;
}

/** Answer of a submission: stored (or known before: `existing`), or why not. */
export type SubmitOutcome =
  | {
      readonly kind: 'accepted';
      readonly id: string;
      readonly sequence: number;
      readonly existing: boolean;
      /** Until when the idempotency key is remembered at least, milliseconds since 1970; undefined: without a key, or while the request is pending. */
      readonly keyExpiresAt: number | undefined;
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly payloadDiffers?: boolean };

/**
 * What a request that has not ended waits for: its time (`due`), an earlier request of its key (`key`), its backend, which is down (`backend`),
 * its group or route, which is not in the file (`route`), or its turn in the group (`turn`); '' while it is sent, at its end, and in a cluster.
 */
export type RequestWait = '' | 'due' | 'key' | 'backend' | 'route' | 'turn';

/** A request as it is shown. Times are milliseconds since 1970; 0: none. */
export interface RequestView {
  readonly id: string;
  readonly state: RequestState;
  readonly group: string;
  readonly key: string;
  readonly route: string;
  readonly method: string;
  readonly target: string;
  readonly bodyBytes: number;
  readonly acceptedAt: number;
  readonly notBefore: number;
  readonly deadlineAt: number;
  readonly attempts: number;
  /** Its due time, or the next probe of a backend that is down, by this or another request. 0: none is due, or it is due at once. */
  readonly nextAttemptAt: number;
  readonly waitsFor: RequestWait;
  /** Why the last attempt failed, or why it is dead; '' otherwise. */
  readonly error: string;
  /** Filled by `get` only. */
  readonly tries: readonly Attempt[];
  /** Filled by `get` only, when it has ended with an answer. */
  readonly response: StoredResponse | undefined;
  /** State of its callback; 'none' where it has none. */
  readonly callback: 'none' | 'pending' | 'done' | 'dead';
  /** When it is forgotten; 0: while it is pending. */
  readonly goneAt: number;
}

/** Which requests are listed or redriven. */
export interface RequestFilter {
  /** undefined: all that have not ended. `any`: each that exists from the first page to the last is on a page, whatever becomes of it meanwhile. */
  readonly state: RequestState | 'any' | undefined;
  readonly group: string | undefined;
  readonly key: string | undefined;
  readonly error: string | undefined;
  readonly since: number | undefined;
  readonly until: number | undefined;
}

/** Who may see or change a request: groups and key that a credential is held to; undefined: any. */
export interface RequestScope {
  readonly caller: string;
  /** May see what other callers submitted. */
  readonly all: boolean;
  readonly groups: ReadonlySet<string> | undefined;
  readonly key: string | undefined;
}

/** Deferred requests, whole: what every front end calls. Refusals are values; a throw is a bug. */
export interface DeferredRequests {
  /** Resolves once the request is safely stored, or is refused: `unstored` (with a retry time), `unknown_group`, `oversized`, `too_large`, `conflict`, `draining`, `malformed`. */
  submit(submission: Submission, conversion?: Conversion): Promise<SubmitOutcome>;
  /** A request by id; `unknown_request` also where the scope may not see it, `gone` when it is no longer kept. Waits up to `waitMs` for its end. Aborting `signal` ends the wait. */
  get(scope: RequestScope, id: string, waitMs: number, signal?: AbortSignal): Promise<RequestView | Refusal>;
  /** `cancelled` false: it had ended. `aborted`: it was in flight, so the backend may have acted. */
  cancel(scope: RequestScope, id: string): Promise<{ readonly cancelled: boolean; readonly aborted: boolean } | Refusal>;
  list(
    scope: RequestScope,
    filter: RequestFilter,
    size: number,
    token: string,
  ): Promise<{ readonly requests: readonly RequestView[]; readonly next: string } | Refusal>;
  redrive(scope: RequestScope, id: string): Promise<Refusal | undefined>;
  /** Redrives dead letters of a filter, at most `max` in this call, oldest first; as fast as their groups let them pass, never at once. */
  redriveAll(scope: RequestScope, filter: RequestFilter, max: number, token: string): Promise<{ readonly redriven: number; readonly next: string } | Refusal>;
  /** Stops sending: attempts under way end or are given up after the grace; everything else is on disk. */
  drain(graceMs: number): Promise<void>;
}
