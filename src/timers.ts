import { readFileSync } from 'node:fs';
import type { Timers } from './coordination/replica.ts';
import { MILLISECOND, type Micros, SECOND } from './core/time.ts';

/** Timers of the event loop. What is due within a millisecond is waited for turn by turn: setTimeout knows none shorter. */
export function createTimers(monotonic: () => bigint): Timers {
  return {
    after(delay, act) {
      if (delay >= MILLISECOND) {
        const timer = setTimeout(act, Math.ceil(delay / MILLISECOND));
        return () => clearTimeout(timer);
      }
      const due = monotonic() + BigInt(Math.ceil(delay)) * 1_000n;
      const look = (): void => {
        if (monotonic() >= due) act();
        else next = setImmediate(look);
      };
      let next = setImmediate(look);
      return () => clearImmediate(next);
    },
  };
}

/** How long the machine has been up, the time it slept included; undefined where nobody knows (not Linux). */
export function uptime(): Micros | undefined {
  try {
    const [seconds] = readFileSync('/proc/uptime', 'latin1').split(' ', 1);
    return Math.round(Number(seconds) * SECOND);
  } catch {
    return undefined;
  }
}
