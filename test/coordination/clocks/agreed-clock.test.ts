import { describe, expect, it } from 'vitest';
import { AgreedClock } from '../../../src/coordination/clocks/agreed-clock.ts';
import { SuspendDetector } from '../../../src/coordination/clocks/suspend-detector.ts';
import { type EpochMs, MILLISECOND, plus, SECOND } from '../../../src/core/time.ts';
import { FakeClock } from '../../support/fakes/clock.ts';

function rig() {
  const clock = new FakeClock();
  const reading = () => {
    const { mono, wall, boot } = clock.record();
    return { mono, wall, boot };
  };
  const server = { ahead: 0, slow: 0, away: false };
  const serverTime = async (): Promise<EpochMs> => {
    if (server.away) throw new Error('no responders');
    clock.advance(server.slow);
    return ((clock.now() + server.ahead) / MILLISECOND) as EpochMs;
  };
  const time = new AgreedClock({ reading, serverTime, timers: { after: (delay, act) => clock.at(plus(clock.now(), delay), act) } });
  return { clock, server, time, agreed: () => time.with(reading()).agreed, reading };
}

describe('the agreed time', () => {
  it('is the time of the registers, where the wall clock is within 250 ms of it', async () => {
    const { clock, server, time, agreed } = rig();
    server.ahead = 200 * MILLISECOND;
    expect(agreed()).toBeUndefined();
    time.start();
    await clock.advanceAsync(SECOND);
    expect(agreed()).toBe(clock.now() + server.ahead);
    clock.wallShift = -60 * MILLISECOND;
    expect(agreed()).toBeUndefined();
    clock.wallShift = 300 * MILLISECOND;
    expect(agreed()).toBe(clock.now() + server.ahead);
    time.stop();
    expect(clock.pending).toBe(0);
  });

  it('is not learnt from an answer that took long, and not kept for more than a minute', async () => {
    const { clock, server, time, agreed } = rig();
    server.slow = 201 * MILLISECOND;
    time.start();
    await clock.advanceAsync(SECOND);
    expect(agreed()).toBeUndefined();
    server.slow = 0;
    await clock.advanceAsync(10 * SECOND);
    expect(agreed()).toBeDefined();
    server.away = true;
    await clock.advanceAsync(50 * SECOND);
    expect(agreed()).toBeDefined();
    await clock.advanceAsync(20 * SECOND);
    expect(agreed()).toBeUndefined();
  });
});

describe('a suspend', () => {
  it('is what the uptime counts and the monotonic clock does not; looked for each second, or when the wall clock jumps', () => {
    let uptime = 100 * SECOND;
    let looks = 0;
    const look = () => {
      looks++;
      return uptime;
    };
    const suspends = new SuspendDetector({ uptime: look });
    const at = (mono: number, wall: number) => suspends.wasSuspended({ mono, wall, boot: '' });
    expect(at(0, 0)).toBe(false);
    expect(at(20 * MILLISECOND, 20 * MILLISECOND)).toBe(false);
    expect(looks).toBe(1);
    // Somebody sets the wall clock.
    uptime += 40 * MILLISECOND;
    expect([at(40 * MILLISECOND, 9 * SECOND), looks]).toEqual([false, 2]);
    uptime += 5 * SECOND;
    expect([at(60 * MILLISECOND, 14 * SECOND), looks]).toEqual([true, 3]);
    expect([at(80 * MILLISECOND, 14 * SECOND + 20 * MILLISECOND), looks]).toEqual([false, 3]);
    uptime += 2 * SECOND;
    expect([at(1_060 * MILLISECOND, 15 * SECOND), looks]).toEqual([true, 4]);
  });
});
