import type { Quota } from '../group.ts';
import { DAY, DISTANT_PAST, type Instant, later, MILLISECOND, type Micros, NEVER } from '../time.ts';
import { type Bound, type LimitStatus, MAX_DRAINED_RECOVERY, type PersistentLimit } from './limit.ts';

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

/** A quota of steady refill. */
export type RateQuota = Extract<Quota, { kind: 'rate' }>;

/** A bound covers what opens this soon, so that a slot need not wait for the disk. */
export const RESERVE_AHEAD: Micros = 100 * MILLISECOND;

/** A burst that needs longer than this to come back is cut to what does: times must stay below 2^53 microseconds. */
const REFILL_MAX: Micros = 36_525 * DAY;

/** What all limits of one quota share. */
interface Shape {
  readonly quota: RateQuota;
  readonly burst: number;
  readonly interval: UnitInterval;
  /** The whole burst, in whole microseconds, rounded up. */
  readonly refill: Micros;
}

const shapes = new WeakMap<RateQuota, Shape>();

/**
 * Generic limit instance rate algorithm (ITU-T I.371, as a token bucket): in any interval L at most `burst + floor(L * permits /
 * per)` units, evenly spaced where burst is 1. State is the theoretical arrival time (TAT): the moment at which all that
 * was charged has come back.
 *
 * ```
 *        now          TAT          now + burst * interval
 *   ──────┼────────────┼────────────────┼──────────▶
 *         │◀── used ──▶│◀──── left ────▶│
 * ```
 *
 * Arithmetic is exact: see {@link UnitInterval}. `readyAt`, `covers`, `bound` and `status` change nothing.
 */
export class Gcra implements PersistentLimit {
  #shape: Shape;
  #tat: number = DISTANT_PAST;
  /** Numerator over `interval.of` that belongs to the TAT. */
  #part = 0;
  /** What was taken before is not given back: another term, or another quota, whose refill since is not known. */
  #since: Instant = DISTANT_PAST;
  #recording = false;
  #covered = 0;

  constructor(quota: RateQuota) {
    this.#shape = shapeOf(quota);
  }

  get capacity(): number {
    return this.#shape.burst;
  }

  get recovery(): Micros {
    return this.#shape.refill;
  }

