import type { RestoredGate } from '../core/gate-state.ts';
import { withdrawn } from '../core/refusal.ts';
import { after, type Instant, LONG_AGO, later, SECOND } from '../core/time.ts';
import type { GroupSettings } from './admission.ts';
import type { Entry } from './entry.ts';
import { type Planted, plant } from './forest.ts';
import type { Gates } from './gates.ts';
import type { Notice } from './parts.ts';
import type { Tree } from './tree.ts';

/** Shard times this far apart count as one when a group moves from one tree to another. */
const APART_MAX = SECOND / 4;

interface Change {
  /** Same root, no group comes from or goes to another tree: the gate takes it with everybody in line. */
  readonly kept: readonly { readonly tree: Tree; readonly planted: Planted; readonly before: readonly GroupSettings[] }[];
  readonly fresh: readonly Planted[];
  /** Trees that lose or win a group to another: made again from their exact state, while nobody waits or holds. */
  readonly moved: { readonly from: readonly Tree[]; readonly to: readonly Planted[] };
  readonly removed: readonly Tree[];
}

/** Where a change of configuration is made. */
export interface ReconfigureDeps {
  readonly gates: Gates;
  /** The settings that are to be in force in this process, of the trees that it decides now. */
  readonly settings: () => readonly GroupSettings[];
  /** Resolves once no tree is being opened under the old settings; undefined if none is. */
  readonly opening?: () => Promise<void> | undefined;
  /** Grows whenever this process gains or loses a tree, other than by this change. */
  readonly generation?: () => number;
  /** Called in the moment in which the change takes effect. */
  readonly applied?: () => void;
  /** Says why nothing is to be changed any more; undefined: go on. */
  readonly stopped: () => string | undefined;
}

/**
 * Applies new groups, all or none. Returns what cannot be done; nothing has changed then. Trees that are gained or lost on the way do
 * not wait for it: it begins again with those that are there. Rejects if the ledger of a new tree cannot be opened.
 */
export async function reconfigure(deps: ReconfigureDeps): Promise<readonly string[]> {
  for (;;) {
    for (let opening = deps.opening?.(); opening !== undefined; opening = deps.opening?.()) await opening;
    const answer = await attempt(deps);
    if (answer !== undefined) return answer;
  }
}

/** Returns undefined if trees were gained or lost meanwhile: nothing has changed then. */
async function attempt(deps: ReconfigureDeps): Promise<readonly string[] | undefined> {
  const { gates, settings, generation = () => 0, opening = () => undefined, applied = () => {} } = deps;
  const began = generation();
  const { trees, mistakes } = plant(settings());
  if (mistakes.length > 0) return mistakes;
  const change = compare(gates, trees);
  const fresh: Fresh[] = [];
  let free = (): void => {};
  const barred = new Promise<void>((resolve) => {
    free = resolve;
  });
  for (const tree of change.moved.from) tree.turn.bar(barred);
  try {
    for (const planted of change.fresh) fresh.push({ planted, tree: await gates.build(planted) });
    const moving = await prepareMove(gates, change);
    if ('mistakes' in moving) return moving.mistakes;
    for (let awaited = rights(change); awaited.length > 0 && generation() === began; awaited = rights(change)) await Promise.all(awaited);
    const stopped = deps.stopped();
    if (stopped !== undefined) return [stopped];
    if (generation() !== began || opening() !== undefined) return undefined;
    const refused = apply(gates, change, fresh, moving);
    if (refused.length > 0) return refused;
    applied();
    fresh.length = 0;
  } finally {
    for (const { tree } of fresh) gates.discard(tree);
    free();
  }
  await Promise.all(change.removed.map((tree) => remove(gates, tree)));
  return [];
}

interface Fresh {
  readonly planted: Planted;
  readonly tree: Tree;
}

/** Changes everything in one moment, each tree in its own time. */
function apply(gates: Gates, change: Change, fresh: readonly Fresh[], moving: Prepared): readonly string[] {
  const gone = change.kept.flatMap(({ tree, planted }) => goneFrom(tree, planted));
  const wrong = takeKept(change);
  if (wrong !== undefined) return [wrong];
  for (const notice of gone) gates.report(notice);
  for (const { tree, planted } of change.kept) gates.resettle(tree, planted.settings);
  for (const { planted, tree } of fresh) gates.adopt(planted, tree);
  move(gates, change, moving);
  for (const { tree } of change.kept) tree.turn.settle(tree.now());
  return [];
}

function compare(gates: Gates, trees: ReadonlyMap<string, Planted>): Change {
  const movedRoots = new Set<string>();
  for (const planted of trees.values()) {
    for (const { spec } of planted.settings) {
      const home = gates.home(spec.name);
      if (home === undefined || home.tree.root === planted.root) continue;
      movedRoots.add(home.tree.root);
      movedRoots.add(planted.root);
    }
  }
  const all = [...trees.values()];
  const current = gates.trees();
  const before = (tree: Tree) => [...tree.turn.entries.values()].map((entry) => entry.settings);
  return {
    kept: all.flatMap((planted) => {
      const tree = movedRoots.has(planted.root) ? undefined : gates.tree(planted.root);
      return tree === undefined ? [] : [{ tree, planted, before: before(tree) }];
    }),
    fresh: all.filter((planted) => !movedRoots.has(planted.root) && gates.tree(planted.root) === undefined),
    moved: { from: current.filter((tree) => movedRoots.has(tree.root)), to: all.filter((planted) => movedRoots.has(planted.root)) },
    removed: current.filter((tree) => !movedRoots.has(tree.root) && !trees.has(tree.root)),
  };
}

interface Prepared {
  readonly states: readonly Omit<RestoredGate, 'seal'>[];
}

