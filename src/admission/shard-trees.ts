import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import { LedgerFenced } from '../ledger/ledger.ts';
import { MOVED } from './admission.ts';
import { type Clock, sleep } from './clock.ts';
import type { AdmissionDeps, ShardContext } from './deps.ts';
import { OpeningQueue } from './opening-queue.ts';
import type { Work } from './slices.ts';
import type { TreeController } from './tree-controller.ts';
import { Recovery, type TreeRegistry } from './tree-registry.ts';
import type { Forest, TreeSpec } from './tree-spec.ts';

/** Between two tries to open a tree whose ledger cannot be read. */
const RETRY: Micros = 250 * MILLISECOND;

/** A ledger that cannot be written holds a hand-over up for so long; then the next term goes on as after a crash. */
const QUIET_FOR: Micros = SECOND;

/** What the coming and going of shards is made of. */
export interface ShardTreesDeps extends Pick<AdmissionDeps, 'onEvent' | 'defer'> {
  readonly clock: Clock;
  readonly shardOf: (root: string) => number;
}

/** What a tree is opened with, when its shard was gained. */
interface Gained {
  readonly ground: ShardContext;
  readonly barrier: Promise<void>;
  readonly recovery: Recovery;
}

/** Shards of the roots of a configuration, and the other way round. */
export interface Shards {
  readonly of: Map<string, number>;
  readonly roots: Map<number, string[]>;
}

const NO_SHARDS: Shards = { of: new Map(), roots: new Map() };

/**
 * The shards that this process decides, with what came with each: its trees are opened when a shard is gained, and given
 * up when it is lost or handed over. Callers that wait in them get {@link MOVED}.
 */
export class ShardTrees {
  readonly #deps: ShardTreesDeps;
  readonly #shardTrees = new Map<number, ShardContext>();
  readonly #opening = new Map<string, Promise<void>>();
  readonly #openings: OpeningQueue;
  #gates: TreeRegistry | undefined;
  #planted: ReadonlyMap<string, TreeSpec> = new Map();
  #roots: ReadonlyMap<string, string> = new Map();
  /** Of the roots of the configuration: hashing all of them again for each shard that comes or goes took seconds with 10,000. */
  #shards: Shards = NO_SHARDS;
  /** Of the configuration before, while trees that left it may still be open. */
  #former: Shards = NO_SHARDS;
  #generation = 0;

  constructor(deps: ShardTreesDeps) {
    this.#deps = deps;
    this.#openings = new OpeningQueue(deps);
  }

  /** The gates whose trees come and go; once, before anything else. */
  serve(gates: TreeRegistry): void {
    this.#gates = gates;
    gates.onLedgerLost = (root) => this.#fenced(this.#shardOf(root));
  }

  /** What a tree is decided on now; undefined: it is not decided here. */
  of(root: string): ShardContext | undefined {
    return this.#shardTrees.get(this.#shardOf(root));
  }

  /** All groups of the configuration, decided here or not. */
  plant({ trees, roots }: Forest, shards: Shards): void {
    this.#planted = trees;
    this.#former = this.#shards;
    this.#shards = shards;
    this.#roots = roots;
  }

  /** The trees that left the configuration are closed. */
  planted(): void {
    this.#former = NO_SHARDS;
  }

  /** The root of a group's tree; undefined: no such group. */
  rootOf(group: string): string | undefined {
    return this.#roots.get(group);
  }

  /** Finds the shard of each root. */
  *sharding({ trees }: Forest): Work<Shards> {
    const shards: Shards = { of: new Map(), roots: new Map() };
    for (const root of trees.keys()) {
      yield;
      const shard = this.#shardOf(root);
      shards.of.set(root, shard);
      const roots = shards.roots.get(shard);
      if (roots === undefined) shards.roots.set(shard, [root]);
      else roots.push(root);
    }
    return shards;
  }

  /** The tree of this group is being opened, and now before others: try again when this resolves; it never rejects. */
  opening(group: string): Promise<void> | undefined {
    const root = this.#roots.get(group);
    const opening = root === undefined ? undefined : this.#opening.get(root);
    if (root !== undefined && opening !== undefined) this.#openings.hurry(this.#shardOf(root), root);
    return opening;
  }

  /** Resolves when all that is being opened now is open, or lost; undefined if nothing is being opened. */
  opened(): Promise<void> | undefined {
    return this.#opening.size === 0 ? undefined : Promise.all(this.#opening.values()).then(() => undefined);
  }

