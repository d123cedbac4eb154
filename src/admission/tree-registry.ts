import type { Gate } from '../core/gate/gate.ts';
import type { GateOptions, GateSnapshot } from '../core/gate/snapshot.ts';
import type { Refusal } from '../core/refusal.ts';
import { type Instant, later, type Micros, plus, SECOND } from '../core/time.ts';
import type { TreeLedger } from '../ledger/ledger.ts';
import type { GroupSettings } from './admission.ts';
import type { AdmissionDeps, AdmissionEvent, ShardContext } from './deps.ts';
import { GroupEntry } from './group-entry.ts';
import { PermitTagSource } from './permit-id.ts';
import { PermitProofs } from './permit-proofs.ts';
import { ReplyScheduler } from './reply-scheduler.ts';
import type { Work } from './slices.ts';
import type { StoredSink } from './stored-line.ts';
import { TreeController } from './tree-controller.ts';
import { lineOf, needsPersistence, type TreeSpec } from './tree-spec.ts';
import { Units } from './units.ts';

/** Trees opened at once: each is a few writes. */
const OPENING_MAX = 16;

/** Of the secret behind proofs of permits. */
const SECRET_BYTES = 32;

/** A group and the tree it stands in. */
export interface GroupLocation {
  readonly tree: TreeController;
  readonly entry: GroupEntry;
}

/** What was found of trees that were opened: of earlier terms. */
export class Recovery {
  trees = 0;
  /** Those whose last term did not stop cleanly. */
  crashed = 0;
  leases = 0;
  bounds = 0;

  add({ seal, leases, reservations }: GateSnapshot): void {
    this.trees++;
    if (seal === undefined) this.crashed++;
    this.leases += leases.length;
    this.bounds += reservations.length;
  }
}

/** What a tree is decided on now; undefined: it is not decided here. */
export interface ShardContextLookup {
  of(root: string): ShardContext | undefined;
}

/** The gates this replica decides: made or restored from the ledger, replaced by a change of configuration. */
export class TreeRegistry {
  readonly #deps: AdmissionDeps;
  readonly #shardTrees: ShardContextLookup | undefined;
  readonly #answers: ReplyScheduler;
  readonly #tags: PermitTagSource;
  /** Of all trees of this process. */
  readonly proofs: PermitProofs;
  readonly #trees = new Map<string, TreeController>();
  /** Chains by root; what was opened on an earlier ground of a shard is not used on a later one. */
  readonly #ledgers = new Map<string, { readonly ground: ShardContext | undefined; readonly ledger: TreeLedger }>();
  /** What each tree was planted from. */
  readonly #planted = new WeakMap<TreeController, TreeSpec>();
  readonly #homes = new Map<string, GroupLocation>();
  /** Taken out of the configuration, but permits of theirs may still come back. */
  readonly #gone = new Map<string, GroupLocation>();
  /** Their names, by tree. */
  readonly #goneOf = new Map<TreeController, Set<string>>();
  /** Roots decided before by this process: opened again, what is on disk was spent up to now. */
  readonly #closed = new Set<string>();
  #lost: Error | undefined;
  /** Called when a tree holds no caller any more. */
  onEmpty: () => void = () => {};
  /** Called with each tree that answers for its groups from now on. */
  onAdopted: (tree: TreeController) => void = () => {};
  /** Called when a newer term writes the chain of a tree that came with its shard. */
  onLedgerLost: (root: string) => void = () => {};

  #stored: StoredSink | undefined;

  /** `shardTrees`: what each tree is decided on, where trees come and go with their shards. */
  constructor(deps: AdmissionDeps, shardTrees?: ShardContextLookup) {
    this.#deps = deps;
    this.#shardTrees = shardTrees;
    const { clock, defer } = deps;
    this.#answers = new ReplyScheduler({ clock, defer, fault: (cause) => deps.onEvent({ kind: 'fault', cause }) });
    this.#tags = new PermitTagSource(deps.random);
    this.proofs = new PermitProofs(deps.random(SECRET_BYTES));
    deps.coordinator.onLost((cause) => this.onTermLost(cause));
  }

