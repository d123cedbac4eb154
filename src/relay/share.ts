import type { GroupSettings } from '../admission/admission.ts';
import type { GroupSpec, LimitSpec, Quota } from '../core/group.ts';

/**
 * Groups with every limit at 1/`replicas`, so that all of them together admit about what the limit says while none hears of
 * another (docs/design/coordination.md 2.9). Rounded down, and never to nothing:
 *
 *     window, fixed      floor(permits / n) in the same length; where that is 0, 1 in n / permits times the length, rounded up
 *                        (a calendar's window cannot be longer: 1 in it)
 *     rate               the same, and a burst of floor(burst / n), at least 1
 *     spacing            n times as long, slack included
 *     concurrency        floor(max / n), at least 1
 */
export function divideLimits(settings: readonly GroupSettings[], replicas: number): readonly GroupSettings[] {
  return settings.map((each) => ({ ...each, spec: sharedSpec(each.spec, Math.max(1, replicas)) }));
}

function sharedSpec(spec: GroupSpec, replicas: number): GroupSpec {
  return { ...spec, limits: spec.limits.map((limit) => sharedLimit(limit, replicas)) };
}

function sharedLimit(limit: LimitSpec, replicas: number): LimitSpec {
  const keys = new Map([...limit.keys].map(([key, quota]) => [key, divideQuota(quota, replicas)]));
  return { ...limit, quota: divideQuota(limit.quota, replicas), keys };
}

/** One limit's part. */
export function divideQuota(quota: Quota, replicas: number): Quota {
  const part = (count: number) => Math.max(1, Math.floor(count / replicas));
  const longer = (permits: number, per: number) => (permits >= replicas ? per : Math.ceil((per * replicas) / permits));
  switch (quota.kind) {
    case 'rate':
      return { ...quota, permits: part(quota.permits), per: longer(quota.permits, quota.per), burst: part(quota.burst) };
    case 'window':
      return { ...quota, permits: part(quota.permits), per: longer(quota.permits, quota.per) };
    case 'fixed': {
      const spill = Math.floor(quota.spill / replicas);
      const per = quota.per === 'month' || quota.align === 'calendar' ? quota.per : longer(quota.permits, quota.per);
      return { ...quota, permits: part(quota.permits), per, spill };
    }
    case 'spacing':
      return { ...quota, spacing: quota.spacing * replicas, slack: quota.slack * replicas };
    case 'concurrency':
      return { ...quota, max: part(quota.max) };
  }
}
