import { describe, expect, it, test } from 'vitest';
import type { GroupSpec } from '../../../src/core/group.ts';
import { HOUR, MILLISECOND, NEVER, SECOND } from '../../../src/core/time.ts';
import type { AskOptions, DriverOptions } from '../driver.ts';
import { Driver } from '../driver.ts';
import { permitOf } from '../handle.ts';
import { adaptive, concurrency, group, t } from '../specs.ts';

/* Leases of forwarded requests are reported, not recorded: docs/decisions/0012-reported-leases.md. */

const LEASE = 10 * SECOND;
const slots = [group('g', [concurrency(20)])];

function driven(groups: readonly GroupSpec[] = slots, more: Partial<DriverOptions> = {}): Driver {
  return new Driver({ groups, recording: true, reports: true, ...more });
}

function forward(driver: Driver, more: AskOptions = {}) {
  return driver.ask({ reported: true, lease: LEASE, ...more });
}

/** A process that was killed `seconds` ago, and the next one, which decides from now on. */
function reborn(driver: Driver, groups: readonly GroupSpec[] = slots, seconds = 1): Driver {
  const disk = driver.kill();
  const now = (driver.now + seconds * SECOND) as typeof driver.now;
  return driven(groups, { term: 2n, now, from: now, disk, restored: disk.restored() });
}

/** How many of `count` go at once. */
function atOnce(driver: Driver, count: number, more: AskOptions = {}): number {
  return Array.from({ length: count }, () => driver.ask({ ttl: 0, ...more })).filter(({ fate }) => fate === 'admitted').length;
}

