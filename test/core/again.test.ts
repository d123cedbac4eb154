import { describe, expect, it } from 'vitest';
import type { Gate } from '../../src/core/gate/gate.ts';
import type { GroupSpec } from '../../src/core/group.ts';
import { arrivalOf } from '../../src/core/request.ts';
import { DISTANT_PAST, MINUTE, SECOND } from '../../src/core/time.ts';
import { type AskOptions, Driver } from './driver.ts';
import { type Handle, permitOf } from './handle.ts';
import { backlog, concurrency, group, rate, rolling, spacing } from './specs.ts';

/* Who was admitted in vain comes again to where it stood. */

/** A pushback: its permit is dropped, the group pauses, others come meanwhile, it comes again. */
function pushedBack(driver: Driver, handle: Handle, more: AskOptions = {}): Handle {
  const { key, priority } = handle.ask;
  const since = arrivalOf(permitOf(handle));
  return driver.ask({ name: `${handle.name} again`, group: handle.group, key, priority, since, ...more });
}

function paused(groups: readonly GroupSpec[], name?: string): { driver: Driver; pause: () => void } {
  const driver = new Driver({ groups });
  return { driver, pause: () => driver.call((gate, now) => gate.pause(now, driver.group(name), (now + 10 * SECOND) as typeof now)) };
}

describe('an ask with the place it had before', () => {
  it('stands before those who came after it, and behind those who came before', () => {
    const { driver, pause } = paused([group('line', [spacing(SECOND)])]);
    const a = driver.ask({ name: 'a' });
    driver.ask({ name: 'b' });
    const c = driver.ask({ name: 'c' });
    driver.advance(2 * SECOND);
    pause();
    driver.ask({ name: 'd' });
    driver.ask({ name: 'e' });
    pushedBack(driver, c);
    pushedBack(driver, a);
    driver.advance(20 * SECOND);
    expect(driver.admitted().slice(3)).toEqual(['a again', 'c again', 'd', 'e']);
    expect(driver.times().slice(3)).toEqual([12, 13, 14, 15]);
  });

  it('of its own class: the more urgent still pass it, the less urgent do not', () => {
    const { driver, pause } = paused([group('line', [spacing(SECOND)])]);
    const a = driver.ask({ name: 'a', priority: 2 });
    pause();
    driver.ask({ name: 'low', priority: 3 });
    driver.ask({ name: 'same', priority: 2 });
    driver.ask({ name: 'urgent', priority: 1 });
    pushedBack(driver, a);
    driver.advance(20 * SECOND);
    expect(driver.admitted()).toEqual(['a', 'urgent', 'a again', 'same', 'low']);
  });

  it('ages from its first arrival, and has waited since then', () => {
    const { driver } = paused([group('aged', [spacing(10 * SECOND)], { aging: SECOND })]);
    const low = driver.ask({ name: 'low', priority: 6 });
    driver.advance(4 * SECOND);
    driver.ask({ name: 'urgent', priority: 3 });
    driver.advance(2 * SECOND);
    // Due at 6 s, the urgent one at 7 s.
    const again = pushedBack(driver, low);
    driver.advance(30 * SECOND);
    expect(driver.admitted()).toEqual(['low', 'low again', 'urgent']);
    expect(permitOf(again)).toMatchObject({ waited: 10 * SECOND, order: permitOf(low).order });
  });

  it('a third time too, also where it was admitted at once in between', () => {
    const { driver, pause } = paused([group('line', [concurrency(1)])]);
    const a = driver.ask({ name: 'a' });
    driver.advance(SECOND);
    driver.release(a);
    const b = pushedBack(driver, a);
    expect([b.fate, permitOf(b).waited, permitOf(b).order]).toEqual(['admitted', SECOND, permitOf(a).order]);
    driver.release(b);
    pause();
    driver.ask({ name: 'late' });
    pushedBack(driver, b);
    driver.advance(10 * SECOND);
    expect(driver.admitted().at(-1)).toBe('a again again');
  });

  it('by key: first of its own key; between keys what it spent counts, once for each time it was admitted', () => {
    const { driver, pause } = paused([group('fair', [spacing(SECOND)], { fairness: { by: 'key', weights: new Map() } })]);
    const a = driver.ask({ name: 'a1', key: 'a' });
    driver.ask({ name: 'b1', key: 'b' });
    driver.advance(SECOND);
    pause();
    for (const name of ['a2', 'b2', 'a3', 'b3']) driver.ask({ name, key: name.charAt(0) });
    pushedBack(driver, a);
    driver.advance(20 * SECOND);
    expect(driver.admitted().slice(2)).toEqual(['a1 again', 'b2', 'a2', 'b3', 'a3']);
  });

  it('in a tree: before the waiters of other children who came after it', () => {
    const below = { parent: { group: 'root', share: undefined } };
    const { driver, pause } = paused([group('root', [spacing(SECOND)]), group('left', [], below), group('right', [], below)], 'root');
    const a = driver.ask({ name: 'a', group: 'left' });
    pause();
    driver.ask({ name: 'r1', group: 'right' });
    driver.ask({ name: 'l1', group: 'left' });
    driver.ask({ name: 'r2', group: 'right' });
    pushedBack(driver, a);
    driver.advance(20 * SECOND);
    expect(driver.admitted()).toEqual(['a', 'a again', 'r1', 'l1', 'r2']);
  });

  it('where its key is blocked by a larger one behind it: goes if it fits', () => {
    const limits = [rolling(10, MINUTE, { scope: 'key', unit: 'tokens' })];
    const driver = new Driver({ groups: [group('tokens', limits)] });
    const a = driver.ask({ name: 'a', key: 'k', costs: { requests: 1, tokens: 4 } });
    driver.ask({ name: 'large', key: 'k', costs: { requests: 1, tokens: 9 } });
    expect(pushedBack(driver, a, { costs: { requests: 1, tokens: 4 } }).fate).toBe('admitted');
  });

  it('with an aged lower class: goes before the urgent one that blocks its key, if it fits', () => {
    const driver = new Driver({ groups: [group('tokens', [rolling(10, MINUTE, { scope: 'key', unit: 'tokens' })], { aging: SECOND })] });
    const a = driver.ask({ name: 'a', key: 'k', priority: 5, costs: { requests: 1, tokens: 4 } });
    driver.advance(20 * SECOND);
    driver.ask({ name: 'large', key: 'k', priority: 1, costs: { requests: 1, tokens: 9 } });
    expect(pushedBack(driver, a, { costs: { requests: 1, tokens: 4 } }).fate).toBe('admitted');
  });

  it.each([{ requests: 1 }, { perKey: 1 }, { bytes: 10, key: 'k' }, { wait: SECOND }])(
    'keeps its place where others filled the backlog meanwhile, and takes nobody’s: %j',
    (bounds) => {
      const { driver, pause } = paused([group('line', [spacing(SECOND)], backlog(bounds))]);
      const a = driver.ask({ name: 'a', bytes: 10, key: 'k' });
      driver.ask({ name: 'b', bytes: 10, key: 'k' });
      expect(driver.ask({ name: 'c', bytes: 10, key: 'k' }).refusal?.reason).toBe('shed');
      if (bounds.wait === undefined) pause();
      const again = pushedBack(driver, a, { bytes: 10, key: 'k' });
      expect(again.refusal).toBeUndefined();
      expect(driver.ask({ name: 'd', bytes: 10, key: 'k' }).refusal?.reason).toBe('shed');
      driver.advance(20 * SECOND);
      expect(driver.admitted()).toEqual(['a', 'a again', 'b']);
    },
  );

  it('where nobody may wait at all it does not either', () => {
    const { driver, pause } = paused([group('line', [spacing(SECOND)], backlog({ requests: 0 }))]);
    const a = driver.ask({ name: 'a' });
    pause();
    expect(pushedBack(driver, a).refusal?.reason).toBe('shed');
  });

  it('with the order of a gate that counted further, it stands at the end and no later', () => {
    const { driver, pause } = paused([group('line', [spacing(SECOND)])]);
    driver.ask({ name: 'a' });
    pause();
    driver.ask({ name: 'b' });
    driver.ask({ name: 'foreign', since: { arrivedAt: DISTANT_PAST, order: 1e9 } });
    driver.ask({ name: 'c' });
    driver.advance(20 * SECOND);
    expect(driver.admitted()).toEqual(['a', 'b', 'foreign', 'c']);
  });
});

