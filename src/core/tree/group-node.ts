import { Heap } from '../collections/heap.ts';
import { type Costs, type GroupSpec, ONE_REQUEST, PRIORITY_DEFERRED, REQUESTS } from '../group.ts';
import { DISTANT_PAST, type Instant } from '../time.ts';
import type { KeyState } from './key-state.ts';
import type { LimitInstance, LimitRule } from './limit-rule.ts';
import type { Override } from './overrides.ts';
import { type KeyQueue, PriorityLevel } from './queues.ts';
import { isStored } from './stored-requests.ts';
import { NO_SLOT, type WaiterTable } from './waiter-table.ts';

/**
 * One group in its tree: its rules, its queue, and what it offers to its parent.
 *
 *     root ◀─offer─ child ◀─offer─ priority level ◀─ queue ◀─ waiters
 *
 * A node offers its most urgent waiter once the node's own limits agree; the root's offer is admitted.
 */
export class GroupNode {
  readonly index: number;
  readonly name: string;
  spec: GroupSpec;
  parent: GroupNode | undefined;
  /** Groups right below that are in the configuration. */
  readonly children = new Set<GroupNode>();
  /** This node, then its ancestors up to the root. */
  path: readonly GroupNode[] = [];
  /** All rules, the group's own first, then the shares of its parent. */
  rules: readonly LimitRule[] = [];
  groupRules: readonly LimitRule[] = [];
  keyRules: readonly LimitRule[] = [];
  /** Cells of this node's group rules. */
  instances: readonly LimitInstance[] = [];
  /** Cells of the group rules from here up to the root. */
  pathInstances: readonly LimitInstance[] = [];
  /** This node or an ancestor counts by key. */
  hasKeyLimits = false;
  /** A permit of this group carries a lease. */
  hasLeases = false;
  /** No longer in the configuration; refuses all requests. */
  removed = false;

  override: Override | undefined;
  pausedUntil: Instant = DISTANT_PAST;
  readonly pausedKeys = new Map<string, Instant>();

  readonly keys = new Map<string, KeyState>();
  /** By priority, most urgent first; empty ones stay until the group is idle. */
  readonly priorityLevels: PriorityLevel[] = [];
  /** Waiters, stored requests included. */
  waiting = 0;
  /** Stored requests among them: no bound of the backlog counts these. */
  stored = 0;
  /** Admissions since the last one of an overdue stored request. */
  sinceOverdue = 0;
  /** The next admission is an overdue stored request's: the floor of the group says so. */
  overdueNext = false;
  /** The waiter that counts as urgent as the most urgent for now. */
  #lent = NO_SLOT;
  waitingBytes = 0;
  /** What waits beyond one request each, by unit: for the expected wait. */
  readonly #waitingBeyond = new Map<string, number>();
  readonly #storedBeyond = new Map<string, number>();
  leasesLive = 0;

  /** The waiter this node would let go now, as far as it and all below are concerned; NONE: no waiter, or blocked. */
  candidate = NO_SLOT;
  /** Children that offer a waiter, most urgent first. */
  readonly childCandidates: Heap<GroupNode>;
  /** Place in the parent's `offers`. */
  position = -1;
  /** Held by its own limits until then; DISTANT_PAST: not. */
  blockedUntil: Instant = DISTANT_PAST;
  blockedBy: LimitInstance | undefined;
  readonly #waiters: WaiterTable;
  #sweep: Iterator<KeyState> | undefined;

  constructor(index: number, spec: GroupSpec, waiters: WaiterTable) {
    this.index = index;
    this.name = spec.name;
    this.spec = spec;
    this.#waiters = waiters;
    this.childCandidates = new Heap<GroupNode>((a, b) => this.ranksBefore(a.candidate, b.candidate));
  }

  get enforce(): boolean {
    return this.override?.enforce ?? this.spec.enforce;
  }

  get fair(): boolean {
    return this.spec.fairness.by === 'key';
  }

