import { DEPTH_MAX } from '../bounds.ts';
import type { GroupSpec, LimitSpec } from '../group.ts';
import { scaleQuota, shareOf } from '../limits/create-limit.ts';
import type { Instant } from '../time.ts';
import { GroupNode } from './group-node.ts';
import { KeyState } from './key-state.ts';
import { LimitInstance, LimitRule } from './limit-rule.ts';
import type { Override } from './overrides.ts';
import type { WaiterTable } from './waiter-table.ts';

/**
 * The nodes of one tree and what they count in: rules from the file, shares of a parent's rules, overrides, and a limit instance
 * for every group and key that is in use. Knows nothing of who waits.
 */
export class GroupTree {
  readonly nodes: GroupNode[] = [];
  root!: GroupNode;
  readonly #byName = new Map<string, GroupNode>();
  readonly #waiters: WaiterTable;
  /** Called for every new limit instance, so that it starts as the terms before left it. */
  readonly #onNewLimit: (instance: LimitInstance) => void;
  readonly #freeKeys: number[] = [];
  readonly keyStates: (KeyState | undefined)[] = [];

  constructor(parts: { waiters: WaiterTable; groups: readonly GroupSpec[]; born: (instance: LimitInstance) => void }) {
    this.#waiters = parts.waiters;
    this.#onNewLimit = parts.born;
    const wrong = this.validate(parts.groups);
    if (wrong !== undefined) throw new RangeError(wrong);
    this.#build(parts.groups);
  }

  node(name: string): GroupNode | undefined {
    const node = this.#byName.get(name);
    return node === undefined || node.removed ? undefined : node;
  }

  /** Whether some group has keys. */
  get hasKeys(): boolean {
    return this.keyStates.length > this.#freeKeys.length;
  }

  /** Why these groups are no tree, or not this one; undefined: they are. */
  validate(groups: readonly GroupSpec[]): string | undefined {
    const names = new Set(groups.map((group) => group.name));
    if (names.size !== groups.length) return 'a group is named twice';
    const roots = groups.filter((group) => group.parent === undefined);
    if (roots.length !== 1) return `a tree has one root, these groups have ${roots.length}`;
    const above = new Map(groups.map((group) => [group.name, group.parent?.group]));
    for (const group of groups) {
      let at = group.parent?.group;
      for (let depth = 1; at !== undefined; depth++) {
        if (!names.has(at)) return `group ${group.name}: its parent ${at} is not in this tree`;
        if (depth >= DEPTH_MAX) return `group ${group.name}: more than ${DEPTH_MAX} groups above one another`;
        at = above.get(at);
      }
    }
    if (this.root !== undefined && roots[0]?.name !== this.root.name) return `the root changes from ${this.root.name} to ${roots[0]?.name}`;
    return undefined;
  }

  /** A node and all below it. */
  descendants(node: GroupNode): GroupNode[] {
    const found = [node];
    // Grows while it is walked.
    for (const each of found) found.push(...each.children);
    return found;
  }

  /**
   * The groups as they are to be from now on. State of rules that keep name, kind, unit and scope goes on. Groups whose specs are the same
   * objects as before, and that no change above reaches, are not touched: their cost is a look-up each. Returns the nodes that are gone, and those that changed.
   */
  rebuild(now: Instant, groups: readonly GroupSpec[]): { readonly gone: readonly GroupNode[]; readonly changed: readonly GroupNode[] } {
    const kept = new Set(groups.map((group) => group.name));
    const gone = this.nodes.filter((node) => !node.removed && !kept.has(node.name));
    for (const node of gone) {
      node.removed = true;
      node.parent?.children.delete(node);
      this.#byName.delete(node.name);
    }
    return { gone, changed: this.respecify(now, groups) };
  }

  /** The same for some of the groups: those that are there keep their parents, or get parents that are there; the others stay as they are. Returns the nodes that changed. */
  respecify(now: Instant, groups: readonly GroupSpec[]): readonly GroupNode[] {
    const changed = this.#build(groups);
    this.#reshape(now, changed);
    return changed;
  }

  /** Puts an override in force, or the file back. */
  override(now: Instant, node: GroupNode, override: Override | undefined): void {
    node.override = override;
    this.reconfigureLimits(now);
  }

  /** Every limit instance under the quota its rule has now. */
  reconfigureLimits(now: Instant): void {
    this.#reshape(now, this.nodes);
  }