describe('a pause that begins with the end of a permit', () => {
  it.each(['key', 'group'] as const)('of the %s: nobody takes the slot in between', (scope) => {
    const driver = new Driver({ groups: [group('slots', [concurrency(1, { scope: 'key' })])] });
    const a = driver.ask({ name: 'a', key: 'k' });
    driver.ask({ name: 'b', key: 'k' });
    const { serial, tag } = permitOf(a);
    const until = (driver.now + 5 * SECOND) as typeof driver.now;
    expect(driver.call((gate, now) => gate.release(now, serial, tag, 'dropped', undefined, { group: 0, scope, key: undefined, until }))).toBe(true);
    pushedBack(driver, a);
    expect(driver.ask({ name: 'other', key: 'other' }).fate).toBe(scope === 'key' ? 'admitted' : 'waiting');
    driver.advance(4 * SECOND);
    expect(driver.admitted()).not.toContain('a again');
    driver.advance(SECOND);
    expect(driver.admitted()).toContain('a again');
    expect(driver.admitted()).not.toContain('b');
  });

  it('does not begin for a permit that had ended', () => {
    const driver = new Driver({ groups: [group('slots', [concurrency(2), rate(100, SECOND, 100)])] });
    const { serial, tag } = permitOf(driver.ask());
    const end = (gate: Gate, now: Driver['now']) =>
      gate.release(now, serial, tag, 'dropped', undefined, { group: 0, scope: 'group', key: '', until: (now + MINUTE) as typeof now });
    driver.call((gate, now) => gate.release(now, serial, tag, 'used', undefined));
    expect(driver.call(end)).toBe(false);
    expect(driver.ask().fate).toBe('admitted');
  });
});
