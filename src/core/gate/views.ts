import { type Costs, costOf, type Quota } from '../group.ts';
import type { LimitStatus } from '../limits/limit.ts';
import type { Claim, LeaseView, Permit } from '../permit.ts';
import type { Refusal } from '../refusal.ts';
import type { ListFilter, QueuePosition, WaitersAhead, WaiterView } from '../request.ts';
import { type Instant, type Micros, SECOND } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import type { Binding } from './binding.ts';
import { type Grant, toLease, toLeaseRecord } from './grants.ts';
import { positionOf } from './position.ts';
import type { GateSnapshot } from './snapshot.ts';
import type { GateState } from './state.ts';
import { waitRangeOf } from './wait-ranges.ts';
import { waitersInOrder } from './waiter-order.ts';

/** One limit with its name, for people. */
export interface LimitView extends LimitStatus {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  readonly kind: Quota['kind'];
  readonly scope: 'group' | 'key';
  readonly key: string | undefined;
  /** Length of the window; undefined for concurrency. */
  readonly per: Micros | undefined;
  /** What counts now: the file's quota, that of the key's exception, or an override's. */
  readonly quota?: Quota | undefined;
  /** Units per `per`, where that is not `capacity`: a rate's capacity is its burst. */
  readonly permits?: number | undefined;
  /** Of a dry run only: when this limit alone would let the request pass. */
  readonly readyAt: Instant | undefined;
  /** Of a limit with scope `key`, where the whole group is looked at: the keys that use it. */
  readonly keys?: KeysInUse | undefined;
}

/** Keys of which something of one limit is used or owed. */
export interface KeysInUse {
  readonly count: number;
  /** The fullest, at most 10, the fullest first. */
  readonly fullest: readonly ({ readonly key: string } & LimitStatus)[];
}

/** A dry run of a request. */
export interface GateExplanation {
  readonly refusal: Refusal | undefined;
  readonly admitted: boolean;
  readonly place: QueuePosition;
  /** Who would go before it; undefined: no caller that can be reached waits in its group, or it would be admitted at once. */
  readonly ahead: WaitersAhead | undefined;
  readonly limits: readonly LimitView[];
  /** What would hold it up; undefined: only its turn, or it would not be held. */
  readonly binding: Binding | undefined;
}

/** What an override in force has changed. */
export interface OverrideStatus {
  readonly until: Instant;
  readonly limits: readonly { readonly name: string; readonly from: Quota; readonly to: Quota }[];
  readonly enforce: { readonly from: boolean; readonly to: boolean } | undefined;
}

/** A group's numbers, for people and gauges. */
export interface GroupStatus {
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly waitingByPriority: readonly { readonly priority: number; readonly waiting: number }[];
  readonly oldestSince: Instant | undefined;
  /** Upper end of the range that the waiter observed longest was given on arrival; undefined: none is observed. */
  readonly expectedUntil: Instant | undefined;
  readonly leases: number;
  readonly keys: number;
  readonly pausedUntil: Instant | undefined;
  readonly pausedKeys: number;
  /** Those of them that were paused first, at most 100. */
  readonly keyPauses: readonly { readonly key: string; readonly until: Instant }[];
  readonly overriddenUntil: Instant | undefined;
  readonly override: OverrideStatus | undefined;
  readonly enforce: boolean;
}

/** Every limit that a request of this key's group meets, the group's own first, then upwards. */
export function limitViews(now: Instant, state: KeyState, costs: Costs | undefined): readonly LimitView[] {
  const limits: LimitView[] = [];
  for (const node of state.node.path) {
    const link = state.path.find((each) => each.node === node);
    for (const rule of node.rules) {
      const instance = rule.instance ?? link?.instances.find((each) => each.rule === rule);
      if (instance !== undefined) limits.push(namedLimit(instance, now, state.key, costs));
    }
  }
  return limits;
}

/** Keys shown of one limit. */
const FULLEST_MAX = 10;

/** The group's own limits; those with scope `key` with the keys that use them now. */
export function ownLimitsOf(now: Instant, state: KeyState): readonly LimitView[] {
  const { node } = state;
  const own = limitViews(now, state, undefined).filter((limit) => limit.group === node.name);
  return own.map((limit) => (limit.scope === 'group' ? limit : { ...limit, keys: keysInUse(now, node, limit.name) }));
}

