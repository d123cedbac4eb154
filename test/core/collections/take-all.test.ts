import { describe, expect, it } from 'vitest';
import { takeAll } from '../../../src/core/collections/take-all.ts';

describe('taking all of a long-lived array', () => {
  it.each([1, 2, 64, 65, 5_000])('returns %i items in order, in an array of their own, and leaves none', (count) => {
    const items = Array.from({ length: count }, (_, at) => at);
    const expected = [...items];
    const taken = takeAll(items);
    expect(items).toEqual([]);
    items.push(-1);
    expect(taken).toEqual(expected);
    expect(takeAll(items)).toEqual([-1]);
  });

  it('returns the same empty array whenever there is nothing', () => {
    expect(takeAll([])).toBe(takeAll([]));
    expect(takeAll([])).toEqual([]);
  });
});
