import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GroupSpec } from '../../src/core/group.ts';
import { HOUR, SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { type Deed, deedOf, forwardLivesOf, forwardTrees, livesOf, liveThrough, longTree } from './lives.ts';
import { treeOf } from './model/plans.ts';
import { group, rolling, t } from './specs.ts';

describe('killed at any point, the next term passes no more than the limits allow over both', () => {
  it('random trees of short limits', () => {
    fc.assert(
      fc.property(treeOf('none'), livesOf, (groups, lives) => liveThrough(groups, lives)),
      { numRuns: 600 },
    );
  });

  it('random trees of limits that adapt: what was found is forgotten, what is held is not', () => {
    fc.assert(
      fc.property(treeOf('none', { adapting: true }), livesOf, (groups, lives) => liveThrough(groups, lives)),
      { numRuns: 400 },
    );
  });

  it('a tree of long limits, whose bounds are written ahead', () => {
    fc.assert(
      fc.property(livesOf, (lives) => liveThrough(longTree, lives)),
      { numRuns: 800 },
    );
  });

  it('limits of concurrency with leases that are reported, not recorded', () => {
    fc.assert(
      fc.property(fc.constantFrom(...forwardTrees), forwardLivesOf, (groups, lives) => liveThrough(groups, lives)),
      { numRuns: 1_500 },
    );
  });
});

describe('what was said of a group lives on', () => {
  it('a pause and an override hold in the next term, to their stated ends', () => {
    const groups = [group('g', [rolling(1, 10 * SECOND)])];
    const override = { limits: new Map([['window', rolling(3, 10 * SECOND).quota]]), enforce: undefined, until: t(60) };
    const restored = {
      reservations: [],
      leases: [],
      pauses: [{ group: 'g', key: undefined, until: t(20) }],
      overrides: [{ group: 'g', override }],
      seal: undefined,
    };
    const driver = new Driver({ groups, recording: true, term: 2n, from: t(1), now: t(1), restored });
    for (let index = 0; index < 8; index += 1) driver.ask({});
    driver.advance(HOUR);
    expect(driver.times()).toEqual([20, 20, 20, 30, 30, 30, 40, 40]);
    expect(driver.gate.status(driver.now, 0)).toMatchObject({ pausedUntil: undefined, overriddenUntil: undefined });
  });
});

describe('a clean stop loses nothing', () => {
  it('after seal and restore the next asks are decided as if nothing had happened', () => {
    fc.assert(
      fc.property(treeOf('none'), fc.array(deedOf, { maxLength: 20 }), fc.array(deedOf, { maxLength: 15 }), (groups, before, after) => {
        const times = (stop: boolean): readonly string[] => {
          let driver = new Driver({ groups, recording: true });
          for (const deed of before) deedOn(driver, groups, deed);
          for (const handle of driver.handles) {
            driver.cancel(handle);
            if (handle.permit?.lease) driver.release(handle);
          }
          if (stop) driver = reborn(driver, groups);
          const first = stop ? 0 : driver.handles.length;
          for (const deed of after) deedOn(driver, groups, deed);
          driver.advance(HOUR);
          return driver.handles.slice(first).map((handle) => `${handle.fate} ${handle.at}`);
        };
        expect(times(true)).toEqual(times(false));
      }),
      { numRuns: 300 },
    );
  });

  it('a sealed gate decides nothing more', () => {
    const driver = new Driver({ groups: [group('g', [rolling(2, SECOND)])], recording: true });
    driver.ask({});
    const waiting = [driver.ask({}), driver.ask({})];
    driver.call((gate, now) => gate.seal(now));
    driver.stall(5 * SECOND);
    driver.tick();
    expect(waiting[1]?.fate).toBe('waiting');
    expect(driver.now).toBe(t(5));
  });
});

function deedOn(driver: Driver, groups: readonly GroupSpec[], deed: Deed): void {
  if (deed.do === 'run') return driver.advance(deed.by);
  if (deed.do !== 'ask') return;
  const name = groups[deed.group % groups.length]?.name ?? '';
  driver.ask({ group: name, key: deed.key, costs: { requests: deed.cost, tokens: deed.tokens }, ttl: deed.ttl, lease: deed.lease });
}

/** A clean stop and a start from what it left. */
function reborn(driver: Driver, groups: readonly GroupSpec[]): Driver {
  const { gate, now } = driver;
  const seal = gate.seal(now);
  return new Driver({ groups, recording: true, term: 2n, now, from: now, restored: { ...gate.snapshot(now), seal } });
}
