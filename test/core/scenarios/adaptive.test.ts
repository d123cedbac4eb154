import { describe, expect, it } from 'vitest';
import { HOUR, type Instant, MILLISECOND, NEVER, SECOND } from '../../../src/core/time.ts';
import { Backend, type BackendOptions } from '../backend.ts';
import { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { adaptive, concurrency, group } from '../specs.ts';
import { restart } from './restart.ts';

/** Works on so many at once, 50 ms each; each beyond slows all of them down a little. */
const busy = (servers: number): BackendOptions => ({ servers: () => servers, each: () => 50 * MILLISECOND, thrash: 0.1 });

/** What the best fixed number brings. */
function best(parts: BackendOptions, numbers: readonly number[]): number {
  return Math.max(...numbers.map((max) => new Backend([group('g', [concurrency(max)])], parts).run(10).rate));
}

describe('a limit that adapts by gradient, before a backend that slows down with its load', () => {
  it.each([
    [20, 1],
    [20, 2],
    [60, 3],
  ])('finds the knee of one that works on %i at once (seed %i), between it and twice it, and wastes less than a tenth', (servers, seed) => {
    const backend = new Backend([group('g', [adaptive(400)])], busy(servers), seed);
    backend.run(20);
    const found = backend.run(30);
    expect(found.average).toBeGreaterThanOrEqual(servers);
    expect(found.average).toBeLessThanOrEqual(2 * servers);
    expect(found.rate).toBeGreaterThanOrEqual(0.9 * best(busy(servers), [servers, 1.5 * servers, 2 * servers]));
    // 50 ms where nobody else is; 230 ms are the slowest in a hundred of them.
    expect(found.mean).toBeLessThanOrEqual(0.115);
    expect(found.p99).toBeLessThanOrEqual(0.35);
  });

  it('follows when two thirds of the backend go, and when they come back', () => {
    const parts = { ...busy(30), servers: (at: number) => (at >= 30 * SECOND && at < 60 * SECOND ? 10 : 30) };
    const backend = new Backend([group('g', [adaptive(400)])], parts);
    const [before, at, less, back, after] = [backend.run(30), backend.run(5), backend.run(25), backend.run(5), backend.run(25)];
    expect(before.most).toBeLessThanOrEqual(75);
    // 5 s after: it has come down, and those who are held by it wait in Sluice and not there.
    expect(at.p99).toBeLessThanOrEqual(0.6);
    expect(less.most).toBeLessThanOrEqual(25);
    expect(less.rate).toBeGreaterThanOrEqual(0.9 * best(busy(10), [10, 15]));
    expect(less.p99).toBeLessThanOrEqual(0.4);
    expect(back.most).toBeGreaterThanOrEqual(30);
    expect(after.rate).toBeGreaterThanOrEqual(0.9 * best(busy(30), [30, 45]));
    expect(after.average).toBeLessThanOrEqual(60);
  });

  it('does not starve a backend that is three times as slow but takes as many', () => {
    const parts = { ...busy(30), each: (at: number) => (at >= 30 * SECOND ? 150 : 50) * MILLISECOND };
    const backend = new Backend([group('g', [adaptive(400)])], parts);
    backend.run(40);
    expect(backend.run(20).rate).toBeGreaterThanOrEqual(0.9 * best({ ...busy(30), each: () => 150 * MILLISECOND }, [30, 45]));
  });

  it('lets the load of a backend that is not full through, and does not grow for ever', () => {
    const backend = new Backend([group('g', [adaptive(400)])], { ...busy(20), arrivals: 300 });
    backend.run(20);
    const found = backend.run(30);
    expect(found.rate).toBeGreaterThanOrEqual(290);
    expect(found.most).toBeLessThanOrEqual(100);
  });
});

describe('a limit that adapts by aimd', () => {
  it('stays where a backend pushes back, where too large a number is only pushed back', () => {
    const parts: BackendOptions = { servers: () => 20, each: () => 50 * MILLISECOND, room: () => 25 };
    const backend = new Backend([group('g', [adaptive(400, { by: 'aimd' })])], parts);
    backend.run(10);
    const found = backend.run(20);
    expect(found.least).toBeGreaterThanOrEqual(20);
    expect(found.most).toBeLessThanOrEqual(27);
    expect(found.rate).toBeGreaterThanOrEqual(0.9 * best(parts, [20, 25]));
  });

  it('stays where permits are held as long as is allowed', () => {
    const backend = new Backend([group('g', [adaptive(400, { by: 'aimd', slow: 200 * MILLISECOND })])], busy(20));
    backend.run(10);
    const found = backend.run(20);
    expect(found.most).toBeLessThanOrEqual(60);
    expect(found.rate).toBeGreaterThanOrEqual(0.9 * best(busy(20), [20, 30]));
  });
});

const halved = { by: 'aimd', initial: 4, backoff: 0.5 } as const;

/** So many permits of one group, held. */
function held(driver: Driver, count: number, name?: string): Handle[] {
  return Array.from({ length: count }, () => driver.ask({ lease: HOUR, ...(name === undefined ? {} : { group: name }) }));
}

const capacities = (driver: Driver, name?: string) => driver.gate.limits(driver.now, driver.group(name), '').map(({ capacity }) => capacity);

describe('a gate whose limit adapts', () => {
  it('wakes those who wait when it grows, and cuts nobody when it shrinks', () => {
    const driver = new Driver({ groups: [group('g', [adaptive(100, halved)])] });
    const handles = held(driver, 10);
    for (const handle of handles.slice(0, 4)) driver.release(handle);
    // One more for each round of four: five are held.
    expect(driver.gate.status(driver.now, 0)).toMatchObject({ leases: 5, waiting: 1 });
    driver.advance(1);
    driver.release(handles[4] as Handle, 'dropped');
    expect(driver.gate.limits(driver.now, 0, '')).toMatchObject([{ capacity: 2, used: 2, debt: 2 }]);
    expect(driver.gate.status(driver.now, 0)).toMatchObject({ leases: 4, waiting: 1 });
  });

  it('refuses as oversized what is above max; what is only above the limit of now passes alone', () => {
    const driver = new Driver({ groups: [group('g', [adaptive(10, halved)])] });
    expect(driver.ask({ cost: 11 }).refusal).toMatchObject({ reason: 'oversized', limit: 'concurrency' });
    const first = driver.ask();
    const large = driver.ask({ cost: 9 });
    expect(large.fate).toBe('waiting');
    driver.release(first);
    expect(large.fate).toBe('admitted');
    expect(capacities(driver)).toEqual([9]);
  });

  it('is not held up by those who stay while it measures', () => {
    const driver = new Driver({ groups: [group('g', [adaptive(100, { initial: 9 })])] });
    const stay = held(driver, 8);
    // A window of those who go, one by one, then a measure at a third: which 8 that stay would hold up.
    for (let end = 0; end < 32; end += 1) {
      const handle = driver.ask();
      driver.advance(10 * MILLISECOND);
      driver.release(handle);
    }
    expect(capacities(driver)).toEqual([3]);
    const waits = driver.ask();
    const { now } = driver;
    expect(waits.fate).toBe('waiting');
    driver.advance(HOUR / 10);
    expect(waits.fate).toBe('admitted');
    expect((waits.at ?? NEVER) - now).toBeLessThan(10 * SECOND);
    expect(stay.every(({ fate }) => fate === 'admitted')).toBe(true);
  });

  it('goes on from where it was after a reload of something else, and after an override', () => {
    const driver = new Driver({ groups: [group('g', [adaptive(100, halved)])] });
    const handles = held(driver, 4);
    driver.advance(1);
    driver.release(handles[0] as Handle, 'dropped');
    expect(capacities(driver)).toEqual([2]);
    expect(driver.call((gate, now) => gate.reconfigure(now, [group('g', [adaptive(100, halved)], { aging: SECOND })]))).toBeUndefined();
    expect(capacities(driver)).toEqual([2]);
    const until = (driver.now + SECOND) as Instant;
    const limits = new Map([['concurrency', { kind: 'concurrency' as const, max: 7 }]]);
    expect(driver.call((gate, now) => gate.override(now, 0, { limits, enforce: undefined, until }))).toBeUndefined();
    expect(capacities(driver)).toEqual([7]);
    driver.advance(SECOND);
    expect(capacities(driver)).toEqual([2]);
  });

  it('begins with its initial number after a restart, with what is still held', () => {
    const groups = [group('g', [adaptive(100, halved)])];
    const driver = new Driver({ groups, recording: true });
    const handles = held(driver, 4);
    driver.advance(1);
    driver.release(handles[0] as Handle, 'dropped');
    const again = restart(driver, groups, 2n);
    expect(again.gate.limits(again.now, 0, '')).toMatchObject([{ capacity: 4, used: 3, debt: 0 }]);
    expect(held(again, 2).map(({ fate }) => fate)).toEqual(['admitted', 'waiting']);
  });

  it('holds nobody in shadow, and tells whom it would have held', () => {
    const driver = new Driver({ groups: [group('g', [adaptive(100, halved)], { enforce: false })] });
    expect(held(driver, 6).map(({ permit }) => permit?.shadow?.limit)).toEqual([undefined, undefined, undefined, undefined, 'concurrency', 'concurrency']);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('a share of it is that part of what it is now, and those it held go when it grows', () => {
    const groups = [
      group('all', [adaptive(100, { ...halved, initial: 8 })]),
      group('half', [], { parent: { group: 'all', share: 0.5 } }),
      group('rest', [], { parent: { group: 'all', share: undefined } }),
    ];
    const driver = new Driver({ groups });
    expect(capacities(driver, 'half')).toEqual([4, 8]);
    const [half, rest] = [held(driver, 6, 'half'), held(driver, 4, 'rest')];
    expect(half.map(({ fate }) => fate).filter((fate) => fate === 'admitted')).toHaveLength(4);
    driver.advance(1);
    driver.release(rest[0] as Handle, 'dropped');
    expect(capacities(driver, 'half')).toEqual([2, 4]);
    expect(driver.gate.audit(driver.now)).toEqual([]);
    for (const handle of [...half.slice(0, 4), ...rest.slice(1)]) driver.release(handle);
    // Six have ended since: one round of four. Half of five, rounded down, is held.
    expect(capacities(driver, 'half')).toEqual([2, 5]);
    expect(half.slice(4).map(({ fate }) => fate)).toEqual(['admitted', 'admitted']);
    const waits = driver.ask({ group: 'half', lease: HOUR });
    expect(waits.fate).toBe('waiting');
    // Only others end: five of them make it six, and three of half may be held.
    for (let end = 0; end < 5; end += 1) driver.release(driver.ask({ group: 'rest' }));
    expect(capacities(driver, 'half')).toEqual([3, 6]);
    expect(waits.fate).toBe('admitted');
  });
});
