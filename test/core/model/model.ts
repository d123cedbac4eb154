import type { Costs, GroupSpec, LimitSpec } from '../../../src/core/group.ts';
import { costOf, PRIORITY_DEFERRED } from '../../../src/core/group.ts';
import type { PermitOutcome } from '../../../src/core/limits/adaptive-concurrency.ts';
import { NaiveAdaptation } from './naive-adaptation.ts';
import type { Entry } from './quota-model.ts';
import { capacityOf, quotaOf, readyAt, shareOf } from './quota-model.ts';

/** A caller as the model sees it. Times in microseconds since the start of the run. */
export interface Caller {
  /** Of its first arrival among all. */
  readonly order: number;
  readonly group: string;
  readonly key: string;
  readonly priority: number;
  readonly costs: Costs;
  readonly since: number;
  /** It was admitted in vain before, and is no arrival. */
  readonly again: boolean;
  readonly until: number;
  readonly lease: number;
  fate: 'waiting' | 'admitted' | 'refused' | 'cancelled';
  /** When it was decided. */
  at: number;
  /** Every reason that may be given for a refusal. */
  reasons: readonly string[];
  suspended: boolean;
  /** What it was charged, until settled. */
  charged: Costs;
  leaseEnd: number;
}

interface Place {
  readonly limit: LimitSpec;
  readonly group: string;
  readonly key: string | undefined;
  readonly log: Entry[];
}

/**
 * What docs/semantics.md says of a tree of groups with `fairness: { by: none }`, as naively as it can be said: one list of
 * callers, one log for each limit, everything read again for every decision. Told the time like the gate; slow.
 */
export class Model {
  now = 0;
  readonly callers: Caller[] = [];
  readonly #epoch: number;
  #groups: Map<string, GroupSpec>;
  readonly #logs = new Map<string, Entry[]>();
  readonly #pauses = new Map<string, number>();
  #override: { until: number; after: Map<string, GroupSpec> } | undefined;

  constructor(groups: readonly GroupSpec[], epoch: number) {
    this.#groups = new Map(groups.map((group) => [group.name, group]));
    this.#epoch = epoch;
  }

  acquire(ask: Omit<Caller, 'fate' | 'at' | 'reasons' | 'suspended' | 'charged' | 'leaseEnd'>): Caller {
    const caller: Caller = { ...ask, fate: 'waiting', at: 0, reasons: [], suspended: false, charged: ask.costs, leaseEnd: Number.POSITIVE_INFINITY };
    this.callers.push(caller);
    const places = this.#places(caller);
    if (places.some(({ limit, key }) => cost(caller, limit) > capacityOf(quotaOf(limit, key)))) this.#refuse(caller, ['oversized']);
    else {
      this.#admitAll();
      if (caller.fate === 'waiting') this.#admission(caller, places);
    }
    return caller;
  }

  cancel(caller: Caller): void {
    caller.fate = 'cancelled';
    caller.at = this.now;
    this.#admitAll();
  }

  /** An operator ends its wait. */
  evict(caller: Caller): void {
    this.#refuse(caller, ['cancelled']);
    this.#admitAll();
  }

  suspend(caller: Caller, away: boolean): void {
    caller.suspended = away;
    this.#admitAll();
  }

  /** Ends a lease; false when it is over. */
  renew(caller: Caller, lease: number): boolean {
    if (!this.live(caller)) return false;
    caller.leaseEnd = this.now + lease;
    return true;
  }

  /** Ends a permit; `real` settles what it cost (`unused`: nothing). */
  release(caller: Caller, real: Costs, how: PermitOutcome): void {
    if (this.live(caller)) this.#end(caller, how);
    caller.leaseEnd = Math.min(caller.leaseEnd, this.now);
    for (const { limit, log } of this.#places(caller)) {
      const of = log.find((entry) => entry.kind === 'charge' && owners.get(entry) === caller);
      const before = costOf(caller.charged, limit.unit);
      const after = costOf(real, limit.unit);
      const end = (): number => 0;
      if (limit.quota.kind === 'concurrency' || of === undefined) continue;
      if (after < before) log.push({ kind: 'refund', at: this.now, cost: before - after, of, end });
      if (after > before) log.push({ kind: 'debit', at: this.now, cost: after - before, end });
    }
    caller.charged = real;
    this.#admitAll();
  }

  pause(group: string, key: string | undefined, until: number): void {
    const name = pauseName(group, key);
    this.#pauses.set(name, Math.max(until, this.#pauses.get(name) ?? 0));
    // Who held the line may be paused now.
    this.#admitAll();
  }

  resume(group: string, key: string | undefined): void {
    this.#pauses.delete(pauseName(group, key));
    this.#admitAll();
  }

  reconfigure(groups: readonly GroupSpec[]): void {
    this.#change(new Map(groups.map((group) => [group.name, group])));
    this.#admitAll();
  }

