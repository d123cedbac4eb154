import type { EpochMs, Instant } from '../core/time.ts';

/**
 * Time for the parts outside the core: shard time, the wall clock for people, and one way to be woken.
 */
export interface Clock {
  /** Shard time now: whole microseconds, never going back. */
  now(): Instant;
  /** Shard time as milliseconds since 1970, for stamps that are shown or sent. */
  epoch(at: Instant): EpochMs;
  /**
   * Calls `wake` once, not before `when`; earlier is a broken clock. Answers a function that takes the wish back.
   * Within the last millisecond it may spin on the event loop instead of sleeping, so that lateness stays far below one.
   */
  at(when: Instant, wake: () => void): () => void;
}
