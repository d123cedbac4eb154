import { type Costs, costOf } from '../group.ts';
import { numberOf } from '../limits/create-limit.ts';
import { type Disposition, type Lease, type Permit, type PermitTag, termOf } from '../permit.ts';
import type { Refusal } from '../refusal.ts';
import { type Instant, type Micros, plus } from '../time.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { requiredWrite } from './admit.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type Grant, toLease } from './grants.ts';

/** How much of a new holding time the mean takes over. */
const HELD_WEIGHT = 0.2;

/** A longer life for a lease, as long as before where `lease` is undefined; `fenced` when it is over, `unknown_permit` when nothing is known of it. */
export function renew(dispatcher: Dispatcher, now: Instant, serial: number, tag: PermitTag, lease: Micros | undefined): Lease | Refusal {
  const grant = dispatcher.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended !== undefined) return { reason: grant.ended === 'lapsed' || grant.ended === 'revoked' ? 'fenced' : 'unknown_permit' };
  if (!grant.leased) return { reason: 'unknown_permit', detail: 'This permit has no lease: its group limits no concurrency, so there is nothing to renew.' };
  grant.duration = lease ?? grant.duration;
  const before = grant.expiresAt;
  dispatcher.grants.reschedule(grant, plus(now, grant.duration));
  if (grant.expiresAt < before) for (const instance of grant.instances) if (costOf(grant.costs, instance.rule.unit) > 0) instance.leases?.sooner(grant);
  dispatcher.timers.dueBy(grant.expiresAt);
  dispatcher.events.push({ kind: 'renewed', group: grant.node.name, record: requiredWrite(dispatcher, now, grant) });
  // What is written from now on, a snapshot too, may say no more than this length.
  grant.writtenFor = Math.min(grant.writtenFor, grant.duration);
  return toLease(grant, now);
}

/** Ends a permit and settles its costs. False: it ended before, or nothing is remembered of it: used as charged. */
export function release(dispatcher: Dispatcher, now: Instant, serial: number, tag: PermitTag, how: Disposition, costs: Costs | undefined): boolean | Refusal {
  const grant = dispatcher.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended === 'lapsed' || grant.ended === 'revoked') return { reason: 'fenced' };
  if (grant.ended !== undefined) return false;
  endLease(dispatcher, now, grant, how);
  if (!grant.grantedThisTerm) return true;
  if (how === 'unused') giveAllBack(dispatcher, now, grant.grantedAt, grant.instances, grant.costs);
  else if (costs !== undefined) settle(dispatcher, now, grant, costs);
  return true;
}

/** Ends a lease without its holder: it lapsed, or an operator revoked it. */
export function endLease(dispatcher: Dispatcher, now: Instant, grant: Grant, how: Disposition | 'lapsed' | 'revoked'): void {
  const held = now - grant.grantedAt;
  dispatcher.grants.end(grant, how, now);
  grant.aggregate?.remove(grant);
  for (const instance of grant.instances) {
    if (!instance.isConcurrency) continue;
    const cost = costOf(grant.costs, instance.rule.unit);
    if (cost === 0) continue;
    // The end of an aggregate lease does not show how long a lease takes, nor of the backend.
    if (!grant.isAggregate) instance.rule.holds.add(held);
    if (!grant.isAggregate) instance.heldFor = instance.heldFor === 0 ? held : instance.heldFor + HELD_WEIGHT * (held - instance.heldFor);
    const before = instance.limit.estimate;
    instance.limit.onPermitEnded?.(now, grant.grantedAt, cost, grant.isAggregate ? 'unused' : how);
    instance.limit.refund(now, grant.grantedAt, cost);
    instance.leases?.ended();
    dispatcher.onLimitReady(instance);
    if (before !== undefined) moved(dispatcher, instance, before);
  }
  dispatcher.events.push({
    kind: 'ended',
    group: grant.node.name,
    key: grant.keyState.key,
    serial: grant.serial,
    term: termOf(grant.fence),
    how,
    recorded: grant.leased && grant.aggregate === undefined && dispatcher.reservations.isDurable,
    held,
  });
}

