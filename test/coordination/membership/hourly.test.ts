import { expect, test } from 'vitest';
import { scheduleHourly } from '../../../src/coordination/membership/hourly.ts';
import { HOUR, type Instant, plus } from '../../../src/core/time.ts';
import { FakeClock } from '../../support/fakes/clock.ts';

function rig(random: () => number) {
  const clock = new FakeClock();
  const done: number[] = [];
  const failures: unknown[] = [];
  const from = clock.now();
  const state = { failing: false };
  const stop = scheduleHourly({
    timers: { after: (delay, act) => clock.at(plus(clock.now(), delay), act) },
    random,
    act: async () => {
      done.push((clock.now() - from) / HOUR);
      if (state.failing) throw new Error('away');
    },
    failed: (cause) => failures.push(cause),
  });
  return { clock, done, failures, stop, state, until: (hours: number) => clock.advanceAsync(hours * HOUR - ((clock.now() as Instant) - from)) };
}

test('what is done hourly is done within the first hour, then each hour a tenth earlier or later, and never after it was stopped', async () => {
  const draws = [0.25, 0, 0.999, 0.5];
  const { clock, done, stop, until } = rig(() => draws.shift() ?? 0.5);
  await until(0.24);
  expect(done).toEqual([]);
  await until(3.5);
  expect(done.map((hours) => Math.round(hours * 100) / 100)).toEqual([0.25, 1.15, 2.25, 3.25]);
  stop();
  await until(9);
  expect([done.length, clock.pending]).toEqual([4, 0]);
});

test('what fails is told of, and done again an hour later', async () => {
  const { done, failures, state, until, stop } = rig(() => 0.5);
  state.failing = true;
  await until(0.6);
  expect([done.length, failures]).toEqual([1, [new Error('away')]]);
  state.failing = false;
  await until(1.6);
  expect([done.length, failures.length]).toEqual([2, 1]);
  stop();
});
