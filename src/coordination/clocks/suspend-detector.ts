import { MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import type { ClockReading } from './shard-clock.ts';

/** A look at the uptime costs a system call or three: it is looked at this often, */
const LOOK_EVERY: Micros = SECOND;

/** or when the wall clock and the monotonic one have come apart by this much, as they do in a suspend. */
const APART: Micros = 100 * MILLISECOND;

/** More than this between the two clocks is a suspend, not the granularity of /proc/uptime (10 ms). */
const SUSPEND_MIN: Micros = 200 * MILLISECOND;

/** Notices that the machine slept, which the monotonic clock does not. */
export class SuspendDetector {
  readonly #uptime: () => Micros | undefined;
  #seen: { readonly uptime: Micros | undefined; readonly mono: Micros; readonly wall: Micros } | undefined;

  constructor(options: { uptime: () => Micros | undefined }) {
    this.#uptime = options.uptime;
  }

  /** Has it slept since the last call? The first call answers no. */
  wasSuspended({ mono, wall }: ClockReading): boolean {
    const seen = this.#seen;
    if (seen !== undefined) {
      const passed = mono - seen.mono;
      if (passed < LOOK_EVERY && Math.abs(wall - seen.wall - passed) < APART) return false;
    }
    const uptime = this.#uptime();
    this.#seen = { uptime, mono, wall };
    if (seen?.uptime === undefined || uptime === undefined) return false;
    return wasSuspended({ uptime: seen.uptime, mono: seen.mono }, { uptime, mono });
  }
}

/**
 * Has the machine slept between two looks? `uptime` counts a suspend, `mono` does not; neither follows settimeofday.
 * Both in microseconds. What was decided ahead before the sleep must not be used after it.
 */
export function wasSuspended(before: { readonly uptime: Micros; readonly mono: Micros }, now: { readonly uptime: Micros; readonly mono: Micros }): boolean {
  return now.uptime - before.uptime - (now.mono - before.mono) > SUSPEND_MIN;
}