function keysInUse(now: Instant, node: GroupNode, name: string): KeysInUse {
  let count = 0;
  let fullest: KeysInUse['fullest'][number][] = [];
  for (const { key, instances } of node.keys.values()) {
    const instance = instances.find(({ rule }) => rule.name === name);
    const status = instance?.limit.status(now);
    if (instance === undefined || status === undefined || status.used + status.debt === 0) continue;
    count++;
    fullest.push({ key, ...status, ...(instance.isConcurrency ? { resetAt: instance.opensAt(now, 1) } : {}) });
    if (fullest.length >= 20 * FULLEST_MAX) fullest = firstBy(fullest);
  }
  return { count, fullest: firstBy(fullest) };
}

function firstBy(keys: readonly KeysInUse['fullest'][number][]): KeysInUse['fullest'][number][] {
  const part = ({ used, debt, capacity }: LimitStatus): number => (used + debt) / Math.max(1, capacity);
  return keys.toSorted((a, b) => part(b) - part(a) || (a.key < b.key ? -1 : 1)).slice(0, FULLEST_MAX);
}

/** Paused keys that are named. */
const KEY_PAUSES_MAX = 100;

function overrideStatus({ override, rules, spec }: GroupNode): OverrideStatus | undefined {
  if (override === undefined) return undefined;
  const limits = rules.flatMap(({ name, source, override: to, spec: { quota: from } }) =>
    source !== undefined || to === undefined ? [] : [{ name, from, to }],
  );
  const enforce = override.enforce === undefined || override.enforce === spec.enforce ? undefined : { from: spec.enforce, to: override.enforce };
  return { until: override.until, limits, enforce };
}

/** A group's numbers. */
export function groupStatus(gate: GateState, now: Instant, node: GroupNode): GroupStatus {
  let oldest: Instant | undefined;
  let keys = 0;
  for (const state of node.keys.values()) {
    // One that no longer matters is forgotten when others come; until then it is not in use.
    if (!state.idle(now)) keys++;
    for (const queue of state.queues) {
      const heads = [queue.head, ...queue.detached].filter((slot) => slot >= 0);
      for (const slot of heads) {
        const since = gate.waiters.arrivalOf(slot);
        if (oldest === undefined || since < oldest) oldest = since;
      }
    }
  }
  for (const [key, until] of node.pausedKeys) if (until <= now) node.pausedKeys.delete(key);
  return {
    waiting: node.waiting,
    waitingBytes: node.waitingBytes,
    waitingByPriority: node.priorityLevels.filter((level) => level.waiting > 0).map((level) => ({ priority: level.priority, waiting: level.waiting })),
    oldestSince: oldest,
    expectedUntil: gate.waitRanges.of(node).oldest?.range.latest,
    leases: node.leasesLive,
    keys,
    pausedUntil: node.pausedUntil > now ? node.pausedUntil : undefined,
    pausedKeys: node.pausedKeys.size,
    keyPauses: [...node.pausedKeys.entries()].slice(0, KEY_PAUSES_MAX).map(([key, until]) => ({ key, until })),
    overriddenUntil: node.override?.until,
    override: overrideStatus(node),
    enforce: node.enforce,
  };
}

/** Waiters of a group in the order in which they would go; stored requests that are not in the waiter table are left out. */
export function waiterViews(gate: GateState, now: Instant, node: GroupNode, page: { from: number; count: number }, filter: ListFilter): readonly WaiterView[] {
  const { waiters } = gate;
  const views: WaiterView[] = [];
  let skip = page.from;
  for (const slot of waitersListed(gate, node, filter)) {
    if (skip-- > 0) continue;
    if (views.length >= page.count) return views;
    views.push({
      ...positionOf(gate, now, slot),
      range: waitRangeOf(gate, now, slot),
      arrivalRange: gate.waitRanges.keptOf(waiters.refOf(slot)),
      ref: waiters.refOf(slot),
      group: node.name,
      key: waiters.keyOf(slot).key,
      priority: waiters.queueOf(slot).level.priority,
      costs: waiters.costsOf(slot),
      since: waiters.arrivalOf(slot),
      waitUntil: waiters.deadlineOf(slot),
      holder: waiters.holderOf(slot),
      token: waiters.tokenOf(slot),
    });
  }
  return views;
}

/** Returns how many waiters there are to list. */
export function countWaiters(gate: GateState, node: GroupNode, filter: ListFilter): number {
  let count = 0;
  for (const _slot of waitersListed(gate, node, filter)) count++;
  return count;
}

