import { describe, expect, it } from 'vitest';
import { Gate } from '../../src/core/gate/gate.ts';
import type { GateRequest } from '../../src/core/request.ts';
import { DAY, HOUR, MILLISECOND, NEVER, SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { outlivesItsBound } from './mutants/hunt.ts';
import { backlog, concurrency, discord, fixed, group, rolling, spacing, t } from './specs.ts';

/** What the properties found, kept by hand. */
describe('found', () => {
  it('a waiter that its parent held is asked for its bound again when it goes: the one it had was for an earlier moment', () => {
    outlivesItsBound(Gate);
  });

  it('a debit meets the state of its key, even if that was forgotten in between', () => {
    const driver = new Driver({ groups: [group('llm', [rolling(10, SECOND, { unit: 'tokens', scope: 'key' })])] });
    const first = driver.ask({ key: 'b', costs: { tokens: 0 } });
    for (let key = 0; key < 20; key += 1) driver.ask({ key: `other ${key}`, costs: { tokens: 0 } });
    driver.release(first, 'used', { tokens: 10 });
    expect(driver.ask({ key: 'b', costs: { tokens: 1 } }).fate).toBe('waiting');
  });

  it('a look at the queue opens no window that is aligned with its first admission', () => {
    const driver = new Driver({ groups: [group('g', [spacing(2 * SECOND), fixed(2, 10 * SECOND, { align: 'first' }, { scope: 'key' })])] });
    driver.ask({ key: 'other' });
    const waiting = [1, 2, 3].map(() => driver.ask({ key: 'mine' }));
    for (const handle of waiting) driver.gate.position(driver.now, handle.ref);
    driver.advance(HOUR);
    expect(driver.times()).toEqual([0, 2, 4, 12]);
  });

  it('nor does a change of the limits: a day that is over begins with the next start', () => {
    const driver = new Driver({ groups: [discord(1, 1)] });
    driver.ask({ key: '0' });
    driver.advance(DAY + HOUR);
    driver.call((gate, now) => gate.reconfigure(now, [discord(1, 1)]));
    driver.advance(5 * HOUR);
    driver.ask({ key: '0' });
    driver.ask({ key: '0', ttl: 10 * DAY });
    driver.advance(10 * DAY);
    expect(driver.times().map((seconds) => seconds / 3600)).toEqual([0, 30, 54]);
  });

  it('what passed under a larger limit is no debt when the limit is smaller again', () => {
    const driver = new Driver({ groups: [group('g', [fixed(10, 60 * SECOND)])] });
    const limits = new Map([['fixed', fixed(100, 60 * SECOND).quota]]);
    driver.call((gate, now) => gate.override(now, 0, { limits, enforce: undefined, until: t(30) }));
    for (let index = 0; index < 90; index += 1) driver.ask({});
    driver.advance(40 * SECOND);
    const next = driver.ask({});
    driver.advance(HOUR);
    expect(next.seconds).toBe(60);
  });

  it('a lease that is over by a late call is not alive in the floor of the fence that takes its place', () => {
    const driver = new Driver({ groups: [group('g', [concurrency(2)])] });
    driver.ask({ name: 'short', lease: 10 * SECOND });
    driver.ask({ name: 'shorter', lease: 5 * SECOND });
    const next = [driver.ask({ name: 'next' }), driver.ask({ name: 'last' })];
    driver.stall(30 * SECOND);
    driver.tick();
    expect(next.map((handle) => handle.permit?.lease?.fenceFloor)).toEqual([next[0]?.permit?.lease?.fence, next[0]?.permit?.lease?.fence]);
  });

  it('who is held back by a key that a sibling has spent meanwhile holds no line of the parent', () => {
    const groups = [group('root', [concurrency(1, { scope: 'key' }), spacing(SECOND)]), group('child', [], { parent: { group: 'root', share: undefined } })];
    const driver = new Driver({ groups });
    const first = driver.ask({ name: 'first', key: 'a' });
    driver.ask({ name: 'c', key: 'c' });
    const free = driver.ask({ name: 'free', key: 'a', priority: 1000, cost: 0 });
    driver.ask({ name: 'child c', key: 'c', group: 'child' });
    driver.release(first, 'unused');
    expect(free.seconds).toBe(0);
  });

  // Decisions are made in slices of 5,000.
  it.each([1, 4_999, 5_000, 5_001, 12_000])('when %i expire at once and late, a slot that opens only now goes to who is still patient', (count) => {
    const driver = new Driver({ groups: [group('g', [concurrency(2)])] });
    const held = [driver.ask({ lease: HOUR }), driver.ask({ lease: HOUR })];
    const expired = Array.from({ length: count }, () => driver.ask({ ttl: SECOND }));
    const patient = [driver.ask({ ttl: HOUR }), driver.ask({ ttl: HOUR })];
    driver.stall(2 * SECOND);
    for (const handle of held) driver.release(handle);
    expect(expired.every((handle) => handle.fate === 'refused')).toBe(true);
    expect(patient.map((handle) => handle.seconds)).toEqual([2, 2]);
  });

  it.each([1, 4_999, 5_000, 5_001, 10_000])('when %i who hold the line expire at once, those behind go in the same moment', (count) => {
    const driver = new Driver({ groups: [group('g', [concurrency(10)])] });
    driver.ask({ cost: 5, lease: HOUR });
    for (let index = 0; index < count; index += 1) driver.ask({ cost: 6, ttl: SECOND });
    const behind = driver.ask({ cost: 5, ttl: HOUR });
    driver.advance(2 * SECOND);
    expect(behind.seconds).toBe(1);
  });

  it('now or not at all: whoever fits is admitted once its bound is on disk, the others are refused then and not later', () => {
    const driver = new Driver({ groups: [group('g', [rolling(2, 60 * SECOND)])], recording: true, ackDelay: 3 * MILLISECOND });
    const asks = [1, 2, 3].map(() => driver.ask({ ttl: 0 }));
    driver.advance(SECOND);
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', 'admitted', 'refused']);
    expect(Math.max(...asks.map((handle) => handle.seconds ?? 99))).toBeLessThanOrEqual(0.01);
  });

  it('while the disk hangs the backlog keeps its bound', () => {
    const driver = new Driver({ groups: [group('g', [rolling(1_000, 60 * SECOND)], backlog({ requests: 5 }))], recording: true, ackDelay: NEVER });
    const asks = Array.from({ length: 100 }, (_, index) => driver.ask({ key: String(index), ttl: 10 * SECOND }));
    expect(asks.filter((handle) => handle.fate === 'waiting')).toHaveLength(5);
    const others = Array.from({ length: 100 }, () => driver.ask({ ttl: 0 }));
    expect(others.filter((handle) => handle.fate === 'waiting')).toHaveLength(0);
    driver.advance(20 * SECOND);
    expect(driver.gate.status(driver.now, 0).waiting).toBe(0);
  });

  it('a backlog full of a blocked key does not shed another key that only the disk holds', () => {
    const driver = new Driver({
      groups: [group('g', [rolling(1, 60 * SECOND, { scope: 'key' })], backlog({ requests: 2 }))],
      recording: true,
      ackDelay: MILLISECOND,
    });
    for (let index = 0; index < 4; index += 1) driver.ask({ key: 'full', ttl: HOUR });
    const other = driver.ask({ key: 'other', ttl: HOUR });
    driver.advance(SECOND);
    expect(other.seconds).toBeLessThan(0.01);
  });

  it('a look from someone more urgent than who holds the line says that it would pass', () => {
    const driver = new Driver({ groups: [group('g', [rolling(2, SECOND)])] });
    driver.ask({});
    driver.ask({ cost: 2, priority: 5 });
    const look = driver.call((gate, now) => gate.explain(now, { ...driver.handles[0]?.ask, waitUntil: now, priority: 1 } as GateRequest));
    expect(look).toMatchObject({ admitted: true, refusal: undefined });
    expect(driver.ask({ priority: 1, ttl: 0 }).fate).toBe('admitted');
  });

  it('a late call charges under the limits of now: an override that is over lets nobody pass any more', () => {
    const driver = new Driver({ groups: [group('g', [rolling(1, 10 * SECOND)])] });
    driver.ask({});
    const limits = new Map([['window', rolling(3, 10 * SECOND).quota]]);
    driver.call((gate, now) => gate.override(now, 0, { limits, enforce: undefined, until: t(11) }));
    const asks = [1, 2, 3, 4].map(() => driver.ask({}));
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', 'admitted', 'waiting', 'waiting']);
    driver.stall(12 * SECOND);
    driver.tick();
    expect(asks.map((handle) => handle.seconds)).toEqual([0, 0, 12, undefined]);
  });

  it('a wait timeout that ends with a pause and an override at one moment is not yet over', () => {
    const driver = new Driver({ groups: [group('g', [])] });
    driver.call((gate, now) => gate.pause(now, 0, t(5), 'a'));
    driver.call((gate, now) => gate.override(now, 0, { limits: new Map(), enforce: undefined, until: t(5) }));
    const handle = driver.ask({ key: 'a', ttl: 5 * SECOND });
    driver.advance(HOUR);
    expect(handle).toMatchObject({ fate: 'admitted', seconds: 5 });
  });

  it('a waiter that a smaller limit can never pass is refused in its turn and holds nobody', () => {
    const driver = new Driver({ groups: [group('g', [rolling(10, 10 * SECOND)])] });
    driver.ask({ cost: 10 });
    const large = driver.ask({ cost: 8 });
    const small = driver.ask({ cost: 1 });
    driver.call((gate, now) => gate.reconfigure(now, [group('g', [rolling(5, 10 * SECOND)])]));
    expect(large.refusal).toMatchObject({ reason: 'oversized', limit: 'window' });
    driver.advance(HOUR);
    expect(small.seconds).toBe(10);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('also below a parent, and by key', () => {
    const groups = (permits: number) => [
      group('root', [rolling(permits, 10 * SECOND)]),
      group('child', [rolling(permits, 10 * SECOND, { scope: 'key', name: 'own' })], { parent: { group: 'root', share: undefined } }),
    ];
    const driver = new Driver({ groups: groups(10) });
    driver.ask({ group: 'child', key: 'a', cost: 10 });
    const large = [driver.ask({ group: 'child', key: 'a', cost: 8 }), driver.ask({ group: 'child', key: 'b', cost: 8 })];
    const small = driver.ask({ group: 'child', key: 'b', cost: 1 });
    driver.call((gate, now) => gate.reconfigure(now, groups(5)));
    driver.advance(HOUR);
    expect(large.map((handle) => handle.refusal?.reason)).toEqual(['oversized', 'oversized']);
    expect(small.seconds).toBe(10);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });
});
