import type { Micros } from '../time.ts';

/**
 * The time that one unit takes to come back, as an exact fraction: `whole + rest / of` microseconds, `rest < of`.
 *
 * Why it never lets anyone through early: a theoretical arrival time is kept as whole microseconds plus a numerator over
 * the same `of`, so adding k units adds `k * whole` and `k * rest` numerators, all of them integers below 2^53, and
 * nothing is rounded, hence nothing drifts. `floor(x / of)` in doubles is exact for integers x < 2^53: were it one too
 * large, x / of would lie below an integer n by less than half a step of n, at most n / 2^53; but the nearest fraction
 * below n is n - 1/of, and 1/of = n / (n * of) >= n / 2^53. Where `(unitsMax + 1) * of` would pass 2^53, the fraction is
 * replaced by the next *larger* one with a smaller denominator: units then come back later than promised (by less than
 * unitsMax^2 / 2^53 of a microsecond for a whole burst), never earlier.
 */
export interface UnitInterval {
  readonly whole: Micros;
  readonly rest: number;
  readonly of: number;
  /** `k * rest + of` stays below 2^53 up to this many units. */
  readonly exactMax: number;
}

const SAFE = Number.MAX_SAFE_INTEGER;

/** The interval of `permits` units per `per` microseconds; products with up to `unitsMax` units are exact. */
export function intervalOf(permits: number, per: Micros, unitsMax: number): UnitInterval {
  const whole = Math.floor(per / permits);
  const left = per - whole * permits;
  const divisor = gcd(left, permits);
  const rest = left / divisor;
  const of = permits / divisor;
  if ((unitsMax + 1) * of <= SAFE) return made(whole, rest, of);
  const coarse = Math.max(1, Math.floor(SAFE / (unitsMax + 1)));
  const up = Number((BigInt(rest) * BigInt(coarse) + BigInt(of) - 1n) / BigInt(of));
  return up === coarse ? made(whole + 1, 0, 1) : made(whole, up, coarse);
}

/** `units` intervals as numerators over `of`, exact for any size. */
export function toNumerator(interval: UnitInterval, units: number): bigint {
  return BigInt(units) * numeratorOf(interval);
}

/** One interval as a numerator over `of`. */
export function numeratorOf(interval: UnitInterval): bigint {
  return BigInt(interval.whole) * BigInt(interval.of) + BigInt(interval.rest);
}

/** `units` intervals in microseconds, as a double: for estimates. */
export function approximately(interval: UnitInterval, units: number): number {
  return units * interval.whole + (units * interval.rest) / interval.of;
}

function made(whole: Micros, rest: number, of: number): UnitInterval {
  return { whole, rest, of, exactMax: rest === 0 ? Math.floor(SAFE / Math.max(1, whole)) : Math.floor((SAFE - of) / rest) };
}

function gcd(a: number, b: number): number {
  let x = a;
  let y = b;
  while (x > 0) [x, y] = [y % x, x];
  return y;
}
