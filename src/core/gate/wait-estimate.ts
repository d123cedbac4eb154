import { type Costs, costOf } from '../group.ts';
import { type Instant, later, NEVER, plus } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { drawDepartures } from './departures.ts';
import type { GateState } from './state.ts';
import { passesAt, slotsAhead, type TimedLimit } from './time-run.ts';

/** Groups looked at for who waits for a limit of an ancestor. */
const GROUPS_MAX = 256;

/** When a waiter is expected to pass, by what is known of the limits alone. */
export interface WaitEstimate {
  /** NEVER: not known, since only a release or an operator helps and no lease has ended yet. */
  readonly at: Instant;
  /** The same in other courses of events, in rising order; empty: there is only one. */
  readonly courses: readonly Instant[];
}

/** Whose wait is estimated. */
export interface Estimated {
  readonly state: KeyState;
  /** Its slot, if it waits; else NO_SLOT. */
  readonly slot: number;
  readonly priority: number;
  readonly costs: Costs;
  /** A waiter that does not count, since it leaves: its slot. Absent: none. */
  readonly leaving?: number;
  /** Waiters of its group, and of its key, before it. */
  readonly ahead: number;
  readonly aheadOfKey: number;
}

/** Estimates when a waiter passes if those ahead of it go first and none else does. */
export function estimateWait(gate: GateState, now: Instant, who: Estimated): WaitEstimate {
  const { state } = who;
  const timed: TimedLimit[] = [];
  const full: { readonly instance: LimitInstance; readonly ends: number }[] = [];
  for (const instance of state.limits) {
    if (!instance.enforced) continue;
    const cost = costOf(who.costs, instance.rule.unit);
    const mean = meanCost(state.node, instance, cost);
    const ahead = Math.round(mean * aheadAt(instance, who));
    if (!instance.isConcurrency) timed.push({ instance, ahead, cost });
    else if (cost > 0) {
      const { capacity, used, debt } = instance.limit.status(now);
      const over = used + debt + ahead + cost - capacity;
      if (over > 0) full.push({ instance, ends: over / Math.max(1, mean) });
    }
  }
  const from = openFrom(gate, now, state);
  const slots = timed.length === 0 ? undefined : slotsAhead(gate.waiters, state, who.slot, who.priority)?.filter((slot) => slot !== who.leaving);
  const exact = slots === undefined ? timed : timed.map((each) => ({ ...each, ahead: unitsOf(gate, each.instance, slots) }));
  let at = from === NEVER ? NEVER : passesAt(now, from, exact, gate.waiters, slots, who.ahead);
  let courses: readonly Instant[] = [];
  for (const { instance, ends } of full) {
    const drawn = at === NEVER ? undefined : drawDepartures(instance, now, ends);
    if (drawn === undefined) return { at: NEVER, courses: [] };
    const times = drawn.map((time) => plus(from, Math.ceil(time)));
    courses = courses.length === 0 ? times.map((time) => later(at, time)) : courses.map((time, index) => later(time, times[index] as Instant));
  }
  if (courses.length > 0) at = courses[courses.length >> 1] as Instant;
  return { at, courses };
}

/** Returns when pauses are over, and the gate decides; NEVER: a pause has no end. */
export function openFrom(gate: GateState, now: Instant, state: KeyState): Instant {
  let from = later(now, gate.from);
  for (const node of state.node.path) from = later(from, later(node.pausedUntil, node.keyPausedUntil(state.key, now)));
  return from;
}

function meanCost(node: GroupNode, { rule }: LimitInstance, cost: number): number {
  return node.waiting > 0 ? node.unitsWaiting(rule.unit) / node.waiting : cost;
}

function unitsOf(gate: GateState, { rule }: LimitInstance, slots: readonly number[]): number {
  let units = 0;
  for (const slot of slots) units += costOf(gate.waiters.costsOf(slot), rule.unit);
  return units;
}

/** Waiters that take from a limit before this one: of its key, its group, or of all groups below an ancestor. */
function aheadAt(instance: LimitInstance, who: Estimated): number {
  if (instance.keyState !== undefined) return who.aheadOfKey;
  const { node } = instance.rule;
  return node === who.state.node ? who.ahead : who.ahead + waitingBeside(node, who);
}

/** Waiters below `node` that are as urgent, but for those of the waiter's own group. */
function waitingBeside(node: GroupNode, { state, priority }: Estimated): number {
  let waiting = 0;
  const open = [node];
  for (let looked = 0; looked < GROUPS_MAX; looked++) {
    const each = open.pop();
    if (each === undefined) break;
    open.push(...each.children);
    if (each === state.node || each.waiting === 0) continue;
    for (const level of each.priorityLevels) if (level.priority <= priority) waiting += level.waiting;
  }
  return waiting;
}
