import type { Adapt } from '../group.ts';
import { DISTANT_PAST, type Instant, type Micros, NEVER, plus, SECOND } from '../time.ts';

/** How a permit ended, as it is reported to a limit that adapts. */
export type PermitOutcome = 'used' | 'unused' | 'dropped' | 'lapsed' | 'revoked';

/** Fewer ends say too little: the mean of so many exponential times is off by a sixth, the baseline's by an eighth. */
const ENDS_MIN = 32;
const BASELINE_ENDS_MIN = 64;
/** Part of the limit at which the baseline is measured. */
const QUIET = 1 / 3;
/** The baseline is measured anew when it is so old and so many windows have passed. */
const BASELINE_FOR: Micros = 30 * SECOND;
const BASELINE_WINDOWS = 25;
/** ... or, where the last measure was much lower than the one before, after so many: a third was still too much. */
const SETTLING_WINDOWS = 4;
/** A window that is so much faster than the baseline shows that the baseline is too old. */
const FASTER = 0.75;
/** Of a new limit, and of a new baseline, so much counts. */
const WEIGHT = 0.5;
/** One window takes at most half of the limit. */
const GRADIENT_MIN = 0.5;

/** A time with less held, in which the baseline is measured. */
interface Measuring {
  limit: number;
  /** Given up then. */
  readonly until: Instant;
  /** Enough has come back: what ends from here on counts. */
  begun: boolean;
}

/**
 * Finds how many units may be held at once, from what becomes of those that are (docs/decisions/0009-adaptive-concurrency.md).
 * Is given the time; no clock, no dice, and nothing happens but when a permit is taken or ends.
 *
 * A window is a number of ends. By Little's law the mean time that a unit is held is (units held x time) / (units ended),
 * however the times scatter; and it does not lag: a backend that slows down shows at once, not when its answers come.
 *
 * - `gradient`, after the gradient controller of Envoy's adaptive concurrency filter and Gradient of Netflix'
 *   concurrency-limits: limit <- limit x min(1, tolerance x baseline / mean) + sqrt(limit), half way each time. The baseline
 *   is the mean at a third of the limit.
 * - `aimd`, after Chiu and Jain (1989) and AIMDLimit of Netflix' concurrency-limits: one more for each round.
 *
 * Both: overload takes the limit down to `backoff` of it, once for all permits granted before (as TCP does: RFC 6582), and
 * a limit of which not half was held is not raised.
 */
export class AdaptiveConcurrency {
  #how: Adapt;
  #max: number;
  #limit: number;
  /** Begins with the first `reshape`, which gives the time. */
  #paused = true;
  /** The window: since when; units x microseconds held, up to `at`; units and permits ended; most units held. */
  #since: Instant = DISTANT_PAST;
  #at: Instant = DISTANT_PAST;
  #area = 0;
  #units = 0;
  #ends = 0;
  #peak = 0;
  #backedOffAt = -1;
  /** Mean time held while little was; 0: not known. */
  #baseline: Micros = 0;
  #measuredAt: Instant = DISTANT_PAST;
  #measuredLimit = 0;
  #windows = 0;
  #settling = false;
  #measuring: Measuring | undefined;

  constructor(how: Adapt, max: number) {
    this.#how = how;
    this.#max = max;
    this.#limit = this.#within(how.initial);
  }

