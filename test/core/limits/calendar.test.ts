import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Calendar, type CalendarSpec } from '../../../src/core/limits/calendar.ts';
import { DAY, HOUR, type Instant, MINUTE } from '../../../src/core/time.ts';

const at = (text: string): Instant => (new Date(text).getTime() * 1000) as Instant;
const text = (instant: Instant): string => new Date(instant / 1000).toISOString().replace('.000Z', 'Z');

function calendar(parts: Partial<CalendarSpec>): Calendar {
  return new Calendar({ days: 1, day: 1, time: 0, timezone: 'UTC', ...parts });
}

/** The window that holds `moment`: where it opens and closes. */
function windowAt(parts: Partial<CalendarSpec>, moment: string): readonly string[] {
  const windows = calendar(parts);
  const index = windows.indexAt(at(moment));
  return [text(windows.startOf(index)), text(windows.startOf(index + 1))];
}

describe('a calendar', () => {
  it.each([
    ['Europe/Berlin', '2026-03-29T12:00:00Z', '2026-03-28T23:00:00Z', 23],
    ['Europe/Berlin', '2026-10-25T12:00:00Z', '2026-10-24T22:00:00Z', 25],
    ['America/New_York', '2026-03-08T12:00:00Z', '2026-03-08T05:00:00Z', 23],
    ['America/New_York', '2026-11-01T12:00:00Z', '2026-11-01T04:00:00Z', 25],
    ['Australia/Lord_Howe', '2026-04-04T20:00:00Z', '2026-04-04T13:00:00Z', 24.5],
    ['Asia/Kolkata', '2026-06-01T12:00:00Z', '2026-05-31T18:30:00Z', 24],
    ['America/Sao_Paulo', '2018-11-04T12:00:00Z', '2018-11-04T03:00:00Z', 23],
  ])('gives a day of %s its own length around %s', (timezone, moment, start, hours) => {
    const windows = calendar({ timezone });
    const index = windows.indexAt(at(moment));
    expect(text(windows.startOf(index))).toBe(start);
    expect((windows.startOf(index + 1) - windows.startOf(index)) / HOUR).toBe(hours);
  });

  it('reads a time of day that the clock skips with the offset before, and a doubled one as the earlier', () => {
    const halfPastTwo = { timezone: 'Europe/Berlin', time: 2 * HOUR + 30 * MINUTE };
    expect(windowAt(halfPastTwo, '2026-03-29T06:00:00Z')[0]).toBe('2026-03-29T01:30:00Z');
    expect(windowAt(halfPastTwo, '2026-10-25T06:00:00Z')[0]).toBe('2026-10-25T00:30:00Z');
  });

  it('opens on the last day where a month is shorter', () => {
    const last = { days: 'month', day: 31 } as const;
    expect(windowAt(last, '2026-02-15T00:00:00Z')).toEqual(['2026-01-31T00:00:00Z', '2026-02-28T00:00:00Z']);
    expect(windowAt(last, '2026-02-28T00:00:00Z')).toEqual(['2026-02-28T00:00:00Z', '2026-03-31T00:00:00Z']);
    expect(windowAt(last, '2028-02-29T12:00:00Z')).toEqual(['2028-02-29T00:00:00Z', '2028-03-31T00:00:00Z']);
    expect(windowAt({ days: 'month', day: 30 }, '2027-04-29T23:59:59Z')).toEqual(['2027-03-30T00:00:00Z', '2027-04-30T00:00:00Z']);
  });

  it('opens a month at local time, over a year and a clock change', () => {
    const first = { days: 'month', day: 1, time: 6 * HOUR, timezone: 'America/Los_Angeles' } as const;
    expect(windowAt(first, '2026-01-01T13:59:59Z')).toEqual(['2025-12-01T14:00:00Z', '2026-01-01T14:00:00Z']);
    expect(windowAt(first, '2026-03-20T00:00:00Z')).toEqual(['2026-03-01T14:00:00Z', '2026-04-01T13:00:00Z']);
  });

  it('opens a week on its day', () => {
    expect(windowAt({ days: 7, day: 1 }, '2026-01-01T00:00:00Z')).toEqual(['2025-12-29T00:00:00Z', '2026-01-05T00:00:00Z']);
    expect(windowAt({ days: 7, day: 7, timezone: 'Europe/Paris' }, '2026-03-30T00:00:00Z')).toEqual(['2026-03-28T23:00:00Z', '2026-04-04T22:00:00Z']);
  });

  it('survives a day that does not exist', () => {
    const samoa = calendar({ timezone: 'Pacific/Apia' });
    const index = samoa.indexAt(at('2011-12-30T10:00:00Z'));
    expect(text(samoa.startOf(index))).toBe('2011-12-30T10:00:00Z');
    expect(text(samoa.startOf(index + 1))).toBe('2011-12-31T10:00:00Z');
  });

  it('refuses a timezone that is not known', () => {
    expect(() => calendar({ timezone: 'Mars/Olympus' })).toThrow(RangeError);
  });

  it('puts every moment into the one window that holds it', () => {
    const specs = fc.record({
      days: fc.constantFrom<number | 'month'>(1, 7, 'month'),
      day: fc.integer({ min: 1, max: 7 }),
      time: fc.integer({ min: 0, max: 24 * 60 - 1 }).map((minutes) => minutes * MINUTE),
      timezone: fc.constantFrom(
        'UTC',
        'Europe/Berlin',
        'America/St_Johns',
        'Australia/Lord_Howe',
        'Africa/Casablanca',
        'Asia/Tehran',
        'Pacific/Chatham',
        'America/Havana',
      ),
    });
    fc.assert(
      fc.property(specs, fc.integer({ min: 0, max: 80 * 365 }), fc.nat(DAY - 1), (spec, days, rest) => {
        const windows = new Calendar(spec);
        const moment = (days * DAY + rest) as Instant;
        const index = windows.indexAt(moment);
        expect(windows.startOf(index)).toBeLessThanOrEqual(moment);
        expect(windows.startOf(index + 1)).toBeGreaterThan(moment);
        expect(windows.indexAt(windows.startOf(index))).toBe(index);
        const local = new Intl.DateTimeFormat('en-GB', { timeZone: spec.timezone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(
          windows.startOf(index) / 1000,
        );
        const wanted = `${String(Math.floor(spec.time / HOUR)).padStart(2, '0')}:${String((spec.time % HOUR) / MINUTE).padStart(2, '0')}`;
        // A skipped time is read up to an hour later; nothing else may differ.
        if (local !== wanted) expect(new Calendar({ ...spec, time: 12 * HOUR }).startOf(index) - windows.startOf(index)).toBeLessThan(12 * HOUR + DAY);
      }),
      { numRuns: 300 },
    );
  });
});
