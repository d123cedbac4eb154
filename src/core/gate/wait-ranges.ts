import type { Refusal } from '../refusal.ts';
import type { WaitRange } from '../request.ts';
import { type Instant, MILLISECOND, type Micros, NEVER } from '../time.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import { aheadOf, positionAtTail, rank } from './position.ts';
import type { GateState } from './state.ts';
import { lateWaits, type Ratios } from './wait-calibration.ts';
import { type Estimated, estimateWait, openFrom, type WaitEstimate } from './wait-estimate.ts';
import { withTraffic } from './wait-overtakers.ts';

/** Waiters of one group that are observed at once; the more wait, the fewer of them. */
const OBSERVED_MAX = 32;
/** And at most one in so long. */
const OBSERVED_EVERY: Micros = 20 * MILLISECOND;

/** A waiter was queued: some are observed, so that ranges hold. */
export function observeArrival(gate: GateState, now: Instant, slot: number): void {
  const { waiters, waitRanges } = gate;
  const { node } = waiters.keyOf(slot);
  const calibration = waitRanges.of(node);
  calibration.traffic.arrives(now, waiters.queueOf(slot).level.priority);
  if (++calibration.arrivals * OBSERVED_MAX < node.waiting || calibration.observed.size >= OBSERVED_MAX) return;
  if (now - calibration.observedAt < OBSERVED_EVERY) return;
  calibration.arrivals = 0;
  calibration.observedAt = now;
  lateWaits(calibration, now);
  const [who, estimate] = estimated(gate, now, slot);
  if (estimate.at === NEVER) return;
  const ratios = ratiosOf(gate, now, who, estimate);
  // What is learnt is about the time after a pause, whose end is known.
  const from = openFrom(gate, now, who.state);
  const length = Math.max(0, estimate.at - from);
  waiters.keepRange(slot);
  waitRanges.keep(waiters.refOf(slot), { range: ratios.range(from, length), since: from, estimate: length, ratios, calibration, late: false });
}

/** Returns the range in which a waiter is expected to be admitted, as of now; undefined: not known. */
export function waitRangeOf(gate: GateState, now: Instant, slot: number): WaitRange | undefined {
  const [who, estimate] = estimated(gate, now, slot);
  return rangeFor(gate, now, who, estimate);
}

/** Returns the same for a request that came now. */
export function waitRangeAtTail(gate: GateState, now: Instant, who: Estimated): WaitRange | undefined {
  return rangeFor(gate, now, who, withTraffic(gate.waitRanges.of(who.state.node).traffic, now, who, estimateWait(gate, now, who)));
}

/** Adds to a refusal of a waiter that still has its slot when it would be admitted if it were asked again. */
export function withRange(gate: GateState, now: Instant, slot: number, refusal: Refusal): Refusal {
  const { waiters } = gate;
  const state = waiters.keyOf(slot);
  const { priority } = waiters.queueOf(slot).level;
  const range = gate.refusedRanges.of(now, state, priority, () => {
    const { place } = positionAtTail(gate, now, state, priority, waiters.costsOf(slot));
    const who = { state, slot: NO_SLOT, leaving: slot, priority, costs: waiters.costsOf(slot), ahead: Math.max(0, place - 2), aheadOfKey: state.waiting - 1 };
    return waitRangeAtTail(gate, now, who);
  });
  return range === undefined ? refusal : { ...refusal, range };
}

function rangeFor(gate: GateState, now: Instant, who: Estimated, estimate: WaitEstimate): WaitRange | undefined {
  if (estimate.at === NEVER) return undefined;
  const from = openFrom(gate, now, who.state);
  return ratiosOf(gate, now, who, estimate).range(from, Math.max(0, estimate.at - from));
}

function estimated(gate: GateState, now: Instant, slot: number): [Estimated, WaitEstimate] {
  const { waiters } = gate;
  const state = waiters.keyOf(slot);
  const queue = waiters.queueOf(slot);
  const ahead = aheadOf(waiters, state.node, queue, slot);
  const who = { state, slot, priority: queue.level.priority, costs: waiters.costsOf(slot), ahead, aheadOfKey: rank(waiters, queue, slot) };
  return [who, withTraffic(gate.waitRanges.of(state.node).traffic, now, who, estimateWait(gate, now, who))];
}

function ratiosOf(gate: GateState, now: Instant, { state, priority, ahead, aheadOfKey }: Estimated, { at, courses }: WaitEstimate): Ratios {
  const from = openFrom(gate, now, state);
  const first = (): readonly number[] => (courses.length === 0 ? [1] : courses.map((each) => Math.max(0, each - from) / Math.max(1, at - from)));
  return gate.waitRanges.of(state.node).ratiosOf(priority, (state.node.fair ? aheadOfKey : ahead) + 1, first);
}
