import { type Instant, NEVER, plus } from '../core/time.ts';
import type { Clock } from './clock.ts';

/** Shard time, as whoever decides a shard keeps it. */
export interface ShardTime {
  now(): Instant;
}

/**
 * The clock of the trees of one shard: its time is the shard's, its wake-ups are the process's. Both move with the same
 * monotonic clock, but drift towards the wall clock at their own speeds, so a wake-up that would be early waits once more.
 */
export function createTreeClock(process: Clock, shard: ShardTime): Clock {
  return {
    now: () => shard.now(),
    epoch: (at) => process.epoch(plus(at, process.now() - shard.now())),
    at(when, wake) {
      if (when === NEVER) return process.at(when, wake);
      const arm = () => process.at(plus(process.now(), Math.max(0, when - shard.now())), ring);
      const ring = (): void => {
        if (shard.now() >= when) wake();
        else cancel = arm();
      };
      let cancel = arm();
      return () => cancel();
    },
  };
}
