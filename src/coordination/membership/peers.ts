import type { Micros } from '../../core/time.ts';
import type { Heartbeat, OwnedSlots, Revision, SessionRecord } from './session-record.ts';

/** The last that is known of a session that is dead for ever. */
export type FinalRecord = Pick<SessionRecord, 'own' | 'wall' | 'lost'>;

/** What is known of a session of another process, or of an earlier one of this process. */
export interface Peer {
  readonly session: string;
  /** '' until it was heard. */
  replica: string;
  instance: string;
  /** The largest number seen, in a heartbeat or in its register; -1: none. */
  n: number;
  /** When that number was first seen, on the own clock. */
  heardAt: Micros;
  own: readonly OwnedSlots[];
  /** The terms of `own`, by shard. */
  terms: ReadonlyMap<number, bigint>;
  /** The agreed time when it said so. */
  wall: Micros | undefined;
  revision: Revision;
  /** Shards may be given to it, and it takes those of the dead. */
  acceptsShards: boolean;
  /** Its last record, once it is dead for ever. */
  ended: FinalRecord | undefined;
  /** Its record is lost. */
  tombstoned: boolean;
  /** What was put in the place of its record: that one's revision, and when it was first seen. */
  tombstone: { readonly revision: number; readonly since: Micros } | undefined;
  /** A session of this very process: no other's turn is to be waited for. */
  mine: boolean;
  /** When its register was last looked at to revoke it, and whether that is under way. */
  triedAt: Micros;
  trying: boolean;
}

/** A session heard of is remembered for this long, or while a shard is in its name. */
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

  /** A session that is named somewhere: from now on it is listened for. */
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

  /** A heartbeat; undefined: an old one, that says nothing. */
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

  /** Dead for ever: it can never again have a renewal acknowledged. */
  end(session: string, last: FinalRecord, mono: Micros): Peer {
    const peer = this.track(session, mono);
    peer.ended ??= last;
    return peer;
  }

  /** Those heard within `within`, one session for each replica: the one heard last. */
  live(mono: Micros, within: Micros): readonly Peer[] {
    const byReplica = new Map<string, Peer>();
    for (const peer of this.#peers.values()) {
      if (peer.ended !== undefined || peer.mine || peer.replica === '' || mono - peer.heardAt > within) continue;
      const other = byReplica.get(peer.replica);
      if (other === undefined || other.heardAt < peer.heardAt) byReplica.set(peer.replica, peer);
    }
    return [...byReplica.values()];
  }

  /** Forgets who is long gone and whose name is in no shard's register. */
  forget(mono: Micros, named: (session: string) => boolean): void {
    for (const peer of this.#peers.values()) {
      if (mono - peer.heardAt > REMEMBER_FOR && !peer.trying && !named(peer.session)) this.#peers.delete(peer.session);
    }
  }
}
