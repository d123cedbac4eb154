import type { GateEvent } from '../events.ts';
import { costOf, REQUESTS } from '../group.ts';
import type { LeaseRecord, PermitTag } from '../permit.ts';
import { DISTANT_PAST, type Instant, later, plus } from '../time.ts';
import type { LeasedLimit, LiveLease } from './live-lease.ts';

/** A aggregate lease is written for so many lease lengths, and anew in good time before less than one is left. */
const WRITTEN_FOR = 2;
const RENEW_BELOW = 1.5;

/** It has room for so many leases like the first, then for so many times what is held; more is asked for above this part. */
const LEASES_FIRST = 8;
const TIMES_HELD = 2;
const GROWN_ABOVE = 3 / 4;

/** Who holds it, for people who look after a crash. */
const HOLDER = 'forwarded before the restart';

/** A group and key as their aggregate lease knows them. */
export interface LeaseOwner {
  readonly key: string;
  readonly node: { readonly name: string };
  /** Everything an admission of this key charges. */
  readonly limits: readonly LeasedLimit[];
  readonly account: { aggregate: AggregateLease | undefined };
}

/**
 * What stands on disk for the reported leases of one group and key (docs/decisions/0012-reported-leases.md).
 *
 * At every moment the record on disk costs no less, in every unit, than all of them together that were reported to a caller, and
 * outlasts each. So a term that begins with it admits no caller for whom they leave no room; and it need hold it for its
 * `duration` only, since no lease that was reported before outlives that. Records of one aggregate lease only grow: whichever of
 * those under way reached the disk, it has room for all that were reported.
 */
export class AggregateLease {
  readonly #owner: LeaseOwner;
  readonly #name: Pick<LeaseRecord, 'term' | 'serial' | 'tag'>;
  /** Units held by live reported leases. */
  readonly #held = new Map<string, number>();
  #leases = 0;
  /** The newest that was asked for, and the newest known to be on disk. */
  #asked: LeaseRecord | undefined;
  #written: LeaseRecord | undefined;

  constructor(owner: LeaseOwner, name: Pick<LeaseRecord, 'term' | 'serial' | 'tag'>) {
    this.#owner = owner;
    this.#name = name;
  }

  /** A lease that is not reported yet. */
  add(lease: LiveLease): void {
    this.#leases++;
    this.#count(lease, 1);
  }

  /** The lease is over. */
  remove(lease: LiveLease): void {
    this.#leases--;
    this.#count(lease, -1);
  }

