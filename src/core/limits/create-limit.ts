import type { Adapt, Quota } from '../group.ts';
import type { Micros } from '../time.ts';
import { Concurrency, type ConcurrencyQuota } from './concurrency.ts';
import { FixedWindow } from './fixed-window.ts';
import { burstOf, Gcra } from './gcra.ts';
import type { PersistentLimit } from './limit.ts';
import { ReportedWindow } from './reported-window.ts';
import { RollingWindow } from './rolling-window.ts';
import { Spacing } from './spacing.ts';

/** A quota whose limit outlives the process by its own state, not by leases. */
export type PersistentQuota = Exclude<Quota, ConcurrencyQuota>;

/** A fresh limit: nothing is spent. Hand in the same quota object for every key: what they share is kept once. */
export function createLimit(quota: PersistentQuota): PersistentLimit;
export function createLimit(quota: Quota): PersistentLimit | Concurrency;
export function createLimit(quota: Quota): PersistentLimit | Concurrency {
  switch (quota.kind) {
    case 'rate':
      return new Gcra(quota);
    case 'spacing':
      return new Spacing(quota);
    case 'window':
      return new RollingWindow(quota);
    case 'fixed':
      return quota.align === 'reported' ? new ReportedWindow(quota) : new FixedWindow(quota);
    case 'concurrency':
      return new Concurrency(quota);
  }
}

/** The number that a quota names, which `settleMax` multiplies: of a rate the larger of its permits and its burst. */
export function numberOf(quota: Quota): number {
  switch (quota.kind) {
    case 'rate':
      return Math.max(quota.permits, burstOf(quota));
    case 'spacing':
      return 1;
    case 'window':
      return quota.permits;
    case 'fixed':
      return quota.permits + quota.spill;
    case 'concurrency':
      return quota.max;
  }
}

/**
 * The part of a parent's quota that a child may use: whole units rounded down, pauses rounded up, so that the child never
 * has more than its share; but at least one unit. 60 % of 10 is 6 (LN-19).
 */
export function scaleQuota(quota: Quota, share: number): Quota {
  switch (quota.kind) {
    case 'rate':
      return { ...quota, permits: shareOf(quota.permits, share, 1), burst: shareOf(quota.burst, share, 1) };
    case 'spacing':
      return { ...quota, spacing: stretched(quota.spacing, share), slack: stretched(quota.slack, share) };
    case 'window':
      return { ...quota, permits: shareOf(quota.permits, share, 1) };
    case 'fixed':
      return { ...quota, permits: shareOf(quota.permits, share, 1), spill: shareOf(quota.spill, share, 0) };
    case 'concurrency':
      return { ...quota, max: shareOf(quota.max, share, 1), ...(quota.adapt === undefined ? {} : { adapt: partOfAdapt(quota.adapt, share) }) };
  }
}

/** Units to reserve ahead, whole: what half a second demands, at most a tenth of the capacity (docs/design/coordination.md 2.7). */
export function lookaheadUnits(demandPerSecond: number, capacity: number): number {
  return Math.max(1, Math.min(Math.ceil(demandPerSecond / 2), Math.floor(capacity / 10)));
}

/** A share of a limit that adapts does not adapt by itself: it follows. */
function partOfAdapt(adapt: Adapt, share: number): Adapt {
  return { ...adapt, by: 'parent', floor: 1, initial: shareOf(adapt.initial, share, 1) };
}

/** 29 % of 100 is 29, though 0.29 * 100 is a little less in doubles. */
const SLIP = 1e-12;

/** So many of `units`, whole, rounded down, at least `least`. */
export function shareOf(units: number, share: number, least: number): number {
  return Math.max(least, Math.floor(units * share * (1 + SLIP)));
}

function stretched(time: Micros, share: number): Micros {
  return Math.ceil((time / share) * (1 - SLIP));
}
