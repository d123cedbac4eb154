import type { GroupSettings } from '../admission/admission.ts';
import { lineOf, partitionGroups } from '../admission/tree-spec.ts';
import { isRefusal, Units } from '../admission/units.ts';
import { Heap, type HeapItem } from '../core/collections/heap.ts';
import type { GateEvent } from '../core/events.ts';
import { Gate } from '../core/gate/gate.ts';
import { type Costs, PRIORITY_MAX } from '../core/group.ts';
import type { Permit } from '../core/permit.ts';
import type { RefusalReason } from '../core/refusal.ts';
import { DISTANT_PAST, earlier, HOUR, type Instant, type Micros, NEVER, plus } from '../core/time.ts';
import type { SimulatedRequest } from './simulated-request.ts';
import { LimitUses, Outcomes } from './statistics.ts';

/** Between two looks for keys that no longer matter, as in a server. */
const SWEEP_EVERY: Micros = HOUR / 60;
const SWEEP_STEPS = 1_000;

/** What became of one group's callers. */
export interface GroupOutcome {
  readonly name: string;
  /** By class; '' has those who named none of the group's. In the order of their urgency. */
  readonly classes: ReadonlyMap<string, Outcomes>;
  readonly keys: ReadonlyMap<string, Outcomes>;
  readonly limits: readonly LimitUses[];
}

/** What one configuration made of a trace. */
export interface SimulationResult {
  readonly groups: readonly GroupOutcome[];
  /** Requests of groups that the configuration does not have, by group. */
  readonly unknown: ReadonlyMap<string, number>;
  readonly arrived: number;
  readonly admitted: number;
  readonly refused: number;
  /** From the first arrival to the last decision. */
  readonly span: Micros;
}

/** Reports how far a simulation is: requests that came, of all. */
export type OnProgress = (came: number, of: number) => void;

/** A group as simulated. */
class SimulatedGroup implements GroupOutcome {
  readonly name: string;
  readonly classes: ReadonlyMap<string, Outcomes>;
  readonly keys = new Map<string, Outcomes>();
  readonly limits: readonly LimitUses[];
  /** Own limits, and those of the groups above. */
  readonly charged: readonly LimitUses[];
  readonly settings: GroupSettings;
  readonly units: Units;
  readonly tree: SimulatedTree;
  readonly index: number;
  readonly #classOf: ReadonlyMap<number, string>;

  constructor(settings: GroupSettings, tree: SimulatedTree, units: Units, above: readonly LimitUses[]) {
    this.settings = settings;
    this.name = settings.spec.name;
    this.tree = tree;
    this.units = units;
    this.limits = settings.spec.limits.map((limit) => new LimitUses(limit));
    this.charged = [...this.limits, ...above];
    this.index = tree.gate.groupOf(this.name) as number;
    const classes = [...settings.priority.classes].sort(([, a], [, b]) => a - b);
    this.#classOf = new Map(classes.map(([name, priority]) => [priority, name]));
    this.classes = new Map([...classes.map(([name]) => name), ''].map((name) => [name, new Outcomes()]));
  }

  /** The priority of a request; undefined: the group has no class of this name. */
  priorityOf(asked: string | number | undefined): number | undefined {
    const { classes, default: fallback } = this.settings.priority;
    return typeof asked === 'string' ? classes.get(asked) : (asked ?? fallback);
  }

  /** Those of its class and of its key; no key is no tenant. */
  outcomesOf(priority: number, key: string): readonly Outcomes[] {
    const byClass = this.classes.get(this.#classOf.get(priority) ?? '') as Outcomes;
    if (key === '') return [byClass];
    const byKey = this.keys.get(key) ?? new Outcomes();
    this.keys.set(key, byKey);
    return [byClass, byKey];
  }
}

/** One tree of groups with its gate, in a heap by when the gate is to be called next. */
class SimulatedTree implements HeapItem {
  position = -1;
  wakeAt: Instant = NEVER;
  readonly gate: Gate;

