import type { Clock } from '../admission/clock.ts';
import type { Instant, Micros } from '../core/time.ts';
import type { Store } from '../ledger/stores/store.ts';

/** Wraps a clock; reports how much later than due each timer ran. */
export function instrumentClock(clock: Clock, late: (by: Micros) => void): Clock {
  return {
    now: () => clock.now(),
    epoch: (at) => clock.epoch(at),
    at: (when, wake) =>
      clock.at(when, () => {
        late(clock.now() - when);
        wake();
      }),
  };
}

/** Wraps a store; reports how long each append took to be on disk. */
export function instrumentStore(store: Store, now: () => Instant, took: (time: Micros) => void): Store {
  return {
    append: async (subject, bytes, last, relief) => {
      const began = now();
      const sequence = await store.append(subject, bytes, last, relief);
      took(now() - began);
      return sequence;
    },
    read: (subject, from) => store.read(subject, from),
    trim: (subject, before) => store.trim(subject, before),
    fill: (subject) => store.fill?.(subject) ?? 0,
    close: () => store.close(),
  };
}
