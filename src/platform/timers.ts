import { readFileSync } from 'node:fs';
import type { Timers } from '../coordination/replica.ts';
import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';

/** Timers of the event loop, which knows none shorter than a millisecond. */
export function createTimers(): Timers {
  return {
    after(delay, act) {
      const timer = setTimeout(act, Math.ceil(delay / MILLISECOND));
      return () => clearTimeout(timer);
    },
  };
}

/** How long the machine has been up, the time it slept included; undefined where it is unknown (not Linux). */
export function uptime(): Micros | undefined {
  try {
    const [seconds] = readFileSync('/proc/uptime', 'latin1').split(' ', 1);
    return Math.round(Number(seconds) * SECOND);
  } catch {
    return undefined;
  }
}
