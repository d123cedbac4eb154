import type { GateSnapshot } from '../core/gate/snapshot.ts';
import type { GroupSpec } from '../core/group.ts';
import { withdrawn } from '../core/refusal.ts';
import { DISTANT_PAST, type Instant, later, plus, SECOND } from '../core/time.ts';
import { type GroupSettings, MOVED } from './admission.ts';
import type { AdmissionEvent, ShardContext } from './deps.ts';
import type { GroupEntry } from './group-entry.ts';
import type { Slices, Work } from './slices.ts';
import type { TreeController } from './tree-controller.ts';
import { eachOf, type TreeRegistry } from './tree-registry.ts';
import type { TreeSpec } from './tree-spec.ts';

/** Shard times this far apart count as one when a group moves from one tree to another. */
const APART_MAX = SECOND / 4;

/** A tree that is decided here, and what it is to be. */
interface Kept {
  readonly tree: TreeController;
  readonly planted: TreeSpec;
}

interface Change {
  /** Same root, no group comes from or goes to another tree: the gate takes it with all waiters. */
  readonly kept: readonly Kept[];
  readonly fresh: readonly TreeSpec[];
  /** Trees that lose or win a group to another: made again from their exact state, while no caller waits or holds. */
  readonly moved: { readonly from: readonly TreeController[]; readonly to: readonly TreeSpec[] };
  readonly removed: readonly TreeController[];
}

/** Where a change of configuration is made. */
export interface ReconfigureDeps {
  readonly gates: TreeRegistry;
  readonly slices: Slices;
  /** The groups that are to be in force, by root. Trees that are the same objects as those in force are not touched. */
  readonly trees: ReadonlyMap<string, TreeSpec>;
  /** Reports whether this process decides the tree of a root now. */
  readonly decides: (root: string) => boolean;
  /** Resolves once no tree is being opened under the old settings; undefined if none is. */
  readonly opening: () => Promise<void> | undefined;
  /** Grows whenever this process gains or loses a tree, other than by this change. */
  readonly generation: () => number;
  /** Called in the moment from which the change is carried out: trees gained from then on are opened under the new settings. */
  readonly applying: () => void;
  /** Says why nothing is to be changed any more; undefined: go on. */
  readonly stopped: () => string | undefined;
}

/**
 * Applies new groups, all or none. Returns what cannot be done; nothing has changed then. All checks come first; then each tree changes in
 * one moment, one after another, in slices of a few milliseconds. Trees that are gained or lost before the first one changes do not wait:
 * it begins again with those that are there. Rejects if the ledger of a new tree cannot be opened; nothing has changed then.
 */
export async function reconfigure(deps: ReconfigureDeps): Promise<readonly string[]> {
  for (;;) {
    for (let opening = deps.opening(); opening !== undefined; opening = deps.opening()) await opening;
    const answer = await attempt(deps);
    if (answer !== undefined) return answer;
  }
}

/** Returns undefined if trees were gained or lost meanwhile: nothing has changed then. */
async function attempt(deps: ReconfigureDeps): Promise<readonly string[] | undefined> {
  const { gates, slices, generation, opening } = deps;
  const began = generation();
  const change = await slices.run(comparing(deps));
  const wrong = await slices.run(checking(change));
  if (wrong !== undefined) return [wrong];
  const fresh: Fresh[] = [];
  let free = (): void => {};
  const barred = new Promise<void>((resolve) => {
    free = resolve;
  });
  for (const tree of change.moved.from) tree.turn.block(barred);
  try {
    await eachOf(change.fresh, async (planted) => void fresh.push({ planted, ground: gates.groundOf(planted.root), tree: await gates.build(planted) }));
    const moving = await prepareMove(gates, change);
    if ('mistakes' in moving) return moving.mistakes;
    for (;;) {
      const awaited = await slices.run(rights(change));
      if (awaited.length === 0 || generation() !== began) break;
      await Promise.all(awaited);
    }
    const stopped = deps.stopped();
    if (stopped !== undefined) return [stopped];
    if (generation() !== began || opening() !== undefined) return undefined;
    deps.applying();
    move(gates, change, moving);
    free();
    await slices.run(adopting(gates, fresh));
  } catch (cause) {
    // A tree that went elsewhere cannot be opened here any more.
    if (generation() === began) throw cause;
    return undefined;
  } finally {
    for (const { tree } of fresh) gates.discard(tree);
    free();
  }
  await applyKept(deps, change.kept);
  await eachOf(change.removed, (tree) => remove(gates, tree));
  return [];
}