  /** The shares of a limit that adapts become their part of what it is now; answers their limit instances. */
  rescaleShares(instance: LimitInstance): readonly LimitInstance[] {
    const shares: LimitInstance[] = [];
    for (const node of instance.rule.node.children) {
      if (node.spec.parent?.share === undefined) continue;
      const instances = instance.keyState === undefined ? node.instances : (node.keys.get(instance.keyState.key)?.instances ?? []);
      for (const share of instances) {
        if (share.rule.source !== instance.rule) continue;
        follow(share, instance);
        shares.push(share);
      }
    }
    return shares;
  }

  /** The state of a key, made when it is new together with its ancestors'. */
  keyState(node: GroupNode, key: string): KeyState {
    const known = node.keys.get(key);
    if (known !== undefined) return known;
    const id = this.#freeKeys.pop() ?? this.keyStates.length;
    const state = new KeyState(node, key, id);
    this.keyStates[id] = state;
    node.keys.set(key, state);
    state.instances = node.keyRules.map((rule) => this.#instance(rule, state));
    this.#chain(state);
    return state;
  }

  /** Forgets an idle key. */
  dropKey(state: KeyState): void {
    state.node.keys.delete(state.key);
    this.keyStates[state.id] = undefined;
    this.#freeKeys.push(state.id);
    for (const above of state.path) if (above !== state) above.children--;
  }

  /** Every limit instance there is, of all nodes or of these. */
  *instances(nodes: Iterable<GroupNode> = this.nodes): IterableIterator<LimitInstance> {
    for (const node of nodes) {
      if (node.removed) continue;
      yield* node.instances;
      for (const state of node.keys.values()) yield* state.instances;
    }
  }

  /** Returns the nodes that are new, have another spec, or stand below one of these that changed for them; parents before children. */
  #build(groups: readonly GroupSpec[]): readonly GroupNode[] {
    const respecified = new Set<GroupNode>();
    for (const spec of groups) {
      const known = this.#byName.get(spec.name);
      if (known?.spec === spec) continue;
      const node = known ?? new GroupNode(this.nodes.length, spec, this.#waiters);
      node.spec = spec;
      respecified.add(node);
      if (known !== undefined) continue;
      this.nodes.push(node);
      this.#byName.set(spec.name, node);
    }
    if (respecified.size === 0) return [];
    for (const node of respecified) {
      node.parent?.children.delete(node);
      node.parent = node.spec.parent === undefined ? undefined : (this.#byName.get(node.spec.parent.group) as GroupNode);
      node.parent?.children.add(node);
      if (node.parent === undefined) this.root = node;
    }
    return this.#wireAll(respecified);
  }

  /** Wires these nodes and, where that changes what counts for those below, them too; parents before children. Returns all that were wired. */
  #wireAll(respecified: ReadonlySet<GroupNode>): readonly GroupNode[] {
    const levels: Set<GroupNode>[] = Array.from({ length: DEPTH_MAX }, () => new Set());
    for (const node of respecified) levels[depth(node)]?.add(node);
    const wired: GroupNode[] = [];
    const reached = new Set<GroupNode>();
    for (const [level, nodes] of levels.entries()) {
      for (const node of nodes) {
        wired.push(node);
        if (this.#wire(node)) reached.add(node);
        const reaches = reached.has(node);
        const isSource = respecified.has(node);
        if (!reaches && !isSource) continue;
        for (const child of node.children) {
          if (!reaches && child.spec.parent?.share === undefined) continue;
          levels[level + 1]?.add(child);
          if (reaches) reached.add(child);
        }
      }
    }
    for (const node of wired) if (reached.has(node)) for (const state of node.keys.values()) this.#rewire(state);
    return wired;
  }

  #reshape(now: Instant, nodes: readonly GroupNode[]): void {
    for (const node of nodes) {
      if (node.removed) continue;
      for (const rule of node.rules) {
        rule.override = node.override?.limits.get(rule.name) ?? this.#shareOf(rule, node);
        rule.instance?.limit.reconfigure(now, rule.quotaFor(''));
      }
      for (const key of node.keys.values()) for (const instance of key.instances) instance.limit.reconfigure(now, instance.rule.quotaFor(key.key));
    }
    const sources = new Set(nodes.flatMap((node) => (node.parent === undefined ? [node] : [node, node.parent])));
    for (const instance of this.instances(sources)) if (instance.limit.estimate !== undefined) this.rescaleShares(instance);
  }

  /** Returns whether what counts for this node and those below it has changed, apart from its numbers. */
  #wire(node: GroupNode): boolean {
    const old = node.rules;
    const { path, pathInstances, hasKeyLimits, hasLeases } = node;
    const share = node.spec.parent?.share;
    const own = node.spec.limits.map((spec) => this.#rule(node, old, spec, undefined));
    const sources = share === undefined ? [] : (node.parent?.rules.filter((rule) => rule.source === undefined) ?? []);
    const shares = sources.map((source) => this.#rule(node, old, shareSpec(source, share ?? 1), source));
    node.rules = [...own, ...shares];
    node.groupRules = node.rules.filter((rule) => rule.scope === 'group');
    node.keyRules = node.rules.filter((rule) => rule.scope === 'key');
    for (const rule of node.groupRules) rule.instance ??= this.#instance(rule, undefined);
    node.instances = node.groupRules.map((rule) => rule.instance as LimitInstance);
    node.path = [node, ...(node.parent?.path ?? [])];
    node.pathInstances = node.path.flatMap((above) => above.instances);
    node.hasKeyLimits = node.path.some((above) => above.keyRules.length > 0);
    node.hasLeases = node.path.some((above) => above.rules.some((rule) => rule.spec.quota.kind === 'concurrency'));
    const isSame = sameItems(old, node.rules) && sameItems(path, node.path) && sameItems(pathInstances, node.pathInstances);
    return !isSame || hasKeyLimits !== node.hasKeyLimits || hasLeases !== node.hasLeases;
  }

  #rule(node: GroupNode, old: readonly LimitRule[], spec: LimitSpec, source: LimitRule | undefined): LimitRule {
    const same = old.find(
      (rule) =>
        rule.name === spec.name && rule.unit === spec.unit && rule.scope === spec.scope && rule.spec.quota.kind === spec.quota.kind && rule.source === source,
    );
    if (same === undefined) return new LimitRule({ node, spec, source });
    same.spec = spec;
    return same;
  }

  /** A share follows an override of the parent's limit. */
  #shareOf(rule: LimitRule, node: GroupNode): LimitRule['override'] {
    const source = rule.source;
    const override = source?.node.override?.limits.get(source.name);
    return override === undefined ? undefined : scaleQuota(override, node.spec.parent?.share ?? 1);
  }