  /** Other limits until a stated time. */
  override(groups: readonly GroupSpec[], until: number): void {
    this.#override = { until, after: this.#override?.after ?? this.#groups };
    this.reconfigure(groups);
  }

  /** Time passes in order: at each moment what opened is given first, then wait timeout ends. */
  runTo(until: number): void {
    for (;;) {
      const next = this.#nextMoment();
      if (next > until) break;
      this.now = next;
      if (this.#override && this.#override.until <= next) {
        this.#change(this.#override.after);
        this.#override = undefined;
      }
      for (const caller of this.callers) if (caller.leaseEnd === next) this.#end(caller, 'lapsed');
      this.#admitAll();
      for (const caller of this.waiting()) if (caller.until <= this.now) this.#refuse(caller, ['expired']);
      this.#admitAll();
    }
    this.now = Math.max(this.now, until);
  }

  /** Other quotas, written into the log of every limit. */
  #change(groups: Map<string, GroupSpec>): void {
    const quotas = (): readonly [string, number][] =>
      [...this.#logs.keys()].map((id) => {
        const [name, limitName, key] = JSON.parse(id) as [string, string, string | null];
        const limit = this.#limitsOf(name).find((one) => one.name === limitName);
        return [id, limit === undefined ? 0 : capacityOf(quotaOf(limit, key ?? undefined))];
      });
    const before = new Map(quotas());
    this.#groups = groups;
    for (const [id, cost] of quotas()) {
      const log = this.#logs.get(id) ?? [];
      log.push({ kind: 'permits', at: this.now, cost, was: before.get(id) ?? cost, end: () => 0 });
      found.get(log)?.bounds(cost);
    }
  }

  waiting(group?: string): readonly Caller[] {
    return this.callers.filter((caller) => caller.fate === 'waiting' && (group === undefined || caller.group === group));
  }

  live(caller: Caller): boolean {
    return caller.fate === 'admitted' && this.leased(caller) && this.now < caller.leaseEnd;
  }

  /** A concurrency limit stands over it. */
  leased(caller: Caller): boolean {
    return this.#places(caller).some(({ limit }) => limit.quota.kind === 'concurrency');
  }

  /** The waiters as they would go if all went: most urgent, then oldest, over the whole tree. */
  line(): readonly Caller[] {
    return [...this.waiting()].sort((a, b) => this.#urgency(a) - this.#urgency(b) || a.order - b.order);
  }

  #urgency(caller: Caller): number {
    if (caller.priority === PRIORITY_DEFERRED) return Number.MAX_SAFE_INTEGER;
    const aging = this.#groups.get(caller.group)?.aging;
    return aging === undefined ? caller.priority : caller.since + caller.priority * aging;
  }

  #admitAll(): void {
    while (this.#admitOne());
  }

  #admitOne(): boolean {
    const held = new Set<string>();
    for (const caller of this.line()) {
      const path = this.#path(caller.group);
      const queue = JSON.stringify([caller.group, caller.key]);
      if (caller.suspended || this.#paused(caller, path) || held.has(queue) || path.some((name) => held.has(name))) continue;
      const shut = this.#places(caller).filter((place) => this.#ready(place, caller, this.now) > this.now);
      if (shut.length === 0) {
        this.#admit(caller);
        return true;
      }
      // Blocked on its own key: passed by other keys. Else it holds those behind it, from the group that binds downwards.
      const ownKey = shut.some((place) => place.key !== undefined);
      held.add(ownKey ? queue : (path.find((name) => shut.some((place) => place.group === name)) ?? ''));
    }
    return false;
  }

  #admit(caller: Caller): void {
    caller.fate = 'admitted';
    caller.at = this.now;
    for (const place of this.#places(caller)) {
      const { limit, log } = place;
      if (cost(caller, limit) > 0) foundIn(place)?.took(this.now, caller, cost(caller, limit));
      const entry: Entry = { kind: 'charge', at: this.now, cost: cost(caller, limit), end: () => caller.leaseEnd };
      owners.set(entry, caller);
      log.push(entry);
    }
    if (this.leased(caller)) caller.leaseEnd = this.now + caller.lease;
  }

  /** It has to wait: may it? Nobody waits where the limits alone, with everyone ahead gone, could not admit it in time. */
  #admission(caller: Caller, places: readonly Place[]): void {
    const spec = this.#groups.get(caller.group);
    const reasons: string[] = [];
    // A pause with a stated end is waited for like a limit; one without may be lifted at any moment.
    const paused = Math.max(this.now, ...this.#pausesOver(caller).filter(Number.isFinite));
    let opens = paused;
    for (let round = 0; round < 50; round += 1) {
      const rates = places.filter((place) => place.limit.quota.kind !== 'concurrency');
      const later = Math.max(opens, ...rates.map((place) => this.#ready(place, caller, opens)));
      if (later === opens) break;
      opens = later;
    }
    if (opens > caller.until) reasons.push('infeasible');
    if (caller.until <= this.now) reasons.push('expired', 'infeasible');
    const victim = this.#victim(caller, spec);
    if (reasons.length > 0 || victim === caller) return this.#refuse(caller, victim === undefined ? reasons : [...reasons, 'shed']);
    if (victim === undefined) return;
    this.#refuse(victim, ['shed']);
    this.#admitAll();
  }

  /** Who is shed for an arrival that waits: of its key where that is full, else of its group; undefined: nobody. */
  #victim(caller: Caller, spec: GroupSpec | undefined): Caller | undefined {
    if (spec === undefined || (caller.again && spec.backlog.requests > 0)) return undefined;
    const { requests, perKey, onFull } = spec.backlog;
    const all = this.line().filter(({ group }) => group === caller.group);
    const ofKey = all.filter(({ key }) => key === caller.key);
    const clientLimiter = caller.key !== '' && ofKey.length > perKey ? ofKey : all.length > requests ? all : undefined;
    if (clientLimiter === undefined) return undefined;
    return onFull === 'newest' || requests === 0 || perKey === 0 ? caller : clientLimiter.at(-1);
  }

  #refuse(caller: Caller, reasons: readonly string[]): void {
    caller.fate = 'refused';
    caller.at = this.now;
    caller.reasons = reasons;
  }

  /** Its lease is over: limits that adapt see how. */
  #end(caller: Caller, how: PermitOutcome): void {
    for (const place of this.#places(caller)) if (cost(caller, place.limit) > 0) foundIn(place)?.ended(this.now, caller, how);
  }

  #ready(place: Place, caller: Caller, at: number): number {
    const adapting = foundIn(place);
    if (adapting !== undefined) return adapting.readyAt(at, cost(caller, place.limit));
    return readyAt(quotaOf(place.limit, place.key), this.#epoch, place.log, at, cost(caller, place.limit));
  }

  #paused(caller: Caller, path: readonly string[]): boolean {
    return this.#pausesOver(caller, path).some((until) => until > this.now);
  }

  #pausesOver(caller: Caller, path = this.#path(caller.group)): readonly number[] {
    return path.flatMap((name) => [undefined, caller.key].map((key) => this.#pauses.get(pauseName(name, key)) ?? 0));
  }

  /** The next moment at which anything can change by itself. */
  #nextMoment(): number {
    const moments = [
      this.#override?.until ?? 0,
      ...this.#pauses.values(),
      ...this.callers.map((caller) => caller.leaseEnd),
      ...this.waiting().map((caller) => caller.until),
    ];
    for (const caller of this.waiting()) for (const place of this.#places(caller)) moments.push(this.#ready(place, caller, this.now));
    return Math.min(Number.POSITIVE_INFINITY, ...moments.filter((moment) => moment > this.now));
  }

  #path(group: string): readonly string[] {
    const parent = this.#groups.get(group)?.parent?.group;
    return parent === undefined ? [group] : [group, ...this.#path(parent)];
  }

  /** Every limit a caller meets, its own group's first: with the shares of parents as limits of the child. */
  #places(caller: Caller): readonly Place[] {
    return this.#path(caller.group).flatMap((name) => {
      return this.#limitsOf(name).map((limit) => {
        const key = limit.scope === 'key' ? caller.key : undefined;
        const id = JSON.stringify([name, limit.name, key]);
        const log = this.#logs.get(id) ?? [];
        this.#logs.set(id, log);
        return { limit, group: name, key, log };
      });
    });
  }

  /** A group's own limits, and its parts of its parent's. */
  #limitsOf(name: string): readonly LimitSpec[] {
    const spec = this.#groups.get(name);
    const share = spec?.parent?.share;
    const above = share === undefined ? [] : (this.#groups.get(spec?.parent?.group ?? '')?.limits ?? []);
    return [...(spec?.limits ?? []), ...above.map((limit) => shareOf(limit, share ?? 1))];
  }
}

const owners = new WeakMap<Entry, Caller>();
/** What limits that adapt have found, by their logs. */
const found = new WeakMap<readonly Entry[], NaiveAdaptation>();

function foundIn({ limit, key, log }: Place): NaiveAdaptation | undefined {
  const quota = quotaOf(limit, key);
  if (quota.kind !== 'concurrency' || quota.adapt === undefined) return undefined;
  const known = found.get(log) ?? new NaiveAdaptation(quota.adapt, quota.max);
  found.set(log, known);
  return known;
}

function cost(caller: Caller, limit: LimitSpec): number {
  return costOf(caller.costs, limit.unit);
}

function pauseName(group: string, key: string | undefined): string {
  return JSON.stringify([group, key]);
}
