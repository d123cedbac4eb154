import { DAY, HOUR, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';
import { allHeaders } from './headers.ts';
import type { QuotaHeaders } from './route.ts';
import type { RawHeaders } from './upstream/forwarder.ts';

/** A hint beyond this is taken for this: who sends it means "not today". */
const HINT_MAX: Micros = 30 * DAY;
/** A number this large is a moment (seconds since 1970), not a length. */
const EPOCH_SECONDS_MIN = 1_000_000_000;
const EPOCH_MILLIS_MIN = 1_000_000_000_000;

/** Names of providers, in the order asked; of several the longest counts, for all must have passed. */
const RESETS = ['x-ratelimit-reset', 'x-ratelimit-reset-requests', 'x-ratelimit-reset-tokens', 'x-rate-limit-reset', 'ratelimit-reset'];

/**
 * How long a backend that pushed back (429, 503) wants quiet, by its response: Retry-After (RFC 9110 10.2.3, seconds
 * or a date), else RateLimit (draft-ietf-httpapi-ratelimit-headers-11) with nothing remaining, else the known
 * X-RateLimit-Reset forms: seconds, a moment, or `6m5s`. undefined: it states none. `epochMs`: the wall clock now. `names` of the backend's own count before all of these.
 */
export function parseRetryAfter(headers: RawHeaders, epochMs: number, names?: QuotaHeaders): Micros | undefined {
  const own = names && ownHint(headers, epochMs, names);
  if (own !== undefined) return own;
  const [retryAfter] = allHeaders(headers, 'retry-after');
  const wait = retryAfter === undefined ? undefined : lengthOf(retryAfter, epochMs);
  if (wait !== undefined) return wait;
  const limited = longest(allHeaders(headers, 'ratelimit').map(rateLimitReset));
  if (limited !== undefined) return limited;
  return longest(RESETS.map((name) => allHeaders(headers, name)[0]).map((text) => (text === undefined ? undefined : lengthOf(text, epochMs))));
}

/** How long a backend wants quiet whose answer, of whatever status, reports that nothing is left; undefined: something is, or it does not state when there is more. */
export function exhaustedHint(headers: RawHeaders, epochMs: number, names: QuotaHeaders): Micros | undefined {
  const [left] = names.remaining === undefined ? [] : allHeaders(headers, names.remaining);
  return left !== undefined && /^-?\d{1,15}(\.\d{1,9})?$/.test(left.trim()) && Number(left) <= 0 ? parseRetryAfter(headers, epochMs, names) : undefined;
}

function ownHint(headers: RawHeaders, epochMs: number, { retryAfter, reset }: QuotaHeaders): Micros | undefined {
  for (const name of [retryAfter, reset]) {
    const [text] = name === undefined ? [] : allHeaders(headers, name);
    const wait = text === undefined ? undefined : lengthOf(text, epochMs);
    if (wait !== undefined) return wait;
  }
  return undefined;
}

/** `7`, `1.5`, an HTTP date, an ISO date, seconds or milliseconds since 1970, `6m5s`, `250ms`; never negative. */
function lengthOf(text: string, epochMs: number): Micros | undefined {
  const trimmed = text.trim();
  // Of a number that is too long to be read exactly, or is none any more, the most counts.
  if (/^\d+(\.\d+)?$/.test(trimmed)) {
    const number = Number(trimmed);
    if (number >= EPOCH_MILLIS_MIN) return bounded((number - epochMs) * MILLISECOND);
    return bounded(number >= EPOCH_SECONDS_MIN ? (number * 1000 - epochMs) * MILLISECOND : number * SECOND);
  }
  return trimmed.length > 64 ? undefined : (unitsOf(trimmed) ?? momentOf(trimmed, epochMs));
}

const UNITS: Readonly<Record<string, Micros>> = { d: DAY, h: HOUR, m: MINUTE, s: SECOND, ms: MILLISECOND, us: 1, µs: 1 };

/** Go's durations, as OpenAI sends them: `6m5s`, `1h0m0s`, `120ms`, `1.5s`. */
function unitsOf(text: string): Micros | undefined {
  if (!/^(\d+(\.\d+)?(ms|us|µs|d|h|m|s))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|us|µs|d|h|m|s)/gy)) sum += Number(number) * (UNITS[unit ?? ''] ?? 0);
  return bounded(sum);
}

/** A date with a zone; a date that means something else in another zone is no hint. */
function momentOf(text: string, epochMs: number): Micros | undefined {
  if (!/(GMT|UTC|Z|[+-]\d\d:?\d\d)$/.test(text) && !/^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(text)) return undefined;
  // The asctime form of RFC 9110 5.6.7 is in UTC without saying so.
  const ms = Date.parse(/\d{4}$/.test(text) && !/[+-]\d{4}$/.test(text) ? `${text} GMT` : text);
  return Number.isNaN(ms) ? undefined : bounded((ms - epochMs) * MILLISECOND);
}

/** The longest `t` of the items that have nothing left: `"rpm";r=0;t=12`. */
function rateLimitReset(field: string): Micros | undefined {
  const spent = withoutQuoted(field.slice(0, 8192))
    .split(',')
    .filter((item) => /;\s*r=0(\.0*)?\s*(;|$)/.test(item));
  const times = spent.map((item) => /;\s*t=(\d+)\s*(?:;|$)/.exec(item)?.[1]);
  return longest(times.map((seconds) => (seconds === undefined ? undefined : bounded(Number(seconds) * SECOND))));
}

/** The same without what stands in quotes (RFC 9651 3.3.3); a quote that does not end hides the rest. */
function withoutQuoted(field: string): string {
  let kept = '';
  let within = false;
  for (let at = 0; at < field.length; at++) {
    const char = field[at] as string;
    if (char === '"') within = !within;
    else if (within && char === '\\') at++;
    else if (!within) kept += char;
  }
  return kept;
}

function longest(all: readonly (Micros | undefined)[]): Micros | undefined {
  return all.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a), undefined);
}

function bounded(micros: number): Micros {
  return Math.min(HINT_MAX, Math.max(0, Math.ceil(micros)));
}