interface Fresh extends Kept {
  /** What it was built on. */
  readonly ground: ShardContext | undefined;
}

/** Finds what differs from the trees that are decided here. */
function* comparing({ gates, trees, decides }: ReconfigureDeps): Work<Change> {
  const touched: TreeSpec[] = [];
  for (const planted of trees.values()) {
    yield;
    if (gates.plantedOf(planted.root) !== planted && decides(planted.root)) touched.push(planted);
  }
  const movedRoots = new Set<string>();
  for (const planted of touched) {
    for (const { spec } of planted.settings) {
      yield;
      const home = gates.home(spec.name);
      if (home === undefined || home.tree.root === planted.root || !decides(home.tree.root)) continue;
      movedRoots.add(home.tree.root);
      movedRoots.add(planted.root);
    }
  }
  const kept: Kept[] = [];
  const fresh: TreeSpec[] = [];
  const to: TreeSpec[] = [];
  for (const planted of touched) {
    yield;
    const tree = gates.tree(planted.root);
    if (movedRoots.has(planted.root)) to.push(planted);
    else if (tree === undefined) fresh.push(planted);
    else kept.push({ tree, planted });
  }
  const from: TreeController[] = [];
  const removed: TreeController[] = [];
  for (const tree of gates.trees()) {
    yield;
    if (movedRoots.has(tree.root)) from.push(tree);
    else if (!trees.has(tree.root) && decides(tree.root)) removed.push(tree);
  }
  return { kept, fresh, moved: { from, to }, removed };
}

