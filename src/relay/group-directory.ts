import type { GroupSettings } from '../admission/admission.ts';
import { atOnce, type Work } from '../admission/slices.ts';
import { planting } from '../admission/tree-spec.ts';

/** A group, and the shard of its tree. */
export interface GroupRoute {
  readonly shard: number;
  readonly settings: GroupSettings;
}

/** Routes of all groups, by this replica's own configuration. */
export class GroupDirectory {
  readonly #shardOf: (root: string) => number;
  #routes: ReadonlyMap<string, GroupRoute> = new Map();
  /** Groups removed from the configuration, for holders of their permits. */
  readonly #former = new Map<string, GroupRoute>();

  constructor(deps: { settings: readonly GroupSettings[]; shardOf: (root: string) => number }) {
    this.#shardOf = deps.shardOf;
    this.replace(deps.settings);
  }

  /** Replaces the groups at once. */
  replace(settings: readonly GroupSettings[]): void {
    atOnce(this.replacing(settings));
  }

  /** Replaces the groups in slices; the new ones apply from the last step on. */
  *replacing(settings: readonly GroupSettings[]): Work<void> {
    const routes = new Map<string, GroupRoute>();
    const { trees } = yield* planting(settings);
    for (const { root, settings: planted } of trees.values()) {
      const shard = this.#shardOf(root);
      for (const each of planted) {
        const known = this.#routes.get(each.spec.name);
        routes.set(each.spec.name, known?.settings === each && known.shard === shard ? known : { shard, settings: each });
        yield;
      }
    }
    const gone: (readonly [string, GroupRoute])[] = [];
    for (const one of this.#routes) {
      yield;
      if (!routes.has(one[0])) gone.push(one);
    }
    for (const name of this.#former.keys()) {
      yield;
      if (routes.has(name)) this.#former.delete(name);
    }
    for (const [name, route] of gone) this.#former.set(name, route);
    this.#routes = routes;
  }

  of(group: string): GroupRoute | undefined {
    return this.#routes.get(group);
  }

  /** Returns the route of a group for a holder of its permit; also of groups that were removed. */
  ofPermit(group: string): GroupRoute | undefined {
    return this.#routes.get(group) ?? this.#former.get(group);
  }

  all(): ReadonlyMap<string, GroupRoute> {
    return this.#routes;
  }
}
