import { later, type Micros, plus } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, RegisterRequests } from '../registers/requests.ts';
import type { OwnedShards, ShardOwnership } from './owned-shards.ts';
import type { OwnershipCache } from './ownership-cache.ts';
import { encodeOwnership, type OwnershipRecord, ownershipRegister } from './ownership-record.ts';

/** Whom hand-overs are made for. */
export interface HandoffCallbacks {
  /** Stop deciding for this shard, say `halt`, write its exact state where the next term reads it, then say `sealed`. */
  seal(ownership: ShardOwnership): void;
  /** Who gets what was meant for `session`: that one while it lives, else another, this process's own in a new term too; undefined: none yet. */
  receiver(session: string, mono: Micros): string | undefined;
  /** The shard is now of `record.owner`, who may be this process itself, in a new term. */
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

  /** Nothing more is decided in this term, from this moment on: there is no right to any more. */
  halt(shard: number, term: bigint, reading: ClockReading): void {
    const ownership = this.#deps.ownedShards.get(shard);
    if (ownership?.term !== term || ownership.phase !== 'draining') return;
    ownership.phase = 'halted';
    ownership.haltedAt = plus(ownership.clock.at(reading.mono), 1);
  }

  /** The state, as it was when it halted, is where the next term reads it; or it could not be written, and the next term starts from the worst. */
  sealed(shard: number, term: bigint, reading: ClockReading): void {
    this.halt(shard, term, reading);
    const ownership = this.#deps.ownedShards.get(shard);
    if (ownership?.term !== term || ownership.phase !== 'halted') return;
    ownership.phase = 'sealed';
    this.#move(ownership, reading);
  }

  /** Tries again what is sealed and not moved yet. */
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

  /** Perhaps it was written after all: by this process, or by who took the shard. */
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
