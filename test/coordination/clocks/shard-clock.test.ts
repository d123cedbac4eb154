import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClockReading, type ClockRecord, ShardClock, SLEW_PPM_MAX } from '../../../src/coordination/clocks/shard-clock.ts';
import { HOUR, type Instant, SECOND } from '../../../src/core/time.ts';

const WALL = 1_800_000_000_000_000;
const reading = (mono: number, wall: number, boot = 'a'): ClockReading => ({ mono, wall, boot });
const record = (at: number, mono: number, wall: number, boot = 'a'): ClockRecord => ({ at: at as Instant, mono, wall, boot });

describe('the shard clock', () => {
  it('starts at the wall clock and follows the monotonic clock', () => {
    const clock = new ShardClock(reading(500, WALL), undefined);
    expect(clock.at(500)).toBe(WALL);
    expect(clock.at(1_500)).toBe(WALL + 1_000);
    expect(clock.epoch(clock.at(1_000_500))).toBe((WALL + SECOND) / 1_000);
  });

  it('goes on by the monotonic difference after a restart on the same boot, whatever the wall clock says', () => {
    for (const wall of [WALL + 2 * SECOND, WALL - HOUR, WALL + HOUR]) {
      expect(new ShardClock(reading(9_000_000, wall), record(WALL, 7_000_000, WALL)).at(9_000_000)).toBe(WALL + 2 * SECOND);
    }
  });

  it('is the wall clock after another boot, and never before the last record', () => {
    expect(new ShardClock(reading(10, WALL + HOUR, 'b'), record(WALL, 7_000_000, WALL)).at(10)).toBe(WALL + HOUR);
    expect(new ShardClock(reading(10, WALL - HOUR, 'b'), record(WALL, 7_000_000, WALL)).at(10)).toBe(WALL);
    // No boot id: every start counts as another boot.
    expect(new ShardClock(reading(9_000_000, WALL + HOUR, ''), record(WALL, 7_000_000, WALL, '')).at(9_000_000)).toBe(WALL + HOUR);
  });

  it('comes back to a wall clock that was set, by at most 200 ppm', () => {
    const clock = new ShardClock(reading(0, WALL), undefined);
    let mono = 0;
    let before = clock.at(0);
    for (let step = 0; step < 20_000; step++) {
      mono += SECOND;
      clock.adjust(reading(mono, WALL + SECOND + mono));
      const at = clock.at(mono);
      expect(Math.abs(at - before - SECOND)).toBeLessThanOrEqual((SLEW_PPM_MAX * SECOND) / 1e6 + 1);
      before = at;
    }
    expect(Math.abs(before - (WALL + SECOND + mono))).toBeLessThan(6_000);
    expect(clock.epoch(before) * 1_000).toBeLessThanOrEqual(before);
  });

  it('never goes back and keeps its rate within the slew, under any readings', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 * SECOND }), fc.integer({ min: -HOUR, max: HOUR }), fc.boolean()), { maxLength: 40 });
    fc.assert(
      fc.property(steps, fc.integer({ min: -HOUR, max: HOUR }), (moves, shift) => {
        const clock = new ShardClock(reading(0, WALL + shift), record(WALL, 0, WALL));
        let mono = 0;
        let before = clock.at(0);
        for (const [by, wallShift, look] of moves) {
          mono += by;
          if (look) clock.adjust(reading(mono, WALL + mono + wallShift));
          const at = clock.at(mono);
          expect(Number.isSafeInteger(at)).toBe(true);
          expect(at).toBeGreaterThanOrEqual(before);
          expect(Math.abs(at - before - by)).toBeLessThanOrEqual((by * SLEW_PPM_MAX) / 1e6 + 2);
          before = at;
        }
      }),
    );
  });
});
