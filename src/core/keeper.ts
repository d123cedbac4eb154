import type { Reservation } from './events.ts';
import type { GateSeal, RestoredGate } from './gate-state.ts';
import type { Bound } from './limit.ts';
import { lookaheadUnits } from './limits/create-limit.ts';
import type { Cell } from './rule.ts';
import { type Instant, LONG_AGO, SECOND } from './time.ts';
import type { Tree } from './tree.ts';

/** Slots of one limit that are remembered for a snapshot: more than a rolling window has sub-slots. */
const SLOTS_KEPT = 40;

/**
 * What the gate must have on disk before it spends, and what it starts from after a restart (coordination.md 2.7). The
 * gate asks for bounds here; the world outside writes them and says so.
 */
export class Keeper {
  readonly recording: boolean;
  readonly #from: Instant;
  readonly #bounds = new Map<string, Bound[]>();
  readonly #states: Map<string, readonly number[]> | undefined;
  readonly #covered = new Map<Cell, Map<number, number>>();
  wanted: Reservation[] = [];

  constructor(parts: { recording: boolean; from: Instant; restored: RestoredGate | undefined }) {
    this.recording = parts.recording;
    this.#from = parts.from;
    const seal = parts.restored?.seal;
    if (seal !== undefined) this.#states = new Map(seal.limits.map((each) => [nameOf(each.group, each.limit, each.key), each.state]));
    for (const { group, limit, key, bound } of parts.restored?.reservations ?? []) {
      const name = nameOf(group, limit, key);
      const known = this.#bounds.get(name);
      if (known === undefined) this.#bounds.set(name, [bound]);
      else known.push(bound);
    }
  }

  /**
   * A new cell starts as the terms before left it: once; made again later it is fresh, since only idle cells are dropped.
   * Its old bounds stay known until they no longer matter: the next crash may come before a new one is written.
   */
  born(cell: Cell): void {
    const name = cellName(cell);
    if (this.recording) cell.limit.recordBounds();
    const bounds = this.#bounds.get(name) ?? [];
    this.#bounds.delete(name);
    for (const bound of bounds) this.#remember(cell, bound);
    if (this.#states === undefined) {
      if (this.#from !== LONG_AGO) cell.limit.restore(this.#from, bounds);
      return;
    }
    const state = this.#states.get(name);
    if (state !== undefined) cell.limit.unseal(state);
    this.#states.delete(name);
  }

  /** Is an admission of `cost` at `at` within what is on disk? */
  covered(at: Instant, cell: Cell, cost: number): boolean {
    return cost === 0 || !this.recording || !cell.enforced || cell.limit.covers(at, cost);
  }

  /** Asks once for the bound that `cost` at `at` needs, and for as much more as the demand of the last moments suggests. */
  want(now: Instant, at: Instant, cell: Cell, cost: number): void {
    if (cell.pending) return;
    const elapsed = Math.max(now - cell.reservedAt, SECOND / 1000);
    const demand = cell.reservedAt === LONG_AGO ? 0 : (cell.spent * SECOND) / elapsed;
    const ahead = lookaheadUnits(demand, cell.limit.capacity);
    cell.pending = true;
    cell.spent = 0;
    cell.reservedAt = now;
    const { node } = cell.rule;
    this.wanted.push({ group: node.name, limit: limitName(cell), key: cell.keyState?.key, bound: cell.limit.bound(at, cost, ahead) });
  }

  /** These bounds are on disk, or could not be written: answers the cells they belong to. */
  reserved(tree: Tree, reservations: readonly Reservation[], written: boolean): Cell[] {
    const cells: Cell[] = [];
    for (const reservation of reservations) {
      const cell = findCell(tree, reservation);
      if (cell === undefined) continue;
      cell.pending = false;
      cells.push(cell);
      if (!written) continue;
      cell.limit.cover(reservation.bound);
      this.#remember(cell, reservation.bound);
    }
    return cells;
  }

  /** All bounds that still matter, for a snapshot: of this term, and those of earlier terms whose keys have not come back. */
  bounds(now: Instant, tree: Tree): Reservation[] {
    const found: Reservation[] = [];
    for (const [cell, slots] of this.#covered) {
      const alive = cell.keyState === undefined || cell.keyState.node.keys.get(cell.keyState.key) === cell.keyState;
      if (!alive || tree.node(cell.rule.node.name) === undefined || (cell.limit.idleAt(now) <= now && !cell.pending)) {
        if (!alive) this.#covered.delete(cell);
        continue;
      }
      for (const [slot, value] of slots) found.push({ group: cell.rule.node.name, limit: limitName(cell), key: cell.keyState?.key, bound: { slot, value } });
    }
    for (const [name, bounds] of this.#bounds) for (const bound of bounds) found.push({ ...namesOf(name), bound });
    return found;
  }

  /** Exact state of every limit that is not as good as new, and of sealed keys that have not come back. */
  seal(now: Instant, tree: Tree): GateSeal {
    const limits: GateSeal['limits'][number][] = [];
    const add = (cell: Cell): void => {
      if (cell.isConcurrency || cell.limit.idleAt(now) <= now) return;
      limits.push({ group: cell.rule.node.name, limit: limitName(cell), key: cell.keyState?.key, state: cell.limit.seal(now) });
    };
    for (const node of tree.nodes) {
      if (node.removed) continue;
      for (const cell of node.cells) add(cell);
      for (const state of node.keys.values()) for (const cell of state.cells) add(cell);
    }
    for (const [name, state] of this.#states ?? []) limits.push({ ...namesOf(name), state });
    const sealed = new Set(this.#states?.keys());
    for (const name of [...this.#bounds.keys()]) if (!sealed.has(name)) this.#sealUnseen(now, tree, name, limits);
    return { at: now, limits };
  }

  /** A key known only by its bounds is sealed in the worst state that they allow. */
  #sealUnseen(now: Instant, tree: Tree, name: string, into: GateSeal['limits'][number][]): void {
    const { group, limit, key } = namesOf(name);
    const node = tree.node(group);
    if (node === undefined || key === undefined) return;
    const cell = tree.keyState(node, key).cells.find((each) => limitName(each) === limit);
    if (cell !== undefined && cell.limit.idleAt(now) > now) into.push({ group, limit, key, state: cell.limit.seal(now) });
  }

  #remember(cell: Cell, bound: Bound): void {
    let slots = this.#covered.get(cell);
    if (slots === undefined) {
      slots = new Map();
      this.#covered.set(cell, slots);
    }
    slots.set(bound.slot, Math.max(bound.value, slots.get(bound.slot) ?? bound.value));
    if (slots.size <= SLOTS_KEPT) return;
    slots.delete(Math.min(...slots.keys()));
  }
}

/** A limit's name on disk: its kind goes with it, so that a bound never meets a limit of another kind. */
function limitName(cell: Cell): string {
  return `${cell.rule.spec.quota.kind}:${cell.rule.name}`;
}

function cellName(cell: Cell): string {
  return nameOf(cell.rule.node.name, limitName(cell), cell.keyState?.key);
}

function nameOf(group: string, limit: string, key: string | undefined): string {
  return JSON.stringify(key === undefined ? [group, limit] : [group, limit, key]);
}

function namesOf(name: string): { group: string; limit: string; key: string | undefined } {
  const [group, limit, key] = JSON.parse(name) as [string, string, string | undefined];
  return { group, limit, key };
}

function findCell(tree: Tree, { group, limit, key }: Reservation): Cell | undefined {
  const node = tree.node(group);
  const cells = key === undefined ? node?.cells : node?.keys.get(key)?.cells;
  return cells?.find((cell) => limitName(cell) === limit);
}
