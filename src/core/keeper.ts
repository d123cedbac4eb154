import type { Reservation } from './events.ts';
import type { GateSeal, RestoredGate } from './gate-state.ts';
import type { Grants } from './grants.ts';
import type { KeyState } from './key-state.ts';
import { type Bound, HORIZON_RECOVERY_MAX } from './limit.ts';
import { lookaheadUnits } from './limits/create-limit.ts';
import type { Cell } from './rule.ts';
import { type StandIn, StandIns } from './stand-ins.ts';
import { type Instant, LONG_AGO, SECOND } from './time.ts';
import type { Tree } from './tree.ts';
import type { Tag } from './waiter.ts';

/**
 * What the gate must have on disk before it spends, and what it starts from after a restart (coordination.md 2.7). The
 * gate asks for bounds here; the world outside writes them and says so.
 */
export class Keeper {
  readonly recording: boolean;
  /** What stands on disk for reported leases. */
  readonly standIns = new StandIns();
  /** Leases of asks that say so are reported: who holds them is this process. */
  readonly reports: boolean;
  readonly #from: Instant;
  readonly #bounds = new Map<string, Bound[]>();
  readonly #states: Map<string, readonly number[]> | undefined;
  /** Cells with bounds on disk that may still count. */
  readonly #kept = new Set<Cell>();
  wanted: Reservation[] = [];

  constructor(parts: { recording: boolean; reports: boolean; from: Instant; restored: RestoredGate | undefined }) {
    this.recording = parts.recording;
    this.reports = parts.reports;
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
    if (bounds.length > 0) this.#kept.add(cell);
    if (this.#states === undefined) {
      if (this.#from !== LONG_AGO) cell.limit.restore(this.#from, bounds);
      return;
    }
    const state = this.#states.get(name);
    if (state !== undefined) cell.limit.unseal(state);
    for (const bound of bounds) cell.limit.cover(bound);
    this.#states.delete(name);
  }

  /** What stands for the reported leases of this key; undefined: they are recorded like all others, or nothing is. */
  standInFor(now: Instant, state: KeyState, tag: Tag, grants: Grants): StandIn | undefined {
    return this.recording && this.reports ? this.standIns.of(now, state, tag, grants) : undefined;
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
      this.#kept.add(cell);
    }
    return cells;
  }

  /** Limits have changed: what was spent without a bound, and needs one now, is written too. */
  rewrite(now: Instant, cells: Iterable<Cell>): void {
    if (!this.recording) return;
    for (const cell of cells) {
      const { limit } = cell;
      if (limit.recovery > HORIZON_RECOVERY_MAX && limit.idleAt(now) > now && !limit.covers(now, 0)) this.want(now, now, cell, 0);
    }
  }

  /** All bounds that still matter, for a snapshot: of cells in use, and of earlier terms' keys that have not come back. */
  bounds(now: Instant): Reservation[] {
    const found: Reservation[] = [];
    for (const cell of this.#kept) {
      const bounds = isAlive(cell) ? cell.limit.bounds(now) : [];
      if (bounds.length === 0 && !cell.pending) this.#kept.delete(cell);
      for (const bound of bounds) found.push({ group: cell.rule.node.name, limit: limitName(cell), key: cell.keyState?.key, bound });
    }
    for (const [name, bounds] of this.#bounds) for (const bound of bounds) found.push({ ...namesOf(name), bound });
    return found;
  }

  /** Exact state of every limit that is not as good as new, and of sealed keys that have not come back. */
  seal(now: Instant, tree: Tree): GateSeal {
    const limits: GateSeal['limits'][number][] = [];
    for (const cell of tree.cells()) {
      if (cell.isConcurrency || cell.limit.idleAt(now) <= now) continue;
      limits.push({ group: cell.rule.node.name, limit: limitName(cell), key: cell.keyState?.key, state: cell.limit.seal(now) });
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
}

/** Its group is still configured and its key not forgotten. */
function isAlive({ rule, keyState }: Cell): boolean {
  if (rule.node.removed) return false;
  return keyState === undefined || keyState.node.keys.get(keyState.key) === keyState;
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
