import type { GroupSettings } from '../admission/admission.ts';
import { type LimitSpec, PRIORITY_MAX, type Quota } from '../core/group.ts';
import { isStored } from './check-routes.ts';
import { concurrencyQuota } from './concurrency-options.ts';
import type { DeferredOptions } from './deferred-options.ts';
import type { GroupOptions } from './group-options.ts';
import type { LimitOptions } from './limit-options.ts';
import type { Exception } from './limit-scalars.ts';
import type { RouteOptions } from './route-options.ts';

/** Groups as admission and the core take them, every default resolved. The options must have been read without a mistake. */
export function compileGroups(groups: ReadonlyMap<string, GroupOptions>, { routes, deferred }: Stored): readonly GroupSettings[] {
  const stored = new Set(routes.filter(isStored).map(({ group }) => group));
  return [...groups].map(([name, options]) => compileGroup(name, options, stored.has(name) ? deferred.floor : undefined));
}

/** What groups take from the rest of the file: which of them have stored requests, and the share those have at least. */
interface Stored {
  readonly routes: readonly Pick<RouteOptions, 'group' | 'mode' | 'respondAsync'>[];
  readonly deferred: Pick<DeferredOptions, 'floor'>;
}

function compileGroup(name: string, options: GroupOptions, floor: GroupSettings['spec']['floor']): GroupSettings {
  const { ttl, lease, pushback, refusal, unreachable } = options;
  const { classes, default: named, aging } = options.priority;
  const least = named === 'least' ? PRIORITY_MAX : undefined;
  const usual = typeof named === 'number' ? named : (least ?? classes.get(named) ?? PRIORITY_MAX);
  return {
    spec: {
      name,
      limits: options.limits.map(compileLimit),
      parent: options.parent && { group: options.parent.group, share: options.parent.share },
      settleMax: options.settle.max,
      enforce: options.enforce,
      backlog: options.backlog,
      aging,
      fairness: options.fairness,
      floor,
    },
    wait: ttl,
    lease,
    priority: { classes, default: usual },
    pushback,
    costs: options.costs,
    refusal,
    unreachable,
  };
}

function compileLimit(options: LimitOptions): LimitSpec {
  const { name, unit, scope } = options;
  const keys = new Map<string, Quota>();
  for (const [key, said] of options.keys) keys.set(key, quotaOf(except(options, said)));
  return { name, unit, scope, quota: quotaOf(options), keys };
}

/** The limit as it is for one key: what the exception sets in place of the limit's value, the rest as it is. */
function except(options: LimitOptions, said: Exception): LimitOptions {
  if (said.form === 'max' && options.concurrency !== undefined) return { ...options, concurrency: { ...options.concurrency, max: said.max } };
  if (said.form === 'max') throw new Error(`limit ${options.name} was compiled with mistakes in it`);
  if (said.form === 'spacing') return { ...options, spacing: said.spacing };
  const { permits, per } = said;
  return options.rate === undefined ? { ...options, window: { permits, per } } : { ...options, rate: { permits, per } };
}

function quotaOf(options: LimitOptions): Quota {
  const { rate, window, spacing, concurrency } = options;
  if (rate !== undefined && rate.per !== 'month') return { kind: 'rate', permits: rate.permits, per: rate.per, burst: options.burst ?? 1 };
  if (spacing !== undefined) return { kind: 'spacing', spacing, slack: options.slack ?? 0 };
  if (concurrency !== undefined) return concurrencyQuota(concurrency);
  if (window === undefined) throw new Error(`limit ${options.name} was compiled with mistakes in it`);
  if (options.kind !== 'fixed' && window.per !== 'month') return { kind: 'window', permits: window.permits, per: window.per };
  return {
    kind: 'fixed',
    permits: window.permits,
    per: window.per,
    align: options.align ?? 'epoch',
    day: options.day ?? 1,
    time: options.time ?? 0,
    timezone: options.timezone ?? 'UTC',
    spill: options.spill ?? 0,
  };
}