  weightOf(key: string): number {
    return this.spec.fairness.weights.get(key) ?? 1;
  }

  /** What fairness between keys is measured in. */
  get fairUnit(): string | undefined {
    return this.spec.limits[0]?.unit;
  }

  /**
   * Whether waiter `a` goes before waiter `b` here: the more urgent, then the older; with aging by arrival + priority x
   * aging. One that goes by the floor of its group counts there as urgent as the group's most urgent waiter.
   */
  ranksBefore(a: number, b: number): boolean {
    const waiters = this.#waiters;
    const floorA = waiters.lentOf(a);
    const floorB = waiters.lentOf(b);
    if (floorA >= 0 || floorB >= 0) {
      const priorityA = floorA >= 0 ? floorA : waiters.queueOf(a).level.priority;
      const priorityB = floorB >= 0 ? floorB : waiters.queueOf(b).level.priority;
      return priorityA === priorityB ? waiters.orderOf(a) < waiters.orderOf(b) : priorityA < priorityB;
    }
    const levelA = waiters.queueOf(a).level;
    const levelB = waiters.queueOf(b).level;
    if (levelA.priority !== levelB.priority) {
      const aging = this.spec.aging;
      if (aging === undefined || levelA.deferred !== levelB.deferred) return levelA.priority < levelB.priority;
      const dueA = waiters.arrivalOf(a) + levelA.priority * aging;
      const dueB = waiters.arrivalOf(b) + levelB.priority * aging;
      if (dueA !== dueB) return dueA < dueB;
      return levelA.priority < levelB.priority;
    }
    return waiters.orderOf(a) < waiters.orderOf(b);
  }

  /** Whether a new request of this priority would go before waiter `slot`. */
  wouldOvertake(now: Instant, priority: number, slot: number): boolean {
    if (slot === NO_SLOT) return true;
    const { level } = this.#waiters.queueOf(slot);
    const { aging } = this.spec;
    if (aging === undefined || level.deferred || priority === PRIORITY_DEFERRED) return priority < level.priority;
    const later = now - this.#waiters.arrivalOf(slot) + (priority - level.priority) * aging;
    return later === 0 ? priority < level.priority : later < 0;
  }

  /** The waiter that is next here, own or of a child that offers one; NONE: no waiter. */
  next(): number {
    const queue = this.nextQueue();
    const child = this.childCandidates.peek();
    if (queue === undefined) return child?.candidate ?? NO_SLOT;
    return child === undefined || this.ranksBefore(queue.head, child.candidate) ? queue.head : child.candidate;
  }

  /** The queue whose head is next among this group's own waiters, by priority levels and fairness; keys that are parked are not in it. */
  nextQueue(): KeyQueue | undefined {
    if (this.overdueNext) {
      const queue = this.#overdueQueue();
      if (queue !== undefined) return queue;
    }
    return this.#mostUrgentQueue();
  }

  /** Whether the next admission belongs to an overdue stored request (`deferred.floor`): at least one of every `every` does, once one is older than `after`. */
  askFloor(now: Instant): void {
    const { floor } = this.spec;
    this.overdueNext = false;
    if (this.#lent !== NO_SLOT) this.#waiters.lend(this.#lent, -1);
    this.#lent = NO_SLOT;
    if (floor === undefined || this.sinceOverdue < floor.every - 1 || this.waiting === 0) return;
    const queue = this.#overdueQueue();
    if (queue === undefined || now - this.#waiters.arrivalOf(queue.head) < floor.after) return;
    this.overdueNext = true;
    const urgent = this.#mostUrgentQueue();
    if (urgent === undefined || urgent.level.deferred) return;
    this.#lent = queue.head;
    this.#waiters.lend(queue.head, urgent.level.priority);
  }

  /** One of this group's own waiters is admitted. */
  countAdmission(now: Instant, priority: number, arrivedAt: Instant): void {
    const { floor } = this.spec;
    if (floor === undefined) return;
    if (priority === PRIORITY_DEFERRED && now - arrivedAt >= floor.after) this.sinceOverdue = 0;
    else if (this.sinceOverdue < floor.every) this.sinceOverdue++;
    this.overdueNext = false;
  }

  /** The queue of the oldest stored request that may be offered and has no class of its own. */
  #overdueQueue(): KeyQueue | undefined {
    const level = this.priorityLevels.at(-1);
    if (level?.deferred !== true || level.waiting === 0) return undefined;
    return level.head() === undefined ? undefined : level.oldestQueue();
  }

  #mostUrgentQueue(): KeyQueue | undefined {
    let best: KeyQueue | undefined;
    for (const level of this.priorityLevels) {
      if (level.waiting === 0) continue;
      const queue = level.head();
      if (queue === undefined) continue;
      if (this.spec.aging === undefined) return queue;
      if (best === undefined || this.ranksBefore(queue.head, best.head)) best = queue;
    }
    return best;
  }