describe('what is written', () => {
  it('the first waits for what stands for it; those after it for nothing', () => {
    const driver = driven(slots, { ackDelay: 2 * MILLISECOND });
    const first = forward(driver);
    const meanwhile = forward(driver);
    expect([first, meanwhile].map(({ answered }) => answered)).toEqual([false, false]);
    driver.advance(2 * MILLISECOND);
    expect([first, meanwhile].map(({ answered }) => answered)).toEqual([true, true]);
    driver.ackDelay = NEVER;
    expect(forward(driver).answered).toBe(true);
  });

  it('all are told while one write in some seconds is under way, and none is made while nobody asks', () => {
    const driver = driven(slots, { ackDelay: 50 * MILLISECOND });
    const first = forward(driver);
    driver.advance(SECOND);
    driver.release(first);
    for (let index = 0; index < 600; index += 1) {
      const handle = forward(driver);
      expect(handle.answered).toBe(true);
      driver.advance(100 * MILLISECOND);
      driver.release(handle);
    }
    const { length } = driver.written;
    expect(length).toBeGreaterThan(6);
    expect(length).toBeLessThan(16);
    driver.advance(HOUR);
    expect(driver.written).toHaveLength(length);
    expect(driver.written.every(({ aggregate }) => aggregate)).toBe(true);
  });

  it('after a pause in use the next one waits again', () => {
    const driver = driven(slots, { ackDelay: 2 * MILLISECOND });
    driver.release(forward(driver));
    driver.advance(10 * SECOND + 1);
    const next = forward(driver);
    expect(next.answered).toBe(false);
    driver.advance(2 * MILLISECOND);
    expect(next.answered).toBe(true);
  });

  it('renewals in time write no more than that, and a longer life is on disk before it is told', () => {
    const driver = driven(slots, { ackDelay: 2 * MILLISECOND });
    const handle = forward(driver);
    driver.advance(2 * MILLISECOND);
    for (let renewals = 0; renewals < 30; renewals += 1) {
      driver.advance(LEASE / 3);
      let told = false;
      driver.renew(handle, LEASE, () => {
        told = true;
      });
      expect(told).toBe(true);
    }
    expect(driver.written.length).toBeLessThan(25);
    driver.advance(SECOND);
    let told = false;
    driver.renew(handle, 3 * LEASE, () => {
      told = true;
    });
    expect(told).toBe(false);
    driver.advance(2 * MILLISECOND);
    expect(told).toBe(true);
  });

  it('more are held: room is made ahead of need, up to the limit', () => {
    const driver = driven([group('g', [concurrency(100)])], { ackDelay: MILLISECOND });
    forward(driver);
    driver.advance(MILLISECOND);
    for (let held = 1; held < 100; held += 1) {
      expect(forward(driver).answered).toBe(true);
      driver.advance(MILLISECOND);
    }
    expect(driver.written.length).toBeLessThan(8);
    expect(driver.written.at(-1)?.costs).toEqual({ requests: 100 });
  });

  it('who comes in a burst beyond the room waits for more of it', () => {
    const driver = driven([group('g', [concurrency(100)])], { ackDelay: MILLISECOND });
    forward(driver);
    driver.advance(MILLISECOND);
    const burst = Array.from({ length: 20 }, () => forward(driver));
    expect(burst.map(({ answered }) => answered)).toContain(false);
    expect(burst.filter(({ answered }) => answered)).toHaveLength(7);
    driver.advance(MILLISECOND);
    expect(burst.every(({ answered }) => answered)).toBe(true);
  });

  it('an end is not written; leases of others are recorded as ever', () => {
    const driver = driven();
    const ends: boolean[] = [];
    for (const reported of [true, false]) {
      const handle = driver.ask({ reported, lease: LEASE });
      const { serial, tag } = permitOf(handle);
      driver.gate.release(driver.now, serial, tag, 'used', undefined);
      for (const event of driver.gate.takeEvents()) if (event.kind === 'ended') ends.push(event.recorded);
    }
    expect(ends).toEqual([false, true]);
    expect(driver.written.map(({ aggregate, holder }) => [aggregate, holder])).toEqual([
      [true, 'forwarded before the restart'],
      [false, 'caller 2'],
    ]);
  });

  it.each([{ reports: false }, { recording: false }])('where nothing is reported, or nothing is written, the word counts for nothing: %j', (parts) => {
    const driver = driven(slots, parts);
    forward(driver);
    expect(driver.written.map(({ aggregate }) => aggregate)).toEqual(parts.recording === false ? [] : [false]);
  });

  it('a key has its own', () => {
    const driver = driven([group('g', [concurrency(2, { scope: 'key' })])], { ackDelay: MILLISECOND });
    forward(driver, { key: 'a' });
    driver.advance(MILLISECOND);
    expect([forward(driver, { key: 'a' }), forward(driver, { key: 'b' })].map(({ answered }) => answered)).toEqual([true, false]);
    expect(driver.written.map(({ key }) => key)).toEqual(['a', 'b']);
  });

  it('is not seen while the process lives', () => {
    const driver = driven();
    forward(driver);
    expect(driver.gate.status(driver.now, 0).leases).toBe(1);
    expect(driver.gate.leases(0, 0, 10).map(({ holder }) => holder)).toEqual(['caller 1']);
    expect(driver.gate.limits(driver.now, 0, '').map(({ used }) => used)).toEqual([1]);
  });
});

