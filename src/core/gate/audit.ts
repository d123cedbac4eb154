import { costOf } from '../group.ts';
import type { AggregateLease } from '../leases/aggregate-lease.ts';
import { type Instant, NEVER } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { PriorityLevel } from '../tree/queues.ts';
import { isStored } from '../tree/stored-requests.ts';
import { NO_SLOT, SLOT_DETACHED, SLOT_FREE, type WaiterTable } from '../tree/waiter-table.ts';
import type { Dispatcher } from './dispatcher.ts';

/** Counts everything again from scratch and names what disagrees with the counters. Empty: sound. */
export function audit(dispatcher: Dispatcher, now: Instant): readonly string[] {
  const wrong: string[] = [];
  const expect = (what: string, is: number, counted: number): void => {
    if (is !== counted) wrong.push(`${what}: ${is}, counted ${counted}`);
  };
  let waiting = 0;
  for (const node of dispatcher.tree.nodes) {
    if (!node.removed) waiting += auditNode(dispatcher, node, expect);
    else expect(`waiters of removed ${node.name}`, node.waiting, 0);
  }
  expect('waiters in the tree', dispatcher.waiters.length + dispatcher.waiters.stored.queued, waiting);
  auditConcurrency(dispatcher, now, expect);
  auditAggregates(dispatcher, now, expect);
  auditStored(dispatcher, expect);
  for (const node of dispatcher.tree.nodes) {
    if (node.candidate >= 0 && dispatcher.waiters.stateOf(node.candidate) === SLOT_FREE) wrong.push(`${node.name} offers a waiter that is gone`);
    if (node.position >= 0 && node.candidate < 0) wrong.push(`${node.name} is among the offers without a candidate`);
  }
  return wrong;
}

type Expect = (what: string, is: number, counted: number) => void;

function auditNode(dispatcher: Dispatcher, node: GroupNode, expect: Expect): number {
  const { waiters } = dispatcher;
  let waiting = 0;
  let bytes = 0;
  const byLevel = new Map<number, number>();
  const byKey = new Map<KeyState, number>();
  for (let slot = 0; slot < waiters.used; slot++) {
    if (waiters.stateOf(slot) === SLOT_FREE || waiters.keyOf(slot)?.node !== node) continue;
    waiting++;
    bytes += waiters.bytesOf(slot);
    const { priority } = waiters.queueOf(slot).level;
    byLevel.set(priority, (byLevel.get(priority) ?? 0) + 1);
    const state = waiters.keyOf(slot);
    byKey.set(state, (byKey.get(state) ?? 0) + 1);
  }
  for (const state of node.keys.values()) {
    for (const queue of state.queues) {
      waiting += queue.stored;
      byLevel.set(queue.level.priority, (byLevel.get(queue.level.priority) ?? 0) + queue.stored);
      byKey.set(state, (byKey.get(state) ?? 0) + queue.stored);
    }
  }
  expect(`waiters of ${node.name}`, node.waiting, waiting);
  expect(`bytes of ${node.name}`, node.waitingBytes, bytes);
  for (const level of node.priorityLevels) {
    expect(`band ${level.priority} of ${node.name}`, level.waiting, byLevel.get(level.priority) ?? 0);
    auditArrivals(dispatcher, node, level, expect);
  }
  for (const state of node.keys.values()) {
    expect(`waiters of key ${state.key} of ${node.name}`, state.waiting, byKey.get(state) ?? 0);
    expect(`linked waiters of key ${state.key}`, linked(dispatcher, state), state.waiting);
    let leases = 0;
    for (let lease = state.account.first; lease !== undefined; lease = lease.nextFence) leases++;
    expect(`leases of key ${state.key} of ${node.name}`, state.account.live, leases);
    for (const queue of state.queues)
      expect(`offer of queue ${state.key}/${queue.level.priority}`, queue.position >= 0 ? 1 : 0, queue.head >= 0 && !state.parked ? 1 : 0);
  }
  return waiting;
}

/** The list of arrivals holds each live waiter of the priority level once, in order, and both ways. */
function auditArrivals({ waiters }: Dispatcher, node: GroupNode, level: PriorityLevel, expect: Expect): void {
  const name = `arrivals of band ${level.priority} of ${node.name}`;
  let count = 0;
  let newer = NO_SLOT;
  for (let slot = level.youngest; slot !== NO_SLOT && count <= level.waiting; slot = waiters.olderOf(slot)) {
    count++;
    expect(`${name} linked back`, waiters.newerOf(slot), newer);
    if (newer !== NO_SLOT) expect(`${name} out of order`, Math.max(0, waiters.orderOf(slot) - waiters.orderOf(newer)), 0);
    newer = slot;
  }
  expect(name, count, level.waiting - storedOf(waiters, node, level));
  expect(`${name}, the oldest`, level.oldest, newer);
}

