import { costOf } from '../group.ts';
import { createLimit, type PersistentQuota } from '../limits/create-limit.ts';
import type { Limit } from '../limits/limit.ts';
import { type Instant, later, NEVER } from '../time.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { NO_SLOT, type WaiterTable } from '../tree/waiter-table.ts';

/** Admissions that are played; what is beyond goes on as fast as the second half of them. */
const STEPS_MAX = 1_024;

/** A limit that opens by time alone, and who takes from it before a waiter. */
export interface TimedLimit {
  readonly instance: LimitInstance;
  /** Units that are taken before. */
  readonly ahead: number;
  /** What the waiter takes. */
  readonly cost: number;
}

/**
 * Returns when a waiter passes all of these limits if those ahead take from each as soon as all agree, from `from` on. Exact where
 * `slots` has those ahead in their order, at most 1,024 of them; else all of them are alike. NEVER: it is oversized.
 */
export function passesAt(
  now: Instant,
  from: Instant,
  timed: readonly TimedLimit[],
  waiters: WaiterTable,
  slots: readonly number[] | undefined,
  ahead: number,
): Instant {
  let at = from;
  let binding = 0;
  for (const { instance, ahead: units, cost } of timed) {
    const ready = instance.limit.readyAfter(now, units, cost);
    if (ready > now) binding++;
    at = later(at, ready);
  }
  const simple = binding <= 1 && timed.every(({ instance }) => instance.limit.readyAfter(now, 0, 0) === now || instance.rule.quotaFor('').kind !== 'window');
  if (binding === 0 || at === NEVER || (from <= now && simple)) return at;
  const copies = timed.map((each) => ({ ...each, limit: copyOf(each.instance, now) }));
  const steps = Math.min(ahead, STEPS_MAX);
  at = from;
  let half = at;
  for (let step = 0; step < steps; step++) {
    const costs = copies.map(({ instance, ahead: units }) => costAt(instance, units, waiters, slots?.[step], step, ahead));
    at = charged(at, copies, costs);
    if (step === steps >> 1) half = at;
  }
  if (ahead > steps) at = (at + Math.ceil(((at - half) * (ahead - steps)) / (steps / 2))) as Instant;
  return charged(
    at,
    copies,
    copies.map(({ cost }) => cost),
  );
}

function costAt(instance: LimitInstance, units: number, waiters: WaiterTable, slot: number | undefined, step: number, ahead: number): number {
  if (slot !== undefined) return costOf(waiters.costsOf(slot), instance.rule.unit);
  return Math.floor(((step + 1) * units) / ahead) - Math.floor((step * units) / ahead);
}

/** Charges all limits as soon as all agree; answers when. */
function charged(from: Instant, copies: readonly { readonly limit: Limit }[], costs: readonly number[]): Instant {
  let at = from;
  // One limit may make the time in which another is asked.
  for (const [index, { limit }] of copies.entries()) at = later(at, limit.readyAt(at, costs[index] as number));
  if (at === NEVER) return at;
  for (const [index, { limit }] of copies.entries()) limit.take(at, costs[index] as number);
  return at;
}

function copyOf(instance: LimitInstance, now: Instant): Limit {
  const copy = createLimit(instance.rule.quotaFor(instance.keyState?.key ?? '') as PersistentQuota);
  copy.unseal(instance.persistent?.seal(now) ?? []);
  return copy;
}

/** Returns the waiters before `slot` where all of its group wait in one order, by arrival; undefined where they do not, or are too many. */
export function slotsAhead(waiters: WaiterTable, state: KeyState, slot: number, priority: number): readonly number[] | undefined {
  const { node } = state;
  if (node.stored > 0 || node.waiting > STEPS_MAX || node.children.size > 0 || node.parent !== undefined) return undefined;
  const slots: number[] = [];
  for (const each of node.priorityLevels) {
    if (each.priority > priority) break;
    if (node.fair && each.waiting > 0 && each.queues.size > 1) return undefined;
    for (let at = each.oldest; at !== NO_SLOT && at !== slot; at = waiters.newerOf(at)) slots.push(at);
  }
  return slots;
}
