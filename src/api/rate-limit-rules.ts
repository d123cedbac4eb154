import { createHash } from 'node:crypto';
import { isKey } from '../core/bounds.ts';
import type { Costs } from '../core/group.ts';
import type { Micros } from '../core/time.ts';
import type { RateLimitDescriptor } from '../gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.ts';
import type { RateLimitRequest } from '../gen/envoy/service/ratelimit/v3/rls_pb.ts';

/** Which group a descriptor of Envoy is charged to: one item of `envoy.descriptors`. */
export interface DescriptorRule {
  /** undefined: any. */
  readonly domain: string | undefined;
  /** All that a descriptor has, in order; `value` undefined: any. */
  readonly entries: readonly { readonly key: string; readonly value: string | undefined }[];
  readonly group: string;
  /** Where the key inside the group stands. `open`: the values that `entries` leave open. */
  readonly key: 'open' | 'none' | { readonly entry: string };
  readonly class: { readonly entry: string } | { readonly name: string } | undefined;
  /** What the hits count. */
  readonly unit: string;
  /** Longest wait; undefined: the group's default. */
  readonly ttl: Micros | undefined;
}

/** What is known of a group that a rule names. */
export interface RateLimitedGroup {
  readonly classes: ReadonlySet<string>;
  /** The groups above it. */
  readonly above: ReadonlySet<string>;
  /** A limit of it, or of a group above it, counts per key. */
  readonly keyed: boolean;
}

/** The whole of `envoy`, compiled. */
export interface RateLimitRules {
  readonly unmatched: 'allow' | 'refuse';
  /** When answers carry the RateLimit fields. */
  readonly fields: 'always' | 'refused' | 'never';
  /** Rules by domain-free shape ({@link shapeOf}), in the order of the file. */
  readonly byShape: ReadonlyMap<string, readonly DescriptorRule[]>;
  readonly groups: ReadonlyMap<string, RateLimitedGroup>;
}

/** One acquire for the descriptors of a request that name the same group and key. */
export interface PlannedAsk {
  readonly group: string;
  readonly key: string;
  readonly priorityClass: string | undefined;
  readonly ttl: Micros | undefined;
  readonly costs: Costs;
}

/** A descriptor's group and key, and the acquire that covers it. `unmatched`: no rule fits. `free`: it is charged nothing. */
export type DescriptorPlan = 'unmatched' | 'free' | { readonly group: string; readonly key: string; readonly ask: PlannedAsk };

/** The acquires of a request: `asks` one after the other, in this order. */
export interface RateLimitPlan {
  readonly descriptors: readonly DescriptorPlan[];
  readonly asks: readonly PlannedAsk[];
}

/** The names of a descriptor's entries as one text; rules with the same one can fit the same descriptors. */
export function shapeOf(entries: readonly { readonly key: string }[]): string {
  return JSON.stringify(entries.map(({ key }) => key));
}

/**
 * Plans the acquires of a request. Descriptors with the same group and key are one acquire, whose costs are added; a group above
 * another one of the request has none of its own where that of the lower one charges it as much. They are sorted by
 * group and key: two requests that wait for each other's groups wait in the same order.
 */
export function planRequest(rules: RateLimitRules, request: RateLimitRequest): RateLimitPlan {
  const merged = new Map<string, PlannedAsk>();
  const found = request.descriptors.map((descriptor) => {
    if (descriptor.isNegativeHits) return 'free';
    const rule = ruleFor(rules, request.domain, descriptor);
    if (rule === undefined) return 'unmatched';
    const key = keyOf(rule, descriptor);
    const id = JSON.stringify([rule.group, key]);
    merged.set(id, mergeAsk(merged.get(id), rule, key, { descriptor, hits: hitsOf(request, descriptor), rules }));
    return { group: rule.group, key, id };
  });
  const asks = [...merged.values()].sort((a, b) => compare(a.group, b.group) || compare(a.key, b.key));
  const lowest = asks.filter((ask) => !asks.some((other) => covers(rules, other, ask)));
  const descriptors = found.map((each): DescriptorPlan => {
    if (typeof each === 'string') return each;
    const { group, key, id } = each;
    const own = merged.get(id);
    if (own === undefined) throw new Error(`no acquire was planned for group ${group}`);
    return { group, key, ask: lowest.includes(own) ? own : (lowest.find((other) => covers(rules, other, own)) ?? own) };
  });
  return { descriptors, asks: lowest };
}

function ruleFor({ byShape }: RateLimitRules, domain: string, { entries }: RateLimitDescriptor): DescriptorRule | undefined {
  return byShape
    .get(shapeOf(entries))
    ?.find(
      (rule) =>
        (rule.domain === undefined || rule.domain === domain) &&
        rule.entries.every(({ value }, index) => value === undefined || value === entries[index]?.value),
    );
}

function hitsOf(request: RateLimitRequest, { hitsAddend }: RateLimitDescriptor): number {
  return hitsAddend === undefined ? request.hitsAddend || 1 : Number(hitsAddend);
}

function mergeAsk(
  before: PlannedAsk | undefined,
  { group, unit, ttl, class: named }: DescriptorRule,
  key: string,
  { descriptor, hits, rules }: { descriptor: RateLimitDescriptor; hits: number; rules: RateLimitRules },
): PlannedAsk {
  const value = named === undefined ? undefined : 'name' in named ? named.name : entryValue(descriptor, named.entry);
  // A class that the group does not have counts as none, as at the proxy: callers may choose the value.
  const priorityClass = value !== undefined && rules.groups.get(group)?.classes.has(value) ? value : undefined;
  const costs = { ...before?.costs, [unit]: (before?.costs[unit] ?? 0) + hits };
  const shortest = ttl === undefined ? before?.ttl : Math.min(ttl, before?.ttl ?? ttl);
  return { group, key, priorityClass: before?.priorityClass ?? priorityClass, ttl: shortest, costs };
}

/** Whether the acquire `lower` charges all that `ask` would. */
function covers({ groups }: RateLimitRules, lower: PlannedAsk, ask: PlannedAsk): boolean {
  if (groups.get(lower.group)?.above.has(ask.group) !== true) return false;
  if (lower.key !== ask.key && groups.get(ask.group)?.keyed === true) return false;
  return Object.entries(ask.costs).every(([unit, cost]) => cost <= (lower.costs[unit] ?? (unit === 'requests' ? 1 : 0)));
}

function keyOf({ key, entries }: DescriptorRule, descriptor: RateLimitDescriptor): string {
  if (key === 'none') return '';
  if (key !== 'open') return bounded(entryValue(descriptor, key.entry) ?? '');
  const open = descriptor.entries.filter((_entry, index) => entries[index]?.value === undefined).map(({ value }) => value);
  // One value is the key as it is, so that the same key can be named in other calls.
  return bounded(open.length > 1 ? open.map((value) => value.replaceAll(/[%|]/g, (sign) => (sign === '%' ? '%25' : '%7C'))).join('|') : (open[0] ?? ''));
}

function entryValue({ entries }: RateLimitDescriptor, key: string): string | undefined {
  return entries.find((entry) => entry.key === key)?.value;
}

/** The value, or its hash where it cannot be a key: callers choose it, and an error of this service would let them pass at Envoy. */
function bounded(value: string): string {
  return value === '' || isKey(value) ? value : `sha256:${createHash('sha256').update(value).digest('hex')}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
