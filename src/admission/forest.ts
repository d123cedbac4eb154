import type { GroupSpec, Quota } from '../core/group.ts';
import { HORIZON_RECOVERY_MAX } from '../core/limit.ts';
import type { GroupSettings } from './admission.ts';

/** Groups that share a root, and so an owner, a gate and an order. */
export interface Planted {
  readonly root: string;
  readonly settings: readonly GroupSettings[];
}

/** Sorts groups into trees, by root; answers what is wrong with them instead (a parent that is not there, a ring). */
export function plant(all: readonly GroupSettings[]): { readonly trees: ReadonlyMap<string, Planted>; readonly mistakes: readonly string[] } {
  const byName = new Map(all.map((settings) => [settings.spec.name, settings]));
  const mistakes: string[] = [];
  const trees = new Map<string, { root: string; settings: GroupSettings[] }>();
  if (byName.size !== all.length) mistakes.push('A group is named twice.');
  for (const settings of all) {
    const root = rootOf(settings, byName);
    if (root === undefined) {
      mistakes.push(`Group ${settings.spec.name}: its line of parents does not end in a group that is there.`);
      continue;
    }
    const tree = trees.get(root);
    if (tree === undefined) trees.set(root, { root, settings: [settings] });
    else tree.settings.push(settings);
  }
  return { trees, mistakes };
}

/** May admitting here need the disk? Leases do, and limits that need long to recover, here or above (coordination.md 2.7). */
export function writesOf(name: string, specs: readonly GroupSpec[]): boolean {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  for (let at = byName.get(name); at !== undefined; at = at.parent === undefined ? undefined : byName.get(at.parent.group)) {
    if (at.limits.some((limit) => needsDisk(limit.quota) || [...limit.keys.values()].some(needsDisk))) return true;
  }
  return false;
}

/** A group, then those above it. */
export function lineOf(settings: GroupSettings, all: readonly GroupSettings[]): readonly GroupSettings[] {
  const line = [settings];
  for (let at = settings.spec.parent; at !== undefined && line.length <= all.length; ) {
    const above = all.find(({ spec }) => spec.name === at?.group);
    if (above === undefined) break;
    line.push(above);
    at = above.spec.parent;
  }
  return line;
}

function rootOf(settings: GroupSettings, byName: ReadonlyMap<string, GroupSettings>): string | undefined {
  let at: GroupSettings | undefined = settings;
  for (let steps = 0; at !== undefined && steps <= byName.size; steps++) {
    const { parent } = at.spec;
    if (parent === undefined) return at.spec.name;
    at = byName.get(parent.group);
  }
  return undefined;
}

function needsDisk(quota: Quota): boolean {
  switch (quota.kind) {
    case 'concurrency':
      return true;
    case 'rate':
      return (quota.burst * quota.per) / quota.permits > HORIZON_RECOVERY_MAX;
    case 'spacing':
      return quota.spacing + quota.slack > HORIZON_RECOVERY_MAX;
    case 'window':
      return quota.per > HORIZON_RECOVERY_MAX;
    case 'fixed':
      return quota.per === 'month' || quota.per > HORIZON_RECOVERY_MAX || quota.spill > 0;
  }
}
