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
  holds(shard: number): boolean;
  /** The shard is `session`'s: its clock showed `record.clock` at `claimed`. */
  gained(shard: number, record: OwnershipRecord, revision: number, claimed: ClockReading, reading: ClockReading): void;
}

/** What the claims are made from. */
export interface ShardClaimsDeps {
  readonly replica: string;
  readonly shards: number;
  readonly timing: Timing;
  readonly questions: RegisterRequests;
  readonly peers: Peers;
  readonly views: OwnershipCache;
  readonly evidence: ClockBounds;
  readonly host: ClaimCallbacks;
}

/** A shard that could be had, since when, from whom. */
interface Chance {
  readonly from: string;
  readonly since: Micros;
}

/**
 * Finds out who owns the shards, and takes those whose owner is dead (docs/design/coordination.md 2.4). A taker reads the register, works
 * out where its term begins from what the dead owner wrote last, and writes by compare-and-set: one of many wins. A claim of
 * its own whose answer never came is found in the register, and adopted.
 */
export class ShardClaims {
  readonly #parts: ShardClaimsDeps;
  readonly #chances = new Map<number, Chance>();
  readonly #busy = new Set<number>();
  /** The newest term that any replica named. */
  readonly #spokenOf = new Map<number, bigint>();

  constructor(parts: ShardClaimsDeps) {
    this.#parts = parts;
  }

