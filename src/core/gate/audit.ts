import { costOf } from '../group.ts';
import type { AggregateLease } from '../leases/aggregate-lease.ts';
import { type Instant, NEVER } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { PriorityLevel } from '../tree/queues.ts';
import { NO_SLOT, SLOT_DETACHED, SLOT_FREE, type WaiterTable } from '../tree/waiter-table.ts';
import type { Dispatcher } from './dispatcher.ts';
import { isStored } from './stored-requests.ts';

/** Counts everything again from scratch and names what disagrees with the counters. Empty: sound. */
export function audit(decisions: Dispatcher, now: Instant): readonly string[] {
  const wrong: string[] = [];
  const expect = (what: string, is: number, counted: number): void => {
    if (is !== counted) wrong.push(`${what}: ${is}, counted ${counted}`);
  };
  let waiting = 0;
  for (const node of decisions.tree.nodes) {
    if (!node.removed) waiting += auditNode(decisions, node, expect);
    else expect(`waiters of removed ${node.name}`, node.waiting, 0);
  }
  expect('waiters in the tree', decisions.slab.length + decisions.slab.stored.queued, waiting);
  auditConcurrency(decisions, now, expect);
  auditStandIns(decisions, now, expect);
  auditStored(decisions, expect);
  for (const node of decisions.tree.nodes) {
    if (node.candidate >= 0 && decisions.slab.stateOf(node.candidate) === SLOT_FREE) wrong.push(`${node.name} offers a waiter that is gone`);
    if (node.position >= 0 && node.candidate < 0) wrong.push(`${node.name} stands among offers with nobody`);
  }
  return wrong;
}

type Expect = (what: string, is: number, counted: number) => void;

function auditNode(decisions: Dispatcher, node: GroupNode, expect: Expect): number {
  const { slab } = decisions;
  let waiting = 0;
  let bytes = 0;
  const byBand = new Map<number, number>();
  const byKey = new Map<KeyState, number>();
  for (let slot = 0; slot < slab.used; slot++) {
    if (slab.stateOf(slot) === SLOT_FREE || slab.keyOf(slot)?.node !== node) continue;
    waiting++;
    bytes += slab.bytesOf(slot);
    const { priority } = slab.queueOf(slot).band;
    byBand.set(priority, (byBand.get(priority) ?? 0) + 1);
    const state = slab.keyOf(slot);
    byKey.set(state, (byKey.get(state) ?? 0) + 1);
  }
  for (const state of node.keys.values()) {
    for (const lane of state.lanes) {
      waiting += lane.stored;
      byBand.set(lane.band.priority, (byBand.get(lane.band.priority) ?? 0) + lane.stored);
      byKey.set(state, (byKey.get(state) ?? 0) + lane.stored);
    }
  }
  expect(`waiters of ${node.name}`, node.waiting, waiting);
  expect(`bytes of ${node.name}`, node.waitingBytes, bytes);
  for (const band of node.priorityLevels) {
    expect(`band ${band.priority} of ${node.name}`, band.waiting, byBand.get(band.priority) ?? 0);
    auditArrivals(decisions, node, band, expect);
  }
  for (const state of node.keys.values()) {
    expect(`waiters of key ${state.key} of ${node.name}`, state.waiting, byKey.get(state) ?? 0);
    expect(`linked waiters of key ${state.key}`, linked(decisions, state), state.waiting);
    let leases = 0;
    for (let grant = state.fenceHead; grant !== undefined; grant = grant.nextFence) leases++;
    expect(`leases of key ${state.key} of ${node.name}`, state.leases, leases);
    for (const lane of state.lanes)
      expect(`offer of lane ${state.key}/${lane.band.priority}`, lane.position >= 0 ? 1 : 0, lane.head >= 0 && !state.parked ? 1 : 0);
  }
  return waiting;
}

/** The list of arrivals holds each live waiter of the band once, in order, and both ways. */
function auditArrivals({ slab }: Dispatcher, node: GroupNode, band: PriorityLevel, expect: Expect): void {
  const name = `arrivals of band ${band.priority} of ${node.name}`;
  let count = 0;
  let newer = NO_SLOT;
  for (let slot = band.youngest; slot !== NO_SLOT && count <= band.waiting; slot = slab.olderOf(slot)) {
    count++;
    expect(`${name} linked back`, slab.newerOf(slot), newer);
    if (newer !== NO_SLOT) expect(`${name} out of order`, Math.max(0, slab.orderOf(slot) - slab.orderOf(newer)), 0);
    newer = slot;
  }
  expect(name, count, band.waiting - storedOf(slab, node, band));
  expect(`${name}, the oldest`, band.oldest, newer);
}