  /** Opens these trees. Rejects when a ledger cannot be read or this process may not decide. */
  async open(trees: Iterable<TreeSpec>): Promise<void> {
    const recovery = new Recovery();
    await eachOf(trees, async (planted) => this.register(planted, await this.build(planted, recovery)));
    const { coordinator, clock } = this.#deps;
    const placement = coordinator.place('');
    const from = placement.at === 'here' ? placement.leaderLease.from : clock.now();
    this.reportRecovery(recovery, Math.max(0, from - clock.now()));
  }

  /** Reports what was found, unless that was nothing. */
  reportRecovery({ trees, crashed, leases, bounds }: Recovery, heldFor: Micros, shard?: number): void {
    if (crashed > 0 || leases > 0) this.report({ kind: 'recovered', shard, trees, crashed, leases, bounds, heldFor });
  }

  home(group: string): GroupLocation | undefined {
    return this.#homes.get(group);
  }

  /** Also groups that are gone, for holders of their permits. */
  locatePermit(group: string): GroupLocation | undefined {
    return this.#homes.get(group) ?? this.#gone.get(group);
  }

  homes(): Iterable<GroupLocation> {
    return this.#homes.values();
  }

  trees(): readonly TreeController[] {
    return [...this.#trees.values()];
  }

  tree(root: string): TreeController | undefined {
    return this.#trees.get(root);
  }

  /** Returns what the tree of a root was planted from; undefined if it is not decided here. */
  plantedOf(root: string): TreeSpec | undefined {
    const tree = this.#trees.get(root);
    return tree && this.#planted.get(tree);
  }

  /** Returns what the tree of a root is decided on, where trees come with their shards: another object for each time that the shard is gained. */
  groundOf(root: string): ShardContext | undefined {
    return this.#shardTrees?.of(root);
  }

  get lost(): Error | undefined {
    return this.#lost;
  }

  /** Returns the time that the tree of a root decides in; undefined if it is not decided here. */
  timeOf(root: string): Instant | undefined {
    if (this.#shardTrees === undefined) return this.#deps.clock.now();
    return this.#shardTrees.of(root)?.clock.now();
  }

  /** Passes an event on to the log. */
  report(event: AdmissionEvent): void {
    this.#deps.onEvent(event);
  }

  /** Callers not yet answered, in all trees. */
  get held(): number {
    let open = 0;
    for (const tree of this.#trees.values()) open += tree.open;
    return open;
  }

  /** The chain of a root, opened once. */
  async ledgerOf(root: string): Promise<TreeLedger> {
    const ground = this.groundOf(root);
    const known = this.#ledgers.get(root);
    if (known !== undefined && known.ground === ground) return known.ledger;
    const ledger = await this.#ground(root).ledger.tree(root);
    // The right to decide may have gone meanwhile: the next term opens it anew.
    if (this.groundOf(root) === ground) this.#ledgers.set(root, { ground, ledger });
    return ledger;
  }

  /** The chain of a root that was opened before. */
  openLedger(root: string): TreeLedger {
    const known = this.#ledgers.get(root);
    if (known === undefined || known.ground !== this.groundOf(root)) throw new Error(`the ledger of ${root} is not open`);
    return known.ledger;
  }

  /** A tree as the ledger left it; what that was is added to `recovery`. */
  async build(planted: TreeSpec, recovery?: Recovery): Promise<TreeController> {
    const ledger = await this.ledgerOf(planted.root);
    const { restored } = ledger;
    if (restored !== undefined) recovery?.add(restored);
    return this.restoreTree(planted, ledger, restored);
  }

  /** A tree from a known state. */
  restoreTree(planted: TreeSpec, ledger: TreeLedger, restored: GateSnapshot | undefined): TreeController {
    const { clock: outside, onGateEvent: events, onEvent, recording, reports = false, bounds } = this.#deps;
    const { root, settings } = planted;
    const { leaderLease, clock } = this.#ground(root);
    const groups = settings.map((each) => each.spec);
    const from = this.#closed.has(root) ? later(leaderLease.from, clock.now()) : leaderLease.from;
    // Shard time grows over terms, and faster than callers come.
    const firstOrder = clock === outside ? 0 : leaderLease.from;
    const gateParts: GateOptions = { term: leaderLease.term, groups, from, firstOrder, recording, reports, restored, settledMax: bounds.settled };
    const gate = this.#deps.gate(gateParts);
    const entries = entriesOf(gate, settings, NO_ENTRIES);
    const lost = (cause: Error) => (this.#shardTrees === undefined ? this.onTermLost(cause) : this.onLedgerLost(root));
    return new TreeController({
      root,
      gate,
      ledger,
      leaderLease,
      entries,
      clock,
      answers: this.#answers,
      tags: this.#tags,
      proofs: this.proofs,
      bounds,
      onGateEvent: events,
      onEvent: onEvent,
      lost,
      empty: () => this.onEmpty(),
      stored: () => this.#stored,
      unqueued: (from, group) => {
        // A group that moved to another tree was closed before it was opened there.
        if ((this.#homes.get(group)?.tree ?? from) === from) this.#stored?.unqueued(group);
      },
      outside: clock === outside ? undefined : outside,
    });
  }

  /** This tree answers for its groups from now on. */
  register(planted: TreeSpec, tree: TreeController): void {
    this.#trees.set(planted.root, tree);
    this.#planted.set(tree, planted);
    this.moveGroups(tree, tree.turn.entries);
    this.onAdopted(tree);
    if (this.#lost !== undefined) tree.stop(this.#undecided());
  }

  /** New settings of a tree whose gate took them already. */
  updateSettings(tree: TreeController, planted: TreeSpec): void {
    const before = tree.turn.entries;
    const entries = entriesOf(tree.turn.gate, planted.settings, before);
    this.#planted.set(tree, planted);
    for (const [name, entry] of before) {
      if (entries.has(name)) continue;
      this.#homes.delete(name);
      this.#gone.set(name, { tree, entry });
      const names = this.#goneOf.get(tree);
      if (names === undefined) this.#goneOf.set(tree, new Set([name]));
      else names.add(name);
      this.#stored?.closed([name]);
    }
    this.moveGroups(tree, entries);
  }

  /** New settings of some groups of a tree whose gate took them already, and which stay where they are. */
  respecify(tree: TreeController, some: readonly GroupSettings[], byName: ReadonlyMap<string, GroupSettings>): void {
    for (const settings of some) {
      const entry = tree.turn.entries.get(settings.spec.name);
      if (entry !== undefined) update(entry, settings, lineOf(settings, byName));
    }
  }

  /** New settings of a tree all of whose groups stay where they are: what follows from it for groups below those that changed. */
  *resettleBelow(
    tree: TreeController,
    planted: TreeSpec,
    { changed, byName }: { readonly changed: ReadonlySet<GroupSettings>; readonly byName: ReadonlyMap<string, GroupSettings> },
  ): Work<void> {
    this.#planted.set(tree, planted);
    for (const settings of planted.settings) {
      yield;
      const line = lineOf(settings, byName);
      const entry = tree.turn.entries.get(settings.spec.name);
      if (entry?.settings === settings && line.some((each) => changed.has(each))) update(entry, settings, line);
    }
  }

  moveGroups(tree: TreeController, entries: ReadonlyMap<string, GroupEntry>): void {
    tree.turn.entries = entries;
    const opened: string[] = [];
    for (const [name, entry] of entries) {
      const before = this.#homes.get(name);
      if (before?.tree === tree && before.entry === entry) continue;
      if (before?.tree !== tree) opened.push(name);
      if (before !== undefined && before.tree !== tree) this.#stored?.closed([name]);
      this.#homes.set(name, { tree, entry });
      this.#gone.delete(name);
    }
    if (opened.length > 0) this.#stored?.opened(opened);
  }

  /** The store of requests is notified of every group that is decided here, from now on. */
  attach(sink: StoredSink): void {
    this.#stored = sink;
    sink.opened([...this.#homes.keys()]);
  }

  /** This tree is no longer found; groups that moved were adopted by another before. */
  unregister(tree: TreeController): void {
    if (this.#trees.get(tree.root) === tree) this.#trees.delete(tree.root);
    const gone = [...tree.turn.entries.keys()].filter((name) => this.#homes.get(name)?.tree === tree);
    for (const name of gone) this.#homes.delete(name);
    if (gone.length > 0) this.#stored?.closed(gone);
    for (const name of this.#goneOf.get(tree) ?? []) if (this.#gone.get(name)?.tree === tree) this.#gone.delete(name);
    this.#goneOf.delete(tree);
  }

  /** Seals a tree that admits no caller any more. What cannot be written is reported: the next start treats it as a crash. */
  async close(tree: TreeController, refusal: Refusal): Promise<void> {
    const { root } = tree;
    try {
      await tree.turn.seal(refusal);
    } catch (cause) {
      this.#deps.onEvent({ kind: 'seal_failed', root, cause });
    }
    this.#forget(root);
  }

  /** A tree that was built and never adopted. */
  discard(tree: TreeController): void {
    tree.stop(this.#undecided());
    this.#forget(tree.root);
  }

  /** A tree that another term decides from now on: its chain is opened anew when this process gets it back. */
  release(tree: TreeController): void {
    this.unregister(tree);
    this.#ledgers.delete(tree.root);
    this.#closed.delete(tree.root);
  }

  /** What this tree is decided on: its shard's, or the process's. */
  #ground(root: string): ShardContext {
    const { coordinator, clock, ledger } = this.#deps;
    if (this.#shardTrees !== undefined) {
      const found = this.#shardTrees.of(root);
      if (found === undefined) throw new Error(`tree ${root} is not decided here`);
      return found;
    }
    const placement = coordinator.place(root);
    if (placement.at !== 'here') throw new Error(`tree ${root} is not decided here`);
    return { leaderLease: placement.leaderLease, clock, ledger };
  }

  #undecided(): Refusal {
    return { reason: 'undecided', retryAt: plus(this.#deps.clock.now(), SECOND) };
  }

  /** Its chain is to be opened anew, should the root come back. */
  #forget(root: string): void {
    this.#ledgers.delete(root);
    this.#closed.add(root);
  }

  /** A newer process decides: nothing is admitted here any more. */
  onTermLost(cause: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = cause;
    const detail = 'Another process decides for this store now.';
    const refusal: Refusal = { ...this.#undecided(), detail };
    for (const tree of this.#trees.values()) tree.stop(refusal);
    this.#deps.onEvent({ kind: 'lost', cause });
  }
}

const NO_ENTRIES: ReadonlyMap<string, GroupEntry> = new Map();

/** Runs `act` for each, {@link OPENING_MAX} at a time. Rejects with the first failure, once none is under way. */
export async function eachOf<T>(all: Iterable<T>, act: (one: T) => Promise<void>): Promise<void> {
  const left = all[Symbol.iterator]();
  let failed = false;
  const next = async (): Promise<void> => {
    for (let step = left.next(); step.done !== true && !failed; step = left.next()) {
      await act(step.value).catch((cause: unknown) => {
        failed = true;
        throw cause;
      });
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: OPENING_MAX }, next));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Entries of a tree's groups. Those that were there before are the same objects, with their counters; they are touched only where their settings, or those above, changed. */
function entriesOf(gate: Gate, all: readonly GroupSettings[], before: ReadonlyMap<string, GroupEntry>): Map<string, GroupEntry> {
  const byName = new Map(all.map((settings) => [settings.spec.name, settings]));
  const changed = new Set(all.filter((settings) => before.get(settings.spec.name)?.settings !== settings));
  const entries = new Map<string, GroupEntry>();
  for (const settings of all) {
    const { name } = settings.spec;
    const line = lineOf(settings, byName);
    const known = before.get(name);
    if (known !== undefined && !line.some((each) => changed.has(each))) {
      entries.set(name, known);
      continue;
    }
    const index = gate.groupOf(name);
    if (index === undefined) throw new Error(`group ${name} is not in its gate`);
    if (known === undefined) entries.set(name, new GroupEntry({ settings, index, writes: needsPersistence(line), units: new Units(line) }));
    else {
      update(known, settings, line);
      known.index = index;
      entries.set(name, known);
    }
  }
  return entries;
}

/** `line`: the group, then those above it. */
function update(entry: GroupEntry, settings: GroupSettings, line: readonly GroupSettings[]): void {
  entry.settings = settings;
  entry.writes = needsPersistence(line);
  entry.units = new Units(line);
}