/** A limit that adapts may have moved, either way: what was offered under it is asked again, and its shares go with it. */
function moved(dispatcher: Dispatcher, instance: LimitInstance, before: number): void {
  dispatcher.onLimitTightened(instance);
  if (instance.limit.estimate === before) return;
  for (const share of dispatcher.tree.rescaleShares(instance)) {
    dispatcher.onLimitTightened(share);
    dispatcher.onLimitReady(share);
  }
}

/** A permit that never reached its caller: everything that still counts goes back, its lease ends. */
export function rollback(dispatcher: Dispatcher, now: Instant, permit: Permit): void {
  const grant = dispatcher.grants.bySerial(permit.serial);
  if (grant !== undefined) {
    if (grant.ended === undefined) release(dispatcher, now, permit.serial, permit.tag, 'unused', undefined);
    return;
  }
  const node = dispatcher.tree.node(permit.group);
  // A lease of which nothing is known is over, and was charged for that.
  if (node === undefined || permit.shadow !== undefined || permit.lease !== undefined) return;
  const state = node.keys.get(permit.key);
  giveAllBack(dispatcher, now, permit.grantedAt, state?.limits ?? node.pathInstances, permit.costs);
}

function giveAllBack(dispatcher: Dispatcher, now: Instant, at: Instant, instances: readonly LimitInstance[], costs: Costs): void {
  for (const instance of instances) {
    if (instance.isConcurrency) continue;
    const cost = costOf(costs, instance.rule.unit);
    if (cost > 0) refund(dispatcher, now, at, instance, cost, cost);
  }
}

/** The real costs: less is a refund, more is a debit; a unit that is not named stays as charged. */
function settle(dispatcher: Dispatcher, now: Instant, grant: Grant, costs: Costs): void {
  // By unit, the most that some limit was not charged.
  let beyond: Map<string, number> | undefined;
  for (const instance of grant.instances) {
    if (instance.isConcurrency) continue;
    const { unit } = instance.rule;
    const real = costs[unit];
    if (real === undefined) continue;
    const charged = costOf(grant.costs, unit);
    if (real < charged) refund(dispatcher, now, grant.grantedAt, instance, charged - real, charged);
    else if (real > charged) {
      const uncharged = debit(dispatcher, now, instance, real - charged);
      if (uncharged === 0) continue;
      beyond ??= new Map();
      beyond.set(unit, Math.max(uncharged, beyond.get(unit) ?? 0));
    }
  }
  for (const unit in costs) {
    const difference = (costs[unit] ?? 0) - costOf(grant.costs, unit);
    if (difference === 0) continue;
    dispatcher.events.push({
      kind: 'settled',
      group: grant.node.name,
      unit,
      refunded: Math.max(0, -difference),
      debited: Math.max(0, difference),
      uncharged: beyond?.get(unit) ?? 0,
    });
  }
}

function refund(dispatcher: Dispatcher, now: Instant, at: Instant, instance: LimitInstance, cost: number, charged: number): void {
  instance.limit.refund(now, at, cost, charged);
  dispatcher.onLimitReady(instance);
}

/**
 * Charges what a permit cost beyond what it asked for, as far as `settleMax` allows, and returns what was not charged. What
 * was offered under this limit instance is asked again: it may no longer pass.
 */
function debit(dispatcher: Dispatcher, now: Instant, instance: LimitInstance, beyond: number): number {
  const { node } = instance.rule;
  const { used, debt } = instance.limit.status(now);
  const room = node.spec.settleMax * numberOf(instance.rule.quotaFor(instance.keyState?.key ?? '')) - used - debt;
  const cost = Math.min(beyond, Math.max(0, Math.floor(room)));
  if (cost > 0) charge(dispatcher, now, instance, cost);
  return beyond - cost;
}

function charge(dispatcher: Dispatcher, now: Instant, instance: LimitInstance, cost: number): void {
  instance.limit.debit(now, cost);
  instance.spentSinceReservation += cost;
  dispatcher.onLimitTightened(instance);
  if (dispatcher.reservations.isDurable) dispatcher.reservations.request(now, now, instance, 0);
}
