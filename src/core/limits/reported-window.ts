import type { FixedQuota, Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, type Micros, NEVER, SECOND } from '../time.ts';
import type { Bound, LimitStatus, PersistentLimit } from './limit.ts';

/** What an authority outside says of a window that it enforces. */
export interface WindowReport {
  /** Units per window, 1 to {@link REPORTED_UNITS_MAX}. */
  readonly permits: number;
  /** Units that the authority has counted in its running window. */
  readonly used: number;
  /** Units charged here longer ago than this are in `used`; others may be or not. At most {@link LATE_MAX}. */
  readonly late: Micros;
  /** Time until the running window ends. */
  readonly endsIn: Micros;
}

/** Units of a reported window at most: two of them and no more fit into one bound. */
export const REPORTED_UNITS_MAX = 2 ** 24 - 1;

/** Before a window has ended, a report of one that ends no later than this after it is about the same: what it says of the end is late by its way here. */
const SAME_WINDOW: Micros = 60 * SECOND;

/** How long a unit that was charged here may be missing in reports, at most. */
export const LATE_MAX: Micros = 2 * 3_600 * SECOND;

/** Units charged within this are remembered as one. */
const GRAIN: Micros = SECOND;

/** No report yet. */
const UNREPORTED = 0;

/**
 * Windows that an authority outside enforces and reports, as the session starts of a Discord application. Time opens nothing:
 * the window that follows is known once it is reported, so that what is left is never more than the authority gives, and before
 * the first report nothing passes.
 *
 * What was charged here last may not be counted there yet, and others may have spent there too. So a report moves `used` only as far
 * as it must: into the interval of what the authority has counted, and that plus all that was charged here so late that it may be missing.
 * The same report twice comes to the same.
 */
export class ReportedWindow implements PersistentLimit {
  readonly #quota: FixedQuota;
  #permits = UNREPORTED;
  #used = 0;
  /** End of the running window as first reported; it names the window on disk. */
  #window = 0;
  #endsAt: Instant = NEVER;
  /** Only what was taken from here on can be given back. */
  #since: Instant = DISTANT_PAST;
  /** Units charged lately, the latest last: at most one entry for each grain of {@link LATE_MAX}. */
  #recent: { readonly at: Instant; units: number }[] = [];
  /** What was charged before is not among them. */
  #recentSince: Instant = DISTANT_PAST;
  #recording = false;
  #covered: Bound | undefined;

  constructor(quota: FixedQuota) {
    this.#quota = quota;
  }

  /** Before the first report any cost may yet pass. */
  get capacity(): number {
    return this.#permits === UNREPORTED ? this.#quota.permits : this.#permits;
  }

  get recovery(): Micros {
    return this.#quota.per === 'month' ? 31 * 86_400 * SECOND : this.#quota.per;
  }

