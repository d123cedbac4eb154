import type { AdmissionAsk, Held, Outcome } from '../admission/admission.ts';
import { MOVED } from '../admission/moved.ts';
import { shiftSince } from '../admission/shift.ts';
import type { Timers } from '../coordination/replica.ts';
import { after, type Instant, MILLISECOND, type Micros, SECOND } from '../core/time.ts';
import { answerCall } from './desk-calls.ts';
import type { Door } from './door.ts';
import type { Op } from './ops.ts';
import type { Porch } from './porch.ts';

/** What a desk is made of. */
export interface DeskParts {
  readonly door: Door;
  readonly porch: Porch;
  readonly now: () => Instant;
  readonly timers: Timers;
  /** Is this shard decided here? */
  readonly isHere: (shard: number) => boolean;
  readonly send: (to: string, op: Op) => void;
  /** All who wait at this peer for the shard have entered. */
  readonly rejoined: (peer: string, shard: number, term: bigint) => void;
  readonly fault: (cause: unknown) => void;
  /** Asks of one peer at once; beyond: `shed`. */
  readonly asksMax: number;
}

/** How soon somebody without a place, who waits for the right to decide, is looked at again. */
const PLACE_EACH: Micros = 100 * MILLISECOND;

/** Decided so long before it was asked for: for an earlier ask of the same request id, whatever clocks did since. */
const BEFORE: Micros = 100 * MILLISECOND;

/** One ask of a peer, from its coming until it is delivered, given back or refused. */
interface Post {
  readonly wid: number;
  readonly shard: number;
  readonly ask: AdmissionAsk;
  readonly limits: boolean;
  readonly cameAt: Instant;
  held: Held | undefined;
  /** A permit went out for it. */
  admitted: boolean;
  /** Its place was told, or it has an answer. */
  placed: boolean;
  over: boolean;
}

/** One peer's business here. */
interface Visitor {
  readonly posts: Map<number, Post>;
  /** By shard: asks on the porch, and the term to be called rejoined when there are none. */
  readonly porch: Map<number, number>;
  readonly rejoining: Map<number, bigint>;
  silent: boolean;
}

/** The owner's side for other replicas' callers: turns what their edges say into calls of the door of this process. */
export class Desk {
  readonly #parts: DeskParts;
  readonly #visitors = new Map<string, Visitor>();
  readonly #unplaced = new Set<readonly [peer: string, post: Post]>();
  #cancelLook: (() => void) | undefined;

  constructor(parts: DeskParts) {
    this.#parts = parts;
  }

