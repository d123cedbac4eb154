import type { Adapt } from '../../../src/core/group.ts';
import type { PermitOutcome } from '../../../src/core/limits/adaptive-concurrency.ts';
import { SECOND } from '../../../src/core/time.ts';

interface Held {
  readonly id: unknown;
  readonly at: number;
  readonly cost: number;
  end: number;
  how: PermitOutcome | undefined;
}

/**
 * What docs/decisions/0009-adaptive-concurrency.md says, from a list of all permits that there were: every window is added
 * up anew from it. Times in microseconds since any moment.
 */
export class NaiveAdaptation {
  #permits: Held[] = [];
  /** Units held after each event of this window, the one that began it first. */
  #heights: number[] = [0];
  /** Permits that were used and ended in this window. */
  #used: Held[] = [];
  #how: Adapt;
  #max: number;
  limit: number;
  #since = 0;
  #backedOffAt = -1;
  /** The last measure was much lower than the one before. */
  #settling = false;
  #baseline: number | undefined;
  #measured: { at: number; limit: number; windows: number } | undefined;
  #measuring: { limit: number; until: number; begun: boolean } | undefined;

  constructor(how: Adapt, max: number) {
    this.#how = how;
    this.#max = max;
    this.limit = how.initial;
  }

  get held(): number {
    return this.#permits.reduce((sum, permit) => sum + (permit.how === undefined ? permit.cost : 0), 0);
  }

  limitAt(now: number): number {
    return this.#measuring !== undefined && now < this.#measuring.until ? this.#measuring.limit : Math.floor(this.limit);
  }

  /** When `cost` may go: now, when a measure is given up, or never. */
  readyAt(now: number, cost: number): number {
    if (cost > this.#max) return Number.POSITIVE_INFINITY;
    if (this.held === 0 || this.held + cost <= this.limitAt(now)) return now;
    return this.#measuring !== undefined && now < this.#measuring.until ? this.#measuring.until : Number.POSITIVE_INFINITY;
  }

  bounds(max: number): void {
    this.#max = max;
    this.limit = Math.min(this.limit, max);
    if (this.#measuring) this.#measuring.limit = Math.min(this.#measuring.limit, Math.floor(this.limit));
  }

  took(now: number, id: unknown, cost: number): void {
    if (this.held === 0 && cost > this.limitAt(now)) {
      this.limit = Math.max(this.limit, cost);
      if (this.#measuring) this.#measuring.limit = cost;
    }
    this.#permits.push({ id, at: now, cost, end: Number.POSITIVE_INFINITY, how: undefined });
    this.#heights.push(this.held);
  }

  ended(now: number, id: unknown, how: PermitOutcome): void {
    const permit = this.#permits.find((each) => each.id === id && each.how === undefined);
    if (permit === undefined) throw new Error('the end of a permit that nobody holds');
    const peak = Math.max(...this.#heights);
    const slow = how === 'used' && this.#how.slow !== undefined && now - permit.at > this.#how.slow;
    permit.end = now;
    permit.how = slow ? 'dropped' : how;
    const bad = permit.how === 'dropped' || permit.how === 'lapsed';
    if (bad && permit.at > this.#backedOffAt) {
      this.#backedOffAt = now;
      this.#set(this.limit * this.#how.backoff);
      if (this.#measuring) this.#measuring.limit = Math.min(this.#measuring.limit, Math.floor(this.limit));
      this.#begin(now);
    } else if (permit.how === 'used') this.#window(now, permit, peak);
    this.#heights.push(this.held);
    const measuring = this.#measuring;
    if (measuring && now >= measuring.until) {
      this.#remember(now, undefined);
      this.#begin(now);
    } else if (measuring && !measuring.begun && this.held <= measuring.limit) {
      measuring.begun = true;
      this.#begin(now);
    }
  }

  /** A permit was used: is the window full, and what does it say? */
  #window(now: number, permit: Held, peak: number): void {
    const gradient = this.#how.by === 'gradient';
    this.#used.push(permit);
    if (this.#measuring && !this.#measuring.begun) return;
    const used = this.#used;
    const units = used.reduce((sum, each) => sum + each.cost, 0);
    const enough = gradient ? (this.#measuring ? 64 : 32) : 1;
    if (units < this.limitAt(now) || used.length < enough) return;
    const mean = Math.max(1, this.#area(now) / units);
    this.#begin(now);
    if (this.#measuring) return this.#remember(now, mean);
    const quiet = Math.max(this.#how.floor, Math.floor(this.limit / 3));
    if (this.#measured) this.#measured.windows += 1;
    if (peak <= quiet || (this.#baseline !== undefined && mean < 0.75 * this.#baseline)) this.#remember(now, mean);
    if (peak * 2 < Math.floor(this.limit)) return;
    const before = this.limit;
    if (!gradient) return this.#set(before + 1);
    if (this.#baseline !== undefined) {
      const slope = Math.max(0.5, Math.min(1, (this.#how.tolerance * this.#baseline) / mean));
      this.#set(before + 0.5 * (before * slope + Math.sqrt(before) - before));
    }
    const fresh = this.#measured;
    const old = !fresh || this.limit * 2 <= fresh.limit || (this.#settling && fresh.windows >= 4) || (fresh.windows >= 25 && now - fresh.at >= 30 * SECOND);
    const low = Math.max(this.#how.floor, Math.floor(this.limit / 3));
    if (old && low < Math.floor(this.limit))
      this.#measuring = { limit: low, until: now + Math.ceil(2 * mean * (1 + (64 * (units / used.length)) / low)), begun: false };
  }

  /** Units x time of the window, without those that say nothing. */
  #area(now: number): number {
    let area = 0;
    for (const { at, cost, end, how } of this.#permits) {
      if (how !== undefined && how !== 'used') continue;
      area += cost * Math.max(0, Math.min(end, now) - Math.max(at, this.#since));
    }
    return area;
  }

  #remember(now: number, mean: number | undefined): void {
    const known = this.#baseline;
    this.#settling = mean !== undefined && (known === undefined || mean < 0.75 * known);
    if (mean !== undefined) this.#baseline = known === undefined || mean < 0.75 * known ? mean : known + 0.5 * (mean - known);
    this.#measuring = undefined;
    this.#measured = { at: now, limit: this.limit, windows: 0 };
  }

  #begin(now: number): void {
    this.#since = now;
    this.#heights = [this.held];
    this.#used = [];
    this.#permits = this.#permits.filter((each) => each.how === undefined);
  }

  #set(limit: number): void {
    this.limit = Math.min(this.#max, Math.max(this.#how.floor, limit));
  }
}
