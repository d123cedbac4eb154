import { seededRandom } from '../core/seeded-random.ts';

export { seededRandom };

/** Numbers from 0 (included) to 1. */
export type Random = () => number;

/** Draws from an exponential distribution with this mean. */
export function exponential(random: Random, mean: number): number {
  return -Math.log(1 - random()) * mean;
}

/** z of the 99th percentile of a normal distribution. */
const Z99 = 2.326348;

/** Draws from a log-normal distribution by its median and its 99th percentile. */
export function logNormal(random: Random, median: number, p99: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return median * (p99 / median) ** (normal / Z99);
}

/** Draws 0 .. n-1, where i is drawn in proportion to 1 / (i + 1) ** skew (Zipf's law); skew 0: all alike. */
export function zipf(n: number, skew: number): (random: Random) => number {
  const sums = new Float64Array(n);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    sum += (i + 1) ** -skew;
    sums[i] = sum;
  }
  return (random) => {
    const drawn = random() * sum;
    let [low, high] = [0, n - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > drawn) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
