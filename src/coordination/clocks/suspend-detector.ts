import { MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import type { ClockReading } from './shard-clock.ts';

/** Reading the uptime costs up to three system calls: it is read at this interval, */
const LOOK_EVERY: Micros = SECOND;

/** or when the wall clock and the monotonic clock differ by this much more than before, as after a suspend. */
const APART: Micros = 100 * MILLISECOND;

/** More than this between the two clocks is a suspend, not the granularity of /proc/uptime (10 ms). */
const SUSPEND_MIN: Micros = 200 * MILLISECOND;

/** Detects that the machine was suspended, which the monotonic clock does not count. */
export class SuspendDetector {
  readonly #uptime: () => Micros | undefined;
  #seen: { readonly uptime: Micros | undefined; readonly mono: Micros; readonly wall: Micros } | undefined;

  constructor(options: { uptime: () => Micros | undefined }) {
    this.#uptime = options.uptime;
  }

  /** Returns true if the machine was suspended since the last call; false at the first call. */
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
 * Returns true if the machine was suspended between two readings. `uptime` counts a suspend, `mono` does not; neither follows settimeofday.
 * Both in microseconds. What was decided ahead before a suspend must not be used after it.
 */
export function wasSuspended(before: { readonly uptime: Micros; readonly mono: Micros }, now: { readonly uptime: Micros; readonly mono: Micros }): boolean {
  return now.uptime - before.uptime - (now.mono - before.mono) > SUSPEND_MIN;
}