/** Stored requests of a band, in its chains and in the waiter table. */
function storedOf(slab: WaiterTable, node: GroupNode, band: PriorityLevel): number {
  let stored = 0;
  for (const state of node.keys.values()) {
    for (const lane of state.lanes) {
      if (lane.band !== band) continue;
      stored += lane.stored;
      for (let slot = lane.head; slot >= 0; slot = slab.nextOf(slot)) if (isStored(slab.tokenOf(slot))) stored++;
    }
  }
  return stored;
}

function linked(decisions: Dispatcher, state: KeyState): number {
  let count = 0;
  for (const lane of state.lanes) {
    count += lane.stored;
    for (const slot of lane.detached) if (decisions.slab.stateOf(slot) === SLOT_DETACHED) count++;
    for (let slot = lane.head; slot >= 0; slot = decisions.slab.nextOf(slot)) count++;
  }
  return count;
}

/** Chains hold as many as was counted, their lane's head is never behind them, and each is counted as stored. */
function auditStored(decisions: Dispatcher, expect: Expect): void {
  const { slab } = decisions;
  let queued = 0;
  for (const node of decisions.tree.nodes) {
    let stored = 0;
    for (let slot = 0; slot < slab.used; slot++) {
      if (slab.stateOf(slot) !== SLOT_FREE && slab.keyOf(slot)?.node === node && isStored(slab.tokenOf(slot))) stored++;
    }
    for (const state of node.keys.values()) {
      for (const lane of state.lanes) {
        let length = 0;
        for (let entry = lane.storedHead; entry >= 0; entry = slab.stored.nextOf(entry)) if (slab.stored.isQueued(entry)) length++;
        expect(`stored requests of lane ${state.key}/${lane.band.priority}`, lane.stored, length);
        stored += length;
        queued += length;
        const behind = length > 0 && (lane.head < 0 || slab.orderOf(lane.head) > slab.stored.orderOf(slab.stored.first(lane)));
        expect(`stored requests before the head of lane ${state.key}/${lane.band.priority}`, behind ? 1 : 0, 0);
      }
    }
    expect(`stored requests of ${node.name}`, node.stored, stored);
  }
  expect('stored requests in chains', slab.stored.queued, queued);
}

/** Units held are the sum over live leases. */
function auditConcurrency(decisions: Dispatcher, now: Instant, expect: Expect): void {
  const held = new Map<unknown, number>();
  let live = 0;
  for (const grant of decisions.grants.all()) {
    live++;
    for (const cell of grant.cells) if (cell.isConcurrency) held.set(cell, (held.get(cell) ?? 0) + costOf(grant.costs, cell.rule.unit));
  }
  expect('live leases', decisions.grants.live, live);
  for (const node of decisions.tree.nodes) {
    if (node.removed) continue;
    const cells = [...node.cells, ...[...node.keys.values()].flatMap((state) => state.cells)];
    for (const cell of cells) {
      if (!cell.isConcurrency) continue;
      const { used, debt, capacity } = cell.limit.status(now);
      expect(`${node.name}/${cell.rule.name} within its bounds`, capacity, Math.max(1, Math.min(capacity, cell.limit.capacity)));
      const ends = [...decisions.grants.all()].filter((grant) => grant.cells.includes(cell) && costOf(grant.costs, cell.rule.unit) > 0);
      expect(`earliest lease of ${node.name}/${cell.rule.name}`, cell.leases?.earliest() ?? -1, Math.min(NEVER, ...ends.map((grant) => grant.expiresAt)));
      expect(`units held of ${node.name}/${cell.rule.name}`, used + debt, held.get(cell) ?? 0);
    }
  }
}

/** What stands for reported leases counts just those that live, and what is to be on disk has room for them. */
function auditStandIns(decisions: Dispatcher, now: Instant, expect: Expect): void {
  const counted = new Map<AggregateLease, Map<string, number>>();
  for (const { aggregate, cells, costs } of decisions.grants.all()) {
    if (aggregate === undefined) continue;
    const units = counted.get(aggregate) ?? new Map<string, number>();
    counted.set(aggregate, units);
    for (const unit of new Set(cells.filter((cell) => cell.isConcurrency).map((cell) => cell.rule.unit))) {
      units.set(unit, (units.get(unit) ?? 0) + costOf(costs, unit));
    }
  }
  for (const [standIn, units] of counted) {
    const room = standIn.record(now)?.costs ?? {};
    for (const [unit, held] of standIn.held) {
      expect(`${unit} of reported leases`, held, units.get(unit) ?? 0);
      expect(`${unit} beyond what stands for them`, Math.max(0, held - (room[unit] ?? 0)), 0);
    }
  }
}
