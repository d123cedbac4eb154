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

/** Whom the claims are made for. */
export interface ClaimCallbacks {
  /** The session that lives; what is in its name already is its own. */
  session(): string | undefined;
  /** The session to claim for; undefined: not now. */
  claimant(mono: Micros): string | undefined;
  /** Of the configuration that this process runs by. */
  revision(): number;
  owns(shard: number): boolean;
  /** The shard is `session`'s: its clock showed `record.clock` at `claimed`. */
  gained(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): void;
}

/** What the claims are made from. */
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

/** A shard that could be had, since when, from whom. */
interface Vacancy {
  readonly from: string;
  readonly since: Micros;
}

/**
 * Finds out who owns the shards, and takes those whose owner is dead (docs/design/coordination.md 2.4). A taker reads the register, works
 * out where its term begins from what the dead owner wrote last, and writes by compare-and-set: one of many wins. A claim of
 * its own whose answer never came is found in the register, and adopted.
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

  /** Looks at every shard once. */
  tick(reading: ClockReading): void {
    const session = this.#deps.callbacks.claimant(reading.mono);
    for (let shard = 0; shard < this.#deps.shards; shard++) {
      if (this.#busy.has(shard) || this.#deps.callbacks.owns(shard)) continue;
      const cached = this.#deps.ownershipCache.get(shard);
      if (cached === undefined || this.#needsRead(shard, cached, reading.mono)) this.check(shard, reading);
      else if (session !== undefined && this.#mayClaim(shard, cached, reading)) this.check(shard, reading);
    }
  }

  /** A replica says that the shard is in this term: a register that shows an older one is read again soon. */
  onTermHeard(shard: number, term: bigint): void {
    if (term > (this.#newestTerms.get(shard) ?? 0n)) this.#newestTerms.set(shard, term);
  }

  /** Reads the register of a shard, and claims it if it is to be had. */
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
   * A shard that is this session's already: by a claim whose answer never came, or handed over. Its clock goes on from the
   * record; where the record says when that was and this process cannot tell how long ago, it makes a term of its own, so that
   * nobody takes this clock for one that went on since.
   */
  adopt(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void {
    const cached = this.#deps.ownershipCache.get(shard);
    if (record.wall === undefined || reading.agreed !== undefined) {
      return this.#deps.callbacks.gained(shard, { ...record, clock: this.#clockOf(shard, record, reading) }, revision, reading, reading);
    }
    if (cached?.record?.term === record.term && !this.#busy.has(shard)) this.#claim(shard, cached, record.owner, reading);
  }

  /** What is known of the clock of the term before bounds this one's too, as no process had this one's yet; but never more than the record tells others. */
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

  /** The next term. The first one begins with the wall clock, since there is nothing to go on from. */
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

  /** No replica claims to have it: a claim of whom we do not hear, or a shard on its way. */
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
    // What a silent one said last says nothing about now: the shard may have gone on from there.
    if (mono - owner.heardAt > timing.suspectAfter) return true;
    return owner.terms.get(shard) !== record.term;
  }

  /** Its owner is dead for ever, or there never was one, and it is this replica's turn among those that live. */
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

  /** How many of those that take shards come before this replica: all of a newer configuration, of the same one those that rank higher. */
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
