import { leaseOf, neededBy } from './admit.ts';
import type { Decisions } from './decisions.ts';
import type { Grant } from './grants.ts';
import { type Costs, costOf } from './group.ts';
import { numberOf } from './limits/create-limit.ts';
import type { Disposition, Lease, Permit } from './permit.ts';
import type { Refusal } from './refusal.ts';
import type { Cell } from './rule.ts';
import { after, type Instant, type Micros } from './time.ts';
import type { Tag } from './waiter.ts';

/** How much of a new holding time the mean takes over. */
const HELD_WEIGHT = 0.2;

/** A longer life for a lease, as long as before where `lease` is undefined; `fenced` when it is over, `unknown_permit` when nothing is known of it. */
export function renew(decisions: Decisions, now: Instant, serial: number, tag: Tag, lease: Micros | undefined): Lease | Refusal {
  const grant = decisions.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended !== undefined) return { reason: grant.ended === 'lapsed' || grant.ended === 'revoked' ? 'fenced' : 'unknown_permit' };
  if (!grant.leased) return { reason: 'unknown_permit', detail: 'This permit has no lease: its group limits no concurrency, so there is nothing to renew.' };
  grant.duration = lease ?? grant.duration;
  const before = grant.expiresAt;
  decisions.grants.reschedule(grant, after(now, grant.duration));
  if (grant.expiresAt < before) for (const cell of grant.cells) if (costOf(grant.costs, cell.rule.unit) > 0) cell.leases?.sooner(grant);
  decisions.alarms.dueBy(grant.expiresAt);
  decisions.events.push({ kind: 'renewed', group: grant.node.name, record: neededBy(decisions, now, grant) });
  // What is written from now on, a snapshot too, may say no more than this length.
  grant.writtenFor = Math.min(grant.writtenFor, grant.duration);
  return leaseOf(grant, now);
}

/** Ends a permit and settles its costs. False: it ended before, or nothing is remembered of it: used as charged. */
export function release(decisions: Decisions, now: Instant, serial: number, tag: Tag, how: Disposition, costs: Costs | undefined): boolean | Refusal {
  const grant = decisions.grants.find(serial, tag);
  if (grant === undefined) return { reason: 'unknown_permit' };
  if ('reason' in grant) return grant;
  if (grant.ended === 'lapsed' || grant.ended === 'revoked') return { reason: 'fenced' };
  if (grant.ended !== undefined) return false;
  endGrant(decisions, now, grant, how);
  if (!grant.own) return true;
  if (how === 'unused') giveAllBack(decisions, now, grant.at, grant.cells, grant.costs);
  else if (costs !== undefined) settle(decisions, now, grant, costs);
  return true;
}

/** Ends a lease without its holder: it lapsed, or an operator revoked it. */
export function endGrant(decisions: Decisions, now: Instant, grant: Grant, how: Disposition | 'lapsed' | 'revoked'): void {
  const held = now - grant.at;
  decisions.grants.end(grant, how, now);
  grant.coveredBy?.left(grant);
  for (const cell of grant.cells) {
    if (!cell.isConcurrency) continue;
    const cost = costOf(grant.costs, cell.rule.unit);
    if (cost === 0) continue;
    // The end of a stand-in tells nothing of how long a lease takes, nor of the backend.
    if (!grant.standIn) cell.held = cell.held === 0 ? held : cell.held + HELD_WEIGHT * (held - cell.held);
    const before = cell.limit.estimate;
    cell.limit.ended?.(now, grant.at, cost, grant.standIn ? 'unused' : how);
    cell.limit.giveBack(now, grant.at, cost);
    cell.leases?.ended();
    decisions.opened(cell);
    if (before !== undefined) moved(decisions, cell, before);
  }
  decisions.events.push({
    kind: 'ended',
    group: grant.node.name,
    key: grant.keyState.key,
    serial: grant.serial,
    term: grant.fence >> 40n,
    how,
    recorded: grant.leased && grant.coveredBy === undefined && decisions.keeper.recording,
    held,
  });
}

/** A limit that adapts may have moved, either way: what was offered under it is asked again, and its shares go with it. */
function moved(decisions: Decisions, cell: Cell, before: number): void {
  decisions.tightened(cell);
  if (cell.limit.estimate === before) return;
  for (const share of decisions.tree.moveShares(cell)) {
    decisions.tightened(share);
    decisions.opened(share);
  }
}

/** A permit that never reached its caller: everything that still counts goes back, its lease ends. */
export function undo(decisions: Decisions, now: Instant, permit: Permit): void {
  const grant = decisions.grants.bySerial(permit.serial);
  if (grant !== undefined) {
    if (grant.ended === undefined) release(decisions, now, permit.serial, permit.tag, 'unused', undefined);
    return;
  }
  const node = decisions.tree.node(permit.group);
  // A lease of which nothing is known is over, and was charged for that.
  if (node === undefined || permit.shadow !== undefined || permit.lease !== undefined) return;
  const state = node.keys.get(permit.key);
  giveAllBack(decisions, now, permit.grantedAt, state?.charged ?? node.pathCells, permit.costs);
}

function giveAllBack(decisions: Decisions, now: Instant, at: Instant, cells: readonly Cell[], costs: Costs): void {
  for (const cell of cells) {
    if (cell.isConcurrency) continue;
    const cost = costOf(costs, cell.rule.unit);
    if (cost > 0) refund(decisions, now, at, cell, cost, cost);
  }
}

/** The real costs: less is a refund, more is a debit; a unit that is not named stays as charged. */
function settle(decisions: Decisions, now: Instant, grant: Grant, costs: Costs): void {
  // By unit, the most that some limit was not charged.
  let beyond: Map<string, number> | undefined;
  for (const cell of grant.cells) {
    if (cell.isConcurrency) continue;
    const { unit } = cell.rule;
    const real = costs[unit];
    if (real === undefined) continue;
    const charged = costOf(grant.costs, unit);
    if (real < charged) refund(decisions, now, grant.at, cell, charged - real, charged);
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

function refund(decisions: Decisions, now: Instant, at: Instant, cell: Cell, cost: number, charged: number): void {
  cell.limit.giveBack(now, at, cost, charged);
  decisions.opened(cell);
}

/**
 * Charges what a permit cost beyond what it asked for, as far as `settleMax` allows, and returns what was not charged. What
 * was offered under this cell is asked again: it may no longer pass.
 */
function debit(decisions: Decisions, now: Instant, cell: Cell, beyond: number): number {
  const { node } = cell.rule;
  const { used, debt } = cell.limit.status(now);
  const room = node.spec.settleMax * numberOf(cell.rule.quotaFor(cell.keyState?.key ?? '')) - used - debt;
  const cost = Math.min(beyond, Math.max(0, Math.floor(room)));
  if (cost > 0) charge(decisions, now, cell, cost);
  return beyond - cost;
}

function charge(decisions: Decisions, now: Instant, cell: Cell, cost: number): void {
  cell.limit.debit(now, cost);
  cell.spent += cost;
  decisions.tightened(cell);
  if (decisions.keeper.recording) decisions.keeper.want(now, now, cell, 0);
}
