import { DISTANT_PAST, earlier, type Instant, later, type Micros, NEVER } from '../../core/time.ts';
import type { ClockBounds } from '../clocks/clock-bounds.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { Peers } from '../membership/peers.ts';
import type { RegisterValue } from '../registers/registers.ts';
import type { RegisterRequests } from '../registers/requests.ts';
import type { Timing } from '../timing.ts';
import type { CachedOwnership, OwnershipCache } from './ownership-cache.ts';
import {
  encodeOwnership,
  lowerBoundNow,
  nextTermStart,
  nextTermStartAfterLoss,
  type OwnershipRecord,
  ownershipRegister,
  upperBoundNow,
} from './ownership-record.ts';
import { weightOf } from './rendezvous.ts';

/** Callbacks of {@link ShardClaims}. */
export interface ClaimCallbacks {
  /** Returns the live session; shards in its name are its own. */
  session(): string | undefined;
  /** Returns the session to claim for, or undefined if nothing may be claimed now. */
  claimant(mono: Micros): string | undefined;
  /** Returns the number of the configuration that this process runs. */
  revision(): number;
  owns(shard: number): boolean;
  /** Called when the shard belongs to `session`; its clock showed `record.clock` at `claimed`. */
  gained(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): void;
}

/** Dependencies of {@link ShardClaims}. */
export interface ShardClaimsDeps {
  readonly replica: string;
  readonly shards: number;
  readonly timing: Timing;
  readonly requests: RegisterRequests;
  readonly peers: Peers;
  readonly ownershipCache: OwnershipCache;
  readonly clockBounds: ClockBounds;
  readonly callbacks: ClaimCallbacks;
}

/** A shard that can be claimed: its last owner, and since when. */
interface Vacancy {
  readonly from: string;
  readonly since: Micros;
}

/**
 * Finds the owners of the shards, and claims shards whose owner is dead (docs/design/coordination.md 2.4). A claimant reads the register,
 * computes where its term starts from what the dead owner wrote last, and writes by compare-and-set: one of many wins. A claim of
 * its own without a response is found in the register, and adopted.
 */
export class ShardClaims {
  readonly #deps: ShardClaimsDeps;
  readonly #vacancies = new Map<number, Vacancy>();
  readonly #busy = new Set<number>();
  /** The newest term that any replica named. */
  readonly #newestTerms = new Map<number, bigint>();

  constructor(deps: ShardClaimsDeps) {
    this.#deps = deps;
  }

