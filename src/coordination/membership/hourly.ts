import { HOUR, type Micros } from '../../core/time.ts';
import type { Timers } from '../replica.ts';

/** What is done about once an hour. */
export interface HourlyParts {
  readonly timers: Timers;
  /** 0 to less than 1. */
  readonly random: () => number;
  readonly act: () => Promise<void>;
  /** Told why it could not be done; it is tried again an hour later. */
  readonly failed: (cause: unknown) => void;
}

/** Does it within the first hour, then each hour more or less by a tenth, so that no two processes stay in step. Answers how to stop. */
export function scheduleHourly({ timers, random, act, failed }: HourlyParts): () => void {
  let cancel = (): void => {};
  let over = false;
  const wait = (delay: Micros): void => {
    cancel = timers.after(delay, () => {
      act()
        .catch(failed)
        .finally(() => {
          if (!over) wait(HOUR * (0.9 + random() / 5));
        });
    });
  };
  wait(HOUR * random());
  return () => {
    over = true;
    cancel();
  };
}
