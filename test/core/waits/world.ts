import { Heap, type HeapItem } from '../../../src/core/collections/heap.ts';
import type { GateEvent } from '../../../src/core/events.ts';
import { Gate } from '../../../src/core/gate/gate.ts';
import { type Costs, type GroupSpec, ONE_REQUEST } from '../../../src/core/group.ts';
import type { Permit } from '../../../src/core/permit.ts';
import { DECIDED, type WaiterRef, type WaitRange } from '../../../src/core/request.ts';
import { DAY, DISTANT_PAST, earlier, type Instant, type Micros, NEVER, plus } from '../../../src/core/time.ts';

/** Instant at which a workload begins: a whole day, so that windows of a calendar are at their edge. */
export const BEGIN = (20_000 * DAY) as Instant;

/** One caller of a workload. */
export interface Caller {
  /** From the beginning. */
  readonly at: Micros;
  readonly group: string;
  readonly key: string;
  readonly priority: number;
  readonly costs?: Costs;
  /** For how long it keeps its permit; 0 where no lease is given. */
  readonly hold: Micros;
  /** It leaves when it has waited so long; undefined: it stays. */
  readonly leavesAfter?: Micros;
}

/** What became of a caller that had to wait. */
export interface Waited {
  readonly caller: Caller;
  readonly arrivedAt: Instant;
  readonly place: number;
  /** Range that was given on arrival; undefined: it was not known. */
  readonly range: WaitRange | undefined;
  endedAt: Instant;
  admitted: boolean;
}

interface Due extends HeapItem {
  readonly at: Instant;
  readonly act: (now: Instant) => void;
}

/** Runs callers, in order of time, against one tree of groups in virtual time, and returns those that had to wait, in order of arrival. */
export function play(groups: readonly GroupSpec[], callers: readonly Caller[]): readonly Waited[] {
  const gate = new Gate({ term: 1n, groups, from: DISTANT_PAST, recording: false, restored: undefined });
  const due = new Heap<Due>((a, b) => a.at < b.at);
  const waited: Waited[] = [];
  const later = (at: Instant, act: Due['act']): void => due.push({ position: -1, at, act });
  const after = (now: Instant): void => {
    for (const event of gate.takeEvents()) happened(now, event);
  };
  const happened = (now: Instant, event: GateEvent): void => {
    if (event.kind !== 'admitted') return;
    const token = event.token as { caller: Caller; waited: Waited | undefined };
    if (token.waited !== undefined) Object.assign(token.waited, { endedAt: now, admitted: true });
    if (event.permit.lease !== undefined) later(plus(now, token.caller.hold), (at) => release(at, event.permit));
  };
  const release = (now: Instant, permit: Permit): void => {
    gate.release(now, permit.serial, permit.tag, 'used', undefined);
    after(now);
  };
  let clock = BEGIN;
  const advance = (until: Instant): void => {
    for (;;) {
      const next = due.peek();
      const at = earlier(next?.at ?? NEVER, gate.wakeAt(clock));
      if (at > until || at === NEVER) return;
      clock = at;
      if (next !== undefined && next.at === at) {
        due.remove(next);
        next.act(at);
      } else gate.tick(at);
      after(at);
    }
  };
  const arrive = (now: Instant, caller: Caller): void => {
    const token: { caller: Caller; waited: Waited | undefined } = { caller, waited: undefined };
    const ref = gate.acquire(now, {
      group: gate.groupOf(caller.group) as number,
      key: caller.key,
      priority: caller.priority,
      costs: caller.costs ?? ONE_REQUEST,
      waitUntil: plus(now, 7 * DAY),
      lease: 7 * DAY,
      bytes: 0,
      holder: '',
      tag: { high: 1, low: 2 },
      token,
    });
    if (ref !== DECIDED) {
      const { place = 0, range } = gate.position(now, ref) ?? {};
      token.waited = { caller, arrivedAt: now, place, range, endedAt: NEVER, admitted: false };
      waited.push(token.waited);
      if (caller.leavesAfter !== undefined) later(plus(now, caller.leavesAfter), (at) => leave(at, ref, token.waited as Waited));
    }
    after(now);
  };
  const leave = (now: Instant, ref: WaiterRef, who: Waited): void => {
    if (!who.admitted && gate.cancel(now, ref)) who.endedAt = now;
  };
  for (const caller of callers) {
    const at = plus(BEGIN, caller.at);
    advance(at);
    clock = at;
    arrive(at, caller);
  }
  advance(NEVER);
  return waited;
}

/** How well ranges held. */
export interface Held {
  readonly callers: number;
  /** Callers that were given a range, of those that waited. */
  readonly given: number;
  /** Of those that were given a range and admitted, or left after its end: admitted inside it, 0 to 1. */
  readonly coverage: number;
  readonly early: number;
  readonly late: number;
  /** Width of the range divided by the wait, over those that were admitted and waited for more than a tick. */
  readonly medianWidth: number;
  readonly p90Width: number;
  /** Part of them whose range is at most twice as wide as their wait. */
  readonly within2: number;
  /** Part of them whose range is no wider than a tick and holds. */
  readonly exact: number;
  readonly medianPlace: number;
  readonly medianWait: Micros;
}

/** One tick of the timers. */
export const TICK: Micros = 1_000;

/** Judges what {@link play} returned. */
export function judge(all: readonly Waited[]): Held {
  const given = all.filter((each) => each.range !== undefined) as (Waited & { range: WaitRange })[];
  const judged = given.filter((each) => each.admitted || each.endedAt > each.range.latest);
  const early = judged.filter((each) => each.endedAt < each.range.earliest - TICK);
  const late = judged.filter((each) => each.endedAt > each.range.latest + TICK);
  const long = judged.filter((each) => each.admitted && each.endedAt - each.arrivedAt > TICK);
  const widths = long.map(({ range, endedAt, arrivedAt }) => (range.latest - range.earliest) / (endedAt - arrivedAt)).sort((a, b) => a - b);
  const exact = long.filter(({ range, endedAt }) => range.latest - range.earliest <= TICK && Math.abs(endedAt - range.latest) <= TICK);
  const middle = (sorted: readonly number[], part = 0.5): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
  return {
    callers: all.length,
    given: given.length,
    coverage: 1 - (early.length + late.length) / judged.length,
    early: early.length / judged.length,
    late: late.length / judged.length,
    medianWidth: middle(widths),
    p90Width: middle(widths, 0.9),
    within2: widths.filter((width) => width <= 2).length / Math.max(1, widths.length),
    exact: exact.length / Math.max(1, long.length),
    medianPlace: middle(all.map(({ place }) => place).sort((a, b) => a - b)),
    medianWait: middle(long.map(({ endedAt, arrivedAt }) => endedAt - arrivedAt).sort((a, b) => a - b)),
  };
}
