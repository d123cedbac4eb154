import { DISTANT_PAST, type Instant, later, type Micros, plus } from '../../core/time.ts';
import { type ClockReading, ShardClock } from '../clocks/shard-clock.ts';
import type { OwnedSlots } from '../membership/session-record.ts';
import type { OwnershipRecord } from './ownership-record.ts';

/** A shard that this process owns, in one term. */
export interface ShardOwnership {
  readonly shard: number;
  readonly term: bigint;
  readonly from: Instant;
  /** Of the shard's register, as this term wrote it. */
  readonly revision: number;
  readonly clock: ShardClock;
  /** r1: slots below it are this term's. */
  until: Instant;
  /** `draining`: to be handed off, still deciding. `halted`: nothing is decided in this term any more. `sealed`: halted, and its state is written. */
  phase: 'owned' | 'draining' | 'halted' | 'sealed';
  /** Once halted: the first instant at which nothing was decided. */
  haltedAt: Instant;
  /** The session to give it to. */
  to: string;
}

/** The window in which a shard may be decided now. */
export interface DecisionWindow {
  readonly term: bigint;
  /** Shard time now. */
  readonly at: Instant;
  /** First instant that is not this term's. */
  readonly until: Instant;
}

/** The shards that this process owns, with their clocks and slots (docs/design/coordination.md 2.3). */
export class OwnedShards {
  readonly #shards = new Map<number, ShardOwnership>();
  readonly #horizon: Micros;

  constructor(options: { horizon: Micros }) {
    this.#horizon = options.horizon;
  }

  get size(): number {
    return this.#shards.size;
  }

  get(shard: number): ShardOwnership | undefined {
    return this.#shards.get(shard);
  }

  all(): Iterable<ShardOwnership> {
    return this.#shards.values();
  }

  /** Adds a shard. `record` is this session's and in force; its clock showed `record.clock` at `claimed`. It has no slots before a record of the session contains them. */
  gain(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): ShardOwnership {
    const clock = new ShardClock(inProcess(reading), { ...inProcess(claimed), at: record.clock });
    const ownership: ShardOwnership = {
      shard,
      term: record.term,
      from: record.from,
      revision,
      clock,
      until: DISTANT_PAST,
      phase: 'owned',
      haltedAt: DISTANT_PAST,
      to: '',
    };
    this.#shards.set(shard, ownership);
    return ownership;
  }

  drop(shard: number): void {
    this.#shards.delete(shard);
  }

  /** Returns at which shard time `shard` may be decided now, or undefined if it may not. Nothing else counts: no wall clock, no flag. */
  decisionWindow(shard: number, mono: Micros): DecisionWindow | undefined {
    const ownership = this.#shards.get(shard);
    if (ownership === undefined || ownership.phase === 'halted' || ownership.phase === 'sealed') return undefined;
    const at = ownership.clock.at(mono);
    if (at < ownership.from || at >= ownership.until) return undefined;
    return { term: ownership.term, at, until: ownership.until };
  }

  /** Returns r1 in `term`; DISTANT_PAST if that is not owned, or halted. */
  until(shard: number, term: bigint): Instant {
    const ownership = this.#shards.get(shard);
    if (ownership?.term !== term || ownership.phase === 'halted' || ownership.phase === 'sealed') return DISTANT_PAST;
    return ownership.until;
  }

  /** Returns the entries for the next record of the session: every shard, drained and sealed ones too. */
  entries(reading: ClockReading): readonly OwnedSlots[] {
    return [...this.#shards.values()].map(({ shard, term, clock, until }) => {
      const at = clock.at(reading.mono);
      return { shard, term, at, until: later(until, plus(at, this.#horizon)) };
    });
  }

  /** Returns the entries for the last record: nothing is decided from now on. */
  lastEntries(reading: ClockReading): readonly OwnedSlots[] {
    return [...this.#shards.values()].map(({ shard, term, from, clock }) => {
      const at = clock.at(reading.mono);
      return { shard, term, at, until: later(from, plus(at, 1)) };
    });
  }

  /** Returns the entries of a session that was lost: slots up to `until` may be used. */
  lostEntries(reading: ClockReading): readonly OwnedSlots[] {
    return [...this.#shards.values()].map(({ shard, term, from, clock, until }) => ({ shard, term, at: clock.at(reading.mono), until: later(from, until) }));
  }

  /** Extends the slots by the entries of an acknowledged record. */
  renewed(entries: readonly OwnedSlots[]): void {
    for (const { shard, term, until } of entries) {
      const ownership = this.#shards.get(shard);
      if (ownership?.term === term) ownership.until = later(ownership.until, until);
    }
  }

  /** Adjusts the clocks towards the wall clock. */
  adjust(reading: ClockReading): void {
    for (const { clock } of this.#shards.values()) if (clock.wantsReading(reading.mono)) clock.adjust(inProcess(reading));
  }
}

/** Both readings are of this process, so its clock counts whatever boot id the system has. */
function inProcess(reading: ClockReading): ClockReading {
  return { ...reading, boot: 'process' };
}
