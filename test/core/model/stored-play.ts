import fc from 'fast-check';
import type { GateEvent } from '../../../src/core/events.ts';
import { Gate } from '../../../src/core/gate/gate.ts';
import { type GroupSpec, ONE_REQUEST, PRIORITY_DEFERRED } from '../../../src/core/group.ts';
import type { WaiterRef } from '../../../src/core/request.ts';
import { DISTANT_PAST, type Instant, type Micros, NEVER, plus } from '../../../src/core/time.ts';
import type { StoredRef } from '../../../src/core/tree/stored-requests.ts';
import { concurrency, group, rate, rolling, START, sec, spacing } from '../specs.ts';

/*
 * Stored requests wait in chains outside the waiter table. Two gates get the same calls: one holds them in chains, the
 * other holds each as a waiter. Whom they admit, and when, has to be the same, call by call.
 */

const TAG = { high: 1, low: 2 };

type Step =
  | {
      readonly kind: 'store';
      readonly group: number;
      readonly key: string;
      readonly classed: boolean;
      readonly deadline: number | undefined;
      readonly many: number;
      readonly cost: number;
    }
  | { readonly kind: 'live'; readonly group: number; readonly key: string; readonly priority: number; readonly ttl: number }
  | { readonly kind: 'cancel'; readonly pick: number }
  | { readonly kind: 'leave'; readonly pick: number }
  | { readonly kind: 'retry'; readonly pick: number }
  | { readonly kind: 'become'; readonly pick: number }
  | { readonly kind: 'release'; readonly pick: number }
  | { readonly kind: 'pause'; readonly group: number; readonly key: string | undefined; readonly seconds: number }
  | { readonly kind: 'reload'; readonly shape: number }
  | { readonly kind: 'wait'; readonly ms: number };

/** One gate and what it has said so far; `chains` tells how stored requests are held. */
class Side {
  readonly gate: Gate;
  readonly admitted: string[] = [];
  readonly permits = new Map<number, { serial: number; order: number; arrivedAt: Instant; ask: Stored }>();
  readonly live = new Map<number, WaiterRef>();
  readonly stored = new Map<number, { handle: number; ask: Stored; entry: boolean }>();
  readonly asks = new Map<number, Stored>();
  readonly leases: number[] = [];
  readonly chains: boolean;

  constructor(chains: boolean, groups: readonly GroupSpec[], gateClass: typeof Gate) {
    this.chains = chains;
    this.gate = new gateClass({ term: 1n, groups, from: DISTANT_PAST, recording: false, restored: undefined });
  }

  store(now: Instant, number: number, ask: Stored, since?: { arrivedAt: Instant; order: number }): void {
    const { gate } = this;
    const { group: index, key, priority, costs, deadline, lease } = ask;
    if (this.chains) {
      const entry = gate.enqueueStored(now, {
        group: index,
        key,
        priority,
        costs,
        sequence: number,
        arrivedAt: since?.arrivedAt ?? now,
        deadline,
        lease,
        tag: TAG,
        since,
      });
      if (entry !== undefined && 'entry' in entry) this.stored.set(number, { handle: entry.entry, ask, entry: true });
      gate.decideStored(now);
    } else {
      const token = { stored: number };
      const ref = gate.acquire(now, {
        group: index,
        key,
        priority,
        costs,
        waitUntil: NEVER,
        lease,
        bytes: 0,
        holder: '',
        tag: TAG,
        token,
        since,
        reported: true,
      });
      this.stored.set(number, { handle: ref, ask, entry: false });
    }
  }

  cancel(now: Instant, number: number): void {
    const known = this.stored.get(number);
    if (known === undefined) return;
    this.stored.delete(number);
    if (known.entry) {
      this.gate.cancelStored(known.handle, number);
      this.gate.decideStored(now);
    } else this.gate.cancel(now, known.handle as WaiterRef);
  }

  /** When the first stored request has to be cancelled for its deadline: it may still go at that very moment. */
  nextDeadline(): Instant {
    return Math.min(NEVER, ...[...this.stored.values()].map(({ ask }) => (ask.deadline === NEVER ? NEVER : plus(ask.deadline, 1)))) as Instant;
  }

  endOverdue(now: Instant): void {
    for (const [number, { ask }] of this.stored) if (ask.deadline < now) this.cancel(now, number);
  }

  take(now: Instant): void {
    for (const event of this.gate.takeEvents()) this.#hear(now, event);
  }

