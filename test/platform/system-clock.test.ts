import { describe, expect, it } from 'vitest';
import { DAY, type Instant, MILLISECOND, NEVER } from '../../src/core/time.ts';
import { bootId, createSystemClock, type SystemClock } from '../../src/platform/system-clock.ts';

function system(unref = false): SystemClock {
  return createSystemClock({ sources: { monotonic: process.hrtime.bigint, wall: Date.now, boot: bootId() }, record: undefined, unref });
}

// The only tests of time that use the real one: what they prove is about the event loop's own timers.
describe('the system clock', () => {
  it('counts whole microseconds near the wall clock and never goes back', () => {
    const clock = system();
    let before = clock.now();
    expect(Math.abs(before / 1_000 - Date.now())).toBeLessThan(1_000);
    for (let step = 0; step < 10_000; step++) {
      const now = clock.now();
      expect(Number.isInteger(now) && now >= before).toBe(true);
      before = now;
    }
    expect(Math.abs(clock.epoch(before) - Date.now())).toBeLessThan(1_000);
  });

  it('never wakes early: 300 timers between 0 and 30 ms', async () => {
    const clock = system();
    const start = clock.now();
    const late: number[] = [];
    await new Promise<void>((resolve) => {
      for (let index = 0; index < 300; index++) {
        const when = (start + ((index * 7_919) % 30_000)) as Instant;
        clock.at(when, () => {
          late.push(clock.now() - when);
          if (late.length === 300) resolve();
        });
      }
    });
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
  });

  it('cancels a timer, ignores NEVER, and does not ring for the far future', async () => {
    const clock = system(true);
    const rung: string[] = [];
    const soon = (clock.now() + 3 * MILLISECOND) as Instant;
    clock.at(soon, () => rung.push('cancelled'))();
    clock.at(NEVER, () => rung.push('never'))();
    clock.at((soon + 60 * DAY) as Instant, () => rung.push('far'));
    await new Promise<void>((resolve) => {
      setTimeout(resolve, 50);
      clock.at(soon, () => rung.push('kept'));
    });
    expect(rung).toEqual(['kept']);
    clock.stop();
  });

  it('lets the event loop turn between timers that are due now', async () => {
    const clock = system();
    let turned = false;
    let rings = 0;
    await new Promise<void>((resolve) => {
      const again = (): void => {
        rings++;
        if (turned) resolve();
        else clock.at(clock.now(), again);
      };
      clock.at(clock.now(), again);
      setImmediate(() =>
        setImmediate(() => {
          turned = true;
        }),
      );
    });
    expect(rings).toBeLessThan(10);
  });

  it('names the boot, or says nothing where the kernel does not', () => {
    expect(bootId('/nowhere/boot_id')).toBe('');
    expect(bootId()).toBe(bootId());
  });
});
