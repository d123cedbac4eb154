import type { GroupSettings } from '../admission/admission.ts';
import { lineOf } from '../admission/tree-spec.ts';
import { type DescriptorRule, type RateLimitedGroup, type RateLimitRules, shapeOf } from '../api/rate-limit-rules.ts';
import type { Config } from '../config/load.ts';

/** The rules of Envoy's rate limit service; undefined where it is not served. The configuration must have been read without a mistake. */
export function compileRateLimitRules({ envoy, groups }: Pick<Config, 'envoy' | 'groups'>): RateLimitRules | undefined {
  if (envoy === undefined) return undefined;
  const byName = new Map(groups.map((settings) => [settings.spec.name, settings]));
  const byShape = new Map<string, DescriptorRule[]>();
  const named = new Map<string, RateLimitedGroup>();
  for (const rule of envoy.descriptors) {
    const shape = shapeOf(rule.entries);
    byShape.set(shape, [...(byShape.get(shape) ?? []), rule]);
    const settings = byName.get(rule.group);
    if (settings !== undefined && !named.has(rule.group)) named.set(rule.group, groupOf(settings, byName));
  }
  return { unmatched: envoy.unmatched, fields: envoy.rateLimitFields, byShape, groups: named };
}

function groupOf(settings: GroupSettings, byName: ReadonlyMap<string, GroupSettings>): RateLimitedGroup {
  const line = lineOf(settings, byName);
  return {
    classes: new Set(settings.priority.classes.keys()),
    above: new Set(line.slice(1).map(({ spec }) => spec.name)),
    keyed: line.some(({ spec }) => spec.limits.some(({ scope }) => scope === 'key')),
  };
}