type Moving = { readonly mistakes: readonly string[] } | Prepared;

/** Nobody decides in these trees now; what they have on disk is written to where it goes, before anything changes. */
async function prepareMove(gates: Gates, { moved }: Change): Promise<Moving> {
  const busy = moved.from.filter(inUse);
  if (busy.length > 0) {
    return { mistakes: busy.map((tree) => `A group moves from or to the tree of ${tree.root}, where callers wait or leases live: wait until it is idle.`) };
  }
  const apart = clocksApart(gates, moved);
  if (apart !== undefined) return { mistakes: [apart] };
  // Nothing that matters is under way then: whoever waits for the disk holds a lease or waits.
  await Promise.all(moved.from.map((tree) => tree.turn.writer.quiet()));
  const states = moved.from.map((tree) => tree.turn.gate.snapshot(tree.now()));
  for (const planted of moved.to) {
    const ledger = await gates.ledgerOf(planted.root);
    await ledger.snapshot(partOf(states, planted));
  }
  return { states };
}

/** Instants of one shard's time say nothing in another's: a state that is taken along would open limits early, or late. */
function clocksApart(gates: Gates, { from, to }: Change['moved']): string | undefined {
  const roots = [...new Set([...from.map(({ root }) => root), ...to.map(({ root }) => root)])];
  const times = [...from.map((tree) => tree.now()), ...to.flatMap(({ root }) => gates.timeOf(root) ?? [])];
  const apart = Math.max(0, ...times) - Math.min(...times);
  if (apart <= APART_MAX) return undefined;
  const seconds = Math.round(apart / SECOND);
  return `A group moves between the trees of ${roots.join(', ')}, whose shards' times are ${seconds} s apart: take it out in one revision, and add it in the next.`;
}

function inUse(tree: Tree): boolean {
  if (tree.turn.waiting.size > 0) return true;
  const now = tree.now();
  for (const entry of tree.turn.entries.values()) {
    if (tree.turn.gate.status(now, entry.index).leases > 0) return true;
  }
  return false;
}

/** In one moment: old gates are sealed, new ones go on from their exact state. Asks held meanwhile are told to ask again. */
function move(gates: Gates, { moved }: Change, moving: Prepared): void {
  if (moved.from.length === 0) return;
  const sealed = moved.from.map((tree) => tree.turn.gate.seal(tree.now()));
  const at = sealed.reduce((latest, seal) => later(latest, seal.at), LONG_AGO);
  const seals = sealed.flatMap(({ limits }) => limits);
  for (const tree of moved.from) {
    gates.retire(tree);
    tree.stop({ reason: 'undecided', retryAt: outsideTime(tree), detail: 'The group is being moved: ask again at once.' });
  }
  for (const planted of moved.to) {
    const names = new Set(planted.settings.map(({ spec }) => spec.name));
    const seal = { at, limits: seals.filter((limit) => names.has(limit.group)) };
    const ledger = gates.openLedger(planted.root);
    gates.adopt(planted, gates.grow(planted, ledger, { ...partOf(moving.states, planted), seal }));
  }
}

function partOf(states: readonly Omit<RestoredGate, 'seal'>[], planted: Planted): Omit<RestoredGate, 'seal'> {
  const names = new Set(planted.settings.map(({ spec }) => spec.name));
  const ours = (one: { readonly group: string }) => names.has(one.group);
  return {
    leases: [],
    reservations: states.flatMap((state) => state.reservations.filter(ours)),
    pauses: states.flatMap((state) => state.pauses.filter(ours)),
    overrides: states.flatMap((state) => state.overrides.filter(ours)),
  };
}

/** Returns a notice for each group of a kept tree that the new settings leave out while callers wait or leases live in it. */
function goneFrom(tree: Tree, planted: Planted): readonly Notice[] {
  const names = new Set(planted.settings.map(({ spec }) => spec.name));
  return [...tree.turn.entries.values()].flatMap((entry) => (names.has(entry.name) ? [] : withdrawal(tree, entry)));
}

/** Returns the notice of a group that is taken out of the configuration; none if it is idle. */
function withdrawal(tree: Tree, entry: Entry): readonly Notice[] {
  const { waiting, leases } = tree.turn.gate.status(tree.now(), entry.index);
  return waiting > 0 || leases > 0 ? [{ kind: 'withdrawn', group: entry.name, waiting, leases }] : [];
}

/** Returns the time of the process at the tree's own time. */
function outsideTime(tree: Tree): Instant {
  return after(tree.now(), tree.skew);
}

/** What has to be waited for until every kept tree may decide; empty once all may. */
function rights({ kept }: Change): readonly Promise<void>[] {
  return kept.flatMap(({ tree }) => (tree.turn.over === undefined ? (tree.turn.awaitRight(tree.now()) ?? []) : []));
}

/** Every kept gate takes its groups, or none does. */
function takeKept({ kept }: Change): string | undefined {
  for (const [index, { tree, planted }] of kept.entries()) {
    const wrong = tree.turn.gate.reconfigure(
      tree.now(),
      planted.settings.map((each) => each.spec),
    );
    if (wrong === undefined) continue;
    for (const done of kept.slice(0, index)) {
      done.tree.turn.gate.reconfigure(
        done.tree.now(),
        done.before.map((each) => each.spec),
      );
      done.tree.turn.settle(done.tree.now());
    }
    return wrong;
  }
  return undefined;
}

async function remove(gates: Gates, tree: Tree): Promise<void> {
  for (const entry of tree.turn.entries.values()) for (const notice of withdrawal(tree, entry)) gates.report(notice);
  gates.retire(tree);
  const refusal = withdrawn(outsideTime(tree));
  tree.refuseAll(refusal);
  tree.drain();
  await gates.close(tree, refusal);
}