function* waitersListed({ waiters }: GateState, node: GroupNode, { key, priority, holder }: ListFilter): IterableIterator<number> {
  const part = holder?.toLowerCase();
  for (const slot of waitersInOrder(waiters, node)) {
    if (key !== undefined && waiters.keyOf(slot).key !== key) continue;
    if (priority !== undefined && waiters.queueOf(slot).level.priority !== priority) continue;
    if (part === undefined || waiters.holderOf(slot).toLowerCase().includes(part)) yield slot;
  }
}

/** Live leases of a group in order of their fences. */
export function leaseViews(gate: GateState, node: GroupNode, page: { from: number; count: number }, filter: ListFilter): readonly LeaseView[] {
  const live = leasesListed(gate, node, filter);
  live.sort((a, b) => (a.fence < b.fence ? -1 : 1));
  return live.slice(page.from, page.from + page.count).map((grant) => ({ ...toLeaseRecord(grant, grant.expiresAt), fence: grant.fence }));
}

/** Returns how many leases there are to list. */
export function countLeases(gate: GateState, node: GroupNode, filter: ListFilter): number {
  return leasesListed(gate, node, filter).length;
}

function leasesListed(gate: GateState, node: GroupNode, { key, holder }: ListFilter): Grant[] {
  const part = holder?.toLowerCase();
  return [...gate.grants.all()].filter(
    (grant) => grant.node === node && (key === undefined || grant.keyState.key === key) && (part === undefined || grant.holder.toLowerCase().includes(part)),
  );
}

/** Live leases that answer a request id, as permits. */
export function claimedOf(gate: GateState, now: Instant): readonly { readonly permit: Permit; readonly claim: Claim }[] {
  return [...gate.grants.all()].flatMap((grant) => {
    const { claim, node, keyState, serial, tag, costs, grantedAt } = grant;
    if (claim?.request === undefined || grant.expiresAt <= now) return [];
    const lease = toLease(grant, now);
    return [
      {
        claim,
        permit: {
          group: node.name,
          key: keyState.key,
          serial,
          tag,
          costs,
          grantedAt: grantedAt,
          waited: 0,
          order: 0,
          lease,
          settleable: true,
          shadow: undefined,
        },
      },
    ];
  });
}

/** What a ledger keeps instead of all records so far. */
export function takeSnapshot(gate: GateState, now: Instant): Omit<GateSnapshot, 'seal'> {
  const { tree, grants, reservations } = gate;
  const pauses: GateSnapshot['pauses'][number][] = [];
  const overrides: GateSnapshot['overrides'][number][] = [];
  for (const node of tree.nodes) {
    if (node.removed) continue;
    if (node.pausedUntil > now) pauses.push({ group: node.name, key: undefined, until: node.pausedUntil });
    for (const [key, until] of node.pausedKeys) if (until > now) pauses.push({ group: node.name, key, until });
    if (node.override !== undefined && node.override.until > now) overrides.push({ group: node.name, override: node.override });
  }
  // After a clean stop no holder renews any more without the next term's knowledge: the true end is enough.
  const endOf = (grant: { readonly expiresAt: Instant; readonly recordedUntil: Instant }) => (gate.sealed ? grant.expiresAt : grant.recordedUntil);
  // Reported leases are written when the process ends in order; until then an aggregate lease stands for them.
  const leases = [...grants.all()].flatMap((grant) => (gate.sealed || grant.aggregate === undefined ? toLeaseRecord(grant, endOf(grant)) : []));
  if (!gate.sealed) leases.push(...reservations.aggregates.records(now));
  return { leases, pauses, overrides, reservations: reservations.bounds(now) };
}

/** A limit instance as shown to people. */
function namedLimit(instance: LimitInstance, now: Instant, key: string, costs: Costs | undefined): LimitView {
  const { rule } = instance;
  const quota = rule.quotaFor(key);
  return {
    ...instance.limit.status(now),
    ...(instance.isConcurrency ? { resetAt: instance.opensAt(now, 1) } : {}),
    group: rule.node.name,
    name: rule.name,
    unit: rule.unit,
    kind: quota.kind,
    scope: rule.scope,
    key: instance.keyState?.key,
    per: perOf(quota),
    quota,
    permits: quota.kind === 'rate' ? quota.permits : undefined,
    readyAt: costs === undefined ? undefined : instance.limit.readyAt(now, costOf(costs, rule.unit)),
  };
}

function perOf(quota: Quota): Micros | undefined {
  switch (quota.kind) {
    case 'rate':
    case 'window':
      return quota.per;
    case 'spacing':
      return quota.spacing + quota.slack;
    case 'fixed':
      return quota.per === 'month' ? 30 * 86_400 * SECOND : quota.per;
    case 'concurrency':
      return undefined;
  }
}
