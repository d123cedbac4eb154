import fc from 'fast-check';
import { describe, test } from 'vitest';
import { playStored, storedShape, storedStep } from './model/stored-play.ts';

describe('stored requests in line', () => {
  test('are admitted in exactly the order, and at the moments, of a gate that holds each as a waiter', () => {
    fc.assert(
      fc.property(storedShape, fc.array(storedStep, { minLength: 5, maxLength: 60 }), (shape, steps) => playStored(shape, steps)),
      { numRuns: 400 },
    );
  });
});
