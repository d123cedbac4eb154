import { type AcquireHandle, type AdmissionRequest, type LocalAdmissionService, MOVED, type Outcome } from '../admission/admission.ts';
import { shiftArrival } from '../admission/time-shift.ts';
import type { Timers } from '../coordination/replica.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';
import type { OpeningQueue } from './opening-queue.ts';
import { handleCall } from './owner-calls.ts';
import type { RelayMessage } from './transport/codec.ts';

/** Dependencies of the service. */
export interface OwnerServiceDeps {
  readonly admission: LocalAdmissionService;
  readonly openingQueue: OpeningQueue;
  readonly now: () => Instant;
  readonly timers: Timers;
  /** Is this shard decided here? */
  readonly isHere: (shard: number) => boolean;
  readonly send: (to: string, op: RelayMessage) => void;
  /** All who wait at this peer for the shard have entered. */
  readonly rejoined: (peer: string, shard: number, term: bigint) => void;
  readonly fault: (cause: unknown) => void;
  /** Asks of one peer at once; beyond: `shed`. */
  readonly asksMax: number;
}

/** How soon a waiter without a position, which waits for the right to decide, is looked at again. */
const PLACE_EACH: Micros = 100 * MILLISECOND;

/** Decided so long before it was asked for: for an earlier ask of the same request id, whatever clocks did since. */
const BEFORE: Micros = 100 * MILLISECOND;

/** One ask of a peer, from its coming until it is delivered, given back or refused. */
interface RemoteWaiter {
  readonly wid: number;
  readonly shard: number;
  readonly ask: AdmissionRequest;
  readonly limits: boolean;
  readonly cameAt: Instant;
  held: AcquireHandle | undefined;
  /** A permit went out for it. */
  admitted: boolean;
  /** Its position was sent, or it has an answer. */
  placed: boolean;
  over: boolean;
}

/** One peer's business here. */
interface PeerSession {
  readonly posts: Map<number, RemoteWaiter>;
  /** By shard: asks on the opening queue, and the term to be called rejoined when there are none. */
  readonly openingQueue: Map<number, number>;
  readonly rejoining: Map<number, bigint>;
  setPeerReachable: boolean;
}

/** The owner's side for other replicas' callers: turns their messages into calls of this process's admission. */
export class OwnerService {
  readonly #parts: OwnerServiceDeps;
  readonly #visitors = new Map<string, PeerSession>();
  readonly #unplaced = new Set<readonly [peer: string, post: RemoteWaiter]>();
  #cancelLook: (() => void) | undefined;

  constructor(parts: OwnerServiceDeps) {
    this.#parts = parts;
  }