  #hear(now: Instant, event: GateEvent): void {
    if (event.kind === 'unqueued') this.stored.clear();
    if (event.kind === 'refused') {
      const number = numberOf(event.token);
      if (number.stored) this.stored.delete(number.number);
      else this.live.delete(number.number);
    }
    if (event.kind !== 'admitted') return;
    const { number, stored } = numberOf(event.token);
    this.admitted.push(`${now - START}: ${stored ? 'stored' : 'live'} ${number}`);
    if (event.permit.lease !== undefined) this.leases.push(event.permit.serial);
    if (!stored) {
      this.live.delete(number);
      return;
    }
    const { ask } = this.stored.get(number) ?? { ask: undefined };
    this.stored.delete(number);
    if (ask !== undefined)
      this.permits.set(number, { serial: event.permit.serial, order: event.permit.order, arrivedAt: plus(event.permit.grantedAt, -event.permit.waited), ask });
  }
}

interface Stored {
  readonly group: number;
  readonly key: string;
  readonly priority: number;
  readonly costs: Readonly<Record<string, number>>;
  readonly deadline: Instant;
  readonly lease: Micros;
}

function numberOf(token: unknown): { readonly number: number; readonly stored: boolean } {
  const { sequence } = token as Partial<StoredRef>;
  if (sequence !== undefined) return { number: sequence, stored: true };
  const { stored, live } = token as { stored?: number; live?: number };
  return { number: stored ?? (live as number), stored: stored !== undefined };
}

