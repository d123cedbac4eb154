import { DAY, MILLISECOND, type Micros, SECOND } from './time.ts';

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

/** Time that a session's queue positions and leases outlive its stream at most. */
export const RESUME_MAX: Micros = 30 * SECOND;

/** Time that a caller may ask its key or group to be paused for at most, when a backend pushed back. */
export const PUSHBACK_MAX: Micros = DAY;

/** Groups from a root to its deepest child at most: every one of them is asked on each admission. */
export const DEPTH_MAX = 8;

/** Units that one request may name costs for at most. */
export const COST_UNITS_MAX = 16;

/** Entries of one page of a list: at most, and where the caller names no size. */
export const PAGE_MAX = 1000;
export const PAGE_DEFAULT = 100;

/** Dead letters that one call may put back at most. */
export const REDRIVE_MAX = 10_000;

/** Name of a group: letters, digits, ".", "_" and "-", a letter or digit first, at most 128. */
export const GROUP_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Unit that a request or route may name a cost for. Units that limits count are lower-case names of this form. */
export const UNIT_NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;

/** Class of priority; a letter first, so that it is never taken for a number. */
export const CLASS_NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;

/** Bytes of a key at most, in UTF-8. */
export const KEY_BYTES_MAX = 256;

/** What a key consists of: characters that print. {@link isKey} measures it too. Escapes that every reader of a JSON Schema knows, hence no `\p`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
export const KEY_NAME = /^[^\u0000-\u001f\u007f-\u009f]{1,256}$/;

/** Returns whether a text may be a key: characters that print, 1 to 256 bytes in UTF-8. */
export function isKey(text: string): boolean {
  if (!KEY_NAME.test(text)) return false;
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const point = text.codePointAt(at) as number;
    // Half of a pair: UTF-8 has no form for it.
    if (point >= 0xd800 && point <= 0xdfff) return false;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
    if (point >= 0x1_0000) at++;
  }
  return bytes <= KEY_BYTES_MAX;
}
