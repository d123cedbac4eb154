import { ValueError } from './errors.ts';
import type { GroupOptions } from './group-options.ts';
import type { LimitOptions } from './limit-options.ts';
import type { Options } from './options.ts';
import type { ReportAt } from './schema.ts';

/**
 * Reports what a configuration without a mistake may not mean: bounds for each key that do not hold for requests without one, groups that no caller can name, and limits that
 * others always reach first. `isWritten` says whether a path stands in the file, or is a default.
 */
export function findDoubts(options: Options, isWritten: (path: readonly (string | number)[]) => boolean, report: ReportAt): void {
  for (const [name, group] of options.groups) {
    if (isWritten(['groups', name, 'backlog', 'perKey'])) checkKeyless(options, name, group, report);
    for (const [index, limit] of group.limits.entries()) checkBinding(options.groups, name, index, limit, report);
  }
  if (options.auth.keys.length > 0) checkReachable(options, report);
}

/** `backlog.perKey` counts callers that have a key. */
function checkKeyless({ routes, envoy }: Options, name: string, { backlog }: GroupOptions, report: ReportAt): void {
  if (backlog.perKey >= backlog.requests) return;
  const route = routes.findIndex((each) => each.group === name && each.key === undefined);
  const item = envoy?.descriptors.findIndex((each) => each.group === name && each.key === 'none') ?? -1;
  const who = route >= 0 ? `requests of routes[${route}]` : item >= 0 ? `requests of envoy.descriptors[${item}]` : undefined;
  if (who === undefined) return;
  const problem = `${who} have no key, so up to ${backlog.requests} of them wait, not ${backlog.perKey}`;
  report(['groups', name, 'backlog', 'perKey'], new ValueError(problem, 'Give the route a key, or lower backlog.requests.'));
}

/** With credentials, a group is asked by a route, a descriptor of Envoy, a credential that may acquire, or through a group below it. */
function checkReachable({ auth, routes, envoy, groups }: Options, report: ReportAt): void {
  const asked = new Set<string | undefined>([...routes.map(({ group }) => group), ...(envoy?.descriptors ?? []).map(({ group }) => group)]);
  for (const { can, groups: named } of auth.keys) {
    if (!can.includes('acquire')) continue;
    if (named === undefined) return;
    for (const name of named) asked.add(name);
  }
  for (const { parent } of groups.values()) asked.add(parent?.group);
  for (const name of groups.keys()) {
    if (!asked.has(name))
      report(
        ['groups', name],
        new ValueError('no caller can reach this group', 'Name it in a route, or under `groups` of a key in auth.keys that can acquire; or remove it.'),
      );
  }
}

/** A limit never binds if another that every caller of it passes too always binds first. */
function checkBinding(groups: ReadonlyMap<string, GroupOptions>, name: string, index: number, limit: LimitOptions, report: ReportAt): void {
  if (limit.keys.size > 0) return;
  for (let at: string | undefined = name, depth = 0; at !== undefined && depth < 9; at = groups.get(at)?.parent?.group, depth += 1) {
    const group = groups.get(at);
    if (group?.enforce === false) continue;
    for (const [other, above] of (group?.limits ?? []).entries()) {
      if (at === name && other === index) continue;
      // Of two that are the same, in one group, the later one is doubted.
      if (at === name && other > index && covers(limit, above)) continue;
      if (!covers(above, limit)) continue;
      const which = at === name ? above.name : `${at}/${above.name}`;
      return report(['groups', name, 'limits', index], new ValueError(`${limit.name} can never bind: ${which} always does first`, NEVER_BINDS));
    }
  }
}

const NEVER_BINDS = 'Lower it, raise the other, or remove it.';

/** Whether all that passes `one` passes `other`, whatever callers do. */
function covers(one: LimitOptions, other: LimitOptions): boolean {
  // One that counts each key bounds each key alone; exceptions may be above it.
  if (one.unit !== other.unit || one.keys.size > 0 || (one.scope === 'key' && other.scope !== 'key')) return false;
  if (other.concurrency !== undefined)
    return one.concurrency !== undefined && other.concurrency.adapt === undefined && one.concurrency.max <= other.concurrency.max;
  const gap = gapOf(one);
  if (other.spacing !== undefined) return gap !== undefined && gap >= other.spacing + (other.slack ?? 0);
  if (other.rate !== undefined) return coversRate(one, other.rate, other.burst ?? 1);
  if (other.window === undefined) return false;
  return mostIn(one, other.window.per === 'month' ? MONTH_MAX : other.window.per) <= other.window.permits;
}

function coversRate(one: LimitOptions, { permits, per }: { readonly permits: number; readonly per: number | 'month' }, burst: number): boolean {
  if (per === 'month') return false;
  if (one.spacing !== undefined) return permits * (one.spacing + (one.slack ?? 0)) >= per;
  const most = one.rate ?? (one.kind === 'fixed' ? undefined : one.window);
  if (most === undefined || most.per === 'month') return false;
  const atOnce = one.rate === undefined ? most.permits : (one.burst ?? 1);
  return atOnce <= burst && most.permits * per <= permits * most.per;
}

/** Microseconds between two callers at least; undefined: two may come at once. */
function gapOf({ spacing, slack = 0, rate, burst = 1 }: LimitOptions): number | undefined {
  if (spacing !== undefined) return spacing + slack;
  return rate !== undefined && rate.per !== 'month' && burst === 1 ? rate.per / rate.permits : undefined;
}

const DAY_MICROS = 86_400_000_000;
const MONTH_MAX = 31 * DAY_MICROS;
const MONTH_MIN = 28 * DAY_MICROS;

/** Units that pass a limit in any time of so many microseconds, at most. */
function mostIn(limit: LimitOptions, micros: number): number {
  const { rate, burst = 1, window, kind, spacing, slack = 0, spill = 0 } = limit;
  if (rate !== undefined && rate.per !== 'month') return burst + Math.floor((micros * rate.permits) / rate.per);
  if (spacing !== undefined) return 1 + Math.floor(micros / (spacing + slack));
  if (window === undefined) return Number.POSITIVE_INFINITY;
  const per = window.per === 'month' ? MONTH_MIN : window.per;
  if (kind !== 'fixed') return Math.ceil(micros / per) * window.permits;
  // An interval may lie across one edge more.
  return (Math.ceil(micros / per) + 1) * window.permits + spill;
}