  /** Looks at every shard once. */
  tick(reading: ClockReading): void {
    const session = this.#parts.host.claimant(reading.mono);
    for (let shard = 0; shard < this.#parts.shards; shard++) {
      if (this.#busy.has(shard) || this.#parts.host.holds(shard)) continue;
      const view = this.#parts.views.get(shard);
      if (view === undefined || this.#unclaimed(shard, view, reading.mono)) this.check(shard, reading);
      else if (session !== undefined && this.#turn(shard, view, reading)) this.check(shard, reading);
    }
  }

  /** A replica says that the shard is in this term: a register that shows an older one is read again soon. */
  onTermHeard(shard: number, term: bigint): void {
    if (term > (this.#spokenOf.get(shard) ?? 0n)) this.#spokenOf.set(shard, term);
  }

  /** Reads the register of a shard, and claims it if it is to be had. */
  check(shard: number, _reading: ClockReading): void {
    if (this.#busy.has(shard) || this.#parts.host.holds(shard)) return;
    this.#busy.add(shard);
    this.#parts.questions.read(ownershipRegister(shard), (answer, reading) => {
      this.#busy.delete(shard);
      if (answer.kind === 'value') this.#seen(shard, answer.value, reading);
    });
  }

  #seen(shard: number, value: RegisterValue | undefined, reading: ClockReading): void {
    const { views, peers, host } = this.#parts;
    const view = views.see(shard, value, reading.mono);
    const { record } = view;
    const mine = record !== undefined && record.owner === host.session();
    if (record !== undefined && !mine) peers.track(record.owner, reading.mono);
    if (host.holds(shard)) return;
    if (mine) return this.adopt(shard, record, view.revision, reading);
    const session = host.claimant(reading.mono);
    if (session !== undefined && this.#turn(shard, view, reading)) this.#claim(shard, view, session, reading);
  }

  /**
   * A shard that is this session's already: by a claim whose answer never came, or handed over. Its clock goes on from the
   * record; where the record says when that was and this process cannot tell how long ago, it makes a term of its own, so that
   * nobody takes this clock for one that went on since.
   */
  adopt(shard: number, record: OwnershipRecord, revision: number, reading: ClockReading): void {
    const view = this.#parts.views.get(shard);
    if (record.wall === undefined || reading.agreed !== undefined) {
      return this.#parts.host.gained(shard, { ...record, clock: this.#clockOf(shard, record, reading) }, revision, reading, reading);
    }
    if (view?.record?.term === record.term && !this.#busy.has(shard)) this.#claim(shard, view, record.owner, reading);
  }

  /** What is known of the clock of the term before bounds this one's too, as no process had this one's yet; but never more than the record tells others. */
  #clockOf(shard: number, record: OwnershipRecord, { mono, agreed }: ClockReading): Instant {
    const sighting = { at: record.clock, wall: record.wall };
    const least = lowerBoundNow(sighting, agreed);
    const heard = this.#parts.evidence.bound(shard, record.term - 1n, mono);
    return heard === undefined ? least : later(least, earlier(heard, record.wall === undefined ? NEVER : upperBoundNow(sighting, agreed)));
  }

  #claim(shard: number, view: CachedOwnership, session: string, claimed: ClockReading): void {
    const { questions, views, host } = this.#parts;
    const record = this.#next(shard, view, session, claimed);
    if (record === undefined) return;
    const bytes = encodeOwnership(record);
    this.#busy.add(shard);
    questions.change(ownershipRegister(shard), bytes, view.revision, (answer, reading) => {
      this.#busy.delete(shard);
      if (answer.kind !== 'changed') {
        view.checkedAt = Number.NEGATIVE_INFINITY;
        return;
      }
      this.#chances.delete(shard);
      views.see(shard, { revision: answer.revision, bytes }, reading.mono);
      if (host.claimant(reading.mono) === session) host.gained(shard, record, answer.revision, claimed, reading);
    });
  }

  /** The next term. The first one begins with the wall clock, since there is nothing to go on from. */
  #next(shard: number, { record }: CachedOwnership, owner: string, reading: ClockReading): OwnershipRecord | undefined {
    const { mono, wall, agreed } = reading;
    if (record === undefined) return { term: 1n, owner, from: DISTANT_PAST, clock: Math.floor(wall) as typeof DISTANT_PAST, wall: agreed };
    const term = record.term + 1n;
    if (record.owner === owner) return { term, owner, from: record.from, clock: this.#clockOf(shard, { ...record, wall: undefined }, reading), wall: agreed };
    const peer = this.#parts.peers.get(record.owner);
    const ended = peer?.ended ?? { own: [] };
    const heard = this.#parts.evidence.bound(shard, record.term, mono);
    const entry = peer?.own.find((own) => own.shard === shard && own.term === record.term);
    const said = entry && { at: entry.at, wall: peer?.wall };
    const inherited = { shard, record, ended, heard, said, agreed, horizon: this.#parts.timing.horizon };
    const next = ended.lost === undefined ? nextTermStart(inherited) : nextTermStartAfterLoss(inherited);
    return next && { term, owner, ...next, wall: agreed };
  }

  /** No replica claims to have it: a claim of whom we do not hear, or a shard on its way. */
  #unclaimed(shard: number, view: CachedOwnership, mono: Micros): boolean {
    const { record, checkedAt } = view;
    const { timing } = this.#parts;
    const old = (record?.term ?? 0n) < (this.#spokenOf.get(shard) ?? 0n);
    if (mono - checkedAt < (old ? timing.rankDelay : timing.sweepEvery)) return false;
    if (old) return true;
    if (record === undefined) return true;
    const owner = this.#parts.peers.get(record.owner);
    if (owner === undefined) return true;
    if (owner.ended !== undefined) return false;
    // What a silent one said last says nothing about now: the shard may have gone on from there.
    if (mono - owner.heardAt > timing.suspectAfter) return true;
    return owner.terms.get(shard) !== record.term;
  }

  /** Its owner is dead for ever, or there never was one, and it is this replica's turn among those that live. */
  #turn(shard: number, { record }: CachedOwnership, { mono, agreed }: ClockReading): boolean {
    const { peers, timing } = this.#parts;
    const owner = record && peers.get(record.owner);
    if (record !== undefined && owner?.ended === undefined) {
      this.#chances.delete(shard);
      return false;
    }
    if (owner?.mine) return true;
    if (owner?.ended?.lost !== undefined && agreed === undefined) return false;
    const from = record?.owner ?? '';
    let chance = this.#chances.get(shard);
    if (chance?.from !== from) {
      chance = { from, since: mono };
      this.#chances.set(shard, chance);
    }
    return mono - chance.since >= this.#delayFor(shard, mono) * timing.rankDelay;
  }

  /** How many of those that take shards come before this replica: all of a newer configuration, of the same one those that rank higher. */
  #delayFor(shard: number, mono: Micros): number {
    const { peers, timing, replica, host } = this.#parts;
    const own = weightOf(String(shard), replica);
    const revision = host.revision();
    let before = 0;
    for (const peer of peers.live(mono, timing.suspectAfter)) {
      if (!peer.acceptsShards || peer.revision.number < revision || peer.replica === replica) continue;
      if (peer.revision.number > revision || weightOf(String(shard), peer.replica) > own) before++;
    }
    return before;
  }
}