/** Returns why a kept gate would not take its groups; undefined if all will. It depends on nothing that callers do. */
function* checking({ kept }: Change): Work<string | undefined> {
  for (const { tree, planted } of kept) {
    yield;
    const wrong = tree.turn.gate.mistakeIn(specsOf(planted));
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** Puts new trees in force; those whose shard was lost meanwhile are left to its next owner. Empties `fresh`. */
function* adopting(gates: TreeRegistry, fresh: Fresh[]): Work<void> {
  for (let one = fresh.pop(); one !== undefined; one = fresh.pop()) {
    if (gates.groundOf(one.planted.root) === one.ground) gates.register(one.planted, one.tree);
    else one.tree.stop(MOVED);
    yield;
  }
}

/** Groups of one tree that change in one moment; some milliseconds. A tree of more changes in several. */
const GROUPS_AT_ONCE = 100;

/** Changes the kept trees one after another, each as soon as it may decide: one that must wait does not hold up the others. */
async function applyKept({ gates, slices, stopped }: ReconfigureDeps, kept: readonly Kept[]): Promise<void> {
  for (let left = kept; left.length > 0 && stopped() === undefined; ) {
    const waiting: Kept[] = [];
    const awaited: Promise<void>[] = [];
    const work = function* (): Work<void> {
      for (const one of left) {
        const right = yield* applyTo(gates, one);
        if (right !== undefined) {
          waiting.push(one);
          awaited.push(right);
        }
        yield;
      }
    };
    await slices.run(work());
    if (awaited.length > 0) await Promise.race(awaited);
    left = waiting;
  }
}

/**
 * Changes one tree in its own time: at once, or, where many groups change, those that stay where they are some at a time, and then the rest. Returns
 * what to wait for before it may decide; then it is called again. A tree that is decided elsewhere by now is passed over.
 */
function* applyTo(gates: TreeRegistry, { tree, planted }: Kept): Work<Promise<void> | undefined> {
  const mayDecide = (): Promise<void> | boolean => {
    if (gates.tree(tree.root) !== tree || tree.turn.closedReason !== undefined) return false;
    return tree.turn.awaitTerm(tree.now()) ?? true;
  };
  if (planted.settings.length > GROUPS_AT_ONCE) {
    const changes = yield* staying(tree, planted);
    for (const some of changes.parts) {
      const may = mayDecide();
      if (may !== true) return may === false ? undefined : may;
      tree.turn.gate.respecify(
        tree.now(),
        some.map(({ spec }) => spec),
      );
      gates.respecify(tree, some, changes.byName);
      tree.turn.settle(tree.now());
      yield;
    }
    if (!changes.moves) {
      yield* gates.resettleBelow(tree, planted, changes);
      return undefined;
    }
  }
  const may = mayDecide();
  if (may !== true) return may === false ? undefined : may;
  const now = tree.now();
  const gone = goneFrom(tree, planted);
  const wrong = tree.turn.gate.reconfigure(now, specsOf(planted));
  if (wrong !== undefined) throw new Error(`tree ${tree.root} refuses groups that were checked: ${wrong}`);
  for (const event of gone) gates.report(event);
  gates.updateSettings(tree, planted);
  tree.turn.settle(tree.now());
  return undefined;
}

/** What of a tree changes without another group coming, going or standing elsewhere. */
interface Staying {
  /** Groups with other settings and the same parent, as many together as change in one moment. */
  readonly parts: readonly (readonly GroupSettings[])[];
  readonly changed: ReadonlySet<GroupSettings>;
  readonly byName: ReadonlyMap<string, GroupSettings>;
  /** There are other changes too. */
  readonly moves: boolean;
}

function* staying(tree: TreeController, planted: TreeSpec): Work<Staying> {
  const { entries } = tree.turn;
  const byName = new Map<string, GroupSettings>();
  const parts: GroupSettings[][] = [];
  const changed = new Set<GroupSettings>();
  let moves = planted.settings.length !== entries.size;
  for (const settings of planted.settings) {
    yield;
    const { name, parent } = settings.spec;
    byName.set(name, settings);
    const known = entries.get(name)?.settings;
    if (known === settings) continue;
    if (known === undefined || known.spec.parent?.group !== parent?.group) {
      moves = true;
      continue;
    }
    changed.add(settings);
    const last = parts.at(-1);
    if (last === undefined || last.length === GROUPS_AT_ONCE) parts.push([settings]);
    else last.push(settings);
  }
  return { parts, changed, byName, moves };
}

function specsOf({ settings }: TreeSpec): readonly GroupSpec[] {
  return settings.map(({ spec }) => spec);
}

interface Prepared {
  readonly states: readonly Omit<GateSnapshot, 'seal'>[];
}

type Moving = { readonly mistakes: readonly string[] } | Prepared;

/** These trees decide nothing now; what they have on disk is written to where it goes, before anything changes. */
async function prepareMove(gates: TreeRegistry, { moved }: Change): Promise<Moving> {
  const busy = moved.from.filter(inUse);
  if (busy.length > 0) {
    return { mistakes: busy.map((tree) => `A group moves from or to the tree of ${tree.root}, where callers wait or leases live: wait until it is idle.`) };
  }
  const apart = clocksApart(gates, moved);
  if (apart !== undefined) return { mistakes: [apart] };
  // Nothing that matters is under way then: a caller that waits for the disk holds a lease or waits.
  await Promise.all(moved.from.map((tree) => tree.turn.writer.whenIdle()));
  const states = moved.from.map((tree) => tree.turn.gate.snapshot(tree.now()));
  for (const planted of moved.to) {
    const ledger = await gates.ledgerOf(planted.root);
    await ledger.snapshot(partOf(states, planted));
  }
  return { states };
}

/** Instants of one shard's time say nothing in another's: a state that is taken along would open limits early, or late. */
function clocksApart(gates: TreeRegistry, { from, to }: Change['moved']): string | undefined {
  const roots = [...new Set([...from.map(({ root }) => root), ...to.map(({ root }) => root)])];
  const times = [...from.map((tree) => tree.now()), ...to.flatMap(({ root }) => gates.timeOf(root) ?? [])];
  const apart = Math.max(0, ...times) - Math.min(...times);
  if (apart <= APART_MAX) return undefined;
  const seconds = Math.round(apart / SECOND);
  return `A group moves between the trees of ${roots.join(', ')}, whose shards' times are ${seconds} s apart: take it out in one revision, and add it in the next.`;
}

function inUse(tree: TreeController): boolean {
  if (tree.turn.waiting.size > 0) return true;
  const now = tree.now();
  for (const entry of tree.turn.entries.values()) {
    if (tree.turn.gate.status(now, entry.index).leases > 0) return true;
  }
  return false;
}

/** In one moment: old gates are sealed, new ones go on from their exact state. Requests held meanwhile are refused, to be sent again. */
function move(gates: TreeRegistry, { moved }: Change, moving: Prepared): void {
  if (moved.from.length === 0) return;
  const sealed = moved.from.map((tree) => tree.turn.gate.seal(tree.now()));
  const at = sealed.reduce((latest, seal) => later(latest, seal.at), DISTANT_PAST);
  const seals = sealed.flatMap(({ limits }) => limits);
  for (const tree of moved.from) {
    gates.unregister(tree);
    tree.stop({ reason: 'undecided', retryAt: outsideTime(tree), detail: 'The group is being moved: try again at once.' });
  }
  for (const planted of moved.to) {
    const names = new Set(planted.settings.map(({ spec }) => spec.name));
    const seal = { at, limits: seals.filter((limit) => names.has(limit.group)) };
    const ledger = gates.openLedger(planted.root);
    gates.register(planted, gates.restoreTree(planted, ledger, { ...partOf(moving.states, planted), seal }));
  }
}

function partOf(states: readonly Omit<GateSnapshot, 'seal'>[], planted: TreeSpec): Omit<GateSnapshot, 'seal'> {
  const names = new Set(planted.settings.map(({ spec }) => spec.name));
  const ours = (one: { readonly group: string }) => names.has(one.group);
  return {
    leases: [],
    reservations: states.flatMap((state) => state.reservations.filter(ours)),
    pauses: states.flatMap((state) => state.pauses.filter(ours)),
    overrides: states.flatMap((state) => state.overrides.filter(ours)),
  };
}

/** Returns an event for each group of a kept tree that the new settings leave out while callers wait or leases live in it. */
function goneFrom(tree: TreeController, planted: TreeSpec): readonly AdmissionEvent[] {
  const names = new Set(planted.settings.map(({ spec }) => spec.name));
  return [...tree.turn.entries.values()].flatMap((entry) => (names.has(entry.name) ? [] : withdrawal(tree, entry)));
}

/** Returns the event of a group that is taken out of the configuration; none if it is idle. */
function withdrawal(tree: TreeController, entry: GroupEntry): readonly AdmissionEvent[] {
  const { waiting, leases } = tree.turn.gate.status(tree.now(), entry.index);
  return waiting > 0 || leases > 0 ? [{ kind: 'withdrawn', group: entry.name, waiting, leases }] : [];
}

/** Returns the time of the process at the tree's own time. */
function outsideTime(tree: TreeController): Instant {
  return plus(tree.now(), tree.clockOffset);
}

/** Finds what has to be waited for until every kept tree may decide; nothing once all may. */
function* rights({ kept }: Change): Work<readonly Promise<void>[]> {
  const awaited: Promise<void>[] = [];
  for (const { tree } of kept) {
    awaited.push(...(tree.turn.closedReason === undefined ? [tree.turn.awaitTerm(tree.now()) ?? []].flat() : []));
    yield;
  }
  return awaited;
}

async function remove(gates: TreeRegistry, tree: TreeController): Promise<void> {
  if (gates.tree(tree.root) !== tree) return;
  for (const entry of tree.turn.entries.values()) for (const event of withdrawal(tree, entry)) gates.report(event);
  gates.unregister(tree);
  const refusal = withdrawn(outsideTime(tree));
  tree.refuseAll(refusal);
  tree.drain();
  await gates.close(tree, refusal);
}
