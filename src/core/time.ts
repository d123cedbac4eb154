/**
 * Time as the core knows it: it is given, never read.
 *
 * All instants are whole microseconds of *shard time*: a clock close to the wall clock when it starts, moved on by a
 * monotonic clock only (docs/design/coordination.md 2.5). Whole numbers below 2^53 make every sum exact, so that no limit is ever
 * early by a rounding error.
 */

/** A length of time in whole microseconds. */
export type Micros = number;

/** A length of time in milliseconds, as the outside world says it. */
export type Millis = number;

/** A moment of shard time, in whole microseconds, or {@link NEVER}. */
export type Instant = number & { readonly brand: 'Instant' };

/** A moment of the wall clock in milliseconds since 1970: the only time that is shown or sent. */
export type EpochMs = number & { readonly brand: 'EpochMs' };

/** Later than every moment: waiting alone will not help, only a release, a refund or a change of the limits. */
export const NEVER = Number.POSITIVE_INFINITY as Instant;

/** Before every moment of shard time. */
export const DISTANT_PAST = 0 as Instant;

/** Microseconds in a millisecond, a second, a minute, an hour, a day. */
export const MILLISECOND: Micros = 1_000;
export const SECOND: Micros = 1_000_000;
export const MINUTE: Micros = 60 * SECOND;
export const HOUR: Micros = 60 * MINUTE;
export const DAY: Micros = 24 * HOUR;

/** The moment `by` after `at`; NEVER stays NEVER. */
export function plus(at: Instant, by: Micros): Instant {
  return (at + by) as Instant;
}

/** The later of two moments. */
export function later(a: Instant, b: Instant): Instant {
  return a > b ? a : b;
}

/** The earlier of two moments. */
export function earlier(a: Instant, b: Instant): Instant {
  return a < b ? a : b;
}
