import type { Quota } from '../group.ts';
import { DISTANT_PAST, type Instant, later } from '../time.ts';
import type { GroupNode } from './group-node.ts';

/** A pause that lasts; `key` undefined: of the whole group. */
export interface PauseRecord {
  readonly group: string;
  readonly key: string | undefined;
  readonly until: Instant;
}

/** An override in force. */
export interface OverrideRecord {
  readonly group: string;
  readonly override: Override;
}

/** A change of a group for a time. */
export interface Override {
  readonly limits: ReadonlyMap<string, Quota>;
  readonly enforce: boolean | undefined;
  readonly until: Instant;
}

/** Why an override cannot be put in force; undefined: it can. */
export function validateOverride(node: GroupNode, override: Override): string | undefined {
  for (const [name, quota] of override.limits) {
    const rule = node.rules.find((each) => each.name === name && each.source === undefined);
    if (rule === undefined) {
      const known = node.rules.filter((each) => each.source === undefined).map((each) => each.name);
      return `group ${node.name} has no limit ${name}: name one of ${known.join(', ') || 'none'}`;
    }
    const { quota: own } = rule.spec;
    if (own.kind === 'fixed' && own.align === 'reported') return `limit ${name} is as an authority outside reports it; it cannot be overridden`;
    if (own.kind !== quota.kind) return `limit ${name} is of kind ${own.kind}; an override keeps the kind`;
  }
  return undefined;
}

/** Pauses a node, or one key of it; a running pause is never shortened. */
export function setPause(node: GroupNode, until: Instant, key: string | undefined): void {
  if (key === undefined) node.pausedUntil = later(node.pausedUntil, until);
  else node.pausedKeys.set(key, later(node.pausedKeys.get(key) ?? DISTANT_PAST, until));
}
