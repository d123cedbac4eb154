import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Bound } from '../../../src/core/limits/limit.ts';
import { ReportedWindow, type WindowReport } from '../../../src/core/limits/reported-window.ts';
import { DAY, HOUR, NEVER, SECOND } from '../../../src/core/time.ts';
import { t } from '../specs.ts';
import { fixedQuota } from './quotas.ts';

const QUOTA = fixedQuota({ permits: 1_000_000, per: DAY, align: 'reported' });

function reported(report: Partial<WindowReport> = {}): ReportedWindow {
  const window = new ReportedWindow(QUOTA);
  window.report(t(0), { permits: 100, used: 0, late: 30 * SECOND, endsIn: DAY, ...report });
  return window;
}

const left = (window: ReportedWindow, seconds: number): number => {
  const { capacity, used } = window.status(t(seconds));
  return capacity - used;
};

describe('A reported window', () => {
  test('lets nothing pass before the first report, and calls no cost too large', () => {
    const window = new ReportedWindow(QUOTA);
    expect(window.readyAt(t(0), 1)).toBe(NEVER);
    expect(window.capacity).toBe(1_000_000);
    expect(left(window, 0)).toBe(0);
  });

  test('gives what is left, and nothing by time alone once its end has passed', () => {
    const window = reported({ permits: 3, used: 1, endsIn: HOUR });
    for (let taken = 0; taken < 2; taken++) {
      expect(window.readyAt(t(1), 1)).toBe(t(1));
      window.take(t(1), 1);
    }
    expect(window.readyAt(t(1), 1)).toBe(NEVER);
    expect(window.status(t(1)).resetAt).toBe(t(3600));
    expect(window.readyAt(t(3 * 86_400), 1)).toBe(NEVER);
    window.report(t(3 * 86_400), { permits: 3, used: 0, late: 30 * SECOND, endsIn: DAY });
    expect(window.readyAt(t(3 * 86_400), 1)).toBe(t(3 * 86_400));
    expect(left(window, 3 * 86_400)).toBe(3);
  });

  test.each([
    // counted there; used here before and now; what counts then
    ['what passed last is not counted there yet', 10, 10, 12, 12],
    ['all of it is counted', 12, 10, 12, 12],
    ['others started sessions too', 50, 10, 12, 50],
    ['some were never used', 7, 10, 12, 9],
    ['none was used', 0, 10, 10, 0],
  ])('keeps to the range that a report leaves, also when it comes twice: %s', (_what, counted, before, used, then) => {
    const window = reported();
    window.take(t(1), before);
    window.take(t(100), used - before);
    for (const seconds of [110, 111]) {
      window.report(t(seconds), { permits: 100, used: counted, late: 30 * SECOND, endsIn: DAY - seconds * SECOND });
      expect(left(window, seconds)).toBe(100 - then);
    }
  });

  test('takes nothing back by a report that may miss what passed before a crash, and then does', () => {
    const first = reported();
    first.enablePersistence();
    const bound = first.bound(t(1), 30, 0);
    const window = new ReportedWindow(QUOTA);
    window.restore(t(2), [bound]);
    window.report(t(3), { permits: 100, used: 0, late: 30 * SECOND, endsIn: DAY });
    expect(left(window, 3)).toBe(70);
    window.report(t(33), { permits: 100, used: 12, late: 30 * SECOND, endsIn: DAY });
    expect(left(window, 33)).toBe(88);
  });

  test('remembers what was charged for as long as reports may miss it', () => {
    const window = reported({ permits: 1_000_000 });
    for (let second = 0; second < 40_000; second += 2) window.take(t(second), 1);
    window.report(t(40_000), { permits: 1_000_000, used: 0, late: 1_000 * SECOND, endsIn: DAY });
    expect(left(window, 40_000)).toBe(1_000_000 - 500);
  });

  test('of another size counts what is used against the new one', () => {
    const window = reported();
    window.take(t(1), 60);
    window.report(t(2), { permits: 50, used: 60, late: 30 * SECOND, endsIn: DAY });
    expect(window.status(t(2))).toMatchObject({ capacity: 50, used: 50, debt: 10 });
    expect(window.readyAt(t(2), 1)).toBe(NEVER);
    window.report(t(3), { permits: 200, used: 60, late: 30 * SECOND, endsIn: DAY });
    expect(left(window, 3)).toBe(140);
  });

  test('is given back what was not used, but not what was taken in a window before', () => {
    const window = reported({ permits: 5 });
    window.take(t(1), 2);
    window.refund(t(2), t(1), 1);
    expect(left(window, 2)).toBe(4);
    window.report(t(86_400), { permits: 5, used: 0, late: 30 * SECOND, endsIn: DAY });
    window.refund(t(86_401), t(1), 1);
    expect(left(window, 86_401)).toBe(5);
  });

  test('goes on from its exact state after a clean stop', () => {
    const window = reported({ permits: 9, used: 2 });
    window.take(t(1), 3);
    const next = new ReportedWindow(QUOTA);
    next.unseal(window.seal(t(2)));
    expect(next.status(t(3))).toEqual(window.status(t(3)));
  });
});

/** What happens to a window, and what of it reached the disk. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('take' as const), cost: fc.integer({ min: 1, max: 3 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('report' as const),
      permits: fc.integer({ min: 1, max: 40 }),
      used: fc.integer({ min: 0, max: 40 }),
      late: fc.integer({ min: 0, max: 100 }),
      endsIn: fc.integer({ min: 0, max: 200 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 300 }) }) },
);

test('A crash at any moment leaves no more than there was of the window, once it was reported to be no larger', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const window = new ReportedWindow(QUOTA);
      window.enablePersistence();
      const disk: Bound[] = [];
      let now = 0;
      let shrunk = false;
      for (const each of steps) {
        if (each.kind === 'wait') now += each.seconds;
        else if (each.kind === 'report') {
          const before = window.status(t(now));
          shrunk = each.permits < before.capacity;
          window.report(t(now), { permits: each.permits, used: each.used, late: each.late * SECOND, endsIn: each.endsIn * SECOND });
        } else if (window.readyAt(t(now), each.cost) === t(now)) {
          if (!window.isCovered(t(now), each.cost)) {
            const bound = window.bound(t(now), each.cost, 0);
            disk.push(bound);
            window.onPersisted(bound);
          }
          expect(window.isCovered(t(now), each.cost)).toBe(true);
          window.take(t(now), each.cost);
          shrunk = false;
          const next = new ReportedWindow(QUOTA);
          next.restore(t(now), disk);
          expect(left(next, now)).toBeLessThanOrEqual(left(window, now));
        }
      }
      expect(shrunk || disk.every(({ slot, value }) => Number.isSafeInteger(slot) && Number.isSafeInteger(value))).toBe(true);
    }),
  );
});
