/* How figures are written: exact words, a unit with every number, and "not known" where the server does not say. Pure. */

/** An instant or a span in milliseconds. */
export type Millis = number;

/** What is written where the server does not say. */
export const UNKNOWN = 'not known';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Returns a span as people read it: `0.4 s`, `25 s`, `4m 12s`, `5h 51m`, `3d 0h`. Never rounds up. Below zero counts as zero. */
export function spanText(ms: Millis): string {
  const span = Math.max(0, ms);
  if (span < 10 * SECOND) return `${(Math.floor(span / 100) / 10).toFixed(1)} s`;
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s`;
  if (span < HOUR) return `${Math.floor(span / MINUTE)}m ${pad(((span % HOUR) % MINUTE) / SECOND)}s`;
  if (span < DAY) return `${Math.floor(span / HOUR)}h ${pad((span % HOUR) / MINUTE)}m`;
  return `${Math.floor(span / DAY)}d ${Math.floor((span % DAY) / HOUR)}h`;
}

/** Returns the range of a wait: `at once`, `6 – 9 s`, `10 – 16m`, `3m 28s – 8m 20s`, `> 7m 49s` without an upper end, `not known` without either. */
export function rangeText(from: Millis | undefined, to: Millis | undefined): string {
  if (from === undefined && to === undefined) return UNKNOWN;
  if (to === undefined) return `> ${spanText(from ?? 0)}`;
  const least = from ?? 0;
  if (to <= 0) return 'at once';
  // Outwards, so that a wait inside the range is inside what is written.
  if (to < 3 * MINUTE) return `${Math.floor(least / SECOND)} – ${Math.ceil(to / SECOND)} s`;
  if (least >= 10 * MINUTE && to < 3 * HOUR) return `${Math.floor(least / MINUTE)} – ${Math.ceil(to / MINUTE)}m`;
  return `${spanText(least)} – ${spanText(Math.ceil(to / SECOND) * SECOND)}`;
}

/** Returns a whole number with separators: `1,204`. */
export function countText(count: number): string {
  return String(Math.trunc(count)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Returns a number for a narrow cell: whole to 99,999, then `200k`, `1.2M`. */
export function shortCount(count: number): string {
  for (const [size, unit] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const)
    if (count >= Math.max(size, 1e5)) return `${Math.floor((count / size) * 10) / 10}${unit}`;
  return countText(count);
}

/** Returns a rate a second: `0`, `0.2`, `8.3`, `12`, `1,208`. */
export function rateText(perSecond: number): string {
  if (perSecond === 0) return '0';
  return perSecond < 9.95 ? Math.max(0.1, perSecond).toFixed(1) : countText(Math.round(perSecond));
}

/** Shortens a text to `max` characters by leaving out its middle, since names differ at their ends. */
export function middleText(text: string, max: number): string {
  if (text.length <= max) return text;
  const tail = Math.floor((max - 1) / 2);
  return `${text.slice(0, max - 1 - tail)}…${text.slice(text.length - tail)}`;
}

/** Reads a duration of the API (`0.2s`, `1m30s`, `250ms`) as milliseconds; undefined if it is none. */
export function readSpan(text: unknown): Millis | undefined {
  if (typeof text !== 'string' || !/^(?:\d+(?:\.\d+)?(?:us|ms|d|h|m|s))+$/.test(text)) return undefined;
  const units: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(us|ms|d|h|m|s)/g)) sum += Number(number) * (units[unit ?? ''] ?? 0);
  return sum;
}

/** Reads an instant of the API (RFC 3339) as milliseconds since 1970; undefined if it is none. */
export function readInstant(text: unknown): Millis | undefined {
  const at = typeof text === 'string' ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}

/** Reads a whole number of the API, which writes 64-bit ones as text; undefined if it is none. */
export function readCount(value: unknown): number | undefined {
  return (typeof value === 'string' && value !== '') || typeof value === 'number' ? Number(value) : undefined;
}

/** Returns the time of day of an instant in the browser's zone: `18:07:31`. */
export function clockText(at: Millis): string {
  return new Date(at).toTimeString().slice(0, 8);
}

/** Writes a constant of the API in lower case, without the name of its list: `LIMIT_KIND_RATE` becomes `rate`. */
export function word(constant: string | undefined, list = ''): string {
  return (constant ?? '').replace(list, '').toLowerCase().replaceAll('_', ' ');
}

/** Splits a sentence at the names in it: every second part is a name, to be set in bold. Names are tried in the given order. */
export function emphasized(sentence: string, names: readonly string[]): readonly string[] {
  for (const name of names) {
    const at = name === '' ? -1 : sentence.indexOf(name);
    if (at < 0) continue;
    const [before, after] = [sentence.slice(0, at), sentence.slice(at + name.length)];
    return [
      ...emphasized(
        before,
        names.filter((each) => each !== name),
      ),
      name,
      ...emphasized(
        after,
        names.filter((each) => each !== name),
      ),
    ];
  }
  return [sentence];
}

function pad(part: number): string {
  return String(Math.floor(part)).padStart(2, '0');
}

/** Stands for the number of dead letters. null: no route is deferred; undefined: the server did not say. */
export function deferredNote(deferred: null | undefined): string {
  return deferred === null ? 'no deferred routes' : 'not known';
}
