import { expect, test } from 'vitest';
import { wasSuspended } from '../../../src/coordination/clocks/suspend-detector.ts';
import { SECOND } from '../../../src/core/time.ts';

test('The detector knows a suspend from a clock that was set', () => {
  const before = { uptime: 100 * SECOND, mono: 90 * SECOND };
  expect(wasSuspended(before, { uptime: 101 * SECOND, mono: 91 * SECOND })).toBe(false);
  expect(wasSuspended(before, { uptime: 101.19 * SECOND, mono: 91 * SECOND })).toBe(false);
  expect(wasSuspended(before, { uptime: 160 * SECOND, mono: 91 * SECOND })).toBe(true);
});