  readyAt(now: Instant, cost: number): Instant {
    const { burst, interval } = this.#shape;
    if (cost > burst) return NEVER;
    const spare = burst - cost;
    const parts = spare * interval.rest;
    const carried = Math.floor(parts / interval.of);
    let at = this.#tat - spare * interval.whole - carried;
    if (this.#part > parts - carried * interval.of) at += 1;
    return at > now ? (at as Instant) : now;
  }

  take(now: Instant, cost: number): void {
    if (cost > 0) this.#charge(now, cost);
  }

  refund(now: Instant, at: Instant, cost: number, charged = cost): void {
    if (cost <= 0 || at < this.#since) return;
    // Of what was charged, `elapsed / interval` has refilled at most, and first what was really used: TAT has been at least
    // `at + charged * interval` since, so it stays at `now` or later, and not before where a smaller charge would have left it.
    const { interval } = this.#shape;
    const used = Math.min(charged - cost, interval.exactMax);
    const elapsed = Math.max(0, now - at - used * interval.whole - Math.floor((used * interval.rest) / interval.of));
    const units = Math.min(cost, interval.exactMax);
    const parts = units * interval.rest;
    const carried = Math.floor(parts / interval.of);
    const back = units * interval.whole + carried - elapsed;
    if (back < 0) return;
    this.#tat -= back;
    this.#part -= parts - carried * interval.of;
    if (this.#part >= 0) return;
    this.#part += interval.of;
    this.#tat -= 1;
  }

  debit(now: Instant, cost: number): void {
    if (cost > 0) this.#charge(now, cost);
  }

  forgive(now: Instant): void {
    const full = now + this.#shape.refill;
    if (this.#tat < full) return;
    this.#tat = full;
    this.#part = 0;
    this.#since = now;
  }

  status(now: Instant): LimitStatus {
    const { burst } = this.#shape;
    const spent = this.#spent(now);
    const used = Math.min(spent, burst);
    const open = (this.#tat + (this.#part > 0 ? 1 : 0)) as Instant;
    return { capacity: burst, used, debt: spent - used, resetAt: used === burst ? this.readyAt(now, 1) : later(now, open) };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    const { burst, interval } = this.#shape;
    if (cost > burst) return NEVER;
    if (ahead + cost <= burst) return this.readyAt(now, ahead + cost);
    return (this.idleAt(now) + Math.ceil(approximately(interval, ahead + cost - burst))) as Instant;
  }

  idleAt(now: Instant): Instant {
    return later(now, (this.#tat + (this.#part > 0 ? 1 : 0)) as Instant);
  }

  /** What is spent is kept in units; what was taken before the change is not given back any more. */
  reconfigure(now: Instant, quota: Quota): void {
    if (quota.kind !== 'rate') throw new TypeError(`a rate cannot become a ${quota.kind}`);
    const old = this.#shape.interval;
    this.#shape = shapeOf(quota);
    const { interval } = this.#shape;
    if (interval.whole === old.whole && interval.rest === old.rest && interval.of === old.of) return;
    this.#since = now;
    if (this.#tat < now) return;
    const spent = BigInt(this.#tat - now) * BigInt(old.of) + BigInt(this.#part);
    const divisor = numeratorOf(old);
    this.#set(now, (spent * numeratorOf(interval) + divisor - 1n) / divisor);
  }

  isCovered(now: Instant, cost: number): boolean {
    if (!this.#recording || cost <= 0 || this.#shape.refill <= MAX_DRAINED_RECOVERY) return true;
    return this.#needs(now, cost) <= this.#covered;
  }

  bound(now: Instant, cost: number, ahead: number): Bound {
    const { interval, refill } = this.#shape;
    // No caller that goes within the lookahead can leave a later TAT behind than a whole burst at its end.
    const most = later(now, this.readyAt(now, Math.min(cost, this.capacity))) + refill + RESERVE_AHEAD;
    const wanted = this.#needs(now, cost) + Math.ceil(approximately(interval, ahead)) + RESERVE_AHEAD;
    return { slot: 0, value: Math.max(this.#needs(now, cost), Math.min(wanted, most)) };
  }

  onPersisted(bound: Bound): void {
    this.#covered = Math.max(this.#covered, bound.value);
  }

  bounds(now: Instant): readonly Bound[] {
    return this.#covered > now ? [{ slot: 0, value: this.#covered }] : [];
  }

  enablePersistence(): void {
    this.#recording = true;
  }

  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#since = from;
    this.#part = 0;
    this.#covered = 0;
    for (const bound of bounds) this.onPersisted(bound);
    this.#tat = this.#shape.refill <= MAX_DRAINED_RECOVERY ? from + this.#shape.refill : this.#covered;
  }

  seal(_now: Instant): readonly number[] {
    return [this.#tat, this.#part, this.#shape.interval.of, this.#since];
  }

  unseal(state: readonly number[]): void {
    const [tat = 0, part = 0, of = 1, since = 0] = state;
    const { interval } = this.#shape;
    this.#tat = tat;
    this.#since = since as Instant;
    this.#part = of === interval.of ? part : Math.ceil((part / of) * interval.of);
    if (this.#part < interval.of) return;
    this.#part = 0;
    this.#tat += 1;
  }

  #charge(now: Instant, cost: number): void {
    const { interval } = this.#shape;
    if (this.#tat < now) {
      this.#tat = now;
      this.#part = 0;
    }
    if (cost > interval.exactMax) {
      this.#set(this.#tat, BigInt(this.#part) + toNumerator(interval, cost));
      return;
    }
    const parts = this.#part + cost * interval.rest;
    const carried = Math.floor(parts / interval.of);
    this.#part = parts - carried * interval.of;
    this.#tat = Math.min(Number.MAX_SAFE_INTEGER, this.#tat + cost * interval.whole + carried);
  }

  /** TAT = base + parts / of, at most 2^53 - 1. */
  #set(base: number, parts: bigint): void {
    const of = BigInt(this.#shape.interval.of);
    const room = BigInt(Number.MAX_SAFE_INTEGER - base);
    const whole = parts / of;
    this.#tat = base + Number(whole < room ? whole : room);
    this.#part = whole < room ? Number(parts % of) : 0;
  }

  /** The TAT after `cost`, rounded up. */
  #needs(now: Instant, cost: number): number {
    const { interval } = this.#shape;
    if (cost > interval.exactMax) return Math.ceil(Math.max(this.#tat, now) + 1 + approximately(interval, cost));
    const idle = this.#tat < now;
    return (idle ? now : this.#tat) + cost * interval.whole + Math.ceil(((idle ? 0 : this.#part) + cost * interval.rest) / interval.of);
  }

  /** Units that have not come back, a started one counted whole. */
  #spent(now: Instant): number {
    if (this.#tat < now) return 0;
    const { whole, rest, of } = this.#shape.interval;
    const near = (this.#tat - now) * of + this.#part;
    if (near <= Number.MAX_SAFE_INTEGER) return Math.ceil(near / (whole * of + rest));
    const parts = BigInt(this.#tat - now) * BigInt(of) + BigInt(this.#part);
    const one = numeratorOf(this.#shape.interval);
    return Number((parts + one - 1n) / one);
  }
}

/** The burst that a rate really allows: what comes back within a hundred years. */
export function burstOf(quota: RateQuota): number {
  return Math.max(1, Math.min(quota.burst, Math.floor((REFILL_MAX / quota.per) * quota.permits)));
}

function shapeOf(quota: RateQuota): Shape {
  let shape = shapes.get(quota);
  if (shape === undefined) {
    const burst = burstOf(quota);
    const interval = intervalOf(quota.permits, quota.per, burst);
    const refill = burst * interval.whole + Math.ceil((burst * interval.rest) / interval.of);
    shape = { quota, burst, interval, refill };
    shapes.set(quota, shape);
  }
  return shape;
}
