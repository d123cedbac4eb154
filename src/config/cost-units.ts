import { DEPTH_MAX } from '../core/bounds.ts';
import { REQUESTS } from '../core/group.ts';
import { ValueError } from './errors.ts';
import type { GroupOptions } from './group-options.ts';
import type { LimitOptions } from './limit-options.ts';
import type { ReportAt, Unverified } from './schema.ts';
import { suggest } from './suggest.ts';

type Groups = ReadonlyMap<string, Unverified<GroupOptions> | undefined>;

/** Returns the units that limits of a group and of those above it count, requests first; undefined where a mistake hides some. */
export function unitsOf(groups: Groups, name: string): ReadonlySet<string> | undefined {
  const limits = limitsOver(groups, name);
  return limits && new Set([REQUESTS, ...limits.map((limit) => limit.unit ?? REQUESTS)]);
}

/** Reports costs of units that no limit counts, and defaults that could never pass. */
export function checkUnits(groups: Groups, report: ReportAt): void {
  for (const [name, group] of groups) {
    if (group?.costs === undefined || group.costs.size === 0) continue;
    const limits = limitsOver(groups, name);
    const units = unitsOf(groups, name);
    for (const [unit, cost] of group.costs) {
      const fault = units && unknownUnit(name, unit, units);
      if (fault !== undefined) report([name, 'costs', unit], fault);
      const small = limits?.find((limit) => limit.unit === unit && (cost?.default ?? 0) > (mostOf(limit) ?? Number.POSITIVE_INFINITY));
      if (small !== undefined)
        report(
          [name, 'costs', unit, 'default'],
          new ValueError(`limit ${small.name} can never pass ${cost?.default} at once`, 'Lower the default, or raise the limit (of a rate its burst).'),
        );
    }
  }
}

/** Reports that no limit of this group, or above it, counts `unit`; undefined if one does. */
export function unknownUnit(group: string, unit: string, units: ReadonlySet<string>): ValueError | undefined {
  if (units.has(unit)) return undefined;
  const guess = suggest(unit, [...units]);
  return new ValueError(
    `no limit of group ${group}, or above it, counts ${JSON.stringify(unit)}`,
    guess === undefined ? `Name one that is counted: ${[...units].slice(0, 10).join(', ')}.` : `Did you mean ${guess}?`,
  );
}

/** Returns the limits of a group and of those above it; undefined where a mistake hides some. */
export function limitsOver(groups: Groups, name: string): readonly Unverified<LimitOptions>[] | undefined {
  const found: Unverified<LimitOptions>[] = [];
  let at: string | undefined = name;
  for (let depth = 0; at !== undefined && depth <= DEPTH_MAX; depth++) {
    const group = groups.get(at);
    if (group?.limits === undefined) return undefined;
    for (const limit of group.limits) {
      if (limit === undefined) return undefined;
      found.push(limit);
    }
    at = group.parent?.group;
  }
  return found;
}

/** Returns the units whose cost a request of this group must name, by itself or a group above it. */
export function requiredUnits(groups: Groups, name: string): ReadonlySet<string> {
  const found = new Set<string>();
  let at: string | undefined = name;
  for (let depth = 0; at !== undefined && depth <= DEPTH_MAX; depth++) {
    const group = groups.get(at);
    for (const [unit, cost] of group?.costs ?? []) if (cost?.required === true) found.add(unit);
    at = group?.parent?.group;
  }
  return found;
}

/** The largest cost that a limit as written passes; undefined where it is not known. */
function mostOf(limit: Unverified<LimitOptions>): number | undefined {
  if (limit.rate !== undefined) return limit.burst ?? 1;
  if (limit.window !== undefined) return (limit.window.permits ?? Number.POSITIVE_INFINITY) + (limit.spill ?? 0);
  if (limit.concurrency !== undefined) return limit.concurrency.max;
  return limit.spacing === undefined ? undefined : 1;
}