describe('killed', () => {
  it('no more are held than were allowed, for one lease length from the start; then all may', () => {
    const driver = driven();
    for (let index = 0; index < 20; index += 1) forward(driver);
    driver.advance(SECOND);
    const next = reborn(driver);
    expect(atOnce(next, 20)).toBe(0);
    next.advance(LEASE - 1);
    expect(atOnce(next, 20)).toBe(0);
    next.advance(1);
    expect(atOnce(next, 20)).toBe(20);
  });

  it('people are told what holds the slots, and may end it', () => {
    const driver = driven([group('g', [concurrency(3)])]);
    forward(driver);
    const next = reborn(driver, [group('g', [concurrency(3)])]);
    const [view] = next.gate.leases(0, 0, 10);
    expect(view).toMatchObject({ holder: 'forwarded before the restart', costs: { requests: 3 }, expiresAt: next.now + LEASE });
    expect(atOnce(next, 3)).toBe(0);
    next.call((gate, now) => gate.revoke(now, view?.serial ?? 0));
    expect(atOnce(next, 3)).toBe(3);
  });

  it('what was little used is held back in part only', () => {
    const groups = [group('g', [concurrency(100)])];
    const driver = driven(groups);
    forward(driver);
    expect(atOnce(reborn(driver, groups), 100)).toBe(92);
  });

  it('what was unused for two lease lengths is not held back', () => {
    const driver = driven();
    driver.release(forward(driver));
    driver.advance(2 * LEASE);
    expect(atOnce(reborn(driver), 20)).toBe(20);
  });

  it('floors stay below the fences of those who may still be at work', () => {
    const groups = [group('g', [concurrency(100)])];
    const driver = driven(groups);
    const old = permitOf(forward(driver)).lease;
    const young = permitOf(reborn(driver, groups).ask({})).lease;
    expect(young?.fence).toBeGreaterThan(old?.fence ?? 0n);
    expect(young?.fenceFloor).toBeLessThanOrEqual(old?.fence ?? 0n);
  });

  it('before the first write was there nobody had been told, and nothing is held', () => {
    const driver = driven(slots, { ackDelay: NEVER });
    expect(forward(driver).answered).toBe(false);
    expect(atOnce(reborn(driver), 20)).toBe(20);
  });

  it('a snapshot takes along what stands for leases, not the leases', () => {
    const driver = driven();
    for (let index = 0; index < 20; index += 1) forward(driver);
    driver.ask({ ttl: 0 });
    driver.snapshot();
    expect([...driver.disk.leases.values()].map(({ aggregate }) => aggregate)).toEqual([true]);
    expect(atOnce(reborn(driver), 20)).toBe(0);
  });

  it('killed again and again, with snapshots between: held back from the first start only', () => {
    let driver = driven();
    for (let index = 0; index < 20; index += 1) forward(driver);
    const first = reborn(driver);
    const free = first.now + LEASE;
    driver = first;
    for (let life = 0; life < 3; life += 1) {
      driver.snapshot();
      driver = reborn(driver);
    }
    driver.runTo((free - 1) as typeof driver.now);
    expect(atOnce(driver, 20)).toBe(0);
    driver.advance(1);
    expect(atOnce(driver, 20)).toBe(20);
  });

  it("a child's leases leave the rest of its parent's limit to others", () => {
    const groups = [
      group('root', [concurrency(10)]),
      group('small', [concurrency(2)], { parent: { group: 'root', share: undefined } }),
      group('other', [], { parent: { group: 'root', share: undefined } }),
    ];
    const driver = driven(groups);
    for (let index = 0; index < 2; index += 1) forward(driver, { group: 'small' });
    const next = reborn(driver, groups);
    expect(atOnce(next, 1, { group: 'small' })).toBe(0);
    expect(atOnce(next, 10, { group: 'other' })).toBe(8);
  });

  it("shares of a parent's limit, and the parent's, are held", () => {
    const groups = [group('root', [concurrency(10)]), group('half', [], { parent: { group: 'root', share: 0.5 } })];
    const driver = driven(groups);
    for (let index = 0; index < 5; index += 1) forward(driver, { group: 'half' });
    const next = reborn(driver, groups);
    expect(atOnce(next, 1, { group: 'half' })).toBe(0);
    expect(atOnce(next, 10, { group: 'root' })).toBe(5);
  });

  it('each unit is held by itself; one that no limit of concurrency counts is not', () => {
    const groups = [group('g', [concurrency(50), concurrency(1_000, { unit: 'tokens', name: 'tokens' })])];
    const driver = driven(groups);
    forward(driver, { costs: { requests: 1, tokens: 900, other: 5 } });
    expect(driver.written.at(-1)?.costs).toEqual({ requests: 8, tokens: 1_000 });
    const next = reborn(driver, groups);
    expect(atOnce(next, 1, { costs: { requests: 1, tokens: 1 } })).toBe(0);
    expect(atOnce(next, 50, { costs: { requests: 1, tokens: 0 } })).toBe(42);
  });

  it('a limit that does not count requests leaves them alone', () => {
    const groups = [group('g', [concurrency(10, { unit: 'tokens', name: 'tokens' })])];
    const driver = driven(groups);
    forward(driver, { costs: { requests: 1, tokens: 2 } });
    expect(driver.written.at(-1)?.costs).toEqual({ requests: 0, tokens: 10 });
  });

  it('under larger limits for a time: what was held beyond the old ones is held after them', () => {
    const groups = [group('g', [concurrency(4)])];
    const driver = driven(groups);
    for (let index = 0; index < 4; index += 1) forward(driver);
    const quota = { kind: 'concurrency' as const, max: 10 };
    driver.call((gate, now) => gate.override(now, 0, { limits: new Map([['concurrency', quota]]), enforce: undefined, until: t(60) }));
    for (let index = 0; index < 6; index += 1) expect(forward(driver).answered).toBe(true);
    driver.call((gate, now) => gate.override(now, 0, undefined));
    expect(driver.written.at(-1)?.costs).toEqual({ requests: 10 });
  });

  it('under smaller limits than before: what was held is still held', () => {
    const driver = driven();
    for (let index = 0; index < 20; index += 1) forward(driver);
    driver.call((gate, now) => gate.reconfigure(now, [group('g', [concurrency(5)])]));
    driver.advance(9 * SECOND);
    const [last] = driver.handles;
    if (last === undefined) throw new Error('nobody asked');
    driver.renew(last, LEASE);
    expect(driver.written.at(-1)?.costs['requests']).toBeGreaterThanOrEqual(20);
  });

  it('told in a shadow, held under a limit that counts now', () => {
    const shadow = [group('g', [concurrency(3)], { enforce: false })];
    const driver = driven(shadow);
    for (let index = 0; index < 3; index += 1) forward(driver);
    expect(atOnce(reborn(driver, [group('g', [concurrency(3)])]), 3)).toBe(0);
  });

  it('a limit that adapts starts from its beginning: what is held back neither raises nor lowers it', () => {
    const groups = [group('g', [adaptive(100, { initial: 10 })])];
    const driver = driven(groups);
    for (let index = 0; index < 10; index += 1) forward(driver);
    const next = reborn(driver, groups);
    expect(atOnce(next, 20)).toBe(0);
    next.advance(LEASE);
    expect(next.gate.limits(next.now, 0, '')[0]?.capacity).toBe(10);
    expect(atOnce(next, 20)).toBe(10);
  });
});

