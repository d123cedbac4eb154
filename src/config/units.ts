import { DAY, HOUR, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';

const DURATION_UNITS: readonly (readonly [unit: string, micros: Micros])[] = [
  ['w', 7 * DAY],
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', SECOND],
  ['ms', MILLISECOND],
  ['us', 1],
];

/** A duration as text: numbers with units, largest unit first, each unit once. Also the pattern in the JSON Schema. */
export const DURATION_PATTERN = '^(0|(\\d+(\\.\\d+)?w)?(\\d+(\\.\\d+)?d)?(\\d+(\\.\\d+)?h)?(\\d+(\\.\\d+)?m)?(\\d+(\\.\\d+)?s)?(\\d+(\\.\\d+)?ms)?(\\d+us)?)$';

const DURATION = new RegExp(DURATION_PATTERN);
const PART = /(\d+(?:\.\d+)?)(w|d|h|ms|us|m|s)/gy;

/** `1m30s`, `250ms`, `3d`, `1.5s`, `0` as whole microseconds; undefined: not a duration, or finer than a microsecond. */
export function parseDuration(text: string): Micros | undefined {
  if (text === '' || text.length > 64 || !DURATION.test(text)) return undefined;
  let micros = 0;
  for (const [, number = '', unit = ''] of text.matchAll(PART)) {
    const size = DURATION_UNITS.find(([name]) => name === unit)?.[1] ?? Number.NaN;
    const [whole = '0', fraction = ''] = number.split('.');
    const part = Number(whole) * size + (Number(fraction || '0') * size) / 10 ** fraction.length;
    micros += part;
  }
  return Number.isSafeInteger(micros) ? micros : undefined;
}

/** The shortest text that {@link parseDuration} reads back as the same number. */
export function showDuration(micros: Micros): string {
  if (micros === 0) return '0';
  let rest = micros;
  let shown = '';
  // Days at most: people write 14d, not 2w.
  for (const [unit, size] of DURATION_UNITS.slice(1)) {
    const count = Math.floor(rest / size);
    if (count > 0) shown += `${count}${unit}`;
    rest -= count * size;
  }
  return shown;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** A size as text; also the pattern in the JSON Schema. */
export const SIZE_PATTERN = '^(0|\\d+(\\.\\d+)?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB))$';

const SIZE = /^(\d+(?:\.\d+)?)(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$/;

/** `10GiB`, `64KiB`, `1.5MB`, `0` as whole bytes; undefined: not a size. */
export function parseSize(text: string): number | undefined {
  if (text === '0') return 0;
  const [, number, unit] = SIZE.exec(text) ?? [];
  if (number === undefined || unit === undefined || text.length > 32) return undefined;
  const bytes = Math.round(Number(number) * (SIZE_UNITS[unit] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest text that {@link parseSize} reads back as the same number. */
export function showSize(bytes: number): string {
  if (bytes === 0) return '0';
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const size = SIZE_UNITS[unit] ?? 1;
    if (bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** `500/60s`, `1000/month`; also the pattern in the JSON Schema. Digits may be grouped: `200_000/60s`. */
export const PERMITS_PER_PATTERN = '^\\d[\\d_]*/(month|[\\d.]+(w|d|h|m|s|ms|us)[\\w.]*)$';

/** Permits and the time they are for; undefined: not of the form. Bounds are the caller's matter. */
export function parsePermitsPer(text: string): { readonly permits: number; readonly per: Micros | 'month' } | undefined {
  const [, digits, time] = /^(\d[\d_]*)\s*\/\s*(\S+)$/.exec(text) ?? [];
  if (digits === undefined || time === undefined || digits.length > 32) return undefined;
  const per = time === 'month' ? time : parseDuration(time);
  return per === undefined ? undefined : { permits: Number(digits.replaceAll('_', '')), per };
}