  #instance(rule: LimitRule, state: KeyState | undefined): LimitInstance {
    const instance = new LimitInstance(rule, state, state?.key ?? '');
    this.#onNewLimit(instance);
    const { source } = rule;
    const above = source?.instance ?? (state && source?.node.keys.get(state.key)?.instances.find((each) => each.rule === source));
    if (above !== undefined) follow(instance, above);
    return instance;
  }

  #rewire(state: KeyState): void {
    const old = state.instances;
    state.instances = state.node.keyRules.map((rule) => old.find((instance) => instance.rule === rule) ?? this.#instance(rule, state));
    for (const above of state.path) if (above !== state) above.children--;
    this.#chain(state);
  }

  #chain(state: KeyState): void {
    const chain = [state];
    for (const node of state.node.path.slice(1)) {
      if (node.keyRules.length === 0) continue;
      const above = this.keyState(node, state.key);
      above.children++;
      chain.push(above);
    }
    state.path = chain;
    state.limits = [...chain.flatMap((link) => link.instances), ...state.node.pathInstances];
  }
}

/** A share is its part of what the parent's limit is now, where that adapts. */
function follow(share: LimitInstance, source: LimitInstance): void {
  const { estimate } = source.limit;
  if (estimate !== undefined) share.limit.setShare?.(shareOf(estimate, share.rule.node.spec.parent?.share ?? 1, 1));
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, at) => item === b[at]);
}

function depth(node: GroupNode): number {
  let at = 0;
  for (let above = node.parent; above !== undefined; above = above.parent) at++;
  return at;
}

function shareSpec(source: LimitRule, share: number): LimitSpec {
  const { spec } = source;
  const keys = new Map([...spec.keys].map(([key, quota]) => [key, scaleQuota(quota, share)] as const));
  return { ...spec, name: `${source.node.name}.${spec.name}`, quota: scaleQuota(spec.quota, share), keys };
}
