import { PER_MAX, PER_MIN, UNITS_MAX } from '../core/bounds.ts';
import { HOUR, MINUTE, type Micros, SECOND } from '../core/time.ts';
import { ValueError } from './errors.ts';
import { integer, type Range, readDuration } from './scalars.ts';
import { type ScalarSchema, scalar } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';
import { DURATION_PATTERN, PERMITS_PER_PATTERN, parsePermitsPer } from './units.ts';

/** Permits of one limit. */
export const PERMITS: Range = { min: 1, max: UNITS_MAX };

/** The time that permits are for, and between two callers of a spacing. */
export const PER: Range = { min: PER_MIN, max: PER_MAX };

/** Permits per time, as in `500/60s`. */
export interface PermitsPer {
  readonly permits: number;
  readonly per: Micros | 'month';
}

/** What a limit sets for one key instead of for all. */
export type Exception =
  | ({ readonly form: 'per' } & PermitsPer)
  | { readonly form: 'spacing'; readonly spacing: Micros }
  | { readonly form: 'max'; readonly max: number };

const ZERO = new ValueError('0 permits would hold every caller for ever', 'To stop a group for a time use Pause; to remove it, take it out of the file.');

/** `500/60s`, `1000/month`. */
export function permitsPer(months: boolean): ScalarSchema<PermitsPer> {
  const bounds = `1 to 10^12 permits, per 1ms to 400d${months ? ' or per month' : ''}`;
  return scalar({ unit: 'permits/duration', bounds, json: { type: 'string', pattern: PERMITS_PER_PATTERN }, read: (raw) => readPermitsPer(raw, months) });
}

function readPermitsPer(raw: SourceValue, months: boolean): PermitsPer | ValueError {
  const parsed = raw.kind === 'scalar' && typeof raw.value === 'string' ? parsePermitsPer(raw.value) : undefined;
  if (parsed === undefined)
    return new ValueError(
      `${formatSourceValue(raw)} is not permits/duration`,
      `Write how many, a slash and how long: 500/60s${months ? ', 1000/24h, 1000/month' : ''}.`,
    );
  if (parsed.permits === 0) return ZERO;
  if (parsed.permits > PERMITS.max) return new ValueError(`${formatSourceValue(raw)} has too many permits`, `Take at most ${PERMITS.max}.`);
  if (parsed.per === 'month')
    return months ? parsed : new ValueError('a rate has no months: they differ in length', 'Use window: N/month with kind: fixed and align: calendar.');
  const within = parsed.per >= PER.min && parsed.per <= PER.max;
  return within ? parsed : new ValueError(`the duration of ${formatSourceValue(raw)} is out of bounds`, 'Take 1ms to 400d.');
}

/** Units held at once. */
export function concurrencyMax(): ScalarSchema<number> {
  const numbers = integer(PERMITS);
  const read = (raw: SourceValue): number | ValueError => {
    if (raw.kind === 'scalar' && raw.value === 0) return ZERO;
    const whole = raw.kind === 'scalar' && typeof raw.value === 'number' && Number.isInteger(raw.value);
    if (!whole) return new ValueError(`${formatSourceValue(raw)} is not a whole number`, 'Write how many may be held at once, without a unit: 8.');
    return raw.value >= 1 && raw.value <= PERMITS.max ? raw.value : new ValueError(`${formatSourceValue(raw)} is out of bounds`, `Take 1 to ${PERMITS.max}.`);
  };
  return scalar({ unit: 'number', bounds: numbers.bounds, json: numbers.json, read });
}

/** An exception for one key, in the short form of its limit: `32`, `1000/60s`, `2s`. That it fits its limit is checked there. */
export function exception(): ScalarSchema<Exception> {
  const json = {
    anyOf: [
      { type: 'integer', minimum: 1, maximum: PERMITS.max },
      { type: 'string', pattern: PERMITS_PER_PATTERN },
      { type: 'string', pattern: DURATION_PATTERN, minLength: 1 },
    ],
  };
  const max = concurrencyMax();
  const read = (raw: SourceValue): Exception | ValueError => {
    if (raw.kind === 'scalar' && typeof raw.value === 'number') {
      let fault: ValueError | undefined;
      const held = max.read(raw, [], (_where, _path, found) => {
        fault = found;
      });
      return fault ?? { form: 'max', max: held ?? 1 };
    }
    if (raw.kind === 'scalar' && raw.text.includes('/')) {
      const per = readPermitsPer(raw, true);
      return per instanceof ValueError ? per : { form: 'per', ...per };
    }
    const spacing = readDuration(raw, PER);
    if (!(spacing instanceof ValueError)) return { form: 'spacing', spacing };
    return new ValueError(
      spacing.problem.replace('not a duration', "not a limit's short form"),
      'Write it as the limit itself: 32 for concurrency, 1000/60s for rate and window, 2s for spacing.',
    );
  };
  return scalar({ unit: 'as the limit', bounds: 'as the limit', json, read });
}

/** `00:00`, `23:30:15` as microseconds after midnight. */
export function timeOfDay(): ScalarSchema<Micros> {
  const pattern = /^([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/;
  const read = (raw: SourceValue): Micros | ValueError => {
    const [, hours, minutes, seconds] = raw.kind === 'scalar' ? (pattern.exec(String(raw.value)) ?? []) : [];
    if (hours === undefined) return new ValueError(`${formatSourceValue(raw)} is not a time of day`, 'Write hours and minutes in quotes: "00:00" to "23:59".');
    return Number(hours) * HOUR + Number(minutes) * MINUTE + Number(seconds ?? 0) * SECOND;
  };
  return scalar({ unit: 'time of day', bounds: '"00:00" to "23:59:59"', json: { type: 'string', pattern: pattern.source }, read });
}

/** An IANA name that this machine knows. */
export function timezone(): ScalarSchema<string> {
  const read = (raw: SourceValue): string | ValueError => {
    const name = raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
    const known = name.length <= 64 && /^[A-Za-z]/.test(name) && isTimezone(name);
    return known
      ? name
      : new ValueError(`${formatSourceValue(raw)} is not a time zone this machine knows`, 'Write an IANA name: UTC, Europe/Berlin, America/New_York.');
  };
  return scalar({ unit: 'time zone', bounds: 'an IANA name', json: { type: 'string', maxLength: 64 }, read });
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false; // RangeError is the only way it has of saying no.
  }
}
