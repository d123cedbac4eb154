import { DAY, type Instant, MILLISECOND, type Micros } from '../time.ts';

/** Which windows of a calendar. */
export interface CalendarSpec {
  /** Length of a window: a month, or this many days (7: weeks). */
  readonly days: number | 'month';
  /** Months: 1..31, the last day where a month is shorter. Weeks: 1 Monday .. 7. Else not looked at. */
  readonly day: number;
  /** Microseconds after local midnight at which a window opens. */
  readonly time: Micros;
  /** An IANA name. */
  readonly timezone: string;
}

/**
 * Days, weeks and months of a timezone, numbered without gaps, so that any window is found by arithmetic. A local time
 * that a clock change skips is read with the offset before it (02:30 becomes 03:30); one that happens twice is the
 * earlier: the `compatible` rule of RFC 5545 and Temporal. So a day may last 23 or 25 hours.
 *
 * Instants are read as microseconds since 1970 UTC. No `Date`: civil dates by Howard Hinnant's `days_from_civil`
 * (howardhinnant.github.io/date_algorithms.html), offsets from `Intl.DateTimeFormat` fed with numbers.
 */
export class Calendar {
  readonly #spec: CalendarSpec;
  readonly #format: Intl.DateTimeFormat;
  /** A day in week 0, or 0. */
  readonly #anchor: number;
  readonly #starts = new Map<number, Instant>();

  /** Throws RangeError for a timezone that is not known. */
  constructor(spec: CalendarSpec) {
    this.#spec = spec;
    this.#format = formatOf(spec.timezone);
    // 1970-01-01, day 0, was a Thursday: the Monday before it was day -3.
    this.#anchor = spec.days === 7 ? spec.day - 4 : 0;
  }

  /** Number of the window that holds `at`. */
  indexAt(at: Instant): number {
    const days = Math.floor((at + this.#offsetAt(at)) / DAY);
    const { year, month } = civilOf(days);
    let index = this.#spec.days === 'month' ? year * 12 + month - 1 : Math.floor((days - this.#anchor) / this.#spec.days);
    while (this.startOf(index) > at) index -= 1;
    while (this.startOf(index + 1) <= at) index += 1;
    return index;
  }

  /** When window `index` opens. */
  startOf(index: number): Instant {
    const known = this.#starts.get(index);
    if (known !== undefined) return known;
    const start = this.#instantOf(this.#dayOf(index) * DAY + this.#spec.time);
    if (this.#starts.size >= 16) this.#starts.clear();
    this.#starts.set(index, start);
    return start;
  }

  /** Local day on which window `index` opens, counted from 1970-01-01. */
  #dayOf(index: number): number {
    if (this.#spec.days !== 'month') return this.#anchor + index * this.#spec.days;
    const first = daysOf(Math.floor(index / 12), (((index % 12) + 12) % 12) + 1);
    const next = daysOf(Math.floor((index + 1) / 12), ((((index + 1) % 12) + 12) % 12) + 1);
    return Math.min(first + this.#spec.day, next) - 1;
  }

  /** The moment at which local clocks show `local` microseconds since 1970. */
  #instantOf(local: Micros): Instant {
    // Timezones are within 14 h of UTC: a day before and a day after are surely on either side.
    const before = this.#offsetAt(local - DAY);
    const after = this.#offsetAt(local + DAY);
    const early = local - before;
    const late = local - after;
    if (before === after || this.#offsetAt(early) === before) return early as Instant;
    return (this.#offsetAt(late) === after ? late : early) as Instant;
  }

  /** How far local clocks are ahead of UTC. */
  #offsetAt(at: number): Micros {
    const seconds = Math.floor(at / 1_000_000);
    let year = 0;
    let month = 1;
    let day = 1;
    let clock = 0;
    for (const { type, value } of this.#format.formatToParts(seconds * 1000)) {
      if (type === 'year') year = Number(value);
      else if (type === 'month') month = Number(value);
      else if (type === 'day') day = Number(value);
      else if (type === 'hour') clock += Number(value) * 3600;
      else if (type === 'minute') clock += Number(value) * 60;
      else if (type === 'second') clock += Number(value);
    }
    return ((daysOf(year, month) + day - 1) * 86_400 + clock - seconds) * 1000 * MILLISECOND;
  }
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Some tens of kilobytes each, so one per timezone. */
function formatOf(timezone: string): Intl.DateTimeFormat {
  let format = formats.get(timezone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(timezone, format);
  }
  return format;
}

/** Days from 1970-01-01 to the first of a month. */
function daysOf(year: number, month: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5);
  return era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468;
}

/** Year and month of a day counted from 1970-01-01. */
function civilOf(days: number): { readonly year: number; readonly month: number } {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shifted + (shifted < 10 ? 3 : -9);
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month };
}
