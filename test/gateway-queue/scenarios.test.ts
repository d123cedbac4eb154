import { describe, expect, test } from 'vitest';
import { gatewayQueueGroup } from '../../src/config/gateway-queue-options.ts';
import { SECOND } from '../../src/core/time.ts';
import { optionsOf, started, times } from './rig.ts';

/* What a replacement of twilight's and PluralKit's gateway queues must do, in virtual time over the real admission and its store. Slack is 0. */

const HOUR = 3_600;

/** One more than `limit` of these times lie in some stretch of `seconds`. */
function exceeds(at: readonly (number | undefined)[], limit: number, seconds: number): boolean {
  const sorted = at.filter((each) => each !== undefined).toSorted((a, b) => a - b);
  return sorted.some((each, index) => (sorted[index + limit] ?? Number.POSITIVE_INFINITY) - each < seconds);
}

describe('One bucket', () => {
  test('GQ-2: two requests at once are answered one period apart, never less', async () => {
    const rig = await started();
    const shards = [rig.ask(0), rig.ask(0)];
    await rig.pass(6);
    const [first, second] = times(shards);
    expect(second! - first!).toBeGreaterThanOrEqual(5);
    expect(second! - first!).toBeLessThanOrEqual(5.25);
  });

  test('GQ-3: ten at once are answered each period in the order of their arrival, never two in a window of a period', async () => {
    const rig = await started();
    const shards = Array.from({ length: 10 }, (_, shard) => rig.ask(shard));
    await rig.pass(60);
    const at = times(shards);
    expect(at.map((each) => Math.floor(each!))).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
    expect(at).toEqual(at.toSorted((a, b) => a! - b!));
    expect(exceeds(at, 1, 5)).toBe(false);
  });

  test('GQ-10: a hundred leave at 7 s, a hundred come at 8 s: those are answered one a period from the next one on', async () => {
    const rig = await started();
    const before = Array.from({ length: 100 }, (_, shard) => rig.ask(shard));
    await rig.pass(7);
    const last = Math.max(...times(before).filter((at) => at !== undefined));
    for (const shard of before) shard.leave();
    expect(rig.queue.held).toBe(0);
    await rig.pass(1);
    expect(rig.rig.waiting('gateway-queue')).toBe(0);
    const after = Array.from({ length: 100 }, (_, shard) => rig.ask(shard));
    await rig.pass(101 * 5);
    const at = times(after).filter((each) => each !== undefined);
    expect(at).toHaveLength(100);
    expect(Math.min(...at) - last).toBeLessThanOrEqual(5.01);
    expect(Math.max(...at) - last).toBeLessThanOrEqual(100 * 5 + 0.5);
    expect(exceeds([...times(before), ...at], 1, 5)).toBe(false);
  });

  test('GQ-8: without a limit (max_concurrency 0) two of one shard are answered at once', async () => {
    expect(gatewayQueueGroup(optionsOf('maxConcurrency: 0')).spec.limits).toEqual([]);
    const rig = await started('maxConcurrency: 0');
    const shards = [rig.ask(3), rig.ask(3)];
    await rig.pass(0.05);
    expect(times(shards)).toEqual([0, 0]);
  });

  test('GQ-15: granted at 0, killed at 1, up again at 2: a request at 2 is answered at 5, not before', async () => {
    const rig = await started();
    const first = rig.ask(0);
    await rig.pass(2);
    await rig.start();
    const second = rig.ask(0);
    await rig.pass(10);
    expect(second.at! - first.at!).toBeGreaterThanOrEqual(5);
    expect(second.at! - first.at!).toBeLessThanOrEqual(8.5);
  });
});

