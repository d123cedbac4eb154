import type { Reservation } from '../events.ts';
import { type AggregateLease, AggregateLeases } from '../leases/aggregate-lease.ts';
import { lookaheadUnits } from '../limits/create-limit.ts';
import { type Bound, MAX_DRAINED_RECOVERY } from '../limits/limit.ts';
import type { PermitTag } from '../permit.ts';
import { DISTANT_PAST, type Instant, SECOND } from '../time.ts';
import type { GroupTree } from '../tree/group-tree.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { GrantTable } from './grants.ts';
import type { GateSnapshot, SealedState } from './snapshot.ts';

/**
 * What the gate must have on disk before it spends, and what it starts from after a restart (docs/design/coordination.md 2.7). The
 * gate asks for bounds here; the world outside writes them and says so.
 */
export class Reservations {
  readonly isDurable: boolean;
  /** What stands on disk for reported leases. */
  readonly aggregates = new AggregateLeases();
  /** Leases of requests marked so are reported: this process is their holder. */
  readonly allowsInProcess: boolean;
  readonly #from: Instant;
  readonly #bounds = new Map<string, Bound[]>();
  readonly #states: Map<string, readonly number[]> | undefined;
  /** Cells with bounds on disk that may still count. */
  readonly #persisted = new Set<LimitInstance>();
  readonly wanted: Reservation[] = [];

