import type { Quota } from '../core/group.ts';
import { MAX_DRAINED_RECOVERY } from '../core/limits/limit.ts';
import type { GroupSettings } from './admission.ts';
import { atOnce, type Work } from './slices.ts';

/** Groups that share a root, and so an owner, a gate and an order. */
export interface TreeSpec {
  readonly root: string;
  readonly settings: readonly GroupSettings[];
}

/** All groups of a configuration, by tree. */
export interface Forest {
  readonly trees: ReadonlyMap<string, TreeSpec>;
  /** The root of each group, by the group's name. */
  readonly roots: ReadonlyMap<string, string>;
  /** What is wrong with the groups: a parent that is not there, a ring. */
  readonly mistakes: readonly string[];
}

/** Sorts groups into trees, by root, in one turn: about 1 us a group. */
export function partitionGroups(all: readonly GroupSettings[]): Forest {
  return atOnce(planting(all));
}

/** Sorts groups into trees, by root. A tree whose settings are all the same objects as in `before` is the same object as there. */
export function* planting(all: readonly GroupSettings[], before?: ReadonlyMap<string, TreeSpec>): Work<Forest> {
  const byName = new Map<string, GroupSettings>();
  for (const settings of all) {
    byName.set(settings.spec.name, settings);
    yield;
  }
  const mistakes: string[] = [];
  const grown = new Map<string, { root: string; settings: GroupSettings[] }>();
  const roots = new Map<string, string>();
  if (byName.size !== all.length) mistakes.push('A group is named twice.');
  for (const settings of all) {
    yield;
    const { name } = settings.spec;
    const root = rootOf(settings, byName);
    if (root === undefined) {
      mistakes.push(`Group ${name}: its line of parents does not end in a group that is there.`);
      continue;
    }
    roots.set(name, root);
    const tree = grown.get(root);
    if (tree === undefined) grown.set(root, { root, settings: [settings] });
    else tree.settings.push(settings);
  }
  const trees = new Map<string, TreeSpec>();
  for (const [root, tree] of grown) {
    yield;
    const old = before?.get(root);
    trees.set(root, old !== undefined && isSame(old.settings, tree.settings) ? old : tree);
  }
  return { trees, roots, mistakes };
}

function isSame(before: readonly GroupSettings[], now: readonly GroupSettings[]): boolean {
  return before.length === now.length && now.every((settings, at) => settings === before[at]);
}

/** May admitting a group need the disk? Leases do, and limits that need long to recover (docs/design/coordination.md 2.7). `line`: the group, then those above it. */
export function needsPersistence(line: readonly GroupSettings[]): boolean {
  return line.some(({ spec }) => spec.limits.some((limit) => needsDisk(limit.quota) || [...limit.keys.values()].some(needsDisk)));
}

/** A group, then those above it. */
export function lineOf(settings: GroupSettings, byName: ReadonlyMap<string, GroupSettings>): readonly GroupSettings[] {
  const line = [settings];
  for (let at = settings.spec.parent; at !== undefined && line.length <= byName.size; ) {
    const above = byName.get(at.group);
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
      return (quota.burst * quota.per) / quota.permits > MAX_DRAINED_RECOVERY;
    case 'spacing':
      return quota.spacing + quota.slack > MAX_DRAINED_RECOVERY;
    case 'window':
      return quota.per > MAX_DRAINED_RECOVERY;
    case 'fixed':
      return quota.per === 'month' || quota.per > MAX_DRAINED_RECOVERY || quota.spill > 0;
  }
}
