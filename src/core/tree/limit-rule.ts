import type { LimitSpec, Quota } from '../group.ts';
import { HoldTimes } from '../leases/hold-times.ts';
import { LeaseEnds } from '../leases/lease-ends.ts';
import { Concurrency } from '../limits/concurrency.ts';
import { createLimit } from '../limits/create-limit.ts';
import type { Limit, PersistentLimit } from '../limits/limit.ts';
import { DISTANT_PAST, earlier, type Instant, later, type Micros, NEVER } from '../time.ts';
import type { GroupNode } from './group-node.ts';
import type { KeyState } from './key-state.ts';

/**
 * A limit of a group as it is now: the file's quota, or an override's. Its state lives in limit instances: one for the group, or
 * one for each key.
 */
export class LimitRule {
  readonly node: GroupNode;
  readonly name: string;
  readonly unit: string;
  readonly scope: 'group' | 'key';
  /** The parent's rule of which this one is a share; undefined: the group's own. */
  readonly source: LimitRule | undefined;
  /** As the file says; with `override` for a time. */
  spec: LimitSpec;
  override: Quota | undefined;
  /** Concurrency only: how long leases were held lately, whatever their key. */
  readonly holds = new HoldTimes();
  /** Scope group only. */
  instance: LimitInstance | undefined;

  constructor(parts: { node: GroupNode; spec: LimitSpec; source: LimitRule | undefined }) {
    this.node = parts.node;
    this.spec = parts.spec;
    this.name = parts.spec.name;
    this.unit = parts.spec.unit;
    this.scope = parts.spec.scope;
    this.source = parts.source;
  }

  /** The quota that counts for `key` now. An override rules over the exceptions of single keys too. */
  quotaFor(key: string): Quota {
    return this.override ?? this.spec.keys.get(key) ?? this.spec.quota;
  }

  /** The rule's name as a waiter of group `from` sees it: an ancestor's with its group in front. */
  qualifiedName(from: GroupNode): string {
    return from === this.node ? this.name : `${this.node.name}/${this.name}`;
  }
}

/** The state of one rule, for its group or for one key, with what the gate remembers about it. */
export class LimitInstance {
  readonly rule: LimitRule;
  /** undefined: the group's. */
  readonly keyState: KeyState | undefined;
  readonly limit: Limit;
  /** The same limit; undefined for concurrency, whose leases are recorded instead. */
  readonly persistent: PersistentLimit | undefined;
  /** A reservation is on its way to the disk. */
  pending = false;
  /** Units taken since the last reservation, and when that was: the demand that the next one looks ahead by. */
  spentSinceReservation = 0;
  reservedAt: Instant = DISTANT_PAST;
  /** How long leases held it lately (mean that forgets), for the expected wait. 0: not known yet. */
  heldFor: Micros = 0;
  /** Concurrency only: the leases that hold it, by their ends. */
  readonly leases: LeaseEnds | undefined;

  constructor(rule: LimitRule, keyState: KeyState | undefined, key: string) {
    this.rule = rule;
    this.keyState = keyState;
    const limit = createLimit(rule.quotaFor(key));
    this.limit = limit;
    this.persistent = limit instanceof Concurrency ? undefined : limit;
    this.leases = this.isConcurrency ? new LeaseEnds() : undefined;
  }

  /** Whether this limit holds callers; false in shadow. */
  get enforced(): boolean {
    return this.rule.node.enforce;
  }

  /** When `cost` may pass at the earliest, if nothing else is taken before: a limit that only a release opens does when its first lease ends, at the latest. NEVER: not known. */
  opensAt(now: Instant, cost: number): Instant {
    const ready = this.limit.readyAt(now, cost);
    if (ready !== NEVER || this.leases === undefined || cost > this.limit.capacity) return ready;
    return later(now, earlier(this.leases.earliest(), this.limit.changesAt?.(now) ?? NEVER));
  }

  get isConcurrency(): boolean {
    return this.rule.spec.quota.kind === 'concurrency';
  }
}
