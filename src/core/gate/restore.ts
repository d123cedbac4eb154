import { costOf } from '../group.ts';
import type { Limit } from '../limits/limit.ts';
import { type LeaseRecord, SERIAL_BITS } from '../permit.ts';
import { DISTANT_PAST, earlier, type Instant, later, plus } from '../time.ts';
import { setPause, validateOverride } from '../tree/overrides.ts';
import { holds } from './admit.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Grant } from './grants.ts';
import type { GateSnapshot } from './snapshot.ts';
import type { Ticker } from './ticker.ts';

const SERIAL_MASK = (1n << SERIAL_BITS) - 1n;

/** What earlier terms left besides bounds: leases, pauses, overrides. */
export function restore(dispatcher: Dispatcher, ticker: Ticker, restored: GateSnapshot, from: Instant): void {
  restoreLeases(dispatcher, restored.leases, later(from, restored.seal?.at ?? DISTANT_PAST));
  for (const { group, key, until } of restored.pauses) {
    const node = dispatcher.tree.node(group);
    if (node !== undefined) setPause(node, until, key);
  }
  for (const { group, override } of restored.overrides) {
    const node = dispatcher.tree.node(group);
    if (node !== undefined && validateOverride(node, override) === undefined) ticker.override(from, node, override);
  }
}

/**
 * Leases of earlier terms live on: they hold their units, keep their fences, and lapse at the end that was recorded, or one lease
 * length from `at`, whichever is earlier: no lease was reported to live longer, since none was reported after `at`.
 */
function restoreLeases(dispatcher: Dispatcher, records: readonly LeaseRecord[], at: Instant): void {
  const inOrder = records.map((record) => ({ record, fence: (record.term << SERIAL_BITS) | (BigInt(record.serial) & SERIAL_MASK) }));
  inOrder.sort((a, b) => (a.fence < b.fence ? -1 : 1));
  for (const { record, fence } of inOrder) {
    const node = dispatcher.tree.node(record.group);
    if (node === undefined) continue;
    const keyState = dispatcher.tree.keyState(node, record.key);
    const instances = keyState.limits.filter((instance) => instance.isConcurrency);
    for (const instance of instances) {
      const cost = costOf(record.costs, instance.rule.unit);
      if (cost === 0) continue;
      if (record.aggregate) takeInTwo(instance.limit, at, cost);
      else instance.limit.take(at, cost);
    }
    const expiresAt = earlier(record.expiresAt, plus(at, record.duration));
    dispatcher.timers.dueBy(expiresAt);
    const grant: Grant = {
      serial: record.serial,
      fence,
      tag: record.tag,
      node,
      keyState,
      costs: record.costs,
      grantedAt: record.grantedAt,
      holder: record.holder,
      instances,
      leased: true,
      grantedThisTerm: false,
      inProcess: false,
      aggregate: undefined,
      isAggregate: record.aggregate,
      claim: record.claim,
      duration: record.duration,
      expiresAt,
      recordedUntil: expiresAt,
      writtenUntil: expiresAt,
      writtenFor: record.duration,
      ended: undefined,
      slot: -1,
      nextFence: undefined,
      previousFence: undefined,
    };
    dispatcher.grants.addLease(grant);
    holds(grant);
  }
}

/** One, then the rest: so much at once, with nothing else held, would raise a limit that adapts. */
function takeInTwo(limit: Limit, at: Instant, cost: number): void {
  limit.take(at, 1);
  if (cost > 1) limit.take(at, cost - 1);
}