  constructor(gate: Gate) {
    this.gate = gate;
  }
}

/** A lease that comes back. */
interface Return extends HeapItem {
  readonly at: Instant;
  readonly asked: Pending;
  readonly permit: Permit;
}

/** A request on its way; the gate's token. */
interface Pending {
  readonly request: SimulatedRequest;
  readonly group: SimulatedGroup;
  readonly priority: number;
}

const NO_TAG = { high: 0, low: 0 };

/**
 * Runs a trace against one configuration in virtual time, with the gates that the server ships. Nothing is late, nothing is lost, and all
 * limits are free at the beginning. Leases are renewed while they are held; refused callers do not come back (those of a trace that did,
 * came as requests of their own).
 */
export class Simulation {
  readonly #groups = new Map<string, SimulatedGroup>();
  readonly #unknown = new Map<string, number>();
  readonly #wakes = new Heap<SimulatedTree>((a, b) => a.wakeAt < b.wakeAt);
  readonly #returns = new Heap<Return>((a, b) => a.at < b.at);
  readonly #start: Instant;
  #sweepAt: Instant;
  #admitted = 0;
  #refused = 0;
  #waiting = 0;
  #lastAt: Instant;

  /** `start`: the moment of the first request, which counts where windows follow the calendar. */
  constructor(settings: readonly GroupSettings[], start: Instant) {
    this.#start = start;
    this.#lastAt = start;
    this.#sweepAt = plus(start, SWEEP_EVERY);
    const byName = new Map(settings.map((each) => [each.spec.name, each]));
    const { trees, mistakes } = partitionGroups(settings);
    if (mistakes.length > 0) throw new Error(mistakes.join(' '));
    for (const tree of trees.values()) {
      const gate = new Gate({ term: 1n, groups: tree.settings.map(({ spec }) => spec), from: DISTANT_PAST, recording: false, restored: undefined });
      const simulated = new SimulatedTree(gate);
      for (const each of tree.settings) this.#add(each, lineOf(each, byName), simulated);
    }
  }

  #add(settings: GroupSettings, line: readonly GroupSettings[], tree: SimulatedTree): SimulatedGroup {
    const known = this.#groups.get(settings.spec.name);
    if (known !== undefined) return known;
    const [, parent] = line;
    const above = parent === undefined ? [] : this.#add(parent, line.slice(1), tree).charged;
    const group = new SimulatedGroup(settings, tree, new Units(line), above);
    this.#groups.set(group.name, group);
    return group;
  }

