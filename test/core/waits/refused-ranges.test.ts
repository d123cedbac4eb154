import { describe, expect, it } from 'vitest';
import type { GateRequest } from '../../../src/core/request.ts';
import { MILLISECOND, NEVER, plus, SECOND } from '../../../src/core/time.ts';
import { type AskOptions, Driver } from '../driver.ts';
import { backlog, concurrency, group, spacing, t } from '../specs.ts';

function explained(driver: Driver, ask: AskOptions = {}): ReturnType<Driver['gate']['explain']> {
  const last = driver.handles.at(-1)?.ask as GateRequest;
  const { key = '', priority = last.priority, ttl = 3600 * SECOND } = ask;
  return driver.gate.explain(driver.now, { ...last, key, priority, waitUntil: (driver.now + ttl) as GateRequest['waitUntil'] });
}

describe('a request that is refused', () => {
  it('is given the range that Explain gives, in which it would go if it were asked again', () => {
    const driver = new Driver({ groups: [group('g', [spacing(5 * SECOND)])] });
    driver.ask({});
    for (let waiting = 0; waiting < 3; waiting++) driver.ask({});
    const { refusal } = driver.ask({ ttl: 0 });
    expect(refusal).toMatchObject({ reason: 'infeasible', range: { earliest: t(20), latest: t(20) } });
    expect(explained(driver).place.range).toEqual(refusal?.range);
    expect(explained(driver, { ttl: 0 }).refusal?.range).toEqual(refusal?.range);
  });

  it('is given it when its wait has ended, behind those that came after it', () => {
    const driver = new Driver({ groups: [group('g', [spacing(10 * SECOND)])] });
    driver.ask({});
    driver.ask({ name: 'next' });
    const short = driver.ask({ ttl: 25 * SECOND, priority: 500 });
    for (let later = 0; later < 3; later++) driver.ask({ priority: 1 });
    driver.advance(26 * SECOND);
    expect(short.refusal).toMatchObject({ reason: 'expired', range: { earliest: t(50), latest: t(50) } });
  });

  it('is given it when it is shed, as the arrival or as the waiter that makes room', () => {
    const driver = new Driver({ groups: [group('g', [spacing(5 * SECOND)], { ...backlog({ requests: 2 }) })] });
    driver.ask({});
    driver.ask({ priority: 5 });
    const victim = driver.ask({ priority: 9 });
    const arrival = driver.ask({ priority: 9 });
    expect(arrival.refusal).toMatchObject({ reason: 'shed', range: { earliest: t(15), latest: t(15) } });
    driver.advance(SECOND);
    driver.ask({ priority: 1 });
    expect(victim.refusal).toMatchObject({ reason: 'shed', range: { earliest: t(15), latest: t(15) } });
  });

  it('is given none where only a release helps and none has come yet', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(1)])] });
    driver.ask({});
    const { refusal } = driver.ask({ ttl: 0 });
    expect(refusal).toMatchObject({ reason: 'expired' });
    expect(refusal).not.toHaveProperty('range');
  });
});

it('works out one range in 10 ms, for refusals of the same key and priority', () => {
  const driver = new Driver({ groups: [group('g', [spacing(5 * SECOND)])] });
  driver.ask({ key: 'a' });
  const range = { earliest: t(5), latest: t(5) };
  expect(driver.ask({ ttl: 0, key: 'a' }).refusal).toMatchObject({ range });
  expect(driver.ask({ ttl: 0, key: 'b' }).refusal).not.toHaveProperty('range');
  expect(driver.ask({ ttl: 0, key: 'a', priority: 3 }).refusal).not.toHaveProperty('range');
  expect(driver.ask({ ttl: 0, key: 'a' }).refusal).toMatchObject({ range });
  driver.advance(10 * MILLISECOND);
  expect(driver.ask({ ttl: 0, key: 'b' }).refusal).toMatchObject({ range });
});

it('tells who goes before a request: how many, how many are more urgent or of its key, and who is next', () => {
  const driver = new Driver({ groups: [group('g', [spacing(5 * SECOND)])] });
  driver.ask({});
  expect(explained(driver).ahead).toBeUndefined();
  driver.ask({ key: 'a', priority: 5, name: 'first' });
  driver.ask({ key: 'b', priority: 5 });
  driver.advance(SECOND);
  driver.ask({ key: 'b', priority: 1, name: 'urgent' });
  driver.ask({ key: 'a', priority: 9 });
  expect(explained(driver, { key: 'a', priority: 5 }).ahead).toEqual({
    total: 3,
    moreUrgent: 1,
    ofKey: 1,
    next: { key: 'b', priority: 1, since: t(1), holder: 'urgent' },
  });
});

describe('a pause', () => {
  it('is named by what it refuses, with a time to come back, though it has no end', () => {
    const driver = new Driver({ groups: [group('g', [spacing(SECOND)])] });
    driver.call((gate, now) => gate.pause(now, 0, NEVER));
    const waited = driver.ask({ ttl: 2 * SECOND });
    const atOnce = driver.ask({ ttl: 0 });
    driver.advance(2 * SECOND);
    for (const { refusal } of [waited, atOnce]) expect(refusal).toMatchObject({ reason: 'expired', limit: 'pause' });
    expect(waited.refusal?.retryAt).toBe(t(3));
    expect(atOnce.refusal?.retryAt).toBe(t(1));
  });

  it('with an end is before all of a range', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(1)])] });
    for (let job = 0; job < 20; job++) {
      const holder = driver.ask({});
      driver.advance((job % 5) * SECOND + 1);
      driver.release(holder);
    }
    driver.ask({});
    driver.advance(SECOND);
    const before = explained(driver).place.range;
    driver.call((gate, now) => gate.pause(now, 0, plus(now, 300 * SECOND)));
    const { range } = explained(driver).place;
    expect(before?.earliest).toBeLessThan(driver.now + 10 * SECOND);
    expect(range?.earliest).toBeGreaterThanOrEqual(driver.now + 300 * SECOND);
    expect(range?.latest).toBeLessThan(driver.now + 310 * SECOND);
  });
});

it('learns nothing for waits of seconds from an event loop that was some milliseconds late', () => {
  const driver = new Driver({ groups: [group('g', [spacing(5 * SECOND)])] });
  driver.ask({});
  driver.advance(5 * SECOND - MILLISECOND);
  driver.ask({});
  // The next look at the gate comes 12 ms late.
  driver.now = (driver.now + 12 * MILLISECOND) as typeof driver.now;
  driver.advance(0);
  driver.ask({});
  const { range, expectedAt } = explained(driver).place;
  expect(range).toEqual({ earliest: expectedAt, latest: expectedAt });
});
