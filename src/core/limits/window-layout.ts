import type { FixedQuota } from '../group.ts';
import { DAY, type Instant, type Micros } from '../time.ts';
import { Calendar } from './calendar.ts';

/** Windows that lie side by side, numbered in order. */
export interface WindowLayout {
  /** Number of the window that holds `at`. */
  indexAt(at: Instant): number;
  /** When window `index` opens, and the one before closes. */
  startOf(index: number): Instant;
}

const shared = new WeakMap<FixedQuota, WindowLayout>();

/** Multiples of a length since 1970 UTC. */
class EpochWindows implements WindowLayout {
  readonly #per: Micros;

  constructor(per: Micros) {
    this.#per = per;
  }

  indexAt(at: Instant): number {
    return Math.floor(at / this.#per);
  }

  startOf(index: number): Instant {
    return (index * this.#per) as Instant;
  }
}

/**
 * Where the windows of `quota` lie; undefined for align `first`, whose windows lie where admissions put them. One object
 * per quota, however many keys. Throws RangeError for a calendar window that is not whole days, or an unknown timezone.
 */
export function windowsOf(quota: FixedQuota): WindowLayout | undefined {
  if (quota.align === 'first' || quota.align === 'reported') return undefined;
  let windows = shared.get(quota);
  if (windows === undefined) {
    windows = quota.align === 'epoch' && quota.per !== 'month' ? new EpochWindows(quota.per) : calendarOf(quota);
    shared.set(quota, windows);
  }
  return windows;
}

/** A month of the epoch is a month of UTC. */
function calendarOf(quota: FixedQuota): Calendar {
  if (quota.align === 'epoch') return new Calendar({ days: 'month', day: 1, time: 0, timezone: 'UTC' });
  if (quota.per === 'month') return new Calendar({ days: 'month', day: quota.day, time: quota.time, timezone: quota.timezone });
  const days = quota.per / DAY;
  if (!Number.isInteger(days) || days < 1) throw new RangeError(`a calendar window is whole days or a month, not ${quota.per} microseconds`);
  return new Calendar({ days, day: quota.day, time: quota.time, timezone: quota.timezone });
}

/** Length of a window at most: a month has 31 days and an hour, a local day 25 hours. */
export function lengthOf(quota: FixedQuota): Micros {
  if (quota.per === 'month') return 31 * DAY + DAY / 24;
  return quota.align === 'calendar' ? quota.per + DAY / 24 : quota.per;
}
