const FORM = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(?:Z|[+-](\d\d):(\d\d))$/;

/**
 * Milliseconds since 1970 of a time of RFC 3339, whose seconds may be left out; NaN: it is none, or of a day or an hour that
 * does not exist. A leap second (`:60`) is none either.
 */
export function millisOfInstant(text: string): number {
  const [year, month, day, hour, minute, second, offsetHour, offsetMinute] = (FORM.exec(text)?.slice(1) ?? []).map((digits = '0') => Number(digits));
  if (year === undefined || month === undefined || day === undefined) return Number.NaN;
  const exists = month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month) && isBelow(hour, 24) && isBelow(minute, 60) && isBelow(second, 60);
  return exists && isBelow(offsetHour, 24) && isBelow(offsetMinute, 60) ? Date.parse(text) : Number.NaN;
}

function isBelow(value: number | undefined, end: number): boolean {
  return value !== undefined && value < end;
}

/** Days of a month, which counts from 1. */
function daysOf(year: number, month: number): number {
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
}
