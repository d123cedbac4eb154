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
  /** Returns true if this shard is decided here. */
  readonly isHere: (shard: number) => boolean;
  readonly send: (to: string, message: RelayMessage) => void;
  /** Called when all callers of this peer that waited for the shard have entered. */
  readonly onRejoined: (peer: string, shard: number, term: bigint) => void;
  readonly onError: (cause: unknown) => void;
  /** Requests of one peer at once; beyond: `shed`. */
  readonly maxPeerRequests: number;
}

/** Time after which a waiter without a position, which waits for the term, is checked again. */
const POSITION_RETRY: Micros = 100 * MILLISECOND;

/** A grant older than its request by more than this was made for an earlier request of the same request id, whatever clocks did since. */
const CLOCK_MARGIN: Micros = 100 * MILLISECOND;

/** One request of a peer, from its arrival until its permit is delivered or returned, or it is refused. */
interface RemoteWaiter {
  readonly requestSeq: number;
  readonly shard: number;
  readonly request: AdmissionRequest;
  readonly limits: boolean;
  readonly arrivedAt: Instant;
  handle: AcquireHandle | undefined;
  /** A permit was sent for it. */
  admitted: boolean;
  /** Its position was sent, or its outcome. */
  positionSent: boolean;
  ended: boolean;
}

/** Requests of one peer. */
interface PeerSession {
  readonly waiters: Map<number, RemoteWaiter>;
  /** By shard: requests in the opening queue, and the term to report as rejoined when there are none. */
  readonly opening: Map<number, number>;
  readonly rejoining: Map<number, bigint>;
  silent: boolean;
}

/** Serves requests of peers: turns their messages into calls of this process's admission. */
export class OwnerService {
  readonly #deps: OwnerServiceDeps;
  readonly #sessions = new Map<string, PeerSession>();
  readonly #unpositioned = new Set<readonly [peer: string, post: RemoteWaiter]>();
  #cancelRetry: (() => void) | undefined;

  constructor(deps: OwnerServiceDeps) {
    this.#deps = deps;
  }