describe('Buckets', () => {
  test('GQ-4: with two buckets shards 1 and 0 are both answered within a period', async () => {
    const rig = await started('maxConcurrency: 2');
    const shards = [rig.ask(1), rig.ask(0)];
    await rig.pass(4.9);
    expect(times(shards).every((at) => at !== undefined)).toBe(true);
  });

  test('GQ-5: with four buckets shards 0, 1 and 3 are answered within a period, a second 3 after it', async () => {
    const rig = await started('maxConcurrency: 4');
    const shards = [0, 1, 3, 3].map((shard) => rig.ask(shard));
    await rig.pass(6);
    const at = times(shards);
    expect(at.slice(0, 3).every((each) => each! < 5)).toBe(true);
    expect(at[3]).toBeGreaterThanOrEqual(5);
  });

  test('GQ-13: an idle bucket answers at once, though another was just used', async () => {
    const rig = await started('maxConcurrency: 2');
    rig.ask(0);
    await rig.pass(0.1);
    const shard = rig.ask(1);
    await rig.pass(0.05);
    expect(shard.at! - 0.1).toBeLessThanOrEqual(0.05);
  });

  test('GQ-9: shards 0 and 1 wait in one bucket, which become two: both are answered within a period, none is lost', async () => {
    const rig = await started('', { maxConcurrency: 1 });
    const shards = [rig.ask(0), rig.ask(1)];
    await rig.pass(0.1);
    expect(times(shards).filter((at) => at !== undefined)).toHaveLength(1);
    rig.queue.setMaxConcurrency(2);
    await rig.pass(4.8);
    expect(times(shards).every((at) => at !== undefined)).toBe(true);
    expect(rig.queue.held).toBe(0);
  });

  test('Fewer buckets: a bucket waits for the last answer of every shard that it gets', async () => {
    const rig = await started('maxConcurrency: 4');
    for (const shard of [0, 1, 2]) rig.ask(shard);
    await rig.pass(4);
    const third = rig.ask(3);
    await rig.pass(0.1);
    expect(third.at).toBeLessThan(4.1);
    rig.queue.setMaxConcurrency(1);
    const next = rig.ask(4);
    await rig.pass(20);
    expect(next.at! - third.at!).toBeGreaterThanOrEqual(5);
  });

  test('GQ-19: sixteen buckets answer sixteen of thirty-two shards at once, the others one period later', async () => {
    const rig = await started('variant: pluralkit, maxConcurrency: 16');
    const shards = Array.from({ length: 32 }, (_, shard) => rig.ask(shard));
    await rig.pass(6);
    const at = times(shards);
    expect(at.slice(0, 16).every((each) => each! < 0.1)).toBe(true);
    expect(at.slice(16).every((each) => each! >= 5 && each! < 5.25)).toBe(true);
  });

  test('Two thousand and forty-eight shards of sixteen buckets all wait, and none is turned away', async () => {
    const rig = await started('maxConcurrency: 16');
    const shards = Array.from({ length: 2048 }, (_, shard) => rig.ask(shard));
    await rig.pass(128 * 5 + 1);
    expect(shards.filter(({ closed }) => closed !== undefined)).toEqual([]);
    expect(times(shards).filter((at) => at === undefined)).toEqual([]);
    for (let bucket = 0; bucket < 16; bucket++) expect(exceeds(times(shards.filter(({ shard }) => shard % 16 === bucket)), 1, 5)).toBe(false);
  });
});

describe('A shard that comes back', () => {
  test('finds its place within 10 s, before those who came after it', async () => {
    const rig = await started();
    rig.ask(0);
    const lost = rig.ask(1);
    const later = rig.ask(2);
    await rig.pass(1);
    lost.leave();
    await rig.pass(1);
    const back = rig.ask(1);
    await rig.pass(20);
    expect(back.at).toBeLessThan(later.at!);
  });

  test('stands at the end after more than 10 s', async () => {
    const rig = await started();
    for (const shard of [0, 5, 6, 7]) rig.ask(shard);
    const lost = rig.ask(1);
    const later = rig.ask(2);
    lost.leave();
    await rig.pass(10.1);
    const back = rig.ask(1);
    await rig.pass(60);
    expect(back.at).toBeGreaterThan(later.at!);
  });

  test('gives its place to one caller, not to two', async () => {
    const rig = await started();
    rig.ask(0);
    const lost = rig.ask(1);
    await rig.pass(1);
    lost.leave();
    const [first, second] = [rig.ask(1), rig.ask(1)];
    await rig.pass(30);
    expect(second.at! - first.at!).toBeGreaterThanOrEqual(5);
  });
});

