import type { DeferredRequests } from '../../deferred/deferred.ts';
import type { SubmitRoute } from './submit-routes.ts';

/** Deferred mode as the composition root hands it to the front ends. */
export interface DeferredAccess {
  readonly requests: DeferredRequests;
  /** The deferred routes now in force, in their order; the same array until a reload. */
  readonly routes: () => readonly SubmitRoute[];
  /** How many requests are stored: those that have not ended, and dead letters that are kept. Absent: it is not known here, as where replicas share them. */
  readonly counts?: (() => { readonly pending: number; readonly dead: number }) | undefined;
  /** Longest body of POST /v1/requests, as it comes: JSON, or a batch. */
  readonly submitBytesMax: number;
  /** Aborts when the server begins to stop: a caller that waits for the end of a request is answered with its state. */
  readonly closing?: AbortSignal;
}
