import { describe, expect, it } from 'vitest';
import { HOUR, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import { concurrency, group, rolling } from '../specs.ts';

/** The least of a few runs: what the work costs, without what the machine did meanwhile. */
function leastMs(runs: number, work: () => () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run += 1) {
    const timed = work();
    const start = performance.now();
    timed();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Ten sub-queues with a task taken in each and `waiting` behind; then `turns` acks. Answers microseconds per ack and take. */
function subQueues(waiting: number, turns: number): number {
  const least = leastMs(2, () => {
    const driver = new Driver({ groups: [group('utube', [concurrency(1, { scope: 'key' })], { fairness: { by: 'key', weights: new Map() } })] });
    const held = Array.from({ length: 10 }, (_, key) => driver.ask({ key: String(key), lease: HOUR }));
    for (let index = 0; index < waiting; index += 1) driver.ask({ key: String(index % 10), lease: HOUR });
    driver.onAdmitted = (handle) => held.push(handle);
    return () => {
      for (let turn = 0; turn < turns; turn += 1) {
        const next = held.shift();
        if (!next) throw new Error('nothing is held: an ack did not wake the next');
        driver.release(next);
      }
    };
  });
  return (least * 1000) / turns;
}

describe('cost does not grow with what cannot be admitted', () => {
  it('TQ-14: 10 sub-queues: an ack costs the same with 1,500 and with 150,000 tasks behind', () => {
    const few = subQueues(1_500, 1_000);
    const many = subQueues(150_000, 1_000);
    expect(many).toBeLessThan(Math.max(few, 3) * 6);
  }, 60_000);

  it('TQ-15: 50,000 expired waiters and 10 takers: no call lasts 50 ms, and all are through within a second', () => {
    let longest = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 4; run += 1) {
      const driver = new Driver({ groups: [group('tube', [concurrency(10)])] });
      const held = Array.from({ length: 10 }, () => driver.ask({ lease: HOUR }));
      for (let index = 0; index < 50_000; index += 1) driver.ask({ ttl: SECOND });
      for (let index = 0; index < 10; index += 1) driver.ask({ ttl: HOUR, name: 'taker' });
      driver.stall(2 * SECOND);
      const calls = held.map(({ permit }) =>
        timed(() => driver.gate.release(driver.now, permit?.serial ?? 0, permit?.tag ?? { high: 0, low: 0 }, 'used', undefined)),
      );
      for (let slice = 0; slice < 1_000 && driver.gate.wakeAt(driver.now) <= driver.now; slice += 1) calls.push(timed(() => driver.gate.tick(driver.now)));
      expect(driver.gate.status(driver.now, 0)).toMatchObject({ waiting: 0, leases: 10 });
      expect(calls.reduce((sum, each) => sum + each, 0)).toBeLessThan(1_000);
      longest = Math.min(longest, Math.max(...calls));
    }
    expect(longest).toBeLessThan(50);
  }, 60_000);

  it('X4: one key with 20,000 blocked waiters adds nothing to the others: admitted in the moment they ask', () => {
    const driver = new Driver({ groups: [group('keys', [rolling(1, SECOND, { scope: 'key' })], { fairness: { by: 'key', weights: new Map() } })] });
    for (let index = 0; index < 20_000; index += 1) driver.ask({ key: 'blocked', ttl: 100 * HOUR });
    const start = performance.now();
    const others = Array.from({ length: 1_000 }, (_, key) => driver.ask({ key: `free ${key}` }));
    const each = (performance.now() - start) / 1_000;
    expect(others.every((handle) => handle.seconds === 0)).toBe(true);
    expect(each).toBeLessThan(5);
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
