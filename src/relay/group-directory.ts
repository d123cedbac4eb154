import type { GroupSettings } from '../admission/admission.ts';
import { atOnce, type Work } from '../admission/slices.ts';
import { planting } from '../admission/tree-spec.ts';

/** A group, and the shard of its tree. */
export interface GroupRoute {
  readonly shard: number;
  readonly settings: GroupSettings;
}

/** Where every group belongs, by this replica's own file. */
export class GroupDirectory {
  readonly #shardOf: (root: string) => number;
  #spots: ReadonlyMap<string, GroupRoute> = new Map();
  /** Groups taken out of the file, for holders of their permits. */
  readonly #former = new Map<string, GroupRoute>();

  constructor(parts: { settings: readonly GroupSettings[]; shardOf: (root: string) => number }) {
    this.#shardOf = parts.shardOf;
    this.replace(parts.settings);
  }

  /** Other groups from now on. */
  replace(settings: readonly GroupSettings[]): void {
    atOnce(this.replacing(settings));
  }

  /** Other groups from the last step on. */
  *replacing(settings: readonly GroupSettings[]): Work<void> {
    const spots = new Map<string, GroupRoute>();
    const { trees } = yield* planting(settings);
    for (const { root, settings: planted } of trees.values()) {
      const shard = this.#shardOf(root);
      for (const each of planted) {
        const known = this.#spots.get(each.spec.name);
        spots.set(each.spec.name, known?.settings === each && known.shard === shard ? known : { shard, settings: each });
        yield;
      }
    }
    const gone: (readonly [string, GroupRoute])[] = [];
    for (const one of this.#spots) {
      yield;
      if (!spots.has(one[0])) gone.push(one);
    }
    for (const name of this.#former.keys()) {
      yield;
      if (spots.has(name)) this.#former.delete(name);
    }
    for (const [name, spot] of gone) this.#former.set(name, spot);
    this.#spots = spots;
  }

  of(group: string): GroupRoute | undefined {
    return this.#spots.get(group);
  }

  /** Also of groups that are gone. */
  ofPermit(group: string): GroupRoute | undefined {
    return this.#spots.get(group) ?? this.#former.get(group);
  }

  all(): ReadonlyMap<string, GroupRoute> {
    return this.#spots;
  }
}