  constructor(parts: { isDurable: boolean; allowsInProcess: boolean; from: Instant; restored: GateSnapshot | undefined }) {
    this.isDurable = parts.isDurable;
    this.allowsInProcess = parts.allowsInProcess;
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
   * A new limit instance starts as the terms before left it: once; made again later it is fresh, since only idle limit instances are dropped.
   * Its old bounds stay known until they no longer matter: the next crash may come before a new one is written.
   */
  initializeLimit(instance: LimitInstance): void {
    const { persistent } = instance;
    if (persistent === undefined) return;
    const name = instanceName(instance);
    if (this.isDurable) persistent.enablePersistence();
    const bounds = this.#bounds.get(name) ?? [];
    this.#bounds.delete(name);
    if (bounds.length > 0) this.#persisted.add(instance);
    if (this.#states === undefined) {
      if (this.#from !== DISTANT_PAST) persistent.restore(this.#from, bounds);
      return;
    }
    const state = this.#states.get(name);
    if (state !== undefined) persistent.unseal(state);
    for (const bound of bounds) persistent.onPersisted(bound);
    this.#states.delete(name);
  }

  /** What stands for the reported leases of this key; undefined: they are recorded like all others, or nothing is. */
  aggregateFor(now: Instant, state: KeyState, tag: PermitTag, grants: GrantTable): AggregateLease | undefined {
    return this.isDurable && this.allowsInProcess ? this.aggregates.of(now, state, tag, grants) : undefined;
  }

  /** Is an admission of `cost` at `at` within what is on disk? */
  isCovered(at: Instant, instance: LimitInstance, cost: number): boolean {
    return cost === 0 || !this.isDurable || !instance.enforced || instance.persistent === undefined || instance.persistent.isCovered(at, cost);
  }

  /** Asks once for the bound that `cost` at `at` needs, and for as much more as the demand of the last moments suggests. */
  request(now: Instant, at: Instant, instance: LimitInstance, cost: number): void {
    const { persistent } = instance;
    if (instance.pending || persistent === undefined) return;
    const elapsed = Math.max(now - instance.reservedAt, SECOND / 1000);
    const demand = instance.reservedAt === DISTANT_PAST ? 0 : (instance.spentSinceReservation * SECOND) / elapsed;
    const ahead = lookaheadUnits(demand, persistent.capacity);
    instance.pending = true;
    instance.spentSinceReservation = 0;
    instance.reservedAt = now;
    const { node } = instance.rule;
    this.wanted.push({ group: node.name, limit: limitName(instance), key: instance.keyState?.key, bound: persistent.bound(at, cost, ahead) });
  }

  /** These bounds are on disk, or could not be written: answers the limit instances they belong to. */
  onPersisted(tree: GroupTree, reservations: readonly Reservation[], written: boolean): LimitInstance[] {
    const instances: LimitInstance[] = [];
    for (const reservation of reservations) {
      const instance = findInstance(tree, reservation);
      if (instance === undefined) continue;
      instance.pending = false;
      instances.push(instance);
      if (!written) continue;
      instance.persistent?.onPersisted(reservation.bound);
      this.#persisted.add(instance);
    }
    return instances;
  }

  /** Limits have changed: what was spent without a bound, and needs one now, is written too. */
  requestAgain(now: Instant, instances: Iterable<LimitInstance>): void {
    if (!this.isDurable) return;
    for (const instance of instances) {
      const { persistent: limit } = instance;
      if (limit !== undefined && limit.recovery > MAX_DRAINED_RECOVERY && limit.idleAt(now) > now && !limit.isCovered(now, 0))
        this.request(now, now, instance, 0);
    }
  }

  /** All bounds that still matter, for a snapshot: of limit instances in use, and of earlier terms' keys that have not come back. */
  bounds(now: Instant): Reservation[] {
    const found: Reservation[] = [];
    for (const instance of this.#persisted) {
      const bounds = isAlive(instance) ? (instance.persistent?.bounds(now) ?? []) : [];
      if (bounds.length === 0 && !instance.pending) this.#persisted.delete(instance);
      for (const bound of bounds) found.push({ group: instance.rule.node.name, limit: limitName(instance), key: instance.keyState?.key, bound });
    }
    for (const [name, bounds] of this.#bounds) for (const bound of bounds) found.push({ ...namesOf(name), bound });
    return found;
  }

  /** Exact state of every limit that is not as good as new, and of sealed keys that have not come back. */
  seal(now: Instant, tree: GroupTree): SealedState {
    const limits: SealedState['limits'][number][] = [];
    for (const instance of tree.instances()) {
      const { persistent } = instance;
      if (persistent === undefined || persistent.idleAt(now) <= now) continue;
      limits.push({ group: instance.rule.node.name, limit: limitName(instance), key: instance.keyState?.key, state: persistent.seal(now) });
    }
    for (const [name, state] of this.#states ?? []) limits.push({ ...namesOf(name), state });
    const sealed = new Set(this.#states?.keys());
    for (const name of [...this.#bounds.keys()]) if (!sealed.has(name)) this.#sealUnseen(now, tree, name, limits);
    return { at: now, limits };
  }

  /** A key known only by its bounds is sealed in the worst state that they allow. */
  #sealUnseen(now: Instant, tree: GroupTree, name: string, into: SealedState['limits'][number][]): void {
    const { group, limit, key } = namesOf(name);
    const node = tree.node(group);
    if (node === undefined || key === undefined) return;
    const persistent = tree.keyState(node, key).instances.find((each) => limitName(each) === limit)?.persistent;
    if (persistent !== undefined && persistent.idleAt(now) > now) into.push({ group, limit, key, state: persistent.seal(now) });
  }
}

/** Its group is still configured and its key not forgotten. */
function isAlive({ rule, keyState }: LimitInstance): boolean {
  if (rule.node.removed) return false;
  return keyState === undefined || keyState.node.keys.get(keyState.key) === keyState;
}

/** A limit's name on disk: its kind goes with it, so that a bound never meets a limit of another kind. */
function limitName(instance: LimitInstance): string {
  return `${instance.rule.spec.quota.kind}:${instance.rule.name}`;
}

function instanceName(instance: LimitInstance): string {
  return nameOf(instance.rule.node.name, limitName(instance), instance.keyState?.key);
}

function nameOf(group: string, limit: string, key: string | undefined): string {
  return JSON.stringify(key === undefined ? [group, limit] : [group, limit, key]);
}

function namesOf(name: string): { group: string; limit: string; key: string | undefined } {
  const [group, limit, key] = JSON.parse(name) as [string, string, string | undefined];
  return { group, limit, key };
}

function findInstance(tree: GroupTree, { group, limit, key }: Reservation): LimitInstance | undefined {
  const node = tree.node(group);
  const instances = key === undefined ? node?.instances : node?.keys.get(key)?.instances;
  return instances?.find((instance) => limitName(instance) === limit);
}
