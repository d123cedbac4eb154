import { expect, test } from 'vitest';
import { createTreeClock } from '../../src/admission/clock.ts';
import { type Instant, NEVER, plus, SECOND } from '../../src/core/time.ts';
import { FakeClock } from '../support/fakes/clock.ts';

/** A shard whose time began `behind` the process's and runs slower by a part in `slower`. */
function slow(process: FakeClock, behind: number, slower: number) {
  const start = process.now();
  return { now: () => Math.floor(start - behind + (process.now() - start) * (1 - 1 / slower)) as Instant };
}

test('Wakes at the shard’s moment and never before it, though the process’s clock runs faster', () => {
  const process = new FakeClock();
  const shard = slow(process, 30 * SECOND, 2_500);
  const clock = createTreeClock(process, shard);
  const due = plus(clock.now(), 100 * SECOND);
  let woke: Instant | undefined;
  clock.at(due, () => {
    woke = shard.now();
  });
  process.advance(100 * SECOND);
  expect(woke).toBeUndefined();
  process.advance(SECOND);
  expect(woke).toBeGreaterThanOrEqual(due);
  expect((woke as Instant) - due).toBeLessThan(1_000);
});

test('A timer is cancelled, also after it was armed anew, and none is made for never', () => {
  const process = new FakeClock();
  const clock = createTreeClock(process, slow(process, 0, 1_000));
  let woke = 0;
  const cancel = clock.at(plus(clock.now(), 100 * SECOND), () => woke++);
  process.advance(100 * SECOND);
  cancel();
  clock.at(NEVER, () => woke++);
  process.advance(1_000 * SECOND);
  expect([woke, process.pending]).toEqual([0, 0]);
});

test('Stamps are the wall clock’s, wherever the shard’s time stands', () => {
  const process = new FakeClock();
  const clock = createTreeClock(process, slow(process, 30 * SECOND, 1e12));
  expect(clock.epoch(clock.now())).toBe(process.epoch(process.now()));
});
