import type { Quota } from '../group.ts';
import type { LiveLease } from '../leases/live-lease.ts';
import type { PermitTag } from '../permit.ts';
import { DISTANT_PAST, type Instant, later, NEVER } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { KeyState } from '../tree/key-state.ts';
import type { LimitInstance } from '../tree/limit-rule.ts';
import { NO_SLOT } from '../tree/waiter-table.ts';
import type { GateState } from './state.ts';

/** Keys looked at for the one with most waiters; a group with more has no loudest key. */
const KEYS_MAX = 10_000;

/** A lease that holds a limit, as far as people need to find its holder. */
export interface BindingHolder {
  readonly serial: number;
  readonly tag: PermitTag;
  /** Group that the lease was granted to: the limit's own, or one below it. */
  readonly group: string;
  readonly key: string;
  readonly holder: string;
  readonly since: Instant;
  readonly expiresAt: Instant;
}

/** What holds up the waiters of a group now. */
export interface Binding {
  readonly kind: Quota['kind'] | 'pause';
  /** Group that owns the limit or the pause: the one that waits, or an ancestor. */
  readonly group: string;
  /** Name of the limit there; '' for a pause. */
  readonly limit: string;
  /** Key that is held up by its own limit or pause; undefined: the whole group is. */
  readonly key: string | undefined;
  readonly unit: string;
  readonly capacity: number;
  readonly used: number;
  readonly debt: number;
  /** When the next waiter can pass by time alone; NEVER: only a release or an operator helps, or the time is not known. */
  readonly opensAt: Instant;
  /** Leases that hold the limit; undefined if the limit is none of concurrency. */
  readonly holders: { readonly count: number; readonly oldest: BindingHolder | undefined } | undefined;
  /** Key with most waiters in the group, and its part of them (0 to 1]; undefined if all wait without a key, or there are more than 10,000 keys. */
  readonly loudest: { readonly key: string; readonly waiting: number; readonly share: number } | undefined;
}

/** Returns what holds up the next waiter of a group; undefined if only its turn is awaited, or no caller waits and nothing is paused. */
export function bindingOf(gate: GateState, now: Instant, node: GroupNode): Binding | undefined {
  if (node.waiting === 0) return pauseBinding(now, { node, key: '' });
  const slot = nextSlot(gate, node);
  if (slot === NO_SLOT) return undefined;
  return bindingOfKey(gate, now, gate.waiters.keyOf(slot), gate.waiters.costsOf(slot));
}

/** Returns what would hold up a request of this key: the pause or the enforced limit that opens last; undefined if none does. */
export function bindingOfKey(gate: GateState, now: Instant, state: KeyState, costs: Parameters<GateState['readiness']['readyAt']>[2]): Binding | undefined {
  const { node } = state;
  const pause = pauseBinding(now, state);
  if (pause !== undefined) return pause;
  const { readiness } = gate;
  const at = readiness.readyAt(now, state.limits, costs);
  const instance = (at > now ? readiness.because : undefined) ?? blockingInstance(node);
  if (instance === undefined) return undefined;
  const { capacity, used, debt } = instance.limit.status(now);
  return {
    kind: instance.rule.quotaFor(state.key).kind,
    group: instance.rule.node.name,
    limit: instance.rule.name,
    key: instance.keyState?.key,
    unit: instance.rule.unit,
    capacity,
    used,
    debt,
    opensAt: at > now ? at : blockedUntil(node),
    holders: holdersOf(instance),
    loudest: loudestOf(node),
  };
}

function pauseBinding(now: Instant, state: Pick<KeyState, 'node' | 'key'>): Binding | undefined {
  const pause = pauseOn(now, state);
  if (pause === undefined) return undefined;
  const { on, key, until } = pause;
  const nothing = { limit: '', unit: '', capacity: 0, used: 0, debt: 0, holders: undefined };
  return { kind: 'pause', group: on.name, key, opensAt: until, loudest: loudestOf(state.node), ...nothing };
}

/** The pause of the group, an ancestor, or the key there that ends last. */
function pauseOn(
  now: Instant,
  state: Pick<KeyState, 'node' | 'key'>,
): { readonly on: GroupNode; readonly key: string | undefined; readonly until: Instant } | undefined {
  let last: ReturnType<typeof pauseOn>;
  for (const on of state.node.path) {
    const ofKey = on.keyPausedUntil(state.key, now);
    const until = later(on.pausedUntil, ofKey);
    if (until > now && until > (last?.until ?? DISTANT_PAST)) last = { on, key: ofKey > on.pausedUntil ? state.key : undefined, until };
  }
  return last;
}

/** The limit that blocks this group or an ancestor for the waiter ahead. */
function blockingInstance(node: GroupNode): LimitInstance | undefined {
  for (const above of node.path) if (above.blockedUntil !== DISTANT_PAST && above.blockedBy !== undefined) return above.blockedBy;
  return undefined;
}

function blockedUntil(node: GroupNode): Instant {
  for (const above of node.path) if (above.blockedUntil !== DISTANT_PAST) return above.blockedUntil;
  return NEVER;
}

function holdersOf({ leases }: LimitInstance): Binding['holders'] {
  if (leases === undefined) return undefined;
  const oldest = leases.oldest();
  return { count: leases.live, oldest: oldest && holderOf(oldest) };
}

function holderOf({ serial, tag, node, keyState, holder, grantedAt, expiresAt }: LiveLease): BindingHolder {
  return { serial, tag, group: node.name, key: keyState.key, holder, since: grantedAt, expiresAt };
}

function loudestOf(node: GroupNode): Binding['loudest'] {
  if (node.waiting === 0 || node.keys.size > KEYS_MAX) return undefined;
  let most: KeyState | undefined;
  for (const state of node.keys.values()) if (state.key !== '' && state.waiting > (most?.waiting ?? 0)) most = state;
  return most && { key: most.key, waiting: most.waiting, share: most.waiting / node.waiting };
}

/** Returns the waiter of a group that goes next, or is the oldest where only their own keys hold all of them; NO_SLOT: no caller that can be reached waits. */
export function nextSlot(gate: GateState, node: GroupNode): number {
  const next = node.nextQueue()?.head ?? NO_SLOT;
  return next === NO_SLOT ? oldestSlot(gate, node) : next;
}

/** The oldest waiter that is parked, or a stored request where no other waits; NONE: all callers are away. */
function oldestSlot({ waiters }: GateState, node: GroupNode): number {
  let oldest = NO_SLOT;
  for (const { oldest: slot } of node.priorityLevels) {
    if (slot !== NO_SLOT && (oldest === NO_SLOT || waiters.arrivalOf(slot) < waiters.arrivalOf(oldest))) oldest = slot;
  }
  if (oldest !== NO_SLOT) return oldest;
  for (const state of node.keys.values()) for (const queue of state.queues) if (queue.head !== NO_SLOT) return queue.head;
  return NO_SLOT;
}
