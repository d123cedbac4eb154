import { describe, expect, it } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { backlog, concurrency, group, rate, spacing } from './specs.ts';

describe('the time to come back', () => {
  it('is the end of the lease that ends first, for who asks now or not at all, is shed, or has waited in vain', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(2)], backlog({ requests: 1 }))] });
    driver.ask({ lease: 117 * SECOND });
    const second = driver.ask({ lease: 5 * MINUTE });
    const end = driver.now + 117 * SECOND;
    expect(driver.ask({ ttl: 0 }).refusal).toMatchObject({ reason: 'expired', limit: 'concurrency', retryAt: end });
    const waits = driver.ask({ ttl: 10 * SECOND });
    expect(driver.ask({ ttl: 10 * SECOND }).refusal).toMatchObject({ reason: 'shed', retryAt: end });
    driver.renew(second, 60 * SECOND);
    driver.advance(10 * SECOND);
    expect(waits.refusal).toMatchObject({ reason: 'expired', retryAt: driver.now + 50 * SECOND });
  });

  it('is not made up of how long leases lasted before', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(1)])] });
    const long = driver.ask({ lease: 30 * SECOND });
    driver.advance(15 * SECOND);
    driver.release(long);
    driver.ask({ lease: 3 * SECOND });
    expect(driver.ask({ ttl: 0 }).refusal?.retryAt).toBe(driver.now + 3 * SECOND);
  });

  it('follows renewals, releases and revocations', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(2)])] });
    const [a, b] = [driver.ask({ lease: 10 * SECOND }), driver.ask({ lease: 20 * SECOND })];
    const told = () => ((driver.ask({ ttl: 0 }).refusal?.retryAt ?? 0) - driver.now) / SECOND;
    expect(told()).toBe(10);
    driver.renew(a, 60 * SECOND);
    expect(told()).toBe(20);
    driver.renew(b, 5 * SECOND);
    expect(told()).toBe(5);
    driver.release(b);
    driver.ask({ lease: 90 * SECOND });
    expect(told()).toBe(60);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('is shown of the limit, too, and is the later one where a rate binds as well', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(1), spacing(MINUTE)])] });
    driver.ask({ lease: 10 * SECOND });
    expect(driver.gate.limits(driver.now, 0, '')[0]?.resetAt).toBe(driver.now + 10 * SECOND);
    expect(driver.ask({ ttl: 0 }).refusal?.retryAt).toBe(driver.now + MINUTE);
  });
});

describe('a group as it is shown', () => {
  it('names the keys that use a limit, the fullest first, and how many there are', () => {
    const driver = new Driver({ groups: [group('g', [rate(500, MINUTE, 20, { scope: 'key' })])] });
    for (let key = 1; key <= 15; key++) for (let count = 0; count < key; count++) driver.ask({ key: `k${key}` });
    const [limit] = driver.gate.ownLimits(driver.now, 0);
    expect(limit).toMatchObject({ permits: 500, per: MINUTE, capacity: 20, keys: { count: 15 } });
    expect(limit?.keys?.fullest.map(({ key, used }) => [key, used])).toEqual(Array.from({ length: 10 }, (_, index) => [`k${15 - index}`, 15 - index]));
  });
});