  /** Units that the backend is taken to bear. */
  get estimate(): number {
    return Math.floor(this.#limit);
  }

  /** Units that may be held now: fewer while the baseline is measured. */
  limitAt(now: Instant): number {
    return this.#isMeasuring(now) ? (this.#measuring as Measuring).limit : this.estimate;
  }

  /** When `limitAt` answers more though nothing has ended; NEVER: not by time. */
  changesAt(now: Instant): Instant {
    return this.#isMeasuring(now) ? (this.#measuring as Measuring).until : NEVER;
  }

  /** Other bounds, or the end of a pause: the estimate goes on within them; another method measures anew. */
  reshape(now: Instant, how: Adapt, max: number): void {
    if (this.#paused || how.by !== this.#how.by) {
      this.#baseline = 0;
      this.#measuring = undefined;
      this.#restart(now);
    }
    this.#paused = false;
    this.#how = how;
    this.#max = max;
    this.#limit = this.#within(this.#limit);
    if (this.#measuring !== undefined) this.#measuring.limit = Math.min(this.#measuring.limit, this.estimate);
  }

  /** Another rule holds until `reshape`: what happens meanwhile is not reported. */
  pause(): void {
    this.#paused = true;
  }

  /** `cost` joins the `held` units. One alone that costs more than the limit raises it, or it would wait for ever. */
  took(now: Instant, held: number, cost: number): void {
    this.#count(now, held);
    this.#peak = Math.max(this.#peak, held + cost);
    if (held > 0 || cost <= this.limitAt(now)) return;
    this.#limit = Math.max(this.#limit, Math.min(cost, this.#max));
    if (this.#measuring !== undefined) this.#measuring.limit = Math.min(cost, this.#max);
  }

  /** A permit granted at `at` that holds `cost` of the `held` units has ended. */
  ended(now: Instant, held: number, at: Instant, cost: number, how: PermitOutcome): void {
    this.#count(now, held);
    const overload = how === 'dropped' || how === 'lapsed' || (how === 'used' && this.#how.slow !== undefined && now - at > this.#how.slow);
    if (overload && at > this.#backedOffAt) this.#backOff(now);
    else if (overload || how !== 'used') {
      // It says nothing of how long the backend takes: as if it had not been held.
      this.#area = Math.max(0, this.#area - cost * (now - Math.max(at, this.#since)));
    } else this.#learn(now, cost);
    this.#look(now, held - cost);
  }

  #learn(now: Instant, cost: number): void {
    this.#units += cost;
    this.#ends += 1;
    const measuring = this.#measuring;
    if (measuring !== undefined && !measuring.begun) return;
    if (this.#units < this.limitAt(now) || this.#ends < this.#endsMin()) return;
    const [mean, perEnd, peak] = [Math.max(1, this.#area / this.#units), this.#units / this.#ends, this.#peak];
    this.#restart(now);
    if (measuring !== undefined) {
      this.#measured(now, mean);
      return;
    }
    this.#windows += 1;
    if (peak <= this.#settlingWindows() || mean < this.#baseline * FASTER) this.#measured(now, mean);
    // Its load and not its limit said how much was held.
    if (peak * 2 < this.estimate) return;
    this.#limit = this.#within(this.#next(mean));
    if (this.#isDue(now)) this.#measure(now, mean, perEnd);
  }

  #next(mean: Micros): number {
    const limit = this.#limit;
    if (this.#how.by === 'aimd') return limit + 1;
    if (this.#baseline === 0) return limit;
    const gradient = Math.max(GRADIENT_MIN, Math.min(1, (this.#how.tolerance * this.#baseline) / mean));
    return limit + WEIGHT * (limit * gradient + Math.sqrt(limit) - limit);
  }

  #endsMin(): number {
    if (this.#how.by === 'aimd') return 1;
    return this.#measuring === undefined ? ENDS_MIN : BASELINE_ENDS_MIN;
  }

  #backOff(now: Instant): void {
    this.#backedOffAt = now;
    this.#limit = this.#within(this.#limit * this.#how.backoff);
    if (this.#measuring !== undefined) this.#measuring.limit = Math.min(this.#measuring.limit, this.estimate);
    this.#restart(now);
  }

  /** With `held` left: a measure begins when enough has come back, and is given up when its time is over. */
  #look(now: Instant, held: number): void {
    const measuring = this.#measuring;
    if (measuring === undefined) return;
    if (now >= measuring.until) this.#measured(now, this.#baseline);
    else if (measuring.begun || held > measuring.limit) return;
    else measuring.begun = true;
    this.#restart(now);
  }

  #isMeasuring(now: Instant): boolean {
    return this.#measuring !== undefined && now < this.#measuring.until;
  }

  /** The baseline was never measured, or is old, or the limit has come down near to where it was measured. */
  #isDue(now: Instant): boolean {
    if (this.#how.by === 'aimd') return false;
    if (this.#measuredAt === DISTANT_PAST || this.#limit * 2 <= this.#measuredLimit) return true;
    if (this.#settling && this.#windows >= SETTLING_WINDOWS) return true;
    return this.#windows >= BASELINE_WINDOWS && now - this.#measuredAt >= BASELINE_FOR;
  }

  /** For twice as long as it should take: what is held comes back, then a window at a third of the limit. */
  #measure(now: Instant, mean: Micros, perEnd: number): void {
    const limit = this.#settlingWindows();
    if (limit >= this.estimate) return;
    this.#measuring = { limit, until: plus(now, Math.ceil(2 * mean * (1 + (BASELINE_ENDS_MIN * perEnd) / limit))), begun: false };
  }

  #measured(now: Instant, mean: Micros): void {
    const known = this.#baseline;
    this.#settling = mean > 0 && (known === 0 || mean < known * FASTER);
    this.#baseline = this.#settling ? mean : known + WEIGHT * (mean - known);
    this.#measuring = undefined;
    this.#measuredAt = now;
    this.#measuredLimit = this.#limit;
    this.#windows = 0;
  }

  #settlingWindows(): number {
    return Math.max(this.#how.floor, Math.floor(this.#limit * QUIET));
  }

  #within(limit: number): number {
    return Math.min(this.#max, Math.max(this.#how.floor, limit));
  }

  #count(now: Instant, held: number): void {
    this.#area += held * (now - this.#at);
    this.#at = now;
    this.#peak = Math.max(this.#peak, held);
  }

  /** A window begins. */
  #restart(now: Instant): void {
    this.#since = now;
    this.#at = now;
    this.#area = 0;
    this.#units = 0;
    this.#ends = 0;
    this.#peak = 0;
  }
}
