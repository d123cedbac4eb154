import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Fifo } from '../../../src/core/collections/fifo.ts';

test('Items leave in the order in which they came, whatever was added and taken before', () => {
  // Runs of pushes (positive) and shifts (negative), long enough to cut the front off.
  const runs = fc.array(fc.integer({ min: -3_000, max: 3_000 }), { maxLength: 12 });
  fc.assert(
    fc.property(runs, (steps) => {
      const fifo = new Fifo<number>();
      let added = 0;
      let taken = 0;
      for (const step of steps) {
        for (let n = 0; n < step; n++) fifo.push(added++);
        for (let n = 0; n > step; n--) {
          const expected = taken < added ? taken++ : undefined;
          if (fifo.peek() !== expected || fifo.shift() !== expected) throw new Error(`not ${expected}`);
        }
        expect(fifo.length).toBe(added - taken);
      }
    }),
    { numRuns: 50 },
  );
});
