import { seededRandom } from '../../src/simulate/random.ts';

/** Numbers from 0 to 1, the same each time for a seed. */
export const seeded: (seed: number) => () => number = seededRandom;

/** Whole numbers below `max`, the same each time for a seed. */
export function seededBelow(seed: number): (max: number) => number {
  const random = seededRandom(seed);
  return (max) => (random() * 2 ** 32) % max;
}