  /** The priority level of a priority, made when first needed. */
  level(priority: number): PriorityLevel {
    let at = 0;
    for (; at < this.priorityLevels.length; at++) {
      const level = this.priorityLevels[at] as PriorityLevel;
      if (level.priority === priority) return level;
      if (level.priority > priority) break;
    }
    const level = new PriorityLevel(this, priority, this.#waiters);
    this.priorityLevels.splice(at, 0, level);
    return level;
  }

  /** Until when this key is paused here; DISTANT_PAST: it is not. */
  keyPausedUntil(key: string, now: Instant): Instant {
    if (this.pausedKeys.size === 0) return DISTANT_PAST;
    const until = this.pausedKeys.get(key);
    if (until === undefined) return DISTANT_PAST;
    if (until > now) return until;
    this.pausedKeys.delete(key);
    return DISTANT_PAST;
  }

  /** A waiter came or went. */
  count(slot: number, sign: 1 | -1): void {
    const waiters = this.#waiters;
    this.waitingBytes += sign * waiters.bytesOf(slot);
    if (isStored(waiters.tokenOf(slot))) this.countStored(waiters.costsOf(slot), sign);
    else this.#countCosts(this.#waitingBeyond, waiters.costsOf(slot), sign);
  }

  /** A stored request came into line or went from there. */
  countStored(costs: Costs, sign: 1 | -1): void {
    this.stored += sign;
    this.#countCosts(this.#storedBeyond, costs, sign);
  }

  /** So many stored requests went at once; their costs are forgotten when none is left. */
  uncountStored(dropped: number): void {
    this.waiting -= dropped;
    this.stored -= dropped;
    if (this.stored === 0) this.#storedBeyond.clear();
  }

  #countCosts(beyondByUnit: Map<string, number>, costs: Costs, sign: 1 | -1): void {
    this.waiting += sign;
    if (costs === ONE_REQUEST) return;
    for (const [unit, cost] of Object.entries(costs)) {
      const beyond = unit === REQUESTS ? cost - 1 : cost;
      beyondByUnit.set(unit, (beyondByUnit.get(unit) ?? 0) + sign * beyond);
    }
  }

  /** Units that wait. */
  unitsWaiting(unit: string): number {
    return (unit === REQUESTS ? this.waiting : 0) + (this.#waitingBeyond.get(unit) ?? 0) + (this.#storedBeyond.get(unit) ?? 0);
  }

  /** Looks at a few keys, oldest first, and forgets those that no longer matter. Answers how many it forgot. */
  collectIdleKeys(now: Instant, steps: number, forget: (key: KeyState) => void): number {
    let forgotten = 0;
    for (let step = 0; step < steps; step++) {
      this.#sweep ??= this.keys.values();
      const { value, done } = this.#sweep.next();
      if (done === true) {
        this.#sweep = undefined;
        continue;
      }
      if (!value.idle(now)) continue;
      forget(value);
      forgotten++;
    }
    return forgotten;
  }
}