/** Stored requests of a priority level, in its chains and in the waiter table. */
function storedOf(waiters: WaiterTable, node: GroupNode, level: PriorityLevel): number {
  let stored = 0;
  for (const state of node.keys.values()) {
    for (const queue of state.queues) {
      if (queue.level !== level) continue;
      stored += queue.stored;
      for (let slot = queue.head; slot >= 0; slot = waiters.nextOf(slot)) if (isStored(waiters.tokenOf(slot))) stored++;
    }
  }
  return stored;
}

function linked(dispatcher: Dispatcher, state: KeyState): number {
  let count = 0;
  for (const queue of state.queues) {
    count += queue.stored;
    for (const slot of queue.detached) if (dispatcher.waiters.stateOf(slot) === SLOT_DETACHED) count++;
    for (let slot = queue.head; slot >= 0; slot = dispatcher.waiters.nextOf(slot)) count++;
  }
  return count;
}

/** Chains hold as many as was counted, their queue's head is never behind them, and each is counted as stored. */
function auditStored(dispatcher: Dispatcher, expect: Expect): void {
  const { waiters } = dispatcher;
  let queued = 0;
  for (const node of dispatcher.tree.nodes) {
    let stored = 0;
    for (let slot = 0; slot < waiters.used; slot++) {
      if (waiters.stateOf(slot) !== SLOT_FREE && waiters.keyOf(slot)?.node === node && isStored(waiters.tokenOf(slot))) stored++;
    }
    for (const state of node.keys.values()) {
      for (const queue of state.queues) {
        let length = 0;
        for (let entry = queue.storedHead; entry >= 0; entry = waiters.stored.nextOf(entry)) if (waiters.stored.isQueued(entry)) length++;
        expect(`stored requests of queue ${state.key}/${queue.level.priority}`, queue.stored, length);
        stored += length;
        queued += length;
        const behind = length > 0 && (queue.head < 0 || waiters.orderOf(queue.head) > waiters.stored.orderOf(waiters.stored.first(queue)));
        expect(`stored requests before the head of queue ${state.key}/${queue.level.priority}`, behind ? 1 : 0, 0);
      }
    }
    expect(`stored requests of ${node.name}`, node.stored, stored);
  }
  expect('stored requests in chains', waiters.stored.queued, queued);
}

/** Units held are the sum over live leases. */
function auditConcurrency(dispatcher: Dispatcher, now: Instant, expect: Expect): void {
  const held = new Map<unknown, number>();
  let live = 0;
  for (const grant of dispatcher.grants.all()) {
    live++;
    for (const instance of grant.instances) if (instance.isConcurrency) held.set(instance, (held.get(instance) ?? 0) + costOf(grant.costs, instance.rule.unit));
  }
  expect('live leases', dispatcher.grants.live, live);
  for (const node of dispatcher.tree.nodes) {
    if (node.removed) continue;
    const instances = [...node.instances, ...[...node.keys.values()].flatMap((state) => state.instances)];
    for (const instance of instances) {
      if (!instance.isConcurrency) continue;
      const { used, debt, capacity } = instance.limit.status(now);
      expect(`${node.name}/${instance.rule.name} within its bounds`, capacity, Math.max(1, Math.min(capacity, instance.limit.capacity)));
      const ends = [...dispatcher.grants.all()].filter((grant) => grant.instances.includes(instance) && costOf(grant.costs, instance.rule.unit) > 0);
      expect(
        `earliest lease of ${node.name}/${instance.rule.name}`,
        instance.leases?.earliest() ?? -1,
        Math.min(NEVER, ...ends.map((grant) => grant.expiresAt)),
      );
      expect(`units held of ${node.name}/${instance.rule.name}`, used + debt, held.get(instance) ?? 0);
    }
  }
}

/** What stands for reported leases counts just those that live, and what is to be on disk has room for them. */
function auditAggregates(dispatcher: Dispatcher, now: Instant, expect: Expect): void {
  const counted = new Map<AggregateLease, Map<string, number>>();
  for (const { aggregate, instances, costs } of dispatcher.grants.all()) {
    if (aggregate === undefined) continue;
    const units = counted.get(aggregate) ?? new Map<string, number>();
    counted.set(aggregate, units);
    for (const unit of new Set(instances.filter((instance) => instance.isConcurrency).map((instance) => instance.rule.unit))) {
      units.set(unit, (units.get(unit) ?? 0) + costOf(costs, unit));
    }
  }
  for (const [aggregate, units] of counted) {
    const room = aggregate.record(now)?.costs ?? {};
    for (const [unit, held] of aggregate.held) {
      expect(`${unit} of reported leases`, held, units.get(unit) ?? 0);
      expect(`${unit} beyond what stands for them`, Math.max(0, held - (room[unit] ?? 0)), 0);
    }
  }
}
