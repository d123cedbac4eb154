import { decodeEscapes, decodeLossy } from './text.ts';

/**
 * What servers make of one path. RFC 3986 says one thing; servers that do not decode, do not resolve dots, merge slashes
 * first, strip parameters or take `//` for a host make others (test/proxy/spellings.test.ts has those of six of them).
 */

/** A path as some servers resolve it, by segments without their escapes. */
export interface Reading {
  readonly segments: readonly string[];
  /** Servers that read it so find nothing behind it where no route takes it. */
  readonly mayMiss: boolean;
}

/** A spelling in which nothing is left to read in two ways. */
const UNUSUAL = /[%;\\]|\/[/.]/;

/** Escapes that are none, or whose character ends or divides a path for some servers: controls, `/` and `\`. */
const REFUSED_ESCAPE = /%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|7[Ff]|2[Ff]|5[Cc])/;
/** UTF-8 longer than its character needs: `%C0%AF` was `/` to servers that do not check. */
const OVERLONG = /%[Cc][01]%[89ABab]|%[Ee]0%[89]|%[Ff]0%8/;

/** Whether a path has one reading only: {@link segmentsOf}. */
export function isUsual(path: string): boolean {
  return !UNUSUAL.test(path);
}

/** Returns why no two servers agree on a path, in words for its caller; undefined if they may. */
export function ambiguityOf(path: string): string | undefined {
  if (path.includes('\\')) return 'The path holds a backslash; write / between segments, or %5C is refused as well.';
  if (REFUSED_ESCAPE.test(path)) return 'The path holds an encoded slash, backslash or control character (%2F, %5C, %00), or a % without two hex digits.';
  if (OVERLONG.test(path)) return 'The path holds an overlong UTF-8 sequence.';
  if (path.includes('%') && path.split('/').some((segment) => segment.includes('%') && isDots(withoutParameters(decodeEscapes(segment)))))
    return 'The path holds an encoded dot segment (%2e); resolve it.';
  return undefined;
}

/** Returns the segments of a path as RFC 3986 6.2.2 and 5.2.4 resolve it: escapes undone, dot segments removed, and then slashes merged. */
export function segmentsOf(path: string): readonly string[] {
  const segments = path.slice(1).split('/');
  return isUsual(path) ? segments : merged(withoutDots(segments.map(decodeEscapes)));
}

/** Returns the readings of a path beside {@link segmentsOf}, each once; at most 8. */
export function otherReadings(path: string): readonly Reading[] {
  if (isUsual(path)) return [];
  const raw = path.slice(1).split('/');
  const decoded = raw.map(decodeEscapes);
  const bare = decoded.map(withoutParameters);
  const dotted = bare.some(isDots);
  const found = new Map<string, Reading>();
  const add = (segments: readonly string[], mayMiss: boolean): void => {
    const text = segments.join('/');
    const before = found.get(text);
    if (before === undefined || (before.mayMiss && !mayMiss)) found.set(text, { segments, mayMiss });
  };
  add(raw, !dotted);
  add(decoded, !dotted);
  add(withoutDots(decoded), true);
  add(withoutDots(merged(decoded)), false);
  if (path.includes(';') || /%3[Bb]/.test(path)) {
    add(merged(withoutDots(bare)), false);
    add(bare, false);
  }
  // Bytes that are no UTF-8 are kept by some, and all become the same U+FFFD to others.
  if (path.includes('%')) add(merged(withoutDots(raw.map(decodeLossy))), true);
  if (path.startsWith('//')) add(withoutDots(afterHost(decoded)), false);
  found.delete(merged(withoutDots(decoded)).join('/'));
  return [...found.values()];
}

function isDots(segment: string): boolean {
  return segment === '.' || segment === '..';
}

/** RFC 3986 5.2.4: a dot segment at the end leaves the slash before it. */
function withoutDots(segments: readonly string[]): string[] {
  const kept: string[] = [];
  for (const [index, segment] of segments.entries()) {
    if (segment === '..') kept.pop();
    if (!isDots(segment)) kept.push(segment);
    else if (index === segments.length - 1) kept.push('');
  }
  return kept;
}

function merged(segments: readonly string[]): string[] {
  const last = segments.length - 1;
  return segments.filter((segment, index) => segment !== '' || index === last);
}

/** Servlet containers strip `;name=value` from each segment before they resolve it. */
function withoutParameters(segment: string): string {
  const mark = segment.indexOf(';');
  return mark < 0 ? segment : segment.slice(0, mark);
}

/** `new URL('//host/path', base)` takes the first segment for a host. */
function afterHost(segments: readonly string[]): readonly string[] {
  const host = segments.findIndex((segment) => segment !== '');
  return host < 0 || host === segments.length - 1 ? [''] : segments.slice(host + 1);
}
