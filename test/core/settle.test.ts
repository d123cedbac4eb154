import { describe, expect, it } from 'vitest';
import type { LimitSpec } from '../../src/core/group.ts';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { fixed, group, rate, rolling, spacing } from './specs.ts';

const UNIT = { unit: 'tokens' };

/** One permit that cost 10^12 tokens, where it asked for one. */
function indebted(limit: LimitSpec, settleMax = 10): Driver {
  const driver = new Driver({ groups: [group('g', [limit], { settleMax })] });
  const permit = driver.ask({ costs: { requests: 1, tokens: 1 } });
  driver.release(permit, 'used', { tokens: 1e12 });
  return driver;
}

describe.each([
  ['a rolling window', rolling(1000, MINUTE, UNIT), 10 * MINUTE],
  ['a fixed window', fixed(1000, MINUTE, {}, UNIT), 10 * MINUTE],
  ['a rate', rate(1000, MINUTE, 20, UNIT), 10 * MINUTE],
  ['a spacing', spacing(6 * SECOND, 0, UNIT), MINUTE],
])('%s', (_what, limit, longest) => {
  it('is blocked by a huge debit for at most settle.max of its periods, and shows the debt', () => {
    const driver = indebted(limit);
    const waits = driver.ask({ costs: { requests: 1, tokens: 1 } });
    expect(driver.gate.limits(driver.now, 0, '')[0]?.debt).toBeGreaterThan(0);
    expect(driver.gate.ownLimits(driver.now, 0)[0]?.debt).toBeGreaterThan(0);
    driver.advance(longest + SECOND);
    expect(waits.fate).toBe('admitted');
  });

  it('takes no more debt however many permits settle', () => {
    const driver = new Driver({ groups: [group('g', [limit], { settleMax: 10 })] });
    for (let permit = 0; permit < 5; permit++) {
      const handle = driver.ask({ costs: { requests: 1, tokens: 0 }, ttl: 0 });
      if (handle.fate === 'admitted') driver.release(handle, 'used', { tokens: 1e9 });
    }
    const waits = driver.ask({ costs: { requests: 1, tokens: 1 } });
    driver.advance(longest + SECOND);
    expect(waits.fate).toBe('admitted');
  });

  it('is charged no more than its number where settle.max is 1', () => {
    const driver = indebted(limit, 1);
    const [{ used, debt } = { used: 0, debt: 0 }] = driver.gate.limits(driver.now, 0, '');
    expect(used + debt).toBe(limit.quota.kind === 'spacing' ? 1 : 1000);
  });

  it('forgives its debt, wakes who waited for it within what is used, and never passes more than the limit', () => {
    const driver = indebted(limit);
    const waits = driver.ask({ costs: { requests: 1, tokens: 1 } });
    driver.call((gate, now) => gate.forgive(now, 0));
    expect(driver.gate.limits(driver.now, 0, '')[0]?.debt).toBe(0);
    expect(waits.fate).toBe('waiting');
    driver.advance(MINUTE);
    expect(waits.fate).toBe('admitted');
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });
});