  /** Runs these requests, sorted by time, to the last decision. Once. */
  run(requests: readonly SimulatedRequest[], progress: OnProgress = () => {}): SimulationResult {
    let came = 0;
    for (const request of requests) {
      const at = plus(this.#start, request.at);
      this.#advance(at);
      this.#arrive(at, request);
      if (++came % PROGRESS_EVERY === 0) progress(came, requests.length);
    }
    // Every wait has an end: the last waiter is admitted or expires.
    while (this.#waiting > 0) if (!this.#step(NEVER)) throw new Error(`${this.#waiting} requests wait for nothing`);
    for (const { asked, permit } of this.#returns.items()) this.#held(asked, permit, Math.max(0, this.#lastAt - permit.grantedAt));
    return {
      groups: [...this.#groups.values()],
      unknown: this.#unknown,
      arrived: came,
      admitted: this.#admitted,
      refused: this.#refused,
      span: this.#lastAt - this.#start,
    };
  }

  /** Does all that is due up to this moment, in order of time. */
  #advance(until: Instant): void {
    while (this.#step(until));
  }

  /** The next that is due, a lease that comes back before a slot that opens at the same moment. Returns false if nothing is due up to this moment. */
  #step(until: Instant): boolean {
    const tree = this.#wakes.peek();
    const back = this.#returns.peek();
    const at = earlier(tree?.wakeAt ?? NEVER, back?.at ?? NEVER);
    if (at === NEVER || at > until) return false;
    if (at >= this.#sweepAt) this.#sweep(at);
    if (back !== undefined && back.at === at) {
      this.#returns.remove(back);
      this.#return(at, back);
    } else if (tree !== undefined) {
      tree.gate.tick(at);
      this.#after(at, tree);
    }
    return true;
  }

  #sweep(now: Instant): void {
    this.#sweepAt = plus(now, SWEEP_EVERY);
    for (const tree of new Set([...this.#groups.values()].map((group) => group.tree))) tree.gate.sweep(now, SWEEP_STEPS);
  }

  #arrive(at: Instant, request: SimulatedRequest): void {
    const group = this.#groups.get(request.group);
    this.#lastAt = at;
    if (group === undefined) {
      this.#refused++;
      this.#unknown.set(request.group, (this.#unknown.get(request.group) ?? 0) + 1);
      return;
    }
    const named = group.priorityOf(request.priority);
    const priority = named ?? PRIORITY_MAX;
    for (const each of group.outcomesOf(priority, request.key)) each.arrived++;
    const costs = group.units.priced(request.costs);
    if (named === undefined || isRefusal(costs)) return this.#refuse(at, { request, group, priority }, 'malformed', undefined);
    const { wait } = group.settings;
    this.#waiting++;
    group.tree.gate.acquire(at, {
      group: group.index,
      key: request.key,
      priority,
      costs,
      waitUntil: plus(at, Math.min(request.wait ?? wait.default, wait.max)),
      // Renewed as long as it is held: it ends when it comes back.
      lease: request.hold + HOUR,
      bytes: 0,
      holder: '',
      tag: NO_TAG,
      token: { request, group, priority } satisfies Pending,
    });
    this.#after(at, group.tree);
  }

  #return(at: Instant, { asked, permit }: Return): void {
    const { tree } = asked.group;
    this.#held(asked, permit, at - permit.grantedAt);
    tree.gate.release(at, permit.serial, permit.tag, 'used', asked.request.settled);
    this.#after(at, tree);
  }

  /** Takes what a gate says after a call, and when it is to be called next. */
  #after(now: Instant, tree: SimulatedTree): void {
    for (const event of tree.gate.takeEvents()) this.#event(now, event);
    const wakeAt = tree.gate.wakeAt(now);
    if (wakeAt === tree.wakeAt) return;
    tree.wakeAt = wakeAt;
    if (wakeAt === NEVER) {
      if (tree.position >= 0) this.#wakes.remove(tree);
    } else if (tree.position < 0) this.#wakes.push(tree);
    else this.#wakes.update(tree);
  }

  #event(now: Instant, event: GateEvent): void {
    if (event.kind === 'admitted') this.#admit(now, event.token as Pending, event.permit);
    else if (event.kind === 'refused') {
      this.#waiting--;
      this.#refuse(now, event.token as Pending, event.refusal.reason, event.refusal.limit);
    }
  }

  #admit(now: Instant, asked: Pending, permit: Permit): void {
    const { request, group, priority } = asked;
    this.#waiting--;
    this.#admitted++;
    this.#lastAt = now;
    for (const each of group.outcomesOf(priority, request.key)) each.admit(permit.waited);
    const costs = request.settled === undefined ? permit.costs : merged(permit.costs, request.settled);
    for (const each of group.charged) each.admit(request.key, costs);
    if (permit.lease !== undefined || request.settled !== undefined) this.#returns.push({ position: -1, at: plus(now, request.hold), asked, permit });
  }

  #held({ request, group }: Pending, { costs }: Permit, held: Micros): void {
    for (const each of group.charged) each.hold(request.key, costs, held);
  }

  #refuse(now: Instant, { request, group, priority }: Pending, reason: RefusalReason, limit: string | undefined): void {
    this.#refused++;
    this.#lastAt = now;
    for (const each of group.outcomesOf(priority, request.key)) each.refuse(reason, limit);
  }
}

/** Requests between two reports of progress. */
const PROGRESS_EVERY = 10_000;

/** What a request cost in the end: settled units instead of those it was admitted for. */
function merged(admitted: Costs, settled: Costs): Costs {
  return Object.assign(Object.create(null) as Record<string, number>, admitted, settled);
}
