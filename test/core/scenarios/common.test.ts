import { afterEach, describe, expect, it, vi } from 'vitest';
import { DAY, HOUR, MILLISECOND, MINUTE, NEVER, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import { type Handle, permitOf } from '../handle.ts';
import { backlog, concurrency, discord, group, rate, rolling, sec, spacing, t } from '../specs.ts';
import { restart } from './restart.ts';

afterEach(() => void vi.useRealTimers());

describe('what every seed lacked', () => {
  it.each([2, 4])('X1: window edges, crashes and stalls of 10 s: never more than 5 in any %i s', (seconds) => {
    const groups = [group('edge', [rolling(5, seconds * SECOND)])];
    let driver = new Driver({ groups, recording: true });
    const at: number[] = [];
    for (let round = 0; round < 60; round += 1) {
      for (let index = 0; index < 8; index += 1) driver.ask({ ttl: sec(round % 4) });
      driver.advance(round % 7 === 3 ? 0 : (300 + 700 * (round % 6)) * MILLISECOND);
      if (round % 7 === 3) driver.stall(10 * SECOND);
      at.push(...driver.log.filter((line) => line.what === 'admitted').map((line) => line.at));
      driver = restart(driver, groups, BigInt(round + 2));
    }
    expect(at.length).toBeGreaterThan(20);
    for (const start of at) expect(at.filter((moment) => moment >= start && moment < start + seconds * SECOND).length).toBeLessThanOrEqual(5);
  });

  it('X3: of 1,000 waiters 900 leave: nothing is spent on them, their places are free at once', () => {
    const driver = new Driver({ groups: [group('one', [spacing(SECOND)])] });
    const asks = Array.from({ length: 1_000 }, () => driver.ask({}));
    for (const [index, handle] of asks.entries()) if (index % 10 !== 0) expect(driver.cancel(handle)).toBe(true);
    expect(driver.gate.status(driver.now, 0).waiting).toBe(99);
    driver.advance(HOUR);
    expect(driver.times()).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it('X3: the grant crosses the leave: given back it opens the slot again, at once', () => {
    const driver = new Driver({ groups: [group('slots', [concurrency(1)])] });
    const gone = driver.ask({});
    const next = driver.ask({});
    expect(driver.cancel(gone)).toBe(false);
    expect(driver.release(gone, 'unused')).toBe(true);
    expect(next.seconds).toBe(0);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('X3: a rate permit that was never delivered is given back or counted once, never twice', () => {
    const driver = new Driver({ groups: [group('one', [spacing(SECOND)])] });
    const gone = driver.ask({});
    driver.ask({});
    driver.ask({});
    const known = driver.release(gone, 'unused') === true;
    driver.release(gone, 'unused');
    driver.advance(MINUTE);
    expect(driver.times()).toEqual(known ? [0, 0, 1] : [0, 1, 2]);
  });

  it('X5: at 200 % load of urgent callers the least urgent waits as long as aging says, and forever when strict', () => {
    expect(overload(undefined).fate).toBe('waiting');
    const aged = overload(2 * SECOND);
    expect(aged.fate).toBe('admitted');
    // Nine steps of priority are worth 18 s: some 380 urgent ones come before it in effect, and ten pass in a second.
    expect((aged.seconds ?? NEVER) - 1).toBeLessThanOrEqual(38);
  });

  it('X6: every bound of a backlog holds at the bound and sheds one past it', () => {
    const cases = [
      { bounds: { requests: 3 }, limit: 'backlog.requests', ask: {} },
      { bounds: { bytes: 300 }, limit: 'backlog.bytes', ask: { bytes: 100 } },
      { bounds: { perKey: 3 }, limit: 'backlog.perKey', ask: { key: 'a' } },
    ];
    for (const { bounds, limit, ask } of cases) {
      const driver = new Driver({ groups: [group('full', [spacing(SECOND)], backlog(bounds))] });
      driver.ask({});
      const asks = Array.from({ length: 30 }, () => driver.ask(ask));
      expect(asks.filter((handle) => handle.fate === 'waiting')).toHaveLength(3);
      expect(asks.slice(3).map((handle) => handle.refusal)).toEqual(asks.slice(3).map(() => expect.objectContaining({ reason: 'shed', limit })));
      expect(asks[3]?.refusal?.retryAt).toBeGreaterThan(driver.now);
      driver.cancel(asks[0] as Handle);
      expect(driver.ask(ask).fate).toBe('waiting');
    }
  });

  it('X6: keys without end do not grow the state: idle ones are dropped, beyond the bound arrivals are shed', () => {
    const driver = new Driver({ groups: [group('keys', [rolling(1, SECOND, { scope: 'key' })], backlog({ keys: 100 }))] });
    const first = Array.from({ length: 300 }, (_, key) => driver.ask({ key: `first ${key}` }));
    expect(first.filter((handle) => handle.fate === 'admitted')).toHaveLength(100);
    expect(first[100]?.refusal).toMatchObject({ reason: 'shed', limit: 'backlog.keys' });
    expect(driver.ask({ key: 'first 7' }).fate).toBe('waiting');
    driver.advance(3 * SECOND);
    expect(driver.ask({ key: 'second' }).fate).toBe('admitted');
    for (let round = 0; round < 50; round += 1) {
      for (let key = 0; key < 100; key += 1) driver.ask({ key: `round ${round} ${key}`, ttl: 0 });
      driver.advance(2 * SECOND);
      expect(driver.gate.status(driver.now, 0).keys).toBeLessThanOrEqual(100);
    }
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('X7: the wall clock is not read: steps of an hour both ways change no decision', () => {
    const run = (steps: boolean): readonly number[] => {
      vi.useFakeTimers({ toFake: ['Date'] });
      const driver = new Driver({ groups: [discord(1)] });
      for (let index = 0; index < 10; index += 1) {
        driver.ask({ key: '0' });
        if (steps) vi.setSystemTime(Date.now() + (index % 2 === 0 ? 3_600_000 : -7_200_000));
        driver.advance(SECOND);
      }
      driver.advance(HOUR);
      return driver.times();
    };
    expect(run(true)).toEqual(run(false));
  });

  it('X9: a waiter knows its place, when, and what binds; each refusal says its reason, its limit and when to come back', () => {
    const driver = new Driver({ groups: [group('one', [spacing(10 * SECOND, 0, { name: 'pace' })], backlog({ requests: 3 }))] });
    driver.ask({});
    const waiting = [1, 2, 3].map(() => driver.ask({ ttl: MINUTE }));
    expect(waiting.map((handle) => driver.gate.position(driver.now, handle.ref))).toMatchObject([
      { place: 1, expectedAt: t(10), limit: 'pace' },
      { place: 2, expectedAt: t(20) },
      { place: 3, expectedAt: t(30) },
    ]);
    expect(driver.ask({ ttl: MINUTE }).refusal).toMatchObject({ reason: 'shed', limit: 'backlog.requests', retryAt: expect.any(Number) });
    expect(driver.ask({ ttl: SECOND }).refusal).toMatchObject({ reason: 'infeasible', limit: 'pace', retryAt: t(10) });
    expect(driver.ask({ cost: 2 }).refusal).toMatchObject({ reason: 'oversized', limit: 'pace' });
    driver.cancel(waiting[2] as Handle);
    const impatient = driver.ask({ ttl: 15 * SECOND });
    driver.advance(16 * SECOND);
    expect(impatient.refusal).toMatchObject({ reason: 'expired', limit: 'pace', retryAt: expect.any(Number) });
    expect(impatient.refusal?.retryAt).toBeGreaterThan(driver.now - SECOND);
  });

  it('X10: an id is never used again: a stale release or renewal is refused, in the next term as well', () => {
    const groups = [group('slots', [concurrency(2, { scope: 'key' })])];
    const driver = new Driver({ groups, recording: true });
    const serials = new Set<number>();
    let stale: Handle | undefined;
    for (let round = 0; round < 50; round += 1) {
      const handle = driver.ask({ key: 'a' });
      serials.add(permitOf(handle).serial);
      driver.release(handle);
      stale = handle;
    }
    expect(serials.size).toBe(50);
    expect(driver.release(stale as Handle)).not.toBe(true);
    const live = driver.ask({ key: 'a' });
    const wrong = { ...permitOf(live).tag, low: 0 };
    expect(driver.call((gate, now) => gate.release(now, permitOf(live).serial, wrong, 'used', undefined))).not.toBe(true);
    expect(driver.call((gate, now) => gate.renew(now, permitOf(live).serial, wrong, SECOND))).toMatchObject({ reason: expect.any(String) });
    expect(driver.gate.status(driver.now, 0).leases).toBe(1);
    const after = restart(driver, groups, 2n);
    const fresh = after.ask({ key: 'a' });
    expect(permitOf(fresh).lease?.fence).toBeGreaterThan(permitOf(live).lease?.fence ?? 0n);
    expect(permitOf(fresh).lease?.fenceFloor).toBe(permitOf(live).lease?.fence);
    expect(after.release(live)).toBe(true);
    expect(after.release(stale as Handle)).not.toBe(true);
  });

  it('X13: no wait where there is room; a release, a refund, an opened window wake the next in the same moment', () => {
    const driver = new Driver({ groups: [group('tokens', [rolling(100, MINUTE, { unit: 'tokens' }), concurrency(1)])] });
    const first = driver.ask({ costs: { tokens: 100 } });
    expect(first.seconds).toBe(0);
    const second = driver.ask({ costs: { tokens: 40 } });
    const third = driver.ask({ costs: { tokens: 70 } });
    driver.advance(SECOND);
    driver.release(first, 'used', { tokens: 60 });
    expect(second.seconds).toBe(1);
    driver.advance(SECOND);
    driver.release(second, 'used', { tokens: 40 });
    driver.advance(MINUTE);
    expect(third.seconds).toBe(61);
  });

  it('X14: idle groups ask to be woken never, or only to forget what is over', () => {
    const driver = new Driver({
      groups: [
        group('root', [rolling(5, SECOND)]),
        ...Array.from({ length: 1_000 }, (_, index) => group(`idle ${index}`, [rate(1, SECOND)], { parent: { group: 'root', share: undefined } })),
      ],
    });
    expect(driver.gate.wakeAt(driver.now)).toBe(NEVER);
    for (let index = 0; index < 5; index += 1) driver.ask({ group: `idle ${index}`, key: 'k' });
    driver.advance(DAY);
    expect(driver.wakes).toBeLessThanOrEqual(50);
    expect(driver.gate.wakeAt(driver.now)).toBe(NEVER);
  });
});

/** Twenty urgent asks a second for 60 s where ten pass; at 1 s one of priority 10. */
function overload(aging: number | undefined): Handle {
  const driver = new Driver({ groups: [group('busy', [rate(10, SECOND)], { aging })] });
  let low: Handle | undefined;
  for (let tick = 0; tick < 1_200; tick += 1) {
    if (tick === 20) low = driver.ask({ name: 'low', priority: 10 });
    driver.ask({ priority: 1 });
    driver.advance(50 * MILLISECOND);
  }
  if (!low) throw new Error('nobody asked');
  return low;
}
