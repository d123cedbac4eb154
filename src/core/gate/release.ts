import { type Costs, costOf } from '../group.ts';
import type { Grant } from '../leases/grants.ts';
import { numberOf } from '../limits/create-limit.ts';
import type { Disposition, Lease, Permit } from '../permit.ts';
import type { Refusal } from '../refusal.ts';
import type { PermitTag } from '../request.ts';
import { type Instant, type Micros, plus } from '../time.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { requiredWrite, toLease } from './admit.ts';
import type { Dispatcher } from './dispatcher.ts';

/** How much of a new holding time the mean takes over. */
const HELD_WEIGHT = 0.2;

/** A longer life for a lease, as long as before where `lease` is undefined; `fenced` when it is over, `unknown_permit` when nothing is known of it. */
export function renew(decisions: Dispatcher, now: Instant, serial: number, tag: PermitTag, lease: Micros | undefined): Lease | Refusal {
  const grant = decisions.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended !== undefined) return { reason: grant.ended === 'lapsed' || grant.ended === 'revoked' ? 'fenced' : 'unknown_permit' };
  if (!grant.leased) return { reason: 'unknown_permit', detail: 'This permit has no lease: its group limits no concurrency, so there is nothing to renew.' };
  grant.duration = lease ?? grant.duration;
  const before = grant.expiresAt;
  decisions.grants.reschedule(grant, plus(now, grant.duration));
  if (grant.expiresAt < before) for (const cell of grant.cells) if (costOf(grant.costs, cell.rule.unit) > 0) cell.leases?.sooner(grant);
  decisions.timers.dueBy(grant.expiresAt);
  decisions.events.push({ kind: 'renewed', group: grant.node.name, record: requiredWrite(decisions, now, grant) });
  // What is written from now on, a snapshot too, may say no more than this length.
  grant.writtenFor = Math.min(grant.writtenFor, grant.duration);
  return toLease(grant, now);
}

/** Ends a permit and settles its costs. False: it ended before, or nothing is remembered of it: used as charged. */
export function release(decisions: Dispatcher, now: Instant, serial: number, tag: PermitTag, how: Disposition, costs: Costs | undefined): boolean | Refusal {
  const grant = decisions.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended === 'lapsed' || grant.ended === 'revoked') return { reason: 'fenced' };
  if (grant.ended !== undefined) return false;
  endLease(decisions, now, grant, how);
  if (!grant.grantedThisTerm) return true;
  if (how === 'unused') giveAllBack(decisions, now, grant.grantedAt, grant.cells, grant.costs);
  else if (costs !== undefined) settle(decisions, now, grant, costs);
  return true;
}

/** Ends a lease without its holder: it lapsed, or an operator revoked it. */
export function endLease(decisions: Dispatcher, now: Instant, grant: Grant, how: Disposition | 'lapsed' | 'revoked'): void {
  const held = now - grant.grantedAt;
  decisions.grants.end(grant, how, now);
  grant.aggregate?.remove(grant);
  for (const cell of grant.cells) {
    if (!cell.isConcurrency) continue;
    const cost = costOf(grant.costs, cell.rule.unit);
    if (cost === 0) continue;
    // The end of a stand-in tells nothing of how long a lease takes, nor of the backend.
    if (!grant.isAggregate) cell.heldFor = cell.heldFor === 0 ? held : cell.heldFor + HELD_WEIGHT * (held - cell.heldFor);
    const before = cell.limit.estimate;
    cell.limit.onPermitEnded?.(now, grant.grantedAt, cost, grant.isAggregate ? 'unused' : how);
    cell.limit.refund(now, grant.grantedAt, cost);
    cell.leases?.ended();
    decisions.onLimitReady(cell);
    if (before !== undefined) moved(decisions, cell, before);
  }
  decisions.events.push({
    kind: 'ended',
    group: grant.node.name,
    key: grant.keyState.key,
    serial: grant.serial,
    term: grant.fence >> 40n,
    how,
    recorded: grant.leased && grant.aggregate === undefined && decisions.reservations.isDurable,
    held,
  });
}

