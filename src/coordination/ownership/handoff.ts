import { later, type Micros, plus } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, RegisterRequests } from '../registers/requests.ts';
import type { OwnedShards, ShardOwnership } from './owned-shards.ts';
import type { OwnershipCache } from './ownership-cache.ts';
import { encodeOwnership, type OwnershipRecord, ownershipRegister } from './ownership-record.ts';

/** Callbacks of {@link Handoff}. */
export interface HandoffCallbacks {
  /** Stops decisions for this shard and calls `halt`, writes its exact state where the next term reads it, then calls `sealed`. */
  seal(ownership: ShardOwnership): void;
  /** Returns the session to give to: `session` while it lives, else another, which may be this process's own; undefined if there is none yet. */
  receiver(session: string, mono: Micros): string | undefined;
  /** Called when the shard belongs to `record.owner`, which may be this process, in a new term. */
  moved(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void;
}

/**
 * Gives shards away in order (docs/design/coordination.md 2.8, drain and rebalance): the owner stops, and makes the next term itself, so
 * that the receiver begins where it stopped and no replica waits for slots. Once sealed there is no way back into the old term:
 * whatever becomes of the change, it is tried until some next term is in the register.
 */
export class Handoff {
  readonly #deps: {
    readonly requests: RegisterRequests;
    readonly ownedShards: OwnedShards;
    readonly ownershipCache: OwnershipCache;
    readonly callbacks: HandoffCallbacks;
  };
  readonly #busy = new Set<number>();

  constructor(deps: { requests: RegisterRequests; ownedShards: OwnedShards; ownershipCache: OwnershipCache; callbacks: HandoffCallbacks }) {
    this.#deps = deps;
  }

  /** Begins to give `shard` to the session `to`. */
  start(shard: number, to: string): void {
    const ownership = this.#deps.ownedShards.get(shard);
    if (ownership === undefined || ownership.phase !== 'owned') return;
    ownership.phase = 'draining';
    ownership.to = to;
    this.#deps.callbacks.seal(ownership);
  }

  /** Stops decisions in this term. */
  halt(shard: number, term: bigint, reading: ClockReading): void {
    const ownership = this.#deps.ownedShards.get(shard);
    if (ownership?.term !== term || ownership.phase !== 'draining') return;
    ownership.phase = 'halted';
    ownership.haltedAt = plus(ownership.clock.at(reading.mono), 1);
  }

  /** Moves the shard. Its state is where the next term reads it; or it could not be written, and the next term assumes the most that may have been used. */
  sealed(shard: number, term: bigint, reading: ClockReading): void {
    this.halt(shard, term, reading);
    const ownership = this.#deps.ownedShards.get(shard);
    if (ownership?.term !== term || ownership.phase !== 'halted') return;
    ownership.phase = 'sealed';
    this.#move(ownership, reading);
  }

  /** Retries shards that are sealed and not moved yet. */
  tick(reading: ClockReading): void {
    for (const ownership of this.#deps.ownedShards.all()) if (ownership.phase === 'sealed') this.#move(ownership, reading);
  }

  #move(ownership: ShardOwnership, reading: ClockReading): void {
    const { shard } = ownership;
    if (this.#busy.has(shard)) return;
    const { callbacks, requests } = this.#deps;
    const owner = callbacks.receiver(ownership.to, reading.mono);
    if (owner === undefined) return;
    const record: OwnershipRecord = {
      term: ownership.term + 1n,
      owner,
      from: later(ownership.from, ownership.haltedAt),
      clock: ownership.clock.at(reading.mono),
      wall: reading.agreed,
    };
    const bytes = encodeOwnership(record);
    this.#busy.add(shard);
    requests.change(ownershipRegister(shard), bytes, ownership.revision, (answer, then) => {
      this.#busy.delete(shard);
      this.#onChanged(ownership, { record, bytes }, answer, then);
    });
  }

  #onChanged(ownership: ShardOwnership, made: { record: OwnershipRecord; bytes: Uint8Array }, answer: ChangeResponse, reading: ClockReading): void {
    const { shard } = ownership;
    const { ownedShards, ownershipCache, callbacks } = this.#deps;
    if (ownedShards.get(shard) !== ownership) return;
    if (answer.kind !== 'changed') return this.#reload(ownership);
    ownershipCache.update(shard, { revision: answer.revision, bytes: made.bytes }, reading.mono);
    callbacks.moved(shard, made.record, answer.revision, reading);
  }

  /** Reads the register: the record may be written after all, by this process or by the one that took the shard. */
  #reload(ownership: ShardOwnership): void {
    const { shard } = ownership;
    const { requests, ownedShards, ownershipCache, callbacks } = this.#deps;
    this.#busy.add(shard);
    requests.read(ownershipRegister(shard), (answer, reading) => {
      this.#busy.delete(shard);
      if (ownedShards.get(shard) !== ownership || answer.kind !== 'value') return;
      const { record, revision } = ownershipCache.update(shard, answer.value, reading.mono);
      if (record !== undefined && record.term > ownership.term) callbacks.moved(shard, record, revision, reading);
    });
  }
}