  /** Asks of peers that are not over yet. */
  get asks(): number {
    let asks = 0;
    for (const { posts } of this.#visitors.values()) asks += posts.size;
    return asks;
  }

  /** An edge's operation; `by` turns its instants into those of this process. */
  hear(peer: string, op: RelayMessage, by: Micros): void {
    switch (op.op) {
      case 'ask':
        return this.#ask(peer, op, by);
      case 'cancel':
        return this.#close(peer, op.wid, (held) => (op.late === true && held.reject !== undefined ? held.reject() : held.cancel()));
      case 'delivered':
        return this.#close(peer, op.wid, (held) => held.delivered());
      case 'rejoined':
        return this.#rejoined(peer, op.shard, op.term);
      case 'call':
        return void this.#call(peer, op, by);
      default:
    }
  }

  /** Nothing is heard of a peer: its waiters keep their places and are passed over, until it is back. */
  setPeerReachable(peer: string, silent: boolean): void {
    const visitor = this.#visitors.get(peer);
    if (visitor === undefined) return;
    visitor.setPeerReachable = silent;
    for (const { held } of visitor.posts.values()) held?.setReachable?.(silent);
  }

  /** A peer's life is over. Who waits for it leaves; what was granted counts as used, since its caller may have received it. */
  gone(peer: string): void {
    const visitor = this.#visitors.get(peer);
    this.#visitors.delete(peer);
    for (const post of visitor?.posts.values() ?? []) {
      post.over = true;
      if (post.admitted) post.held?.delivered();
      else post.held?.cancel();
    }
  }

  /** This process goes on under another address: every peer asks anew. */
  clear(): void {
    for (const peer of [...this.#visitors.keys()]) this.gone(peer);
  }

  #ask(peer: string, op: Extract<RelayMessage, { op: 'ask' }>, by: Micros): void {
    const { wid, shard } = op;
    const visitor = this.#visitor(peer);
    if (visitor.posts.has(wid)) return;
    if (!this.#parts.isHere(shard)) return this.#parts.send(peer, { op: 'moved', wid, since: undefined });
    if (visitor.posts.size >= this.#parts.asksMax) {
      const refusal = { reason: 'shed', limit: 'replica.asks', retryAt: plus(this.#parts.now(), SECOND) } as const;
      return this.#parts.send(peer, { op: 'outcome', wid, outcome: { kind: 'refused', refusal } });
    }
    const ask = op.ask.since === undefined ? op.ask : { ...op.ask, since: shiftArrival(op.ask.since, by) };
    const post: RemoteWaiter = { wid, shard, ask, limits: op.limits, cameAt: this.#parts.now(), held: undefined, admitted: false, placed: false, over: false };
    visitor.posts.set(wid, post);
    const opening = this.#parts.admission.opening(ask.group);
    if (opening === undefined) return this.#enter(peer, visitor, post);
    visitor.openingQueue.set(shard, (visitor.openingQueue.get(shard) ?? 0) + 1);
    const enter = (): void => {
      if (!post.over) this.#enter(peer, visitor, post);
      visitor.openingQueue.set(shard, (visitor.openingQueue.get(shard) ?? 1) - 1);
      const term = visitor.rejoining.get(shard);
      if (term !== undefined) this.#rejoined(peer, shard, term);
    };
    this.#parts.openingQueue.wait(ask.group, opening, { since: () => ask.since, enter });
  }

  #enter(peer: string, visitor: PeerSession, post: RemoteWaiter): void {
    try {
      post.held = this.#parts.admission.acquire(post.ask, (outcome) => this.#onOutcome(peer, visitor, post, outcome));
    } catch (cause) {
      this.#parts.fault(cause);
      this.#onOutcome(peer, visitor, post, { kind: 'refused', refusal: { reason: 'fault' } });
      return;
    }
    if (post.placed) return;
    if (visitor.setPeerReachable) post.held.setReachable?.(true);
    if (!this.#tellPlace(peer, post)) this.#lookAgain(peer, post);
  }

  #onOutcome(peer: string, visitor: PeerSession, post: RemoteWaiter, outcome: Outcome): void {
    const { wid, ask } = post;
    if (post.over) return;
    post.placed = true;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      this.#forget(visitor, post);
      return this.#parts.send(peer, { op: 'moved', wid, since: post.held?.arrival() });
    }
    if (outcome.kind === 'refused') this.#forget(visitor, post);
    else post.admitted = true;
    const limits = post.limits ? (outcome.limits ?? this.#parts.admission.limitsFor(ask.group, ask.key)) : undefined;
    const again = outcome.kind === 'admitted' && outcome.permit.grantedAt < post.cameAt - BEFORE && { again: true as const };
    this.#parts.send(peer, { op: 'outcome', wid, outcome: limits === undefined ? outcome : { ...outcome, limits }, ...again });
  }

  #close(peer: string, wid: number, end: (held: AcquireHandle) => void): void {
    const visitor = this.#visitors.get(peer);
    const post = visitor?.posts.get(wid);
    if (visitor === undefined || post === undefined) return;
    this.#forget(visitor, post);
    if (post.held !== undefined) end(post.held);
  }

  #forget(visitor: PeerSession, post: RemoteWaiter): void {
    post.over = true;
    visitor.posts.delete(post.wid);
  }

  /** Only after the asks that came before it have entered. */
  #rejoined(peer: string, shard: number, term: bigint): void {
    const visitor = this.#visitor(peer);
    if ((visitor.openingQueue.get(shard) ?? 0) > 0) {
      visitor.rejoining.set(shard, term);
      return;
    }
    visitor.openingQueue.delete(shard);
    visitor.rejoining.delete(shard);
    this.#parts.rejoined(peer, shard, term);
  }

  #tellPlace(peer: string, post: RemoteWaiter): boolean {
    const since = post.held?.arrival();
    if (since === undefined) return false;
    post.placed = true;
    this.#parts.send(peer, { op: 'queued', wid: post.wid, since });
    return true;
  }

  /** It waits for the right to decide and has no place yet. */
  #lookAgain(peer: string, post: RemoteWaiter): void {
    this.#unplaced.add([peer, post]);
    this.#cancelLook ??= this.#parts.timers.after(PLACE_EACH, () => this.#look());
  }

  #look(): void {
    this.#cancelLook = undefined;
    for (const one of [...this.#unplaced]) {
      const [peer, post] = one;
      if (post.over || post.placed || this.#tellPlace(peer, post)) this.#unplaced.delete(one);
    }
    if (this.#unplaced.size > 0) this.#cancelLook = this.#parts.timers.after(PLACE_EACH, () => this.#look());
  }

  async #call(peer: string, { id, method, args }: Extract<RelayMessage, { op: 'call' }>, by: Micros): Promise<void> {
    const places = (wids: readonly number[]) => {
      const posts = this.#visitors.get(peer)?.posts;
      return wids.flatMap((wid) => {
        const place = posts?.get(wid)?.held?.position();
        return place === undefined ? [] : [{ wid, place }];
      });
    };
    try {
      const answer = await handleCall({ admission: this.#parts.admission, places, by }, method, args);
      this.#parts.send(peer, { op: 'reply', id, how: answer.moved ? 'moved' : 'value', value: answer.moved ? undefined : answer.value });
    } catch (cause) {
      this.#parts.fault(cause);
      this.#parts.send(peer, { op: 'reply', id, how: 'fault', value: undefined });
    }
  }

  #visitor(peer: string): PeerSession {
    let visitor = this.#visitors.get(peer);
    if (visitor === undefined) {
      visitor = { posts: new Map(), openingQueue: new Map(), rejoining: new Map(), setPeerReachable: false };
      this.#visitors.set(peer, visitor);
    }
    return visitor;
  }
}
