import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesText } from '../../dashboard/bytes.ts';
import {
  countText,
  deferredNote,
  emphasized,
  middleText,
  rangeText,
  rateText,
  readCount,
  readInstant,
  readSpan,
  shortCount,
  spanText,
  word,
} from '../../dashboard/text.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('spans', () => {
  test.each([
    [0, '0.0 s'],
    [400, '0.4 s'],
    [9_999, '9.9 s'],
    [10_000, '10 s'],
    [25_900, '25 s'],
    [59_999, '59 s'],
    [MINUTE, '1m 00s'],
    [4 * MINUTE + 12 * SECOND, '4m 12s'],
    [2 * MINUTE + 8 * SECOND, '2m 08s'],
    [HOUR - 1, '59m 59s'],
    [5 * HOUR + 51 * MINUTE, '5h 51m'],
    [DAY - 1, '23h 59m'],
    [3 * DAY, '3d 0h'],
    [-5, '0.0 s'],
  ])('%i ms are written as %s', (ms, text) => expect(spanText(ms)).toBe(text));

  test('a longer span is never written as a shorter one', () => {
    const read = (text: string): number => readSpan(text.replaceAll(' ', '')) ?? Number.NaN;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 400 * DAY }), fc.integer({ min: 0, max: 400 * DAY }), (a, b) => {
        expect(read(spanText(Math.min(a, b)))).toBeLessThanOrEqual(read(spanText(Math.max(a, b))));
        expect(read(spanText(a))).toBeLessThanOrEqual(a);
      }),
    );
  });
});

describe('ranges', () => {
  test.each([
    [undefined, undefined, 'not known'],
    [0, 0, 'at once'],
    [0, 900, '0 – 1 s'],
    [6_000, 9_000, '6 – 9 s'],
    [90_000, 170_000, '90 – 170 s'],
    [10 * MINUTE, 16 * MINUTE, '10 – 16m'],
    [3 * MINUTE + 28 * SECOND, 8 * MINUTE + 20 * SECOND, '3m 28s – 8m 20s'],
    [7 * MINUTE + 49 * SECOND, undefined, '> 7m 49s'],
  ])('from %s to %s is written as %s', (from, to, text) => expect(rangeText(from, to)).toBe(text));
});

describe('numbers', () => {
  test('whole numbers have separators, rates as many digits as they deserve', () => {
    expect([countText(0), countText(1204), countText(1_234_567)]).toEqual(['0', '1,204', '1,234,567']);
    expect([rateText(0), rateText(0.04), rateText(0.2), rateText(8.26), rateText(12.4), rateText(1208)]).toEqual(['0', '0.1', '0.2', '8.3', '12', '1,208']);
    expect([shortCount(99_999), shortCount(200_000), shortCount(1_250_000)]).toEqual(['99,999', '200k', '1.2M']);
    expect([bytesText(512), bytesText(1434), bytesText(10 * 2 ** 30)]).toEqual(['512 B', '1.4 KiB', '10 GiB']);
  });

  test('what the API writes is read: durations, instants, 64-bit numbers, names of constants; anything else is undefined', () => {
    expect([readSpan('0.25s'), readSpan('1m30s'), readSpan('250ms'), readSpan('3 s'), readSpan(undefined), readSpan('-1s')]).toEqual([
      250,
      90_000,
      250,
      undefined,
      undefined,
      undefined,
    ]);
    expect([readInstant('1970-01-01T00:00:01Z'), readInstant('soon'), readInstant(undefined)]).toEqual([1000, undefined, undefined]);
    expect([readCount('12'), readCount(12), readCount(''), readCount(undefined)]).toEqual([12, 12, undefined, undefined]);
    expect(word('LIMIT_KIND_RATE', 'LIMIT_KIND_')).toBe('rate');
  });
});

describe('names', () => {
  test('a long name loses its middle, and no more than it has to', () => {
    expect(middleText('short', 5)).toBe('short');
    expect(middleText('discord.identify.eu-west', 12)).toBe('discor…-west');
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 3, max: 40 }), (text, max) => {
        expect(middleText(text, max)).toHaveLength(Math.min(text.length, max));
      }),
    );
  });

  test('the names in a sentence are found, and the sentence stays the same', () => {
    expect(emphasized('worker-7 (acme) holds its only slot', ['worker-7', 'acme'])).toEqual(['', 'worker-7', ' (', 'acme', ') holds its only slot']);
    fc.assert(
      fc.property(fc.string(), fc.array(fc.string({ maxLength: 3 }), { maxLength: 3 }), (sentence, names) => {
        const parts = emphasized(sentence, names);
        expect(parts.join('')).toBe(sentence);
        for (const [at, part] of parts.entries()) if (at % 2 === 1) expect(names).toContain(part);
      }),
    );
  });
});

test('a number of dead letters that the server did not say is not known, and not none', () => {
  expect([deferredNote(undefined), deferredNote(null)]).toEqual(['not known', 'no deferred routes']);
});