  /** Checks every shard once. */
  tick(reading: ClockReading): void {
    const session = this.#deps.callbacks.claimant(reading.mono);
    for (let shard = 0; shard < this.#deps.shards; shard++) {
      if (this.#busy.has(shard) || this.#deps.callbacks.owns(shard)) continue;
      const cached = this.#deps.ownershipCache.get(shard);
      if (cached === undefined || this.#needsRead(shard, cached, reading.mono)) this.check(shard, reading);
      else if (session !== undefined && this.#mayClaim(shard, cached, reading)) this.check(shard, reading);
    }
  }

  /** Records that a replica reported the shard in this term: a register that shows an older one is read again soon. */
  onTermHeard(shard: number, term: bigint): void {
    if (term > (this.#newestTerms.get(shard) ?? 0n)) this.#newestTerms.set(shard, term);
  }

  /** Reads the register of a shard, and claims the shard if it may. */
  check(shard: number, _reading: ClockReading): void {
    if (this.#busy.has(shard) || this.#deps.callbacks.owns(shard)) return;
    this.#busy.add(shard);
    this.#deps.requests.read(ownershipRegister(shard), (answer, reading) => {
      this.#busy.delete(shard);
      if (answer.kind === 'value') this.#onRead(shard, answer.value, reading);
    });
  }

  #onRead(shard: number, value: RegisterValue | undefined, reading: ClockReading): void {
    const { ownershipCache, peers, callbacks } = this.#deps;
    const cached = ownershipCache.update(shard, value, reading.mono);
    const { record } = cached;
    const mine = record !== undefined && record.owner === callbacks.session();
    if (record !== undefined && !mine) peers.track(record.owner, reading.mono);
    if (callbacks.owns(shard)) return;
    if (mine) return this.adopt(shard, record, cached.revision, reading);
    const session = callbacks.claimant(reading.mono);
    if (session !== undefined && this.#mayClaim(shard, cached, reading)) this.#claim(shard, cached, session, reading);
  }

  /**
   * Takes a shard that is this session's already, by a claim without a response or by a handoff. Its clock continues from the
   * record. If the record has an agreed time and this process has none, it claims a term of its own, so that no replica
   * takes this clock for one that ran on since.
   */
  adopt(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void {
    const cached = this.#deps.ownershipCache.get(shard);
    if (record.wall === undefined || reading.agreed !== undefined) {
      return this.#deps.callbacks.gained(shard, { ...record, clock: this.#clockOf(shard, record, reading) }, revision, reading, reading);
    }
    if (cached?.record?.term === record.term && !this.#busy.has(shard)) this.#claim(shard, cached, record.owner, reading);
  }

  /** Returns the clock to start from. A bound of the previous term's clock bounds this one too, as no process had this one yet; but never above what other replicas derive from the record. */
  #clockOf(shard: number, record: OwnershipRecord, { mono, agreed }: ClockReading): Instant {
    const observation = { at: record.clock, wall: record.wall };
    const least = lowerBoundNow(observation, agreed);
    const bound = this.#deps.clockBounds.bound(shard, record.term - 1n, mono);
    return bound === undefined ? least : later(least, earlier(bound, record.wall === undefined ? NEVER : upperBoundNow(observation, agreed)));
  }

  #claim(shard: number, cached: CachedOwnership, session: string, claimed: ClockReading): void {
    const { requests, ownershipCache, callbacks } = this.#deps;
    const record = this.#nextRecord(shard, cached, session, claimed);
    if (record === undefined) return;
    const bytes = encodeOwnership(record);
    this.#busy.add(shard);
    requests.change(ownershipRegister(shard), bytes, cached.revision, (answer, reading) => {
      this.#busy.delete(shard);
      if (answer.kind !== 'changed') {
        cached.checkedAt = Number.NEGATIVE_INFINITY;
        return;
      }
      this.#vacancies.delete(shard);
      ownershipCache.update(shard, { revision: answer.revision, bytes }, reading.mono);
      if (callbacks.claimant(reading.mono) === session) callbacks.gained(shard, record, answer.revision, claimed, reading);
    });
  }

  /** Returns the record of the next term. The first term starts from the wall clock. */
  #nextRecord(shard: number, { record }: CachedOwnership, owner: string, reading: ClockReading): OwnershipRecord | undefined {
    const { mono, wall, agreed } = reading;
    if (record === undefined) return { term: 1n, owner, from: DISTANT_PAST, clock: Math.floor(wall) as typeof DISTANT_PAST, wall: agreed };
    const term = record.term + 1n;
    if (record.owner === owner) return { term, owner, from: record.from, clock: this.#clockOf(shard, { ...record, wall: undefined }, reading), wall: agreed };
    const peer = this.#deps.peers.get(record.owner);
    const ended = peer?.ended ?? { own: [] };
    const bound = this.#deps.clockBounds.bound(shard, record.term, mono);
    const entry = peer?.own.find((own) => own.shard === shard && own.term === record.term);
    const reported = entry && { at: entry.at, wall: peer?.wall };
    const inherited = { shard, record, ended, bound, reported, agreed, horizon: this.#deps.timing.horizon };
    const next = ended.lost === undefined ? nextTermStart(inherited) : nextTermStartAfterLoss(inherited);
    return next && { term, owner, ...next, wall: agreed };
  }

  /** Returns true if no replica reports the shard as its own and its register is due to be read: its owner is silent, or the shard is being given away. */
  #needsRead(shard: number, cached: CachedOwnership, mono: Micros): boolean {
    const { record, checkedAt } = cached;
    const { timing } = this.#deps;
    const old = (record?.term ?? 0n) < (this.#newestTerms.get(shard) ?? 0n);
    if (mono - checkedAt < (old ? timing.rankDelay : timing.sweepEvery)) return false;
    if (old) return true;
    if (record === undefined) return true;
    const owner = this.#deps.peers.get(record.owner);
    if (owner === undefined) return true;
    if (owner.ended !== undefined) return false;
    // The last heartbeat of a silent owner proves nothing about now: the shard may have moved on.
    if (mono - owner.heardAt > timing.suspectAfter) return true;
    return owner.terms.get(shard) !== record.term;
  }

  /** Returns true if the owner has ended for ever, or there never was one, and the delay of this replica's rank has passed. */
  #mayClaim(shard: number, { record }: CachedOwnership, { mono, agreed }: ClockReading): boolean {
    const { peers, timing } = this.#deps;
    const owner = record && peers.get(record.owner);
    if (record !== undefined && owner?.ended === undefined) {
      this.#vacancies.delete(shard);
      return false;
    }
    if (owner?.mine) return true;
    if (owner?.ended?.lost !== undefined && agreed === undefined) return false;
    const from = record?.owner ?? '';
    let vacancy = this.#vacancies.get(shard);
    if (vacancy?.from !== from) {
      vacancy = { from, since: mono };
      this.#vacancies.set(shard, vacancy);
    }
    return mono - vacancy.since >= this.#rank(shard, mono) * timing.rankDelay;
  }

  /** Returns how many replicas that accept shards come before this one: all of a newer configuration, and those of the same one that rank higher. */
  #rank(shard: number, mono: Micros): number {
    const { peers, timing, replica, callbacks } = this.#deps;
    const own = weightOf(String(shard), replica);
    const revision = callbacks.revision();
    let before = 0;
    for (const peer of peers.live(mono, timing.suspectAfter)) {
      if (!peer.acceptsShards || peer.revision.number < revision || peer.replica === replica) continue;
      if (peer.revision.number > revision || weightOf(String(shard), peer.replica) > own) before++;
    }
    return before;
  }
}
