import { DAY, MILLISECOND, type Micros } from './time.ts';

/*
 * Bounds of what a caller, an operator and the file may name: the one source for all of them, so that what the file may say
 * an operator may set, and what a limit may hold a caller may ask for.
 */

/** Units at most of a cost, and of any number of a limit: permits, burst, spill, held at once. Above it sums would not stay exact in a double. */
export const UNITS_MAX = 1e12;

/** Time that permits are for, and between two callers of a spacing. */
export const PER_MIN: Micros = MILLISECOND;
export const PER_MAX: Micros = 400 * DAY;

/** Slack of a spacing at most. */
export const SLACK_MAX: Micros = DAY;

/** Wait timeout that a caller or a group may name at most. */
export const TTL_MAX: Micros = DAY;

/** Life of a lease that a caller or a group may name at most. */
export const LEASE_MAX: Micros = 7 * DAY;