  /** Grows with every shard that is gained, lost or handed over. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * The shard is decided here from now on: opens its trees by the settings in force; they admit no caller until `barrier` has settled.
   * Resolves when all are open, or the shard is lost.
   */
  async openShard(shard: number, ground: ShardContext, barrier: Promise<void>): Promise<void> {
    this.#set(shard, ground);
    const recovery = new Recovery();
    await Promise.all((this.#shards.roots.get(shard) ?? []).map((root) => this.#open(root, { ground, barrier, recovery })));
    this.#gates?.reportRecovery(recovery, Math.max(0, ground.leaderLease.from - ground.clock.now()), shard);
  }

  /** The term is over: nothing is decided in it any more. */
  lose(shard: number, term: bigint): void {
    const ground = this.#shardTrees.get(shard);
    if (ground === undefined || ground.leaderLease.term !== term) return;
    const trees = this.#trees(shard);
    this.#set(shard, undefined);
    for (const tree of trees) this.#leave(tree);
    this.#closeLedger(ground);
  }

  /**
   * Hands the shard over: refuses no caller, ends all waits with {@link MOVED}, decides nothing more from the moment in which it
   * calls `halted`, and resolves once the exact state is written, or cannot be.
   */
  async seal(shard: number, halted: () => void): Promise<void> {
    const ground = this.#shardTrees.get(shard);
    this.#openings.drop(shard);
    const before = this.#trees(shard);
    for (const tree of before) tree.beginHandoff();
    await Promise.race([Promise.all(before.map((tree) => tree.turn.writer.whenIdle())), sleep(this.#deps.clock, QUIET_FOR)]);
    if (ground !== undefined && this.#shardTrees.get(shard) !== ground) return;
    // Some may have been opened meanwhile.
    const trees = this.#trees(shard);
    for (const tree of trees) tree.beginHandoff();
    const writes = trees.map((tree) => ({ tree, write: tree.turn.close(tree.now(), MOVED) }));
    halted();
    this.#set(shard, undefined);
    await Promise.race([Promise.all(writes.map(({ tree, write }) => this.#written(tree, write))), sleep(this.#deps.clock, QUIET_FOR)]);
    for (const tree of trees) this.#leave(tree);
    if (ground !== undefined) this.#closeLedger(ground);
  }

  async #written(tree: TreeController, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (cause) {
      this.#deps.onEvent({ kind: 'seal_failed', root: tree.root, cause });
    }
  }

  #set(shard: number, ground: ShardContext | undefined): void {
    this.#generation++;
    this.#openings.drop(shard);
    if (ground === undefined) this.#shardTrees.delete(shard);
    else this.#shardTrees.set(shard, ground);
  }

  #open(root: string, gained: Gained): Promise<void> {
    const opening = this.#tryToOpen(root, gained).finally(() => {
      if (this.#opening.get(root) === opening) this.#opening.delete(root);
    });
    this.#opening.set(root, opening);
    return opening;
  }

  /** Until it is open, or decided elsewhere, or out of the configuration. */
  async #tryToOpen(root: string, gained: Gained): Promise<void> {
    for (let failed = false; ; failed = true) {
      const tried = await this.#openings.run(this.#shardOf(root), root, () => this.#tryOnce(root, gained, failed));
      if (tried !== 'failed') return;
      await sleep(this.#deps.clock, RETRY);
      if (this.of(root) !== gained.ground) return;
    }
  }

  /** Never rejects. `failed`: an earlier try did. */
  async #tryOnce(root: string, { ground, barrier, recovery }: Gained, failed: boolean): Promise<'over' | 'failed'> {
    for (;;) {
      const planted = this.#planted.get(root);
      if (this.#gates === undefined || planted === undefined || this.of(root) !== ground) return 'over';
      try {
        const tree = await this.#gates.build(planted, recovery);
        if (this.of(root) !== ground || this.#planted.get(root) !== planted) {
          tree.stop(MOVED);
          continue;
        }
        tree.turn.block(barrier);
        this.#gates.register(planted, tree);
        if (failed) this.#deps.onEvent({ kind: 'stored', root });
        return 'over';
      } catch (cause) {
        if (this.of(root) !== ground) return 'over';
        if (cause instanceof LedgerFenced) {
          this.#fenced(this.#shardOf(root));
          return 'over';
        }
        if (!failed) this.#deps.onEvent({ kind: 'unstored', root, cause });
        return 'failed';
      }
    }
  }

  /** A newer term writes: what the coordinator is yet to learn. */
  #fenced(shard: number): void {
    const ground = this.#shardTrees.get(shard);
    if (ground !== undefined) this.lose(shard, ground.leaderLease.term);
  }

  #leave(tree: TreeController): void {
    this.#gates?.release(tree);
    tree.stop(MOVED);
    tree.turn.tracked.closeAll();
  }

  #trees(shard: number): readonly TreeController[] {
    const roots = new Set([...(this.#shards.roots.get(shard) ?? []), ...(this.#former.roots.get(shard) ?? [])]);
    return [...roots].flatMap((root) => this.#gates?.tree(root) ?? []);
  }

  #shardOf(root: string): number {
    return this.#shards.of.get(root) ?? this.#deps.shardOf(root);
  }

  /** Its last notes may meet a newer term's records, or no server at all. */
  #closeLedger({ ledger }: ShardContext): void {
    ledger.close().catch(() => {});
  }
}
