import { PER_MAX, PER_MIN, UNITS_MAX } from '../core/bounds.ts';
import { HOUR, MINUTE, type Micros, SECOND } from '../core/time.ts';
import { integer, type Range, readDuration } from './leaves.ts';
import { Fault } from './mistake.ts';
import { type Leaf, leaf } from './option.ts';
import { DURATION_PATTERN, PERMITS_PER_PATTERN, parsePermitsPer } from './quantity.ts';
import { type Raw, showRaw } from './raw.ts';

/** Permits of one limit. */
export const PERMITS: Range = { min: 1, max: UNITS_MAX };

/** The time that permits are for, and between two callers of a spacing. */
export const PER: Range = { min: PER_MIN, max: PER_MAX };

/** Permits per time, as in `500/60s`. */
export interface PermitsPer {
  readonly permits: number;
  readonly per: Micros | 'month';
}

/** What a limit says for one key instead of for all. */
export type Exception =
  | ({ readonly form: 'per' } & PermitsPer)
  | { readonly form: 'spacing'; readonly spacing: Micros }
  | { readonly form: 'max'; readonly max: number };

const ZERO = new Fault('0 permits would hold everybody for ever', 'To stop a group for a time use Pause; to remove it, take it out of the file.');

/** `500/60s`, `1000/month`. */
export function permitsPer(months: boolean): Leaf<PermitsPer> {
  const bounds = `1 to 10^12 permits, per 1ms to 400d${months ? ' or per month' : ''}`;
  return leaf({ unit: 'permits/duration', bounds, json: { type: 'string', pattern: PERMITS_PER_PATTERN }, read: (raw) => readPermitsPer(raw, months) });
}

function readPermitsPer(raw: Raw, months: boolean): PermitsPer | Fault {
  const parsed = raw.kind === 'scalar' && typeof raw.value === 'string' ? parsePermitsPer(raw.value) : undefined;
  if (parsed === undefined)
    return new Fault(`${showRaw(raw)} is not permits/duration`, `Write how many, a slash and how long: 500/60s${months ? ', 1000/24h, 1000/month' : ''}.`);
  if (parsed.permits === 0) return ZERO;
  if (parsed.permits > PERMITS.max) return new Fault(`${showRaw(raw)} has too many permits`, `Take at most ${PERMITS.max}.`);
  if (parsed.per === 'month')
    return months ? parsed : new Fault('a rate has no months: they differ in length', 'Use window: N/month with kind: fixed and align: calendar.');
  const within = parsed.per >= PER.min && parsed.per <= PER.max;
  return within ? parsed : new Fault(`the duration of ${showRaw(raw)} is out of bounds`, 'Take 1ms to 400d.');
}

/** Units held at once. */
export function concurrencyMax(): Leaf<number> {
  const numbers = integer(PERMITS);
  const read = (raw: Raw): number | Fault => {
    if (raw.kind === 'scalar' && raw.value === 0) return ZERO;
    const whole = raw.kind === 'scalar' && typeof raw.value === 'number' && Number.isInteger(raw.value);
    if (!whole) return new Fault(`${showRaw(raw)} is not a whole number`, 'Write how many may be held at once, without a unit: 8.');
    return raw.value >= 1 && raw.value <= PERMITS.max ? raw.value : new Fault(`${showRaw(raw)} is out of bounds`, `Take 1 to ${PERMITS.max}.`);
  };
  return leaf({ unit: 'number', bounds: numbers.bounds, json: numbers.json, read });
}

/** An exception for one key, in the short form of its limit: `32`, `1000/60s`, `2s`. That it fits its limit is checked there. */
export function exception(): Leaf<Exception> {
  const json = {
    anyOf: [
      { type: 'integer', minimum: 1, maximum: PERMITS.max },
      { type: 'string', pattern: PERMITS_PER_PATTERN },
      { type: 'string', pattern: DURATION_PATTERN, minLength: 1 },
    ],
  };
  const max = concurrencyMax();
  const read = (raw: Raw): Exception | Fault => {
    if (raw.kind === 'scalar' && typeof raw.value === 'number') {
      let fault: Fault | undefined;
      const held = max.read(raw, [], (_where, _path, found) => {
        fault = found;
      });
      return fault ?? { form: 'max', max: held ?? 1 };
    }
    if (raw.kind === 'scalar' && raw.text.includes('/')) {
      const per = readPermitsPer(raw, true);
      return per instanceof Fault ? per : { form: 'per', ...per };
    }
    const spacing = readDuration(raw, PER);
    if (!(spacing instanceof Fault)) return { form: 'spacing', spacing };
    return new Fault(
      spacing.problem.replace('not a duration', "not a limit's short form"),
      'Write it as the limit itself: 32 for concurrency, 1000/60s for rate and window, 2s for spacing.',
    );
  };
  return leaf({ unit: 'as the limit', bounds: 'as the limit', json, read });
}

/** `00:00`, `23:30:15` as microseconds after midnight. */
export function timeOfDay(): Leaf<Micros> {
  const pattern = /^([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/;
  const read = (raw: Raw): Micros | Fault => {
    const [, hours, minutes, seconds] = raw.kind === 'scalar' ? (pattern.exec(String(raw.value)) ?? []) : [];
    if (hours === undefined) return new Fault(`${showRaw(raw)} is not a time of day`, 'Write hours and minutes in quotes: "00:00" to "23:59".');
    return Number(hours) * HOUR + Number(minutes) * MINUTE + Number(seconds ?? 0) * SECOND;
  };
  return leaf({ unit: 'time of day', bounds: '"00:00" to "23:59:59"', json: { type: 'string', pattern: pattern.source }, read });
}

/** An IANA name that this machine knows. */
export function timezone(): Leaf<string> {
  const read = (raw: Raw): string | Fault => {
    const name = raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
    const known = name.length <= 64 && /^[A-Za-z]/.test(name) && isTimezone(name);
    return known ? name : new Fault(`${showRaw(raw)} is not a time zone this machine knows`, 'Write an IANA name: UTC, Europe/Berlin, America/New_York.');
  };
  return leaf({ unit: 'time zone', bounds: 'an IANA name', json: { type: 'string', maxLength: 64 }, read });
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false; // RangeError is the only way it has of saying no.
  }
}
