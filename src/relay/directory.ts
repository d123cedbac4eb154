import type { GroupSettings } from '../admission/admission.ts';
import { plant } from '../admission/forest.ts';

/** A group, and the shard of its tree. */
export interface Spot {
  readonly shard: number;
  readonly settings: GroupSettings;
}

/** Where every group belongs, by this replica's own file. */
export class Directory {
  readonly #shardOf: (root: string) => number;
  #spots: ReadonlyMap<string, Spot> = new Map();
  /** Groups taken out of the file, for holders of their permits. */
  readonly #former = new Map<string, Spot>();

  constructor(parts: { settings: readonly GroupSettings[]; shardOf: (root: string) => number }) {
    this.#shardOf = parts.shardOf;
    this.replace(parts.settings);
  }

  /** Other groups from now on. */
  replace(settings: readonly GroupSettings[]): void {
    const spots = new Map<string, Spot>();
    for (const { root, settings: planted } of plant(settings).trees.values()) {
      const shard = this.#shardOf(root);
      for (const each of planted) spots.set(each.spec.name, { shard, settings: each });
    }
    for (const [name, spot] of this.#spots) if (!spots.has(name)) this.#former.set(name, spot);
    for (const name of spots.keys()) this.#former.delete(name);
    this.#spots = spots;
  }

  of(group: string): Spot | undefined {
    return this.#spots.get(group);
  }

  /** Also of groups that are gone. */
  ofPermit(group: string): Spot | undefined {
    return this.#spots.get(group) ?? this.#former.get(group);
  }

  all(): ReadonlyMap<string, Spot> {
    return this.#spots;
  }
}