test('a clean stop holds nothing back; leases that live on are ordinary ones', () => {
  const driver = driven();
  const handles = Array.from({ length: 20 }, () => forward(driver));
  for (const handle of handles.slice(1)) driver.release(handle);
  const { gate, now } = driver;
  const seal = gate.seal(now);
  const next = driven(slots, { term: 2n, now, from: now, restored: { ...gate.snapshot(now), seal } });
  expect(next.gate.leases(0, 0, 10)).toMatchObject([{ holder: 'caller 1', costs: { requests: 1 }, expiresAt: now + LEASE, aggregate: false }]);
  expect(atOnce(next, 20)).toBe(19);
  const { serial, tag } = permitOf(handles[0] as (typeof handles)[0]);
  next.call((open, at) => expect(open.release(at, serial, tag, 'used', undefined)).toBe(true));
  expect(atOnce(next, 1)).toBe(1);
});

test.each([true, false])('of one that its holder ended nothing is remembered; of one that was revoked, that it was (something is written: %s)', (recording) => {
  const driver = driven(slots, { recording });
  const [ended, revoked, told] = [forward(driver), forward(driver), driver.ask()];
  driver.release(ended);
  driver.release(told);
  driver.call((gate, now) => gate.revoke(now, permitOf(revoked).serial));
  expect(driver.release(ended)).toEqual({ reason: 'unknown_permit' });
  expect(driver.release(revoked)).toEqual({ reason: 'fenced' });
  expect(driver.release(told)).toBe(false);
  driver.call((gate, now) => gate.rollback(now, permitOf(ended)));
  expect(atOnce(driver, 30)).toBe(20);
});
