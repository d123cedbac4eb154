import { describe, expect, it } from 'vitest';
import type { GroupSpec } from '../../../src/core/group.ts';
import { DAY, HOUR, MILLISECOND, NEVER, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { bucket, discord, sec, t } from '../specs.ts';

/** A gateway queue: asks by shard, as the preset turns them into keys. */
class Gateway extends Driver {
  maxConcurrency: number;

  constructor(maxConcurrency: number, spec: GroupSpec = discord(maxConcurrency)) {
    super({ groups: [spec] });
    this.maxConcurrency = maxConcurrency;
  }

  shard(shard: number, name = String(shard)): Handle {
    return this.ask({ name, key: bucket(shard, this.maxConcurrency), ttl: 7 * DAY });
  }
}

describe('gateway queue: spacing of 5 s per bucket, fixed day aligned with its first start', () => {
  it('GQ-2: two of one bucket start exactly 5 s apart', () => {
    const queue = new Gateway(1);
    queue.shard(0);
    queue.shard(0);
    queue.advance(60 * SECOND);
    expect(queue.times()).toEqual([0, 5]);
  });

  it('GQ-2: slack is added to the period', () => {
    const queue = new Gateway(1, discord(1, 1000, 250 * MILLISECOND));
    queue.shard(0);
    queue.shard(0);
    queue.advance(60 * SECOND);
    expect(queue.times()).toEqual([0, 5.25]);
  });

  it('GQ-3: ten of one bucket start at 0, 5, 10 .. 45 s in order of arrival', () => {
    const queue = new Gateway(1);
    const names = Array.from({ length: 10 }, (_, index) => queue.shard(0, `call ${index}`).name);
    queue.advance(HOUR);
    expect(queue.admitted()).toEqual(names);
    expect(queue.times()).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
  });

  it('GQ-4: two buckets do not wait for one another', () => {
    const queue = new Gateway(2);
    queue.shard(1);
    queue.shard(0);
    expect(queue.times()).toEqual([0, 0]);
  });

  it('GQ-5: of shards 0, 1, 3, 3 in four buckets only the last waits', () => {
    const queue = new Gateway(4);
    for (const shard of [0, 1, 3, 3]) queue.shard(shard);
    queue.advance(HOUR);
    expect(queue.times()).toEqual([0, 0, 0, 5]);
  });

  it('GQ-6: with nothing remaining the first start is when the provider resets (the preset pauses until then)', () => {
    const queue = new Gateway(1, discord(1, 1));
    queue.call((gate, now) => gate.pause(now, 0, t(60)));
    queue.shard(0);
    queue.advance(HOUR);
    expect(queue.times()).toEqual([60]);
  });

  it('GQ-7: a day of one start, idle for 12 h, begins with that start', () => {
    const queue = new Gateway(1, discord(1, 1));
    queue.advance(12 * HOUR);
    queue.shard(0);
    queue.shard(0);
    queue.advance(3 * DAY);
    expect(queue.times()).toEqual([12 * 3600, 36 * 3600]);
  });

  it('GQ-8: a concurrency of 0 writes no limits and everybody starts at once', () => {
    const queue = new Gateway(0);
    queue.shard(0);
    queue.shard(0);
    expect(queue.times()).toEqual([0, 0]);
  });

  it('GQ-9: an update to two buckets in mid-wait starts both within 5 s and loses nobody', () => {
    const queue = new Gateway(1);
    queue.shard(0);
    const second = queue.shard(1);
    queue.advance(SECOND);
    expect(second.fate).toBe('waiting');
    expect(queue.call((gate, now) => gate.reconfigure(now, [discord(2)]))).toBeUndefined();
    queue.maxConcurrency = 2;
    // The preset asks again under the new bucket; the place in the old one is given up.
    expect(queue.cancel(second)).toBe(true);
    queue.shard(1);
    queue.advance(4 * SECOND - 1);
    expect(queue.times()).toEqual([0, 1]);
  });

  it('GQ-9: a larger day reaches those already in line', () => {
    const queue = new Gateway(1, discord(1, 1));
    queue.shard(0);
    const second = queue.shard(0);
    queue.advance(10 * SECOND);
    expect(second.fate).toBe('waiting');
    expect(queue.call((gate, now) => gate.reconfigure(now, [discord(1, 2)]))).toBeUndefined();
    queue.advance(1);
    expect(queue.times()).toEqual([0, 10]);
  });

  it('GQ-11: of 50 asks on a budget of 10, 45 leave: 5 start, 5 remain', () => {
    const queue = new Gateway(1, discord(1, 10));
    const asks = Array.from({ length: 50 }, (_, shard) => queue.shard(shard));
    queue.advance(2 * SECOND);
    for (const ask of asks.slice(5)) expect(queue.cancel(ask)).toBe(true);
    queue.advance(HOUR);
    expect(queue.times()).toEqual([0, 5, 10, 15, 20]);
    const day = queue.call((gate, now) => gate.limits(now, 0, '0')).find((entry) => entry.name === 'day');
    expect(day).toMatchObject({ capacity: 10, used: 5 });
  });

  it('GQ-13: a bucket nobody used starts at once, beside one that waits', () => {
    const queue = new Gateway(2);
    queue.shard(0);
    queue.shard(0);
    queue.advance(100 * MILLISECOND);
    queue.shard(1);
    expect(queue.times()).toEqual([0, 0.1]);
  });

  it('GQ-15: granted at 0, killed at 1, up at 2: the next start is not before 5 s', () => {
    const before = new Driver({ groups: [discord(1)], recording: true });
    expect(before.ask({ key: '0' }).seconds).toBe(0);
    before.advance(SECOND);
    const after = new Driver({ groups: [discord(1)], recording: true, term: 2n, from: t(2), now: t(2), restored: before.restored() });
    const next = after.ask({ key: '0' });
    const other = after.ask({ key: 'unused' });
    after.advance(60 * SECOND);
    expect(next.seconds).toBeGreaterThanOrEqual(5);
    expect(next.seconds).toBeLessThanOrEqual(7);
    expect(other.seconds).toBe(2);
  });

  it('GQ-15: the day is remembered over a crash as well', () => {
    const before = new Driver({ groups: [discord(1, 2)], recording: true });
    before.ask({ key: '0' });
    before.ask({ key: '1' });
    before.advance(SECOND);
    const after = new Driver({ groups: [discord(1, 2)], recording: true, term: 2n, from: t(2), now: t(2), restored: before.restored() });
    const next = after.ask({ key: '2', ttl: 7 * DAY });
    after.advance(5 * DAY);
    expect(next.seconds).toBeGreaterThanOrEqual(24 * 3600);
    expect(next.seconds).toBeLessThanOrEqual(24 * 3600 + 2);
  });

  it('GQ-17: a hundred looks spend no slot and change no order', () => {
    const queue = new Gateway(1);
    queue.shard(0);
    const waiting = queue.shard(0);
    const { keys } = queue.gate.status(queue.now, 0);
    for (let look = 0; look < 100; look += 1) {
      queue.call((gate, now) => {
        gate.explain(now, waiting.ask);
        gate.explain(now, { ...waiting.ask, key: `never seen ${look}` });
        gate.limits(now, 0, '0');
        gate.limits(now, 0, `never seen ${look}`);
        gate.status(now, 0);
        gate.waiters(now, 0, 0, 10);
        gate.position(now, waiting.ref);
      });
      queue.advance(10 * MILLISECOND);
    }
    queue.advance(60 * SECOND);
    expect(queue.times()).toEqual([0, 5]);
    expect(queue.gate.status(queue.now, 0).keys).toBeLessThanOrEqual(keys);
    expect(queue.gate.audit(queue.now)).toEqual([]);
  });

  it('says when the next start is allowed (what clients ask of Discord, discord-api-docs 1328)', () => {
    const queue = new Gateway(1);
    queue.shard(0);
    const waiting = queue.shard(0);
    expect(queue.gate.position(queue.now, waiting.ref)).toMatchObject({
      place: 1,
      expectedAt: t(5),
      limit: 'identify',
      range: { earliest: t(5), latest: t(5) },
    });
    queue.advance(sec(4.999_999));
    expect(waiting.fate).toBe('waiting');
    queue.advance(1);
    expect(waiting.seconds).toBe(5);
    expect(queue.gate.wakeAt(queue.now)).toBe(NEVER);
  });
});