const keys = fc.constantFrom('', 'a', 'b', 'c');
/** What happens to both gates. */
export const storedStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('store' as const),
      group: fc.nat(1),
      key: keys,
      classed: fc.boolean(),
      deadline: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined, freq: 4 }),
      many: fc.integer({ min: 1, max: 12 }),
      cost: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('live' as const),
      group: fc.nat(1),
      key: keys,
      priority: fc.constantFrom(1, 5, 999),
      ttl: fc.integer({ min: 0, max: 30 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('retry' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('become' as const), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release' as const), pick: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('pause' as const),
      group: fc.nat(1),
      key: fc.option(keys, { nil: undefined }),
      seconds: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reload' as const), shape: fc.nat(3) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 4_000 }) }) },
);

/** The groups of a run. */
export const storedShape = fc.record({
  limit: fc.nat(4),
  scoped: fc.boolean(),
  fair: fc.boolean(),
  aging: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
  floor: fc.option(fc.record({ after: fc.integer({ min: 1, max: 10 }), every: fc.integer({ min: 2, max: 5 }) }), { nil: undefined }),
  parent: fc.boolean(),
});
type Shape = typeof storedShape extends fc.Arbitrary<infer T> ? T : never;

function limits(kind: number, more = 0) {
  const kinds = [rolling(3 + more, sec(4)), rate(2 + more, sec(1), 2), spacing(sec(0.3 + more / 10)), concurrency(2 + more), rolling(50 + more, sec(20))];
  return kinds[kind] as (typeof kinds)[number];
}

function specs({ limit, scoped, fair, aging, floor, parent }: Shape, more = 0): readonly GroupSpec[] {
  const shared = {
    fairness: { by: fair ? ('key' as const) : ('none' as const), weights: new Map([['a', 2]]) },
    aging: aging === undefined ? undefined : sec(aging / 100),
    floor: floor === undefined ? undefined : { after: sec(floor.after), every: floor.every },
    backlog: { requests: 1_000_000, bytes: 1e12, perKey: 1_000_000, keys: 1_000, wait: undefined, onFull: 'leastUrgent' as const },
  };
  const own = scoped ? [limits(limit, more), rolling(2, sec(3), { name: 'own', scope: 'key' })] : [limits(limit, more)];
  const one = group('one', own, { ...shared, parent: parent ? { group: 'root', share: undefined } : undefined });
  const two = group('two', [rolling(2, sec(2))], { ...shared, parent: { group: parent ? 'root' : 'one', share: undefined } });
  return parent ? [one, two, group('root', [rolling(4, sec(3))], shared)] : [one, two];
}

/** Plays the same steps on both gates and compares what they admitted after each; throws where they differ. */
export function playStored(first: Shape, steps: readonly Step[], gateClass: typeof Gate = Gate): void {
  const sides = [new Side(true, specs(first), gateClass), new Side(false, specs(first), Gate)] as const;
  const [chains, table] = sides;
  let now = START;
  let number = 0;
  for (const each of steps) {
    if (each.kind === 'wait') {
      const until = plus(now, each.ms * 1_000);
      for (;;) {
        const at = Math.min(...sides.map((side) => Math.min(side.gate.wakeAt(now), side.nextDeadline()))) as Instant;
        if (at > until) break;
        now = Math.max(now, at) as Instant;
        for (const side of sides) {
          side.gate.tick(now);
          side.take(now);
          side.endOverdue(now);
          side.take(now);
        }
      }
      now = until;
    } else {
      number = act(first, sides, each, now, number);
      for (const side of sides) side.take(now);
    }
    for (const side of sides) side.gate.tick(now);
    for (const side of sides) side.take(now);
    const differ = chains.admitted.length !== table.admitted.length || chains.admitted.some((line, index) => line !== table.admitted[index]);
    if (differ) throw new Error(`chains admitted ${chains.admitted.join(', ')}; the table ${table.admitted.join(', ')}`);
    const wrong = sides.flatMap((side) => side.gate.audit(now));
    if (wrong.length > 0) throw new Error(wrong.join('; '));
  }
}

function act(first: Shape, sides: readonly [Side, Side], each: Exclude<Step, { kind: 'wait' }>, now: Instant, numbers: number): number {
  const [chains, table] = sides;
  let number = numbers;
  const shared = <T>(of: (side: Side) => Map<number, T>, pick: number): number | undefined => {
    const both = [...of(table).keys()].filter((each) => of(chains).has(each)).sort((a, b) => a - b);
    return both.length === 0 ? undefined : both[pick % both.length];
  };
  switch (each.kind) {
    case 'store':
      for (let i = 0; i < each.many; i++) {
        const deadline = each.deadline === undefined ? NEVER : plus(now, sec(each.deadline) + 1);
        const costs = each.cost === 1 ? ONE_REQUEST : { requests: each.cost };
        const ask = { group: each.group, key: each.key, priority: each.classed ? 5 : PRIORITY_DEFERRED, costs, deadline, lease: sec(30) };
        number++;
        for (const side of sides) {
          side.store(now, number, ask);
          side.take(now);
        }
      }
      break;
    case 'live':
      number++;
      for (const side of sides) {
        const ask = {
          group: each.group,
          key: each.key,
          priority: each.priority,
          costs: ONE_REQUEST,
          waitUntil: plus(now, sec(each.ttl)),
          lease: sec(30),
          bytes: 10,
        };
        side.asks.set(number, { group: each.group, key: each.key, priority: each.priority, costs: ONE_REQUEST, deadline: NEVER, lease: sec(30) });
        const ref = side.gate.acquire(now, { ...ask, holder: '', tag: TAG, token: { live: number } });
        if (ref >= 0) side.live.set(number, ref);
      }
      break;
    case 'cancel': {
      const chosen = shared((side) => side.stored, each.pick);
      if (chosen !== undefined) for (const side of sides) side.cancel(now, chosen);
      break;
    }
    case 'leave': {
      const chosen = shared((side) => side.live, each.pick);
      if (chosen === undefined) break;
      for (const side of sides) {
        side.gate.cancel(now, side.live.get(chosen) as WaiterRef);
        side.live.delete(chosen);
      }
      break;
    }
    case 'become': {
      const chosen = shared((side) => side.live, each.pick);
      if (chosen === undefined) break;
      for (const side of sides) {
        const entry = side.gate.becomeStored(side.live.get(chosen) as WaiterRef, chosen, NEVER);
        if (entry !== undefined) side.stored.set(chosen, { handle: entry, ask: side.asks.get(chosen) as Stored, entry: true });
        side.live.delete(chosen);
      }
      break;
    }
    case 'retry': {
      const chosen = shared((side) => side.permits, each.pick);
      if (chosen === undefined) break;
      for (const side of sides) {
        const { ask, order, arrivedAt } = side.permits.get(chosen) as { ask: Stored; order: number; arrivedAt: Instant };
        side.permits.delete(chosen);
        if (ask.deadline > now) side.store(now, chosen, ask, { order, arrivedAt });
      }
      break;
    }
    case 'release': {
      if (table.leases.length === 0) break;
      const serial = table.leases[each.pick % table.leases.length] as number;
      for (const side of sides) {
        side.gate.release(now, serial, TAG, 'used', undefined);
        side.leases.splice(side.leases.indexOf(serial), 1);
      }
      break;
    }
    case 'pause':
      for (const side of sides) side.gate.pause(now, each.group, plus(now, sec(each.seconds)), each.key);
      break;
    case 'reload':
      for (const side of sides) {
        const wrong = side.gate.reconfigure(now, specs(first, each.shape));
        if (wrong !== undefined) throw new Error(wrong);
      }
      break;
  }
  return number;
}
