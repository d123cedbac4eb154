import { SECOND } from '../../core/time.ts';
import type { ClockReading } from '../clocks/shard-clock.ts';
import type { OwnershipCache } from '../ownership/ownership-cache.ts';
import { rendezvous } from '../ownership/rendezvous.ts';
import type { ReadResponse, RegisterRequests } from '../registers/requests.ts';
import type { Timing } from '../timing.ts';
import type { Peer, Peers } from './peers.ts';
import { decodeSession, encodeSession, type SessionRecord, sessionRegister } from './session-record.ts';

/** What revocations are made from. */
export interface RevocationDeps {
  readonly replica: string;
  readonly timing: Timing;
  readonly requests: RegisterRequests;
  readonly peers: Peers;
  readonly ownershipCache: OwnershipCache;
}

/**
 * Ends sessions that have stopped renewing (docs/design/coordination.md 2.4). Reads the register first: a number that is new shows that
 * the session lives. Then sets the record that was read to `revoked`, by compare-and-set: success proves that it was the last one,
 * and that no later renewal can ever be acknowledged.
 */
export class Revocation {
  readonly #deps: RevocationDeps;

  constructor(deps: RevocationDeps) {
    this.#deps = deps;
  }

  /** Checks the silent owners, once the delay of this replica's rank among live replicas has passed; `own` is skipped. */
  tick(own: string | undefined, live: readonly Peer[], reading: ClockReading): void {
    const { replica, peers, ownershipCache, timing } = this.#deps;
    for (const owner of ownershipCache.owners()) {
      if (owner === own) continue;
      const peer = peers.track(owner, reading.mono);
      if (peer.ended !== undefined || (!peer.mine && reading.mono - peer.heardAt <= timing.suspectAfter)) continue;
      const rank = rendezvous(owner, [replica, ...live.map((other) => other.replica)]).indexOf(replica);
      this.suspect(peer, rank, reading);
    }
  }

  /** Reads the register of a silent session once the delay of this replica's `rank` in its order has passed. */
  suspect(peer: Peer, rank: number, reading: ClockReading): void {
    const { timing, requests } = this.#deps;
    const { mono } = reading;
    if (peer.ended !== undefined || peer.trying) return;
    if (!peer.mine && mono - peer.heardAt <= timing.suspectAfter + rank * timing.rankDelay) return;
    if (mono - peer.triedAt < timing.rankDelay) return;
    peer.triedAt = mono;
    peer.trying = true;
    const { heardAt } = peer;
    requests.read(sessionRegister(peer.session), (answer, then) => {
      peer.trying = false;
      // A heartbeat received meanwhile may contain the number that is read here: then the number is not new, though the session lives. After a cut, reads and heartbeats arrive at the same time.
      if (peer.heardAt === heardAt) this.#read(peer, answer, then);
    });
  }

  #read(peer: Peer, answer: ReadResponse, reading: ClockReading): void {
    if (answer.kind !== 'value') return;
    if (answer.value === undefined) return this.#writeTombstone(peer, 0, reading);
    const record = decodeSession(answer.value.bytes);
    peer.tombstoned = record.lost !== undefined;
    if (record.lost === 'alleged') return this.#writeTombstone(peer, answer.value.revision, reading);
    if (record.state !== 'live') {
      this.#deps.peers.end(peer.session, record, reading.mono);
      return;
    }
    if (record.n > peer.n) {
      peer.n = record.n;
      peer.heardAt = reading.mono;
      return;
    }
    const { requests, peers } = this.#deps;
    const bytes = encodeSession({ ...record, state: 'revoked' });
    peer.trying = true;
    requests.change(sessionRegister(peer.session), bytes, answer.value.revision, (changed, then) => {
      peer.trying = false;
      if (changed.kind === 'changed') peers.end(peer.session, record, then.mono);
    });
  }

  /**
   * Writes a tombstone for a lost record, which does not show how far its session's slots went. The session can then
   * never be renewed. Writes it again H and a second later: if that works, nothing was renewed since, not even over a
   * stream that was created anew and gave numbers twice. Then the session has ended, and its slots have passed.
   */
  #writeTombstone(peer: Peer, revision: number, reading: ClockReading): void {
    const { requests, peers, timing } = this.#deps;
    const { mono } = reading;
    peer.tombstoned = true;
    if (revision !== 0 && peer.tombstone?.revision !== revision) peer.tombstone = { revision, since: mono };
    const sure = peer.tombstone !== undefined && revision !== 0 && mono - peer.tombstone.since > timing.horizon + SECOND;
    if (reading.agreed === undefined || (revision !== 0 && !sure)) return;
    const { replica, instance, n } = peer;
    const record: SessionRecord = { replica, instance, n: Math.max(n, 0), state: 'revoked', own: [], lost: sure ? 'surely' : 'alleged' };
    peer.trying = true;
    requests.change(sessionRegister(peer.session), encodeSession(record), revision, (changed, then) => {
      peer.trying = false;
      if (changed.kind !== 'changed') return;
      if (sure) peers.end(peer.session, record, then.mono);
      else peer.tombstone = { revision: changed.revision, since: then.mono };
    });
  }
}
