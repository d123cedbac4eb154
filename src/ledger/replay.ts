import type { Reservation } from '../core/events.ts';
import type { GateSnapshot, SealedState } from '../core/gate/snapshot.ts';
import type { LeaseRecord } from '../core/permit.ts';
import { DISTANT_PAST, earlier, type Instant, later, plus } from '../core/time.ts';
import type { OverrideRecord, PauseRecord } from '../core/tree/overrides.ts';
import type { Batch } from './batch-codec.ts';
import type { LedgerRecord } from './ledger.ts';

/**
 * What a chain says, batch by batch, from its beginning or from any snapshot on. Every record sets something to a value, and
 * bounds and leases only grow, so reading a stretch twice changes nothing, and what any prefix leaves dominates what had
 * been acknowledged by then.
 */
export class Replay {
  #state = new State();
  /** A snapshot that is not complete yet; it counts for nothing until it is. */
  #staged: { readonly state: State; next: number; limits: SealedState['limits'][number][] } | undefined;
  #seal: SealedState | undefined;
  #term = -1n;
  #anything = false;

  apply(batch: Batch): void {
    this.#anything = true;
    if (batch.term > this.#term) {
      this.#term = batch.term;
      if (batch.from !== undefined) this.#state.end(later(batch.from, this.#seal?.at ?? DISTANT_PAST));
    }
    // A term after a seal may have decided without writing (horizon limits): it is exact only while it is the last.
    this.#seal = undefined;
    if (batch.part !== undefined) {
      this.#stage(batch, batch.part);
      return;
    }
    this.#staged = undefined;
    this.#state.apply(batch);
  }

  /** What a new term starts from; undefined: the chain is empty. */
  restored(): GateSnapshot | undefined {
    if (!this.#anything) return undefined;
    return { ...this.#state.lists(), seal: this.#seal };
  }

  #stage(batch: Batch, part: NonNullable<Batch['part']>): void {
    if (part.index === 0) this.#staged = { state: new State(), next: 0, limits: [] };
    const staged = this.#staged;
    if (staged === undefined || staged.next !== part.index) {
      this.#staged = undefined;
      return;
    }
    staged.state.apply(batch);
    staged.limits.push(...batch.limits);
    staged.next++;
    if (staged.next < part.of) return;
    this.#state = staged.state;
    this.#staged = undefined;
    if (part.sealedAt !== undefined) this.#seal = { at: part.sealedAt, limits: staged.limits };
  }
}

interface Slots {
  readonly group: string;
  readonly limit: string;
  readonly key: string | undefined;
  readonly values: Map<number, number>;
}

class State {
  readonly #bounds = new Map<string, Slots>();
  readonly #leases = new Map<string, LeaseRecord>();
  readonly #pauses = new Map<string, PauseRecord>();
  readonly #overrides = new Map<string, OverrideRecord>();

  apply(batch: Batch): void {
    for (const reservation of batch.reservations) this.#bound(reservation);
    for (const record of batch.records) this.#record(record);
  }

  /**
   * A new term decides from `at`: as it holds the leases of earlier terms, so do all after it. Without this each of a row of crashes would hold them for
   * one length from its own beginning, up to the end on record, which is two lengths ahead for a lease that was renewed.
   */
  end(at: Instant): void {
    for (const [name, lease] of this.#leases) {
      const expiresAt = earlier(lease.expiresAt, plus(at, lease.duration));
      if (expiresAt < lease.expiresAt) this.#leases.set(name, { ...lease, expiresAt });
    }
  }

  lists(): Omit<GateSnapshot, 'seal'> {
    const reservations: Reservation[] = [];
    for (const { group, limit, key, values } of this.#bounds.values()) {
      for (const [slot, value] of values) reservations.push({ group, limit, key, bound: { slot, value } });
    }
    return { reservations, leases: [...this.#leases.values()], pauses: [...this.#pauses.values()], overrides: [...this.#overrides.values()] };
  }

  #bound({ group, limit, key, bound }: Reservation): void {
    const name = `${group}\n${limit}\n${keyed(key)}`;
    let slots = this.#bounds.get(name);
    if (slots === undefined) {
      slots = { group, limit, key, values: new Map() };
      this.#bounds.set(name, slots);
    }
    const known = slots.values.get(bound.slot);
    if (known === undefined || known < bound.value) slots.values.set(bound.slot, bound.value);
  }

  #record(record: LedgerRecord): void {
    switch (record.kind) {
      case 'grant':
      case 'renew':
        this.#lease(record.lease);
        return;
      case 'end':
        this.#leases.delete(`${record.term}/${record.serial}`);
        return;
      case 'pause':
        this.#pause(record.pause);
        return;
      case 'resume':
        this.#pauses.delete(`${record.group}\n${keyed(record.key)}`);
        return;
      case 'override':
        this.#overrides.set(record.override.group, record.override);
        return;
      case 'restore':
        this.#overrides.delete(record.group);
        return;
    }
  }

  #lease(lease: LeaseRecord): void {
    const name = `${lease.term}/${lease.serial}`;
    const known = this.#leases.get(name);
    this.#leases.set(name, known === undefined ? lease : merged(known, lease));
  }

  #pause(pause: PauseRecord): void {
    const name = `${pause.group}\n${keyed(pause.key)}`;
    const known = this.#pauses.get(name);
    this.#pauses.set(name, known === undefined ? pause : { ...pause, until: later(known.until, pause.until) });
  }
}

/** The later end counts; an aggregate lease has room for all that any of its records had. */
function merged(known: LeaseRecord, lease: LeaseRecord): LeaseRecord {
  const ends = { ...lease, expiresAt: later(known.expiresAt, lease.expiresAt) };
  if (!lease.aggregate) return ends;
  const costs = { ...known.costs };
  for (const [unit, cost] of Object.entries(lease.costs)) costs[unit] = Math.max(cost, costs[unit] ?? 0);
  return { ...ends, costs, duration: Math.max(known.duration, lease.duration) };
}

/** A key of its own for "no key". */
function keyed(key: string | undefined): string {
  return key === undefined ? '' : `=${key}`;
}
