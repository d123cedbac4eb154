import { expect, it } from 'vitest';
import { DISTANT_PAST, type Instant, MINUTE, NEVER, plus, SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { permitOf } from './handle.ts';
import { concurrency, group, rate } from './specs.ts';

/* What a gate keeps after the fact, why, and for how long. */

const keyed = group('g', [rate(10, SECOND, 10, { scope: 'key' }), concurrency(1000)]);

it('a key is neither kept nor counted once its limits are whole again and its lease is over, though nobody else comes', () => {
  const driver = new Driver({ groups: [keyed] });
  const handles = Array.from({ length: 50 }, (_, index) => driver.ask({ key: `k${index}`, lease: MINUTE }));
  expect(driver.gate.status(driver.now, 0).keys).toBe(50);
  for (const handle of handles) driver.release(handle, 'used');
  driver.advance(3 * SECOND);
  expect(driver.gate.status(driver.now, 0).keys).toBe(0);
});

it('the end of a lease is remembered for ten minutes, for a holder that asks again, and not longer', () => {
  const driver = new Driver({ groups: [keyed] });
  const [used, lapsed] = [driver.ask({ key: 'a', lease: MINUTE }), driver.ask({ key: 'a', lease: 5 * SECOND })].map(permitOf);
  if (used === undefined || lapsed === undefined) throw new Error('not admitted');
  driver.call((gate, now) => gate.release(now, used.serial, used.tag, 'used', undefined));
  driver.advance(9 * MINUTE);
  expect(driver.call((gate, now) => gate.release(now, used.serial, used.tag, 'used', undefined))).toBe(false);
  expect(driver.call((gate, now) => gate.renew(now, lapsed.serial, lapsed.tag, MINUTE))).toMatchObject({ reason: 'fenced' });
  expect(driver.call((gate, now) => gate.release(now, lapsed.serial, { high: 1, low: 2 }, 'used', undefined))).toMatchObject({ reason: 'unknown_permit' });
  driver.advance(2 * MINUTE);
  driver.release(driver.ask({ key: 'b' }), 'used');
  expect(driver.call((gate, now) => gate.release(now, used.serial, used.tag, 'used', undefined))).toMatchObject({ reason: 'unknown_permit' });
});

it('a sweep forgets the keys that no longer matter and then the ends of leases, though nobody else comes, and says when it is next worth a call', () => {
  const driver = new Driver({ groups: [keyed] });
  expect(driver.gate.sweepAt).toBe(NEVER);
  const handles = Array.from({ length: 50 }, (_, index) => driver.ask({ key: `k${index}`, lease: MINUTE }));
  const sweep = (steps: number): Instant =>
    driver.call((gate, now) => {
      gate.sweep(now, steps);
      return gate.sweepAt;
    });
  expect(sweep(100)).toBe(DISTANT_PAST);
  for (const handle of handles) driver.release(handle, 'used');
  const endedAt = driver.now;
  driver.advance(3 * SECOND);
  expect(sweep(20)).toBe(DISTANT_PAST);
  expect(sweep(100)).toBe(plus(endedAt, 10 * MINUTE));
  driver.advance(10 * MINUTE);
  expect(sweep(100)).toBe(NEVER);
});
