import { later, type Micros, plus } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { ChangeResponse, RegisterRequests } from '../registers/requests.ts';
import type { OwnedShards, ShardOwnership } from './owned-shards.ts';
import type { OwnershipCache } from './ownership-cache.ts';
import { encodeOwnership, type OwnershipRecord, ownershipRegister } from './ownership-record.ts';

/** Whom hand-overs are made for. */
export interface HandoffCallbacks {
  /** Stop deciding for this shard, say `halt`, write its exact state where the next term reads it, then say `sealed`. */
  seal(hold: ShardOwnership): void;
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
  readonly #parts: { readonly questions: RegisterRequests; readonly ownedShards: OwnedShards; readonly views: OwnershipCache; readonly host: HandoffCallbacks };
  readonly #asking = new Set<number>();

  constructor(parts: { questions: RegisterRequests; ownedShards: OwnedShards; views: OwnershipCache; host: HandoffCallbacks }) {
    this.#parts = parts;
  }

  /** Begins to give `shard` to the session `to`. */
  start(shard: number, to: string): void {
    const hold = this.#parts.ownedShards.get(shard);
    if (hold === undefined || hold.phase !== 'owned') return;
    hold.phase = 'draining';
    hold.to = to;
    this.#parts.host.seal(hold);
  }

  /** Nothing more is decided in this term, from this moment on: there is no right to any more. */
  halt(shard: number, term: bigint, reading: ClockReading): void {
    const hold = this.#parts.ownedShards.get(shard);
    if (hold?.term !== term || hold.phase !== 'draining') return;
    hold.phase = 'halted';
    hold.haltedAt = plus(hold.clock.at(reading.mono), 1);
  }

  /** The state, as it was when it halted, is where the next term reads it; or it could not be written, and the next term starts from the worst. */
  sealed(shard: number, term: bigint, reading: ClockReading): void {
    this.halt(shard, term, reading);
    const hold = this.#parts.ownedShards.get(shard);
    if (hold?.term !== term || hold.phase !== 'halted') return;
    hold.phase = 'sealed';
    this.#move(hold, reading);
  }

  /** Tries again what is sealed and not moved yet. */
  tick(reading: ClockReading): void {
    for (const hold of this.#parts.ownedShards.all()) if (hold.phase === 'sealed') this.#move(hold, reading);
  }

  #move(hold: ShardOwnership, reading: ClockReading): void {
    const { shard } = hold;
    if (this.#asking.has(shard)) return;
    const { host, questions } = this.#parts;
    const owner = host.receiver(hold.to, reading.mono);
    if (owner === undefined) return;
    const record: OwnershipRecord = {
      term: hold.term + 1n,
      owner,
      from: later(hold.from, hold.haltedAt),
      clock: hold.clock.at(reading.mono),
      wall: reading.agreed,
    };
    const bytes = encodeOwnership(record);
    this.#asking.add(shard);
    questions.change(ownershipRegister(shard), bytes, hold.revision, (answer, then) => {
      this.#asking.delete(shard);
      this.#changed(hold, { record, bytes }, answer, then);
    });
  }

  #changed(hold: ShardOwnership, made: { record: OwnershipRecord; bytes: Uint8Array }, answer: ChangeResponse, reading: ClockReading): void {
    const { shard } = hold;
    const { ownedShards, views, host } = this.#parts;
    if (ownedShards.get(shard) !== hold) return;
    if (answer.kind !== 'changed') return this.#look(hold);
    views.see(shard, { revision: answer.revision, bytes: made.bytes }, reading.mono);
    host.moved(shard, made.record, answer.revision, reading);
  }

  /** Perhaps it was written after all: by this process, or by who took the shard. */
  #look(hold: ShardOwnership): void {
    const { shard } = hold;
    const { questions, ownedShards, views, host } = this.#parts;
    this.#asking.add(shard);
    questions.read(ownershipRegister(shard), (answer, reading) => {
      this.#asking.delete(shard);
      if (ownedShards.get(shard) !== hold || answer.kind !== 'value') return;
      const { record, revision } = views.see(shard, answer.value, reading.mono);
      if (record !== undefined && record.term > hold.term) host.moved(shard, record, revision, reading);
    });
  }
}