  /** Takes what the authority says. The caller looks at its waiters again. */
  report(now: Instant, report: WindowReport): void {
    const permits = Math.min(REPORTED_UNITS_MAX, Math.max(1, report.permits));
    const counted = Math.min(REPORTED_UNITS_MAX, Math.max(0, report.used));
    const endsAt = (now + Math.max(0, report.endsIn)) as Instant;
    const missing = this.#chargedSince((now - report.late) as Instant);
    if (this.#permits === UNREPORTED || now >= this.#window || endsAt > this.#window + SAME_WINDOW) {
      this.#used = this.#permits === UNREPORTED ? Math.max(counted, this.#used) : counted + missing;
      this.#window = endsAt;
      this.#since = now;
    } else {
      // Of a term before, or of a process before, it is not known what may be missing: nothing is taken back.
      const most = now - report.late < this.#recentSince ? this.#used : counted + missing;
      this.#used = Math.max(counted, Math.min(this.#used, most));
      // On disk the larger value of a name counts: fewer permits need another name.
      if (permits < this.#permits) this.#window += 1;
    }
    this.#used = Math.min(REPORTED_UNITS_MAX, this.#used);
    this.#permits = permits;
    this.#endsAt = endsAt;
  }

  readyAt(now: Instant, cost: number): Instant {
    if (cost <= 0 && this.#permits !== UNREPORTED) return now;
    return this.#permits !== UNREPORTED && this.#used + cost <= this.#permits ? now : NEVER;
  }

  take(now: Instant, cost: number): void {
    if (cost <= 0) return;
    this.#used = Math.min(REPORTED_UNITS_MAX, this.#used + cost);
    const last = this.#recent.at(-1);
    if (last !== undefined && now < last.at + GRAIN) last.units += cost;
    else {
      const oldest = this.#recent[0];
      // Half at a time, so that each entry is moved a few times at most.
      if (oldest !== undefined && oldest.at + 2 * LATE_MAX < now) this.#recent = this.#recent.filter(({ at }) => at + LATE_MAX >= now);
      this.#recent.push({ at: now, units: cost });
    }
  }

  refund(_now: Instant, at: Instant, cost: number): void {
    if (cost > 0 && at >= this.#since) this.#used = Math.max(0, this.#used - cost);
  }

  debit(now: Instant, cost: number): void {
    this.take(now, cost);
  }

  forgive(now: Instant): void {
    if (this.#used <= this.#permits) return;
    this.#used = this.#permits;
    this.#since = now;
  }

  status(now: Instant): LimitStatus {
    const capacity = this.capacity;
    const used = this.#permits === UNREPORTED ? capacity : Math.min(capacity, this.#used);
    const debt = this.#permits === UNREPORTED ? 0 : Math.max(0, this.#used - capacity);
    // Once its end has passed, the time of the next report is not known.
    return { capacity, used, debt, resetAt: this.#endsAt > now ? this.#endsAt : used < capacity ? now : NEVER };
  }

  readyAfter(now: Instant, ahead: number, cost: number): Instant {
    if (this.readyAt(now, ahead + cost) === now) return now;
    return this.#endsAt > now && ahead + cost <= this.capacity ? this.#endsAt : NEVER;
  }

  /** It counts for a whole group, and is never as good as new. */
  idleAt(_now: Instant): Instant {
    return NEVER;
  }

  reconfigure(_now: Instant, quota: Quota): void {
    if (quota.kind !== 'fixed' || quota.align !== 'reported') throw new TypeError('a reported window cannot become another limit');
  }

  isCovered(_now: Instant, cost: number): boolean {
    if (!this.#recording || this.#permits === UNREPORTED) return true;
    const covered = this.#covered;
    return covered !== undefined && covered.slot === this.#window && covered.value >= this.#value(this.#used + Math.max(0, cost));
  }

  /** Slot: the window. Value: its permits and the units used in it; nothing ahead, so that after a crash what is left is exact but for permits under way. */
  bound(_now: Instant, cost: number, _ahead: number): Bound {
    return { slot: this.#window, value: this.#value(this.#used + cost) };
  }

  onPersisted(bound: Bound): void {
    const old = this.#covered;
    if (old === undefined || bound.slot > old.slot || (bound.slot === old.slot && bound.value > old.value)) this.#covered = bound;
  }

  bounds(_now: Instant): readonly Bound[] {
    return this.#covered === undefined ? [] : [this.#covered];
  }

  enablePersistence(): void {
    this.#recording = true;
  }

  /** What was left of the last window that anything was taken from; without one, nothing until a report. */
  restore(from: Instant, bounds: readonly Bound[]): void {
    this.#since = from;
    this.#recentSince = from;
    this.#covered = undefined;
    for (const bound of bounds) this.onPersisted(bound);
    const last = this.#covered as Bound | undefined;
    if (last === undefined) return;
    this.#window = last.slot;
    this.#endsAt = last.slot as Instant;
    this.#permits = Math.floor(last.value / (REPORTED_UNITS_MAX + 1));
    this.#used = last.value % (REPORTED_UNITS_MAX + 1);
  }

  seal(now: Instant): readonly number[] {
    return [this.#permits, this.#used, this.#window, this.#endsAt === NEVER ? -1 : this.#endsAt, this.#since, now];
  }

  unseal(state: readonly number[]): void {
    const [permits = UNREPORTED, used = 0, window = 0, endsAt = -1, since = 0, sealedAt = 0] = state;
    this.#permits = permits;
    this.#used = used;
    this.#window = window;
    this.#endsAt = endsAt < 0 ? NEVER : (endsAt as Instant);
    this.#since = since as Instant;
    this.#recentSince = sealedAt as Instant;
  }

  /** Units charged since `at`, or a little before. */
  #chargedSince(at: Instant): number {
    let units = 0;
    for (let index = this.#recent.length - 1; index >= 0; index--) {
      const entry = this.#recent[index] as { readonly at: Instant; units: number };
      if (entry.at + GRAIN < at) break;
      units += entry.units;
    }
    return units;
  }

  #value(used: number): number {
    return this.#permits * (REPORTED_UNITS_MAX + 1) + Math.min(REPORTED_UNITS_MAX, used);
  }
}
