import { expect, test } from 'vitest';
import { PositionNotifier } from '../../src/api/watch.ts';
import type { QueuePosition } from '../../src/core/request.ts';
import { type Instant, MILLISECOND, plus, SECOND } from '../../src/core/time.ts';

function rig() {
  let now = (1000 * SECOND) as Instant;
  let timers = 0;
  let tick = (): void => {};
  const notifier = new PositionNotifier(
    (interval, run) => {
      timers += 1;
      tick = () => {
        now = plus(now, interval);
        run();
      };
      return () => {
        timers -= 1;
      };
    },
    () => now,
  );
  const at = { position: { place: 3, expectedAt: plus(now, 10 * SECOND), limit: 'slots' } as QueuePosition | undefined };
  const sent: string[] = [];
  const stop = notifier.watch({
    position: () => at.position,
    moved: ({ place }) => sent.push(`place ${place}`),
    idle: (position) => sent.push(position === undefined ? 'idle' : `idle at ${position.place}`),
  });
  const ticks = (count: number) => {
    for (let each = 0; each < count; each += 1) tick();
    return sent.splice(0);
  };
  return { notifier, at, ticks, stop, timers: () => timers };
}

test('a position is reported at once, and again when the place, the limit or the expected second changes', () => {
  const { at, ticks } = rig();
  expect(ticks(0)).toEqual(['place 3']);
  expect(ticks(3)).toEqual([]);
  at.position = { ...(at.position as QueuePosition), place: 2 };
  expect(ticks(3)).toEqual(['place 2']);
  at.position = { ...at.position, limit: 'rate' };
  expect(ticks(3)).toEqual(['place 2']);
  at.position = { ...at.position, expectedAt: plus(at.position.expectedAt, 999 * MILLISECOND) };
  expect(ticks(3)).toEqual([]);
  at.position = { ...at.position, expectedAt: plus(at.position.expectedAt, MILLISECOND) };
  expect(ticks(3)).toEqual(['place 2']);
});

test('after 15 s in which nothing was sent the subscriber is idle, with a position or without', () => {
  const { at, ticks } = rig();
  expect(ticks(14)).toEqual(['place 3']);
  expect(ticks(1)).toEqual(['idle at 3']);
  expect(ticks(14)).toEqual([]);
  at.position = undefined;
  expect(ticks(1)).toEqual(['idle']);
});

test('one timer serves all subscribers, and stops with the last', () => {
  const { notifier, stop, timers } = rig();
  const other = notifier.watch({ position: () => undefined, moved: () => {}, idle: () => {} });
  expect(timers()).toBe(1);
  stop();
  expect(timers()).toBe(1);
  other();
  expect(timers()).toBe(0);
});
