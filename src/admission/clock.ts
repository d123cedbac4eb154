import type { ShardTime } from '../coordination/replica.ts';
import { type EpochMs, type Instant, type Micros, NEVER, plus } from '../core/time.ts';

/**
 * Time for the parts outside the core: shard time, the wall clock for people, and one way to be woken.
 */
export interface Clock {
  /** Shard time now: whole microseconds, never going back. */
  now(): Instant;
  /** Shard time as milliseconds since 1970, for stamps that are shown or sent. */
  epoch(at: Instant): EpochMs;
  /**
   * Calls `wake` once, not before `when`; earlier is a broken clock. Returns a function that cancels it.
   * Within the last millisecond it may spin on the event loop instead of sleeping, so that lateness stays far below one.
   */
  at(when: Instant, wake: () => void): () => void;
}

/** Resolves once `time` has passed by this clock, no earlier. */
export function sleep(clock: Pick<Clock, 'now' | 'at'>, time: Micros): Promise<void> {
  return new Promise((resolve) => void clock.at(plus(clock.now(), time), resolve));
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