describe('Session starts', () => {
  test('GQ-6: none left, the window ends in 60 s: the first answer comes then', async () => {
    const rig = await started('', { total: 1, remaining: 0, resetAfter: 60 * SECOND });
    const shard = rig.ask();
    await rig.pass(70);
    expect(Math.abs(shard.at! - 60)).toBeLessThanOrEqual(0.01);
  });

  test('GQ-7: one left, idle for twelve hours, then two: the first at once, the second 24 hours after it', async () => {
    const rig = await started('', { total: 1, remaining: 1 });
    await rig.pass(12 * HOUR);
    const shards = [rig.ask(), rig.ask()];
    await rig.pass(25 * HOUR);
    const [first, second] = times(shards);
    expect(first).toBeLessThan(12 * HOUR + 0.05);
    expect(Math.abs(second! - first! - 24 * HOUR)).toBeLessThanOrEqual(0.01);
  });

  test('GQ-11: ten left, fifty wait, forty-five leave: five are answered and five are left', async () => {
    const rig = await started('', { total: 1000, remaining: 10 });
    const shards = Array.from({ length: 50 }, (_, shard) => rig.ask(shard));
    for (const shard of shards.slice(5)) shard.leave();
    await rig.pass(60);
    expect(times(shards).filter((at) => at !== undefined)).toHaveLength(5);
    expect(rig.left).toBe(5);
    expect(rig.discord?.remaining).toBe(5);
  });

  test('GQ-18: limits that cannot be had when a window ends open nothing; they are asked for with backoff, and it goes on once they come', async () => {
    const rig = await started('', { total: 1, remaining: 0, resetAfter: 60 * SECOND });
    const shard = rig.ask();
    rig.discord!.down = true;
    await rig.pass(10 * 60);
    expect(shard.at).toBeUndefined();
    const failures = rig.front.events.filter(({ kind }) => kind === 'limits_failed');
    expect(failures.length).toBeGreaterThanOrEqual(4);
    const { asked } = rig.discord!;
    for (let at = 2; at < asked.length; at++) expect(asked[at]! - asked[at - 1]!).toBeGreaterThanOrEqual(5 * SECOND);
    rig.discord!.down = false;
    await rig.pass(6 * 60);
    expect(shard.at).toBeGreaterThanOrEqual(600);
  });

  test('GQ-18: callers that come before the limits are known wait, and are answered in their order', async () => {
    const rig = await started('', { down: true } as object);
    rig.discord!.down = true;
    await rig.start();
    const shards = [rig.ask(0), rig.ask(1)];
    await rig.pass(4);
    expect(times(shards)).toEqual([undefined, undefined]);
    rig.discord!.down = false;
    await rig.pass(12);
    expect(times(shards).every((at) => at !== undefined && at >= 5)).toBe(true);
    expect(shards[0]!.at).toBeLessThan(shards[1]!.at!);
  });

  test('Starts that other processes make count, and those of callers that died are given back', async () => {
    const rig = await started('refresh: 60s', { total: 100 });
    for (let other = 0; other < 40; other++) rig.discord!.identify(other);
    await rig.pass(130);
    expect(rig.left).toBe(60);
    for (let shard = 0; shard < 5; shard++) rig.ask(shard, { dies: true });
    await rig.pass(30);
    expect(rig.left).toBe(55);
    await rig.pass(180);
    expect(rig.left).toBe(60);
  });

  test('A kill in the middle costs no start and gives none back: what is left is what Discord says', async () => {
    const rig = await started('', { total: 1000, remaining: 100, maxConcurrency: 4 });
    const shards = Array.from({ length: 16 }, (_, shard) => rig.ask(shard));
    await rig.pass(7);
    await rig.start();
    const again = shards.filter(({ at }) => at === undefined).map(({ shard }) => rig.ask(shard));
    await rig.pass(60);
    expect(times(again).every((at) => at !== undefined)).toBe(true);
    rig.discord!.judge(5 * SECOND);
    expect(rig.discord!.identifies).toHaveLength(16);
    expect(rig.left).toBe(84);
  });

  test('A kill forgets no answer whose identify is on its way; one that never came is given back later', async () => {
    const rig = await started('', { total: 1000, remaining: 100, maxConcurrency: 4 });
    for (let shard = 0; shard < 4; shard++) rig.ask(shard, { dies: true });
    await rig.pass(1);
    await rig.start();
    expect(rig.left).toBe(96);
    await rig.pass(40);
    expect(rig.left).toBe(100);
  });
});