  /** Asks of peers that are not over yet. */
  get asks(): number {
    let asks = 0;
    for (const { posts } of this.#visitors.values()) asks += posts.size;
    return asks;
  }

  /** An edge's operation; `by` turns its instants into those of this process. */
  hear(peer: string, op: Op, by: Micros): void {
    switch (op.op) {
      case 'ask':
        return this.#ask(peer, op, by);
      case 'cancel':
        return this.#close(peer, op.wid, (held) => (op.late === true && held.giveBack !== undefined ? held.giveBack() : held.leave()));
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
  silent(peer: string, silent: boolean): void {
    const visitor = this.#visitors.get(peer);
    if (visitor === undefined) return;
    visitor.silent = silent;
    for (const { held } of visitor.posts.values()) held?.away?.(silent);
  }

  /** A peer's life is over. Who waits for it leaves; what was granted counts as used, since its caller may have been told. */
  gone(peer: string): void {
    const visitor = this.#visitors.get(peer);
    this.#visitors.delete(peer);
    for (const post of visitor?.posts.values() ?? []) {
      post.over = true;
      if (post.admitted) post.held?.delivered();
      else post.held?.leave();
    }
  }

  /** This process goes on under another address: everybody asks anew. */
  clear(): void {
    for (const peer of [...this.#visitors.keys()]) this.gone(peer);
  }

  #ask(peer: string, op: Extract<Op, { op: 'ask' }>, by: Micros): void {
    const { wid, shard } = op;
    const visitor = this.#visitor(peer);
    if (visitor.posts.has(wid)) return;
    if (!this.#parts.isHere(shard)) return this.#parts.send(peer, { op: 'moved', wid, since: undefined });
    if (visitor.posts.size >= this.#parts.asksMax) {
      const refusal = { reason: 'shed', limit: 'replica.asks', retryAt: after(this.#parts.now(), SECOND) } as const;
      return this.#parts.send(peer, { op: 'outcome', wid, outcome: { kind: 'refused', refusal } });
    }
    const ask = op.ask.since === undefined ? op.ask : { ...op.ask, since: shiftSince(op.ask.since, by) };
    const post: Post = { wid, shard, ask, limits: op.limits, cameAt: this.#parts.now(), held: undefined, admitted: false, placed: false, over: false };
    visitor.posts.set(wid, post);
    const opening = this.#parts.door.opening(ask.group);
    if (opening === undefined) return this.#enter(peer, visitor, post);
    visitor.porch.set(shard, (visitor.porch.get(shard) ?? 0) + 1);
    const enter = (): void => {
      if (!post.over) this.#enter(peer, visitor, post);
      visitor.porch.set(shard, (visitor.porch.get(shard) ?? 1) - 1);
      const term = visitor.rejoining.get(shard);
      if (term !== undefined) this.#rejoined(peer, shard, term);
    };
    this.#parts.porch.wait(ask.group, opening, { since: () => ask.since, enter });
  }

  #enter(peer: string, visitor: Visitor, post: Post): void {
    try {
      post.held = this.#parts.door.acquire(post.ask, (outcome) => this.#told(peer, visitor, post, outcome));
    } catch (cause) {
      this.#parts.fault(cause);
      this.#told(peer, visitor, post, { kind: 'refused', refusal: { reason: 'fault' } });
      return;
    }
    if (post.placed) return;
    if (visitor.silent) post.held.away?.(true);
    if (!this.#tellPlace(peer, post)) this.#lookAgain(peer, post);
  }

  #told(peer: string, visitor: Visitor, post: Post, outcome: Outcome): void {
    const { wid, ask } = post;
    if (post.over) return;
    post.placed = true;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      this.#forget(visitor, post);
      return this.#parts.send(peer, { op: 'moved', wid, since: post.held?.since() });
    }
    if (outcome.kind === 'refused') this.#forget(visitor, post);
    else post.admitted = true;
    const limits = post.limits ? (outcome.limits ?? this.#parts.door.limitsFor(ask.group, ask.key)) : undefined;
    const again = outcome.kind === 'admitted' && outcome.permit.grantedAt < post.cameAt - BEFORE && { again: true as const };
    this.#parts.send(peer, { op: 'outcome', wid, outcome: limits === undefined ? outcome : { ...outcome, limits }, ...again });
  }

  #close(peer: string, wid: number, end: (held: Held) => void): void {
    const visitor = this.#visitors.get(peer);
    const post = visitor?.posts.get(wid);
    if (visitor === undefined || post === undefined) return;
    this.#forget(visitor, post);
    if (post.held !== undefined) end(post.held);
  }

  #forget(visitor: Visitor, post: Post): void {
    post.over = true;
    visitor.posts.delete(post.wid);
  }

  /** Only after the asks that came before it have entered. */
  #rejoined(peer: string, shard: number, term: bigint): void {
    const visitor = this.#visitor(peer);
    if ((visitor.porch.get(shard) ?? 0) > 0) {
      visitor.rejoining.set(shard, term);
      return;
    }
    visitor.porch.delete(shard);
    visitor.rejoining.delete(shard);
    this.#parts.rejoined(peer, shard, term);
  }

  #tellPlace(peer: string, post: Post): boolean {
    const since = post.held?.since();
    if (since === undefined) return false;
    post.placed = true;
    this.#parts.send(peer, { op: 'queued', wid: post.wid, since });
    return true;
  }

  /** It waits for the right to decide and has no place yet. */
  #lookAgain(peer: string, post: Post): void {
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

  async #call(peer: string, { id, method, args }: Extract<Op, { op: 'call' }>, by: Micros): Promise<void> {
    const places = (wids: readonly number[]) => {
      const posts = this.#visitors.get(peer)?.posts;
      return wids.flatMap((wid) => {
        const place = posts?.get(wid)?.held?.place();
        return place === undefined ? [] : [{ wid, place }];
      });
    };
    try {
      const answer = await answerCall({ door: this.#parts.door, places, by }, method, args);
      this.#parts.send(peer, { op: 'reply', id, how: answer.moved ? 'moved' : 'value', value: answer.moved ? undefined : answer.value });
    } catch (cause) {
      this.#parts.fault(cause);
      this.#parts.send(peer, { op: 'reply', id, how: 'fault', value: undefined });
    }
  }

  #visitor(peer: string): Visitor {
    let visitor = this.#visitors.get(peer);
    if (visitor === undefined) {
      visitor = { posts: new Map(), porch: new Map(), rejoining: new Map(), silent: false };
      this.#visitors.set(peer, visitor);
    }
    return visitor;
  }
}
