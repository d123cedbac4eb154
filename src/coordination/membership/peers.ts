import type { Micros } from '../../core/time.ts';
import type { Heartbeat, OwnedSlots, Revision, SessionRecord } from './session-record.ts';

/** The last record of a session that has ended for ever. */
export type FinalRecord = Pick<SessionRecord, 'own' | 'wall' | 'lost'>;

/** A session of another process, or an earlier one of this process. */
export interface Peer {
  readonly session: string;
  /** '' until its first heartbeat. */
  replica: string;
  instance: string;
  /** The largest number seen, in a heartbeat or in its register; -1: none. */
  n: number;
  /** When that number was first seen, on the own clock. */
  heardAt: Micros;
  own: readonly OwnedSlots[];
  /** The terms of `own`, by shard. */
  terms: ReadonlyMap<number, bigint>;
  /** The agreed time of that heartbeat. */
  wall: Micros | undefined;
  revision: Revision;
  /** Shards may be given to it, and it claims those of dead replicas. */
  acceptsShards: boolean;
  /** Its last record, once it has ended for ever. */
  ended: FinalRecord | undefined;
  /** Its record is lost. */
  tombstoned: boolean;
  /** The record that was written in place of a lost one: its revision, and when it was first seen. */
  tombstone: { readonly revision: number; readonly since: Micros } | undefined;
  /** A session of this process: it is revoked without waiting for other replicas. */
  mine: boolean;
  /** When its register was last read to revoke it, and whether a request for that is open. */
  triedAt: Micros;
  trying: boolean;
}

/** A session is remembered for this long after its last heartbeat, and while it owns a shard. */
const REMEMBER_FOR: Micros = 60_000_000;

/** All sessions that this process knows of, except its own live one. */
export class Peers {
  readonly #peers = new Map<string, Peer>();

  get(session: string): Peer | undefined {
    return this.#peers.get(session);
  }

  all(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** Returns the peer of a session, and creates it if it is new. */
  track(session: string, mono: Micros): Peer {
    let peer = this.#peers.get(session);
    if (peer === undefined) {
      const never = Number.NEGATIVE_INFINITY;
      const revision = { number: 0, hash: '' };
      const silent = { replica: '', instance: '', n: -1, heardAt: mono, own: [], terms: new Map(), wall: undefined, revision, acceptsShards: false };
      peer = { session, ...silent, ended: undefined, tombstoned: false, tombstone: undefined, mine: false, triedAt: never, trying: false };
      this.#peers.set(session, peer);
    }
    return peer;
  }

  /** Handles a heartbeat. Returns undefined if it is an old one. */
  onHeartbeat(heartbeat: Heartbeat, mono: Micros): Peer | undefined {
    const peer = this.track(heartbeat.session, mono);
    if (heartbeat.n < peer.n && peer.replica !== '') return undefined;
    peer.replica = heartbeat.replica;
    peer.instance = heartbeat.instance;
    if (heartbeat.n <= peer.n) return undefined;
    peer.n = heartbeat.n;
    peer.heardAt = mono;
    peer.own = heartbeat.own;
    peer.wall = heartbeat.wall;
    peer.terms = new Map(heartbeat.own.map(({ shard, term }) => [shard, term]));
    peer.revision = heartbeat.revision;
    peer.acceptsShards = heartbeat.acceptsShards;
    return peer;
  }

  /** Records that a session has ended for ever: no renewal of it can be acknowledged again. */
  end(session: string, last: FinalRecord, mono: Micros): Peer {
    const peer = this.track(session, mono);
    peer.ended ??= last;
    return peer;
  }

  /** Returns the peers with a heartbeat within `within`, one session for each replica: the one heard from last. */
  live(mono: Micros, within: Micros): readonly Peer[] {
    const byReplica = new Map<string, Peer>();
    for (const peer of this.#peers.values()) {
      if (peer.ended !== undefined || peer.mine || peer.replica === '' || mono - peer.heardAt > within) continue;
      const other = byReplica.get(peer.replica);
      if (other === undefined || other.heardAt < peer.heardAt) byReplica.set(peer.replica, peer);
    }
    return [...byReplica.values()];
  }

  /** Forgets sessions that ended long ago and own no shard. */
  forget(mono: Micros, named: (session: string) => boolean): void {
    for (const peer of this.#peers.values()) {
      if (mono - peer.heardAt > REMEMBER_FOR && !peer.trying && !named(peer.session)) this.#peers.delete(peer.session);
    }
  }
}
