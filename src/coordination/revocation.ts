import type { Peer, Peers } from './peers.ts';
import type { Questions, ReadAnswer } from './questions.ts';
import { rendezvous } from './rendezvous.ts';
import { decodeSession, encodeSession, sessionRegister } from './session-record.ts';
import type { ClockReading } from './shard-clock.ts';
import type { Timing } from './timing.ts';
import type { Views } from './views.ts';

/** What revocations are made from. */
export interface RevocationParts {
  readonly replica: string;
  readonly timing: Timing;
  readonly questions: Questions;
  readonly peers: Peers;
  readonly views: Views;
}

/**
 * Ends sessions that stand still (coordination.md 2.4). Its register is read first: a number that is new to us says that it
 * lives. Then the very record that was read is made `revoked`, by compare-and-set: success says that it was the last one,
 * and that no later renewal can ever be acknowledged.
 */
export class Revocation {
  readonly #parts: RevocationParts;

  constructor(parts: RevocationParts) {
    this.#parts = parts;
  }

  /** Looks at the owners that fell silent, at its turn among those that live; `own` is not looked at. */
  tick(own: string | undefined, live: readonly Peer[], reading: ClockReading): void {
    const { replica, peers, views, timing } = this.#parts;
    for (const owner of views.owners()) {
      if (owner === own) continue;
      const peer = peers.meet(owner, reading.mono);
      if (peer.ended !== undefined || (!peer.mine && reading.mono - peer.heardAt <= timing.suspectAfter)) continue;
      const rank = rendezvous(owner, [replica, ...live.map((other) => other.replica)]).indexOf(replica);
      this.consider(peer, rank, reading);
    }
  }

  /** Looks at a silent session, when it is the turn of who stands at `rank` in its order. */
  consider(peer: Peer, rank: number, reading: ClockReading): void {
    const { timing, questions } = this.#parts;
    const { mono } = reading;
    if (peer.ended !== undefined || peer.trying) return;
    if (!peer.mine && mono - peer.heardAt <= timing.suspectAfter + rank * timing.rankDelay) return;
    if (mono - peer.triedAt < timing.rankDelay) return;
    peer.triedAt = mono;
    peer.trying = true;
    questions.read(sessionRegister(peer.session), (answer, then) => {
      peer.trying = false;
      this.#read(peer, answer, then);
    });
  }

  #read(peer: Peer, answer: ReadAnswer, reading: ClockReading): void {
    if (answer.kind !== 'value') return;
    // A record that is gone can say nothing about how far its session went: no vote, and its shards stand still.
    if (answer.value === undefined) return;
    const record = decodeSession(answer.value.bytes);
    if (record.state !== 'live') {
      this.#parts.peers.end(peer.session, record, reading.mono);
      return;
    }
    if (record.n > peer.n) {
      peer.n = record.n;
      peer.heardAt = reading.mono;
      return;
    }
    const { questions, peers } = this.#parts;
    const bytes = encodeSession({ ...record, state: 'revoked' });
    peer.trying = true;
    questions.change(sessionRegister(peer.session), bytes, answer.value.revision, (changed, then) => {
      peer.trying = false;
      if (changed.kind === 'changed') peers.end(peer.session, record, then.mono);
    });
  }
}
