import { expect, test } from 'vitest';
import { collectErrors, formatError } from '../../src/config/errors.ts';
import { SECOND } from '../../src/core/time.ts';
import { type Trace, TraceReader } from '../../src/simulate/trace.ts';

function read(...lines: readonly (string | object)[]): { readonly trace: Trace; readonly mistakes: readonly string[] } {
  const { mistakes, report } = collectErrors();
  const reader = new TraceReader('trace', report);
  for (const line of lines) reader.take(typeof line === 'string' ? line : JSON.stringify(line));
  return { trace: reader.finish(), mistakes: mistakes.map(formatError) };
}

test('a written trace is sorted, and counts from its first request', () => {
  const { trace, mistakes } = read({ at: 2.5, group: 'g', key: 'k', class: 'high', costs: { tokens: 3 }, ttl: '1m', hold: 2, settled: { tokens: 1 } }, '', {
    at: 0.5,
    group: 'h',
    priority: 7,
  });
  expect(mistakes).toEqual([]);
  expect(trace.startedAt).toBeUndefined();
  expect(trace.requests).toMatchObject([
    { at: 0, group: 'h', key: '', priority: 7, wait: undefined, hold: 0, settled: undefined },
    { at: 2 * SECOND, group: 'g', key: 'k', priority: 'high', costs: { tokens: 3 }, wait: 60 * SECOND, hold: 2 * SECOND, settled: { tokens: 1 } },
  ]);
});

test('instants keep their microseconds and zones', () => {
  const { trace } = read({ at: '2026-01-31T12:00:00.000001Z', group: 'g' }, { at: '2026-01-31T13:00:01+01:00', group: 'g' });
  expect(trace.startedAt).toBe(Date.UTC(2026, 0, 31, 12) * 1_000 + 1);
  expect(trace.requests.map(({ at }) => at)).toEqual([0, SECOND - 1]);
});

const admitted = (time: string, fence: string, waitedMs = 0) => ({
  event: 'request_admitted',
  time,
  arrivedAt: new Date(Date.parse(time) - waitedMs).toISOString(),
  group: 'g',
  key: 'a',
  priority: 3,
  waitedMs,
  fence,
});

test('a log is a trace: arrivals from waits, holds from the ends of permits, in any order', () => {
  const { trace, mistakes } = read(
    { event: 'serving', time: '2026-01-31T12:00:00.000Z' },
    { event: 'permit_ended', time: '2026-01-31T12:00:09.000Z', group: 'g', fence: '1', heldMs: 4_000 },
    admitted('2026-01-31T12:00:05.000Z', '1', 2_000),
    admitted('2026-01-31T12:00:06.000Z', '2'),
    { event: 'permit_ended', time: '2026-01-31T12:00:07.000Z', group: 'g', fence: '2', heldMs: 1_000 },
    admitted('2026-01-31T12:00:08.000Z', '3'),
    {
      event: 'request_refused',
      time: '2026-01-31T12:00:08.500Z',
      arrivedAt: '2026-01-31T12:00:08Z',
      group: 'g',
      key: '',
      priority: 3,
      reason: 'expired',
      waitedMs: 500,
    },
  );
  expect(mistakes).toEqual([]);
  expect(trace).toMatchObject({ skipped: 1, open: 1, startedAt: Date.UTC(2026, 0, 31, 12, 0, 3) * 1_000 });
  expect(trace.requests).toMatchObject([
    { at: 0, hold: 4 * SECOND, priority: 3, wait: undefined },
    { at: 3 * SECOND, hold: SECOND },
    // Its lease had not ended with the last line.
    { at: 5 * SECOND, hold: SECOND },
    { at: 5 * SECOND, hold: 0, wait: SECOND / 2 },
  ]);
});

test.each([
  ['no JSON', 'trace:1:1: this line is no JSON object. Write one object a line (docs/simulate.md).'],
  ['[1]', 'trace:1:1: this line is no JSON object. Write one object a line (docs/simulate.md).'],
  [{ at: 1 }, 'trace:1:1: group: group is missing. Write the name of a group.'],
  [{ at: -1, group: 'g' }, 'trace:1:1: at: this is no time. Write seconds'],
  [{ at: '31 January', group: 'g' }, 'trace:1:1: at: this is no time. Write seconds'],
  [{ at: 0, group: 'g', hold: 'long' }, 'trace:1:1: hold: this is no length of time. Write seconds'],
  [{ at: 0, group: 'g', class: 'a', priority: 1 }, 'trace:1:1: class: this is no priority. Name a class'],
  [{ at: 0, group: 'g', priority: 1_000 }, 'trace:1:1: priority: this is no priority. Name a class'],
  [{ at: 0, group: 'g', costs: { tokens: 0.5 } }, 'trace:1:1: costs: these are no costs. Write whole'],
  [{ at: 0, group: 'g', wait: 5 }, 'trace:1:1: there is no field "wait" here. Use at, group,'],
])('a mistake is told with its line: %j', (line, mistake) => {
  expect(read(line).mistakes.join('\n')).toContain(mistake);
});

test('a trace has either dates or seconds', () => {
  expect(read({ at: 0, group: 'g' }, { at: '2026-01-31T12:00:00Z', group: 'g' }).mistakes).toHaveLength(1);
});