/** A limit that adapts may have moved, either way: what was offered under it is asked again, and its shares go with it. */
function moved(decisions: Dispatcher, cell: LimitInstance, before: number): void {
  decisions.onLimitTightened(cell);
  if (cell.limit.estimate === before) return;
  for (const share of decisions.tree.rescaleShares(cell)) {
    decisions.onLimitTightened(share);
    decisions.onLimitReady(share);
  }
}

/** A permit that never reached its caller: everything that still counts goes back, its lease ends. */
export function rollback(decisions: Dispatcher, now: Instant, permit: Permit): void {
  const grant = decisions.grants.bySerial(permit.serial);
  if (grant !== undefined) {
    if (grant.ended === undefined) release(decisions, now, permit.serial, permit.tag, 'unused', undefined);
    return;
  }
  const node = decisions.tree.node(permit.group);
  // A lease of which nothing is known is over, and was charged for that.
  if (node === undefined || permit.shadow !== undefined || permit.lease !== undefined) return;
  const state = node.keys.get(permit.key);
  giveAllBack(decisions, now, permit.grantedAt, state?.limits ?? node.pathCells, permit.costs);
}

function giveAllBack(decisions: Dispatcher, now: Instant, at: Instant, cells: readonly LimitInstance[], costs: Costs): void {
  for (const cell of cells) {
    if (cell.isConcurrency) continue;
    const cost = costOf(costs, cell.rule.unit);
    if (cost > 0) refund(decisions, now, at, cell, cost, cost);
  }
}

/** The real costs: less is a refund, more is a debit; a unit that is not named stays as charged. */
function settle(decisions: Dispatcher, now: Instant, grant: Grant, costs: Costs): void {
  // By unit, the most that some limit was not charged.
  let beyond: Map<string, number> | undefined;
  for (const cell of grant.cells) {
    if (cell.isConcurrency) continue;
    const { unit } = cell.rule;
    const real = costs[unit];
    if (real === undefined) continue;
    const charged = costOf(grant.costs, unit);
    if (real < charged) refund(decisions, now, grant.grantedAt, cell, charged - real, charged);
    else if (real > charged) {
      const uncharged = debit(decisions, now, cell, real - charged);
      if (uncharged === 0) continue;
      beyond ??= new Map();
      beyond.set(unit, Math.max(uncharged, beyond.get(unit) ?? 0));
    }
  }
  for (const unit in costs) {
    const difference = (costs[unit] ?? 0) - costOf(grant.costs, unit);
    if (difference === 0) continue;
    decisions.events.push({
      kind: 'settled',
      group: grant.node.name,
      unit,
      refunded: Math.max(0, -difference),
      debited: Math.max(0, difference),
      uncharged: beyond?.get(unit) ?? 0,
    });
  }
}

function refund(decisions: Dispatcher, now: Instant, at: Instant, cell: LimitInstance, cost: number, charged: number): void {
  cell.limit.refund(now, at, cost, charged);
  decisions.onLimitReady(cell);
}

/**
 * Charges what a permit cost beyond what it asked for, as far as `settleMax` allows, and returns what was not charged. What
 * was offered under this cell is asked again: it may no longer pass.
 */
function debit(decisions: Dispatcher, now: Instant, cell: LimitInstance, beyond: number): number {
  const { node } = cell.rule;
  const { used, debt } = cell.limit.status(now);
  const room = node.spec.settleMax * numberOf(cell.rule.quotaFor(cell.keyState?.key ?? '')) - used - debt;
  const cost = Math.min(beyond, Math.max(0, Math.floor(room)));
  if (cost > 0) charge(decisions, now, cell, cost);
  return beyond - cost;
}

function charge(decisions: Dispatcher, now: Instant, cell: LimitInstance, cost: number): void {
  cell.limit.debit(now, cost);
  cell.spentSinceReservation += cost;
  decisions.onLimitTightened(cell);
  if (decisions.reservations.isDurable) decisions.reservations.request(now, now, cell, 0);
}