  /** Number of requests of peers that have not ended. */
  get waiting(): number {
    let waiting = 0;
    for (const { waiters } of this.#sessions.values()) waiting += waiters.size;
    return waiting;
  }

  /** Handles a message of a peer. `by` is what to add to its instants for those of this process. */
  onMessage(peer: string, message: RelayMessage, by: Micros): void {
    switch (message.op) {
      case 'ask':
        return this.#acquire(peer, message, by);
      case 'cancel':
        return this.#close(peer, message.wid, (handle) => (message.late === true && handle.reject !== undefined ? handle.reject() : handle.cancel()));
      case 'delivered':
        return this.#close(peer, message.wid, (handle) => handle.delivered());
      case 'rejoined':
        return this.#rejoined(peer, message.shard, message.term);
      case 'call':
        return void this.#call(peer, message, by);
      default:
    }
  }

  /** Marks a peer as silent or not. Waiters of a silent peer keep their positions and are passed over. */
  onPeerSilent(peer: string, silent: boolean): void {
    const session = this.#sessions.get(peer);
    if (session === undefined) return;
    session.silent = silent;
    for (const { handle } of session.waiters.values()) handle?.setAway?.(silent);
  }

  /** Ends the requests of a peer that has ended. Its waiters are cancelled; its permits count as used, since their callers may have received them. */
  onPeerLost(peer: string): void {
    const session = this.#sessions.get(peer);
    this.#sessions.delete(peer);
    for (const waiter of session?.waiters.values() ?? []) {
      waiter.ended = true;
      if (waiter.admitted) waiter.handle?.delivered();
      else waiter.handle?.cancel();
    }
  }

  /** Ends the requests of all peers, since this process has another address: every peer sends its requests again. */
  clear(): void {
    for (const peer of [...this.#sessions.keys()]) this.onPeerLost(peer);
  }

  #acquire(peer: string, message: Extract<RelayMessage, { op: 'ask' }>, by: Micros): void {
    const { wid: requestSeq, shard } = message;
    const session = this.#sessionOf(peer);
    if (session.waiters.has(requestSeq)) return;
    if (!this.#deps.isHere(shard)) return this.#deps.send(peer, { op: 'moved', wid: requestSeq, since: undefined });
    if (session.waiters.size >= this.#deps.maxPeerRequests) {
      const refusal = { reason: 'shed', limit: 'replica.asks', retryAt: plus(this.#deps.now(), SECOND) } as const;
      return this.#deps.send(peer, { op: 'outcome', wid: requestSeq, outcome: { kind: 'refused', refusal } });
    }
    const request = message.ask.since === undefined ? message.ask : { ...message.ask, since: shiftArrival(message.ask.since, by) };
    const waiter: RemoteWaiter = {
      requestSeq,
      shard,
      request,
      limits: message.limits,
      arrivedAt: this.#deps.now(),
      handle: undefined,
      admitted: false,
      positionSent: false,
      ended: false,
    };
    session.waiters.set(requestSeq, waiter);
    const opening = this.#deps.admission.opening(request.group);
    if (opening === undefined) return this.#enter(peer, session, waiter);
    session.opening.set(shard, (session.opening.get(shard) ?? 0) + 1);
    const enter = (): void => {
      if (!waiter.ended) this.#enter(peer, session, waiter);
      session.opening.set(shard, (session.opening.get(shard) ?? 1) - 1);
      const term = session.rejoining.get(shard);
      if (term !== undefined) this.#rejoined(peer, shard, term);
    };
    this.#deps.openingQueue.wait(request.group, opening, { since: () => request.since, enter });
  }

  #enter(peer: string, session: PeerSession, waiter: RemoteWaiter): void {
    try {
      waiter.handle = this.#deps.admission.acquire(waiter.request, (outcome) => this.#onOutcome(peer, session, waiter, outcome));
    } catch (cause) {
      this.#deps.onError(cause);
      this.#onOutcome(peer, session, waiter, { kind: 'refused', refusal: { reason: 'fault' } });
      return;
    }
    if (waiter.positionSent) return;
    if (session.silent) waiter.handle.setAway?.(true);
    if (!this.#sendPosition(peer, waiter)) this.#retryPosition(peer, waiter);
  }

  #onOutcome(peer: string, session: PeerSession, waiter: RemoteWaiter, outcome: Outcome): void {
    const { requestSeq, request } = waiter;
    if (waiter.ended) return;
    waiter.positionSent = true;
    if (outcome.kind === 'refused' && outcome.refusal === MOVED) {
      this.#forget(session, waiter);
      return this.#deps.send(peer, { op: 'moved', wid: requestSeq, since: waiter.handle?.arrival() });
    }
    if (outcome.kind === 'refused') this.#forget(session, waiter);
    else waiter.admitted = true;
    const limits = waiter.limits ? (outcome.limits ?? this.#deps.admission.limitsFor(request.group, request.key)) : undefined;
    const again = outcome.kind === 'admitted' && outcome.permit.grantedAt < waiter.arrivedAt - CLOCK_MARGIN && { again: true as const };
    this.#deps.send(peer, { op: 'outcome', wid: requestSeq, outcome: limits === undefined ? outcome : { ...outcome, limits }, ...again });
  }

  #close(peer: string, requestSeq: number, end: (handle: AcquireHandle) => void): void {
    const session = this.#sessions.get(peer);
    const waiter = session?.waiters.get(requestSeq);
    if (session === undefined || waiter === undefined) return;
    this.#forget(session, waiter);
    if (waiter.handle !== undefined) end(waiter.handle);
  }

  #forget(session: PeerSession, waiter: RemoteWaiter): void {
    waiter.ended = true;
    session.waiters.delete(waiter.requestSeq);
  }

  /** Reports the peer as rejoined once the requests that came before have entered. */
  #rejoined(peer: string, shard: number, term: bigint): void {
    const session = this.#sessionOf(peer);
    if ((session.opening.get(shard) ?? 0) > 0) {
      session.rejoining.set(shard, term);
      return;
    }
    session.opening.delete(shard);
    session.rejoining.delete(shard);
    this.#deps.onRejoined(peer, shard, term);
  }

  #sendPosition(peer: string, waiter: RemoteWaiter): boolean {
    const since = waiter.handle?.arrival();
    if (since === undefined) return false;
    waiter.positionSent = true;
    this.#deps.send(peer, { op: 'queued', wid: waiter.requestSeq, since });
    return true;
  }

  /** Schedules another look at a waiter that has no position yet, since it waits for the term. */
  #retryPosition(peer: string, waiter: RemoteWaiter): void {
    this.#unpositioned.add([peer, waiter]);
    this.#cancelRetry ??= this.#deps.timers.after(POSITION_RETRY, () => this.#sendPositions());
  }

  #sendPositions(): void {
    this.#cancelRetry = undefined;
    for (const one of [...this.#unpositioned]) {
      const [peer, waiter] = one;
      if (waiter.ended || waiter.positionSent || this.#sendPosition(peer, waiter)) this.#unpositioned.delete(one);
    }
    if (this.#unpositioned.size > 0) this.#cancelRetry = this.#deps.timers.after(POSITION_RETRY, () => this.#sendPositions());
  }

  async #call(peer: string, { id, method, args }: Extract<RelayMessage, { op: 'call' }>, by: Micros): Promise<void> {
    const positions = (wids: readonly number[]) => {
      const waiters = this.#sessions.get(peer)?.waiters;
      return wids.flatMap((requestSeq) => {
        const place = waiters?.get(requestSeq)?.handle?.position();
        return place === undefined ? [] : [{ wid: requestSeq, place }];
      });
    };
    try {
      const result = await handleCall({ admission: this.#deps.admission, positions, by }, method, args);
      this.#deps.send(peer, { op: 'reply', id, how: result.moved ? 'moved' : 'value', value: result.moved ? undefined : result.value });
    } catch (cause) {
      this.#deps.onError(cause);
      this.#deps.send(peer, { op: 'reply', id, how: 'fault', value: undefined });
    }
  }

  #sessionOf(peer: string): PeerSession {
    let session = this.#sessions.get(peer);
    if (session === undefined) {
      session = { waiters: new Map(), opening: new Map(), rejoining: new Map(), silent: false };
      this.#sessions.set(peer, session);
    }
    return session;
  }
}
