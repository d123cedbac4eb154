import { describe, expect, it } from 'vitest';
import { HOUR, MILLISECOND, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { concurrency, group, rolling, sec } from '../specs.ts';

const ms = MILLISECOND;

/** A tube of Tarantool: `max` tasks may be taken at once. Acquire is put and take for oneself, release is ack. */
function tube(max: number): Driver {
  return new Driver({ groups: [group('tube', [concurrency(max)])] });
}

/** A tube with sub-queues: one taken task each. */
function utube(): Driver {
  return new Driver({ groups: [group('utube', [concurrency(1, { scope: 'key' })])] });
}

describe('what the tubes of Tarantool are asked', () => {
  it('TQ-3: of 20 whose wait timeout ended none is admitted by a slot that opens afterwards', () => {
    const driver = tube(1);
    const holder = driver.ask({ lease: HOUR });
    const asks = Array.from({ length: 20 }, () => driver.ask({ ttl: 100 * ms }));
    driver.advance(101 * ms);
    driver.release(holder);
    driver.advance(SECOND);
    expect(asks.map((handle) => handle.refusal?.reason)).toEqual(Array(20).fill('expired'));
    expect(asks.map((handle) => handle.seconds)).toEqual(Array(20).fill(0.1));
  });

  it('TQ-3: nor when the timer comes late, after a suspend', () => {
    const driver = tube(1);
    const holder = driver.ask({ lease: HOUR });
    const asks = Array.from({ length: 20 }, () => driver.ask({ ttl: 100 * ms }));
    driver.stall(HOUR / 2);
    driver.release(holder);
    driver.tick();
    expect(asks.map((handle) => handle.refusal?.reason)).toEqual(Array(20).fill('expired'));
  });

  it('TQ-4: a renewed lease is still accepted when its first end has passed', () => {
    const driver = tube(1);
    const task = driver.ask({ lease: 100 * ms });
    driver.advance(50 * ms);
    expect(driver.renew(task, 300 * ms)).toMatchObject({ expiresAt: driver.now + 300 * ms });
    driver.advance(150 * ms);
    expect(driver.release(task)).toBe(true);
    expect(driver.gate.status(driver.now, 0).leases).toBe(0);
  });

  it('TQ-7: capacity 3: a fourth with .1 s is refused at .1 s', () => {
    const driver = tube(3);
    for (let index = 0; index < 3; index += 1) driver.ask({});
    const fourth = driver.ask({ ttl: 100 * ms });
    driver.advance(SECOND);
    expect(fourth.refusal?.reason).toBe('expired');
    expect(fourth.seconds).toBe(0.1);
  });

  it('TQ-7: a fourth with 1 s is admitted when one comes back; those held back are first in, first out', () => {
    const driver = tube(3);
    const held = [1, 2, 3].map(() => driver.ask({}));
    const blocked = [4, 5, 6].map((name) => driver.ask({ name: String(name), ttl: SECOND }));
    driver.advance(300 * ms);
    driver.release(held[1] as Handle);
    expect(driver.gate.status(driver.now, 0).leases).toBe(3);
    driver.advance(100 * ms);
    driver.release(held[0] as Handle);
    driver.release(held[2] as Handle);
    expect(blocked.map((handle) => handle.seconds)).toEqual([0.3, 0.4, 0.4]);
    expect(driver.gate.status(driver.now, 0).leases).toBe(3);
  });

  it('TQ-8: five who wait for 1 s are woken in order of arrival by five puts within .25 s', () => {
    const driver = tube(5);
    const held = [1, 2, 3, 4, 5].map(() => driver.ask({}));
    const takers = ['a', 'b', 'c', 'd', 'e'].map((name, index) => driver.ask({ name, ttl: SECOND - index * 10 * ms }));
    for (const handle of held) {
      driver.advance(50 * ms);
      driver.release(handle);
    }
    expect(driver.admitted().slice(5)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(new Set(takers.map((handle) => handle.permit?.serial)).size).toBe(5);
    expect(takers.map((handle) => handle.seconds)).toEqual([0.05, 0.1, 0.15, 0.2, 0.25]);
  });

  it('TQ-9: a client with two taken tasks and one pending take leaves: both slots go to others, its take gets nothing', () => {
    const driver = tube(2);
    const leaver = [driver.ask({ name: 'x1' }), driver.ask({ name: 'x2' }), driver.ask({ name: 'x3' })];
    const others = [driver.ask({ name: 'y1' }), driver.ask({ name: 'y2' })];
    driver.advance(SECOND);
    driver.disconnect(leaver);
    expect(leaver[2]?.fate).toBe('cancelled');
    expect(others.map((handle) => handle.seconds)).toEqual([1, 1]);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('TQ-12: the second of one sub-queue waits for the first, other sub-queues run beside it', () => {
    const driver = utube();
    const first = driver.ask({ name: 'a1', key: 'a' });
    const second = driver.ask({ name: 'a2', key: 'a' });
    const other = driver.ask({ name: 'b1', key: 'b' });
    expect([first.fate, second.fate, other.fate]).toEqual(['admitted', 'waiting', 'admitted']);
    driver.advance(SECOND);
    driver.release(other);
    expect(second.fate).toBe('waiting');
    driver.release(first);
    expect(second.seconds).toBe(1);
  });

  it('TQ-13: a silent worker of ttr 1 loses its task by 1.1 s; its late ack is refused and does not touch the new task', () => {
    const driver = tube(1);
    const silent = driver.ask({ lease: SECOND });
    const next = driver.ask({});
    driver.advance(sec(1.1));
    expect(next.seconds).toBe(1);
    expect(driver.release(silent)).toMatchObject({ reason: 'fenced' });
    expect(driver.renew(silent, SECOND)).toMatchObject({ reason: 'fenced' });
    expect(driver.gate.status(driver.now, 0).leases).toBe(1);
    expect(driver.release(next)).toBe(true);
  });

  it('TQ-16: 500 arrivals/s, one of 100 tenants sends 90 %: the waits of the other 99 are those they would have alone', () => {
    const alone = tenants(false);
    const beside = tenants(true);
    expect(beside.count).toBe(alone.count);
    expect(beside.mean).toBeGreaterThanOrEqual(alone.mean * 0.8);
    expect(beside.mean).toBeLessThanOrEqual(alone.mean * 1.2 + 1);
  });
});

/** Three seconds of arrivals; every tenant may pass 10 per second. Answers how many of the light ones passed and their mean wait in us. */
function tenants(noisy: boolean): { count: number; mean: number } {
  const driver = new Driver({
    groups: [group('tenants', [rolling(10, SECOND, { scope: 'key' })], { fairness: { by: 'key', weights: new Map() } })],
  });
  const light: Handle[] = [];
  for (let index = 0; index < 1_500; index += 1) {
    const heavy = index % 10 !== 0;
    if (!heavy) light.push(driver.ask({ key: `light ${Math.floor(index / 10) % 99}` }));
    else if (noisy) driver.ask({ key: 'heavy' });
    driver.advance(2 * ms);
  }
  driver.advance(SECOND);
  const waits = light.map((handle) => (handle.at === undefined ? Number.NaN : handle.at - handle.askedAt));
  return { count: waits.length, mean: waits.reduce((sum, wait) => sum + wait, 0) / waits.length };
}