  /** What must be on disk before this lease is reported as it is now; undefined: nothing. */
  needed(now: Instant, lease: LiveLease): LeaseRecord | undefined {
    if (this.#covers(this.#written, lease)) return undefined;
    if (!this.#covers(this.#asked, lease)) this.#asked = this.#larger(now, lease);
    return this.#asked;
  }

  /** What is worth writing though no caller waits for it, once; undefined: nothing, or something is under way. */
  renewalNeeded(now: Instant, lease: LiveLease): LeaseRecord | undefined {
    if (this.#asked === undefined || this.#asked !== this.#written) return undefined;
    if (this.#asked.expiresAt >= plus(now, RENEW_BELOW * this.#asked.duration) && !this.#isTight(this.#asked)) return undefined;
    this.#asked = this.#larger(now, lease);
    return this.#asked;
  }

  /** This record of it is on disk, or could not be written: then it is asked for again. */
  written(record: LeaseRecord, done: boolean): void {
    if (done) this.#written = record;
    else if (this.#asked === record) this.#asked = this.#written;
  }

  /** For a snapshot: what is, or is about to be, on disk, while it lasts. */
  record(now: Instant): LeaseRecord | undefined {
    return this.#asked !== undefined && this.#asked.expiresAt > now ? this.#asked : undefined;
  }

  /** It stands for no lease, and nothing of it lasts. */
  isExpired(now: Instant): boolean {
    return this.#leases === 0 && this.record(now) === undefined;
  }

  /** Units held, for an audit. */
  get held(): ReadonlyMap<string, number> {
    return this.#held;
  }

  #covers(record: LeaseRecord | undefined, lease: LiveLease): record is LeaseRecord {
    if (record === undefined || record.expiresAt < lease.expiresAt || record.duration < lease.duration) return false;
    for (const [unit, held] of this.#held) if (held > (record.costs[unit] ?? 0)) return false;
    return true;
  }

  /** Little room is left, and the limits would let more be held. */
  #isTight({ costs }: LeaseRecord): boolean {
    for (const [unit, held] of this.#held) {
      const room = costs[unit] ?? 0;
      if (held > GROWN_ABOVE * room && room < leastOf(this.#owner.limits, unit)) return true;
    }
    return false;
  }

  #larger(now: Instant, lease: LiveLease): LeaseRecord {
    const before = this.#asked;
    const duration = Math.max(lease.duration, before?.duration ?? 0);
    // Silence would mean one request.
    const costs: Record<string, number> = { [REQUESTS]: 0, ...before?.costs };
    for (const [unit, held] of this.#held) {
      const room = Math.max(LEASES_FIRST * costOf(lease.costs, unit), TIMES_HELD * held);
      costs[unit] = Math.max(costs[unit] ?? 0, held, Math.min(room, leastOf(this.#owner.limits, unit)));
    }
    return {
      ...this.#name,
      group: this.#owner.node.name,
      key: this.#owner.key,
      costs,
      grantedAt: now,
      expiresAt: later(before?.expiresAt ?? DISTANT_PAST, plus(now, WRITTEN_FOR * duration)),
      duration,
      holder: HOLDER,
      aggregate: true,
    };
  }

  /** By what it was charged to: a unit counts once, however many limits count it. */
  #count({ instances, costs }: LiveLease, sign: 1 | -1): void {
    for (let at = 0; at < instances.length; at++) {
      const instance = instances[at] as LeasedLimit;
      const { unit } = instance.rule;
      const cost = instance.isConcurrency ? costOf(costs, unit) : 0;
      if (cost === 0 || isBefore(instances, at, unit)) continue;
      this.#held.set(unit, (this.#held.get(unit) ?? 0) + sign * cost);
    }
  }
}

/** All aggregate leases of a gate in one term. */
export class AggregateLeases {
  readonly #bySerial = new Map<number, AggregateLease>();

  /** That of a group and key; a new one has a serial before those of all leases that it will stand for. */
  of(now: Instant, owner: LeaseOwner, tag: PermitTag, serials: { readonly term: bigint; nextSerial(): number }): AggregateLease {
    const known = owner.account.aggregate;
    if (known !== undefined && !known.isExpired(now)) return known;
    const serial = serials.nextSerial();
    const aggregate = new AggregateLease(owner, { term: serials.term, serial, tag });
    owner.account.aggregate = aggregate;
    this.#bySerial.set(serial, aggregate);
    return aggregate;
  }

  /** This record is on disk, or could not be written. */
  written(record: LeaseRecord, done: boolean): void {
    this.#bySerial.get(record.serial)?.written(record, done);
  }

  /** All that last, for a snapshot; those that are over are forgotten. */
  records(now: Instant): LeaseRecord[] {
    const records: LeaseRecord[] = [];
    for (const [serial, aggregate] of this.#bySerial) {
      const record = aggregate.record(now);
      if (record !== undefined) records.push(record);
      else if (aggregate.isExpired(now)) this.#bySerial.delete(serial);
    }
    return records;
  }
}

/** What must be on disk before a reported lease is handed out as it is now; undefined: nothing. What is worth writing ahead becomes an event. */
export function ensureCovered(events: GateEvent[], now: Instant, aggregate: AggregateLease, lease: LiveLease): LeaseRecord | undefined {
  const needed = aggregate.needed(now, lease);
  if (needed !== undefined) return needed;
  const record = aggregate.renewalNeeded(now, lease);
  if (record !== undefined) events.push({ kind: 'standing', record });
  return undefined;
}

/** Units that the limits let be held at once, by the least of those that are enforced. */
function leastOf(instances: readonly LeasedLimit[], unit: string): number {
  let least = Number.POSITIVE_INFINITY;
  for (const instance of instances)
    if (instance.enforced && instance.isConcurrency && instance.rule.unit === unit) least = Math.min(least, instance.limit.capacity);
  return least;
}

function isBefore(instances: readonly LeasedLimit[], end: number, unit: string): boolean {
  for (let at = 0; at < end; at++) {
    const instance = instances[at] as LeasedLimit;
    if (instance.isConcurrency && instance.rule.unit === unit) return true;
  }
  return false;
}
