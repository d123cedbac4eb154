import type { RestoredGate } from '../core/gate-state.ts';
import { withdrawn } from '../core/refusal.ts';
import type { Instant } from '../core/time.ts';
import type { GroupSettings } from './admission.ts';
import type { Entry } from './entry.ts';
import { type Planted, plant } from './forest.ts';
import type { Gates } from './gates.ts';
import type { Notice } from './parts.ts';
import type { Tree } from './tree.ts';

interface Change {
  /** Same root, no group comes from or goes to another tree: the gate takes it with everybody in line. */
  readonly kept: readonly { readonly tree: Tree; readonly planted: Planted; readonly before: readonly GroupSettings[] }[];
  readonly fresh: readonly Planted[];
  /** Trees that lose or win a group to another: made again from their exact state, while nobody waits or holds. */
  readonly moved: { readonly from: readonly Tree[]; readonly to: readonly Planted[] };
  readonly removed: readonly Tree[];
}

/** New groups: all or nothing. Answers what cannot be done; then nothing was changed. Rejects when the ledger of a new tree cannot be opened. */
export async function reconfigure(gates: Gates, now: () => Instant, settings: readonly GroupSettings[]): Promise<readonly string[]> {
  const { trees, mistakes } = plant(settings);
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
    const refused = await apply(gates, now, change, fresh);
    if (refused.length > 0) return refused;
    fresh.length = 0;
  } finally {
    for (const { tree } of fresh) gates.discard(tree);
    free();
  }
  await Promise.all(change.removed.map((tree) => remove(gates, now(), tree)));
  return [];
}

interface Fresh {
  readonly planted: Planted;
  readonly tree: Tree;
}

/** What may fail comes first; then everything changes in one moment. */
async function apply(gates: Gates, now: () => Instant, change: Change, fresh: readonly Fresh[]): Promise<readonly string[]> {
  const moving = await prepareMove(gates, now, change);
  if ('mistakes' in moving) return moving.mistakes;
  await allMayDecide(
    change.kept.map((each) => each.tree),
    now,
  );
  const gone = change.kept.flatMap(({ tree, planted }) => goneFrom(tree, planted));
  const wrong = takeKept(change, now());
  if (wrong !== undefined) return [wrong];
  for (const notice of gone) gates.report(notice);
  for (const { tree, planted } of change.kept) gates.resettle(tree, planted.settings);
  for (const { planted, tree } of fresh) gates.adopt(planted, tree);
  move(gates, now, change, moving);
  for (const { tree } of change.kept) tree.turn.settle(now());
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

type Moving = { readonly mistakes: readonly string[] } | { readonly states: readonly Omit<RestoredGate, 'seal'>[] };

/** Nobody decides in these trees now; what they have on disk is written to where it goes, before anything changes. */
async function prepareMove(gates: Gates, now: () => Instant, { moved }: Change): Promise<Moving> {
  const busy = moved.from.filter((tree) => inUse(tree, now()));
  if (busy.length > 0) {
    return { mistakes: busy.map((tree) => `A group moves from or to the tree of ${tree.root}, where callers wait or leases live: wait until it is idle.`) };
  }
  // Nothing that matters is under way then: whoever waits for the disk holds a lease or waits.
  await Promise.all(moved.from.map((tree) => tree.turn.writer.quiet()));
  const states = moved.from.map((tree) => tree.turn.gate.snapshot(now()));
  for (const planted of moved.to) {
    const ledger = await gates.ledgerOf(planted.root);
    await ledger.snapshot(partOf(states, planted));
  }
  return { states };
}

function inUse(tree: Tree, now: Instant): boolean {
  if (tree.turn.waiting.size > 0) return true;
  for (const entry of tree.turn.entries.values()) {
    if (tree.turn.gate.status(now, entry.index).leases > 0) return true;
  }
  return false;
}

/** In one moment: old gates are sealed, new ones go on from their exact state. Asks held meanwhile are told to ask again. */
function move(gates: Gates, now: () => Instant, { moved }: Change, moving: Exclude<Moving, { mistakes: unknown }>): void {
  if (moved.from.length === 0) return;
  const at = now();
  const seals = moved.from.flatMap((tree) => tree.turn.gate.seal(at).limits);
  for (const tree of moved.from) {
    gates.retire(tree);
    tree.stop({ reason: 'undecided', retryAt: at, detail: 'The group is being moved: ask again at once.' });
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

async function allMayDecide(trees: readonly Tree[], now: () => Instant): Promise<void> {
  for (;;) {
    const at = now();
    const awaited = trees.flatMap((tree) => (tree.turn.over === undefined ? (tree.turn.awaitRight(at) ?? []) : []));
    if (awaited.length === 0) return;
    await Promise.all(awaited);
  }
}

/** Every kept gate takes its groups, or none does. */
function takeKept({ kept }: Change, now: Instant): string | undefined {
  for (const [index, { tree, planted }] of kept.entries()) {
    const wrong = tree.turn.gate.reconfigure(
      now,
      planted.settings.map((each) => each.spec),
    );
    if (wrong === undefined) continue;
    for (const done of kept.slice(0, index)) {
      done.tree.turn.gate.reconfigure(
        now,
        done.before.map((each) => each.spec),
      );
      done.tree.turn.settle(now);
    }
    return wrong;
  }
  return undefined;
}

async function remove(gates: Gates, now: Instant, tree: Tree): Promise<void> {
  for (const entry of tree.turn.entries.values()) for (const notice of withdrawal(tree, entry)) gates.report(notice);
  gates.retire(tree);
  const refusal = withdrawn(now);
  tree.refuseAll(refusal);
  tree.drain();
  await gates.close(tree, refusal);
}
