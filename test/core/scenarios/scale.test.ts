import { describe, expect, it, vi } from 'vitest';
import { Concurrency } from '../../../src/core/limits/concurrency.ts';
import { RollingWindow } from '../../../src/core/limits/rolling-window.ts';
import { HOUR, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import { concurrency, group, rolling } from '../specs.ts';

/*
 * Cost without a clock: how often limits are asked, and how much one call does. Times stand in bench/README.md.
 */

/** How often limits are asked when they would open, while `work` runs. */
function questions(work: () => void): number {
  const spies = [vi.spyOn(Concurrency.prototype, 'readyAt'), vi.spyOn(RollingWindow.prototype, 'readyAt')];
  try {
    work();
    return spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** Ten sub-queues with a task taken in each and `waiting` behind; then `turns` acks. Answers questions per ack and take. */
function subQueues(waiting: number, turns: number): number {
  const driver = new Driver({ groups: [group('utube', [concurrency(1, { scope: 'key' })], { fairness: { by: 'key', weights: new Map() } })] });
  const held = Array.from({ length: 10 }, (_, key) => driver.ask({ key: String(key), lease: HOUR }));
  for (let index = 0; index < waiting; index += 1) driver.ask({ key: String(index % 10), lease: HOUR });
  driver.onAdmitted = (handle) => held.push(handle);
  return (
    questions(() => {
      for (let turn = 0; turn < turns; turn += 1) {
        const next = held.shift();
        if (!next) throw new Error('nothing is held: an ack did not wake the next');
        driver.release(next);
      }
    }) / turns
  );
}

describe('cost does not grow with what cannot be admitted', () => {
  it('TQ-14: 10 sub-queues: an ack asks as few limits with 150,000 tasks behind as with 1,500', () => {
    const few = subQueues(1_500, 500);
    expect(subQueues(150_000, 500)).toBe(few);
    expect(few).toBeLessThan(10);
  });

  it('TQ-15: 50,000 expired waiters and 10 takers: no call ends more than 5,000 of them, and takers wait for nobody who is gone', () => {
    const driver = new Driver({ groups: [group('tube', [concurrency(10)])] });
    const held = Array.from({ length: 10 }, () => driver.ask({ lease: HOUR }));
    for (let index = 0; index < 50_000; index += 1) driver.ask({ ttl: SECOND });
    for (let index = 0; index < 10; index += 1) driver.ask({ ttl: HOUR, name: 'taker' });
    driver.stall(2 * SECOND);
    const { gate } = driver;
    const done: number[] = [];
    for (const { permit } of held) {
      gate.release(driver.now, permit?.serial ?? 0, permit?.tag ?? { high: 0, low: 0 }, 'used', undefined);
      done.push(gate.takeEvents().length);
    }
    for (let slice = 0; slice < 1_000 && gate.wakeAt(driver.now) <= driver.now; slice += 1) {
      gate.tick(driver.now);
      done.push(gate.takeEvents().length);
    }
    expect(Math.max(...done)).toBeLessThanOrEqual(5_000 + 20);
    expect(done.length).toBeLessThan(40);
    expect(gate.status(driver.now, 0)).toMatchObject({ waiting: 0, leases: 10 });
  });

  it('X4: one key with 20,000 blocked waiters adds nothing to the others: admitted in the moment they ask', () => {
    const free = (blocked: number): number => {
      const driver = new Driver({ groups: [group('keys', [rolling(1, SECOND, { scope: 'key' })], { fairness: { by: 'key', weights: new Map() } })] });
      for (let index = 0; index < blocked; index += 1) driver.ask({ key: 'blocked', ttl: 100 * HOUR });
      return questions(() => {
        const others = Array.from({ length: 1_000 }, (_, key) => driver.ask({ key: `free ${key}` }));
        expect(others.every((handle) => handle.seconds === 0)).toBe(true);
      });
    };
    expect(free(20_000)).toBe(free(200));
  });

  it('X4: one blocked child adds nothing to its sibling', () => {
    const driver = new Driver({
      groups: [
        group('root', [rolling(1000, SECOND)]),
        group('blocked', [concurrency(1)], { parent: { group: 'root', share: undefined } }),
        group('free', [], { parent: { group: 'root', share: undefined } }),
      ],
    });
    for (let index = 0; index < 100; index += 1) driver.ask({ group: 'blocked', lease: HOUR });
    driver.advance(SECOND);
    const free = Array.from({ length: 100 }, () => driver.ask({ group: 'free' }));
    expect(free.every((handle) => handle.seconds === 1)).toBe(true);
  });
});
