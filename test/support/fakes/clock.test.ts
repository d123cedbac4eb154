import { describe, expect, it } from 'vitest';
import { type Instant, NEVER } from '../../../src/core/time.ts';
import { FakeClock } from './clock.ts';

describe('the fake clock', () => {
  it('runs wakes in order of time, then of asking, each at its own moment', () => {
    const clock = new FakeClock(0);
    const seen: string[] = [];
    const note = (name: string) => () => seen.push(`${name}@${clock.now()}`);
    clock.at(30 as Instant, note('c'));
    clock.at(10 as Instant, note('a'));
    clock.at(10 as Instant, note('b'));
    clock.advance(20);
    expect(seen).toEqual(['a@10', 'b@10']);
    expect([clock.pending, clock.nextAt, clock.now()]).toEqual([1, 30, 20]);
    clock.advanceTo(30 as Instant);
    expect(seen.at(-1)).toBe('c@30');
  });

  it('runs wakes made on the way, and not those taken back', () => {
    const clock = new FakeClock(0);
    const seen: number[] = [];
    const cancel = clock.at(15 as Instant, () => seen.push(-1));
    clock.at(10 as Instant, () => {
      cancel();
      clock.at((clock.now() + 5) as Instant, () => seen.push(clock.now()));
    });
    clock.at(NEVER, () => seen.push(-2));
    clock.advance(100);
    expect(seen).toEqual([15]);
    expect(clock.pending).toBe(0);
  });

  it('lets promises settle between wakes', async () => {
    const clock = new FakeClock(0);
    const seen: number[] = [];
    clock.at(10 as Instant, () => Promise.resolve().then(() => clock.at(20 as Instant, () => seen.push(clock.now()))));
    await clock.advanceAsync(25);
    expect(seen).toEqual([20]);
    expect(clock.now()).toBe(25);
  });

  it('keeps order with many wakes, half of them taken back', () => {
    const clock = new FakeClock(0);
    const seen: number[] = [];
    for (let index = 0; index < 1_000; index++) {
      const when = ((index * 7919) % 1_009) as Instant;
      const cancel = clock.at(when, () => seen.push(when));
      if (index % 2 === 1) cancel();
    }
    expect(clock.pending).toBe(500);
    clock.advance(2_000);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.length).toBe(500);
  });
});
