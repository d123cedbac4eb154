import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Auth } from '../../api/auth.ts';
import { engineProblem } from '../../api/problem.ts';
import type { ResponseDeps } from '../../api/rest/response.ts';
import { IndexedSet } from '../../core/collections/indexed-set.ts';
import type { Millis } from '../../core/time.ts';
import type { ProxyRoute } from '../../deferred/proxy-route.ts';
import { plain } from '../../http/client-address.ts';
import { ClientLimiter, isTrustedProxy } from '../../http/client-limiter.ts';
import type { EngineOptions } from '../../http/engine.ts';
import { type FramingError, LINGER_MS, rawRefusal } from '../../http/framing.ts';
import { LingeringSockets } from '../../http/lingering-sockets.ts';
import type { Listener } from '../../http/listener.ts';
import { NodeExchange, type NodeExchangeOwner } from '../../http/node/exchange.ts';
import { PacedReads } from '../../http/node/paced-reads.ts';
import {
  acceptsNextRequest,
  closeServer,
  createNodeServer,
  listenOn,
  NO_EXPECTATION,
  PIPELINED_MAX,
  toFramingError,
  validateFraming,
} from '../../http/node/server.ts';
import type { Forwarding } from '../forwarding.ts';
import type { ForwardFailure, ForwardHandle, IncomingRequest } from '../incoming.ts';
import { type ProxyResponse, toProxyResponse, ungroupedProblem } from './error-response.ts';
import { type ExchangeCallbacks, ProxyExchange } from './exchange.ts';
import type { ProxyReading } from './reading.ts';
import { checkForwardedMethod, createRequestRouter, isWebSocket, type RequestRouter, type RoutedRequest, refusalTarget } from './request.ts';
import { mayStore, type StoringDeps, storeLater, storeRequest, storesAtOnce } from './store.ts';
import { openTunnel, TunnelSocket } from './tunnel-socket.ts';

/** What the proxy needs. */
export interface ProxyOptions extends ResponseDeps {
  readonly address: { readonly host: string; readonly port: number };
  readonly tls?: NonNullable<EngineOptions['tls']>;
  readonly routes: readonly ProxyRoute[];
  readonly forwarding: Forwarding;
  readonly auth: Pick<Auth, 'demanded' | 'identify'>;
  /** Answers 400 to paths that servers read in different ways. */
  readonly refusesAmbiguous: boolean;
  /** Time for a head to arrive; more than 10 s is not given. */
  readonly headMsMax: Millis;
  /** A caller that reads nothing of its answer for so long is cut. */
  readonly unreadMsMax: Millis;
  /** Bytes of a stream of the proxy's own ({@link ProxyReading}) that may wait for its reader; what backends send waits there. */
  readonly unreadBytesMax: number;
  /** Connections of one address, and requests under way of one client behind a trusted proxy. */
  readonly perClientMax: number;
  /** Called when a client at `perClientMax` opens another connection or sends another request. */
  readonly onClientLimit: (what: 'connection' | 'request') => void;
  readonly onError: (error: unknown) => void;
  /** Deferred requests are read below a path of the proxy's own; undefined: that path is the routes' as any. */
  readonly reading?: ProxyReading | undefined;
  /** Requests that are stored; undefined: no route stores any, until a restart. */
  readonly storing?: Omit<StoringDeps, 'forwarding' | 'now' | 'onError'> | undefined;
}

/** Time for a body to end once it is answered. */
const DUMP_MS = 10_000;

/**
 * Takes whole requests and passes them on: one connection's requests in their order, one at a time; bodies and answers as
 * streams, with back-pressure both ways. Always on node:http, whose framing is strict (RFC 9112 section 6).
 */
export class ProxyListener implements Listener, ExchangeCallbacks, NodeExchangeOwner {
  readonly name = 'proxy';
  closing = false;
  readonly refusals = new PacedReads();
  readonly bounds: EngineOptions['unread'];
  readonly #options: ProxyOptions;
  #admission: RequestRouter;
  readonly #active = new IndexedSet<ProxyExchange>();
  readonly #tunnels = new Set<TunnelSocket>();
  readonly #dumped = new Map<IncomingMessage, number>();
  readonly #lingering = new LingeringSockets();
  readonly #pipelined = new WeakMap<Socket, number>();
  readonly #peers: ClientLimiter;
  readonly #clients: ClientLimiter;
  readonly #storing: StoringDeps | undefined;
  /** Some route answers as Lunar does: `/retrieve` is read here. */
  #asLunar: boolean;
  #trusted: (address: string) => boolean;
  #idle: (() => void) | undefined;
  #server: Server | undefined;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.bounds = { bytesMax: options.unreadBytesMax, msMax: options.unreadMsMax };
    this.#peers = new ClientLimiter(options.perClientMax);
    this.#clients = new ClientLimiter(options.perClientMax);
    this.#trusted = isTrustedProxy(options.routes.map(({ trusted }) => trusted));
    this.#admission = this.#admissionTo(options.routes);
    this.#asLunar = options.routes.some(answersAsLunar);
    const { forwarding, admission, onError, storing } = options;
    this.#storing = storing && { ...storing, forwarding, onError, now: () => admission.now() };
  }

  /** Other routes from now on; for requests that come in later. */
  reroute(routes: readonly ProxyRoute[]): void {
    this.#trusted = isTrustedProxy(routes.map(({ trusted }) => trusted));
    this.#admission = this.#admissionTo(routes);
    this.#asLunar = routes.some(answersAsLunar);
  }

  #admissionTo(routes: readonly ProxyRoute[]): RequestRouter {
    const { auth, tls, refusesAmbiguous } = this.#options;
    return createRequestRouter({ routes, auth, refusesAmbiguous, scheme: tls === undefined ? 'http' : 'https' });
  }

  async listen(): Promise<{ readonly address: string }> {
    const { tls, address, headMsMax } = this.#options;
    const server = await createNodeServer({ receiveMsMax: headMsMax, ...(tls === undefined ? {} : { tls }), upgrades: isWebSocket });
    server.on('connection', (socket: Socket) => this.#connected(socket));
    this.refusals.attend(server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#take(request, response, false));
    server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => this.#take(request, response, true));
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => this.#take(request, response, false, NO_EXPECTATION));
    server.on('upgrade', (request: IncomingMessage, socket: Socket, first: Buffer) => this.#upgrade(request, socket, first));
    server.on('connect', (_request, socket) => this.#refuseSocket(socket as Socket, { status: 501, detail: 'CONNECT is not spoken here.' }));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#clientError(error, socket));
    const { host, port } = await listenOn(server, address.host, address.port);
    this.#server = server;
    this.#sweeper = setInterval(() => this.#sweep(), 1_000);
    this.#sweeper.unref();
    return { address: `${host.includes(':') ? `[${host}]` : host}:${port}` };
  }

  /** Answers new requests `503` with Retry-After until those under way are done: no caller meets a closed port meanwhile. */
  async drain(graceMs: Millis): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.closing = true;
    const end = performance.now() + graceMs;
    for (const tunnel of this.#tunnels) tunnel.closeBy(graceMs);
    if (this.#active.size > 0) {
      await new Promise<void>((resolve) => {
        const last = setTimeout(resolve, graceMs);
        this.#idle = () => {
          clearTimeout(last);
          resolve();
        };
      });
    }
    await closeServer(server, Math.max(0, end - performance.now()));
    clearInterval(this.#sweeper);
  }

  answerFor(why: ForwardFailure, exchange: ProxyExchange): ProxyResponse {
    return toProxyResponse(why, refusalTarget(exchange.entered, exchange.request.headers.accept), this.#options);
  }

  over(exchange: ProxyExchange): void {
    this.#active.remove(exchange);
    if (this.#active.size === 0) this.#idle?.();
  }

  linger(exchange: ProxyExchange): void {
    this.#lingering.add(exchange.request.socket, exchange.request.socket.writableEnded ? LINGER_MS : this.#options.unreadMsMax);
  }

  onBodyDiscarded({ request }: ProxyExchange): void {
    this.#dumped.set(request, performance.now() + DUMP_MS);
  }

  onError(error: unknown): void {
    this.#options.onError(error);
  }

  /** One request of a connection at a time: the next is looked at when the answer before it is written. */
  #take(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean, fault?: FramingError): void {
    const { socket } = request;
    if (socket.writableEnded || socket.destroyed || !acceptsNextRequest(request, response)) return;
    if (response.socket !== null) return this.#begin(request, response, awaitsContinue, fault);
    const queued = (this.#pipelined.get(socket) ?? 0) + 1;
    this.#pipelined.set(socket, queued);
    if (queued > PIPELINED_MAX) return void socket.destroy();
    response.once('socket', () => {
      this.#pipelined.set(socket, (this.#pipelined.get(socket) ?? 1) - 1);
      // Not within the end of the answer before it.
      setImmediate(() => {
        if (!socket.writableEnded && !socket.destroyed) this.#begin(request, response, awaitsContinue, fault);
      });
    });
  }

  #begin(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean, expected: FramingError | undefined): void {
    const exchange = new ProxyExchange(request, response, this);
    const target = expected ?? validateFraming(request, checkForwardedMethod);
    if (typeof target !== 'string') return exchange.refuse(target.status, engineProblem(target.status, target.detail), [['Sluice-Reason', 'malformed']]);
    if (this.#options.reading?.takes(target, this.#asLunar) === true) return this.#read(this.#options.reading, exchange, response, target);
    const entered = this.#enter(request, target, awaitsContinue ? () => exchange.wanted() : NOTHING);
    exchange.entered = entered;
    this.#active.add(exchange);
    if (entered.kind === 'refused') return exchange.onNone({ kind: 'refused', refusal: entered.refusal, attempts: 0 });
    if (entered.kind === 'nowhere') return exchange.answer(NO_ROUTE);
    const { incoming, route } = entered;
    const ends = this.#counted(incoming);
    if (ends === undefined) return exchange.onNone(TOO_MANY);
    if (ends !== NOTHING) response.once('close', ends);
    try {
      exchange.handOver(this.#delivery(incoming, route, exchange));
    } catch (cause) {
      this.#options.onError(cause);
      if (exchange.begun) exchange.onBroken();
      else exchange.onNone({ kind: 'refused', refusal: { reason: 'fault' }, attempts: 0 });
    }
  }

  /** Answers at the proxy's own path. */
  #read(reading: ProxyReading, exchange: ProxyExchange, response: ServerResponse, target: string): void {
    const { request } = exchange;
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    const bare = (request.method === 'GET' || request.method === 'HEAD') && encoding === undefined && (length === undefined || Number(length) === 0);
    if (!bare) return exchange.answer(ungroupedProblem(405, 'malformed', 'Use GET or HEAD here, without a body.', [['Allow', 'GET, HEAD']]));
    const own = new NodeExchange(request, response, target, this);
    exchange.release();
    reading.handle(own, own);
  }

  /** An answer of {@link ProxyReading} is written, and not read to its end yet. */
  unread(socket: Socket): void {
    this.#lingering.add(socket, this.#options.unreadMsMax);
  }

  /** Stores a request where its route says so, or its caller prefers it and may; else sends it on. */
  #delivery(incoming: IncomingRequest, route: ProxyRoute, exchange: ProxyExchange): ForwardHandle {
    const { forwarding } = this.#options;
    const storing = this.#storing;
    if (!mayStore(route)) return forwarding.deliver(incoming, route.route, exchange);
    if (storing === undefined) {
      if (route.deferred.when === 'preferred') return forwarding.deliver(incoming, route.route, exchange);
      exchange.onNone(UNSTORED);
      return { leave: NOTHING };
    }
    if (storesAtOnce(route, incoming)) return storeRequest(storing, incoming, route, exchange, incoming.respondAsync === true);
    return incoming.respondAsync === true ? storeLater(storing, incoming, route, exchange) : forwarding.deliver(incoming, route.route, exchange);
  }

  #enter(request: IncomingMessage, target: string, wanted: () => void): RoutedRequest {
    const entered = this.#admission(request, target, wanted);
    // A route without group has no gate to say so.
    return this.closing ? { ...entered, kind: 'refused', refusal: { reason: 'draining' } } : entered;
  }

  #upgrade(request: IncomingMessage, socket: Socket, first: Buffer): void {
    socket.on('error', () => socket.destroy());
    // Behind a request that is still answered, its answer could not be distinguished from the other's.
    if (isBusy(socket)) return void socket.destroy();
    const target = validateFraming(request, checkForwardedMethod);
    if (typeof target !== 'string') return this.#refuseSocket(socket, target);
    if (!isWebSocket(request))
      return this.#refuseSocket(socket, { status: 501, detail: 'The only upgrade passed on is to websocket, by GET and without a body.' });
    const entered = this.#enter(request, target, NOTHING);
    const tunnel = new TunnelSocket(socket, first, (why) => toProxyResponse(why, refusalTarget(entered, request.headers.accept), this.#options));
    if (entered.kind === 'nowhere') return tunnel.answer(NO_ROUTE);
    if (entered.kind === 'refused') return tunnel.onNone({ kind: 'refused', refusal: entered.refusal, attempts: 0 });
    const { incoming, route } = entered;
    if (route.deferred?.when === 'always') return tunnel.answer(NOT_STORED);
    const ends = this.#counted(incoming);
    if (ends === undefined) return tunnel.onNone(TOO_MANY);
    this.#tunnels.add(tunnel);
    socket.once('close', () => {
      this.#tunnels.delete(tunnel);
      ends();
    });
    openTunnel(tunnel, this.#options.forwarding, incoming, route.route);
  }

  /** A peer that speaks for many has as many connections as it likes: its clients are counted. */
  #connected(socket: Socket): void {
    const address = plain(socket.remoteAddress ?? '');
    if (this.#trusted(address)) return;
    const ends = this.#peers.enter(address);
    if (ends !== undefined) return void socket.once('close', ends);
    this.#options.onClientLimit('connection');
    socket.destroy();
  }

  /** How a request ends its count; undefined: its client has as many as it may. On a connection of its own it was counted with that. */
  #counted({ facts }: IncomingRequest): (() => void) | undefined {
    if (!facts.peerTrusted || facts.clientIp === facts.peerIp) return NOTHING;
    const ends = this.#clients.enter(facts.clientIp);
    if (ends === undefined) this.#options.onClientLimit('request');
    return ends;
  }

  #refuseSocket(socket: Socket, fault: FramingError): void {
    socket.on('error', () => socket.destroy());
    socket.end(rawRefusal(fault.status, engineProblem(fault.status, fault.detail), [['Sluice-Reason', 'malformed']]));
    socket.resume();
    this.#lingering.add(socket, LINGER_MS);
  }

  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    if (socket.destroyed || socket.writableEnded) return;
    if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
    const fault = toFramingError(error, this.#options.headMsMax);
    if (!isBusy(socket)) return this.#refuseSocket(socket, fault);
    // The body that was on its way is none; a whole request before it would take this for its answer.
    const broken = this.#active.all.find((each) => each.request.socket === socket && !each.request.complete && !each.begun);
    if (broken === undefined) return void socket.destroy();
    broken.refuse(fault.status, engineProblem(fault.status, fault.detail), [['Sluice-Reason', 'malformed']]);
  }

  #sweep(): void {
    const now = performance.now();
    for (const { request, stalledSince } of this.#active.all) {
      if (stalledSince !== undefined && stalledSince + this.#options.unreadMsMax <= now) request.socket.destroy();
    }
    for (const [request, by] of this.#dumped) {
      if (!request.complete && !request.socket.destroyed && by > now) continue;
      this.#dumped.delete(request);
      if (!request.complete) request.socket.destroy();
    }
    this.#lingering.sweep(now);
  }
}

function answersAsLunar({ deferred }: ProxyRoute): boolean {
  return deferred?.answer.shape === 'lunar';
}

const NO_ROUTE = ungroupedProblem(404, 'no_route', 'No route takes this request; see `routes` in the configuration of the server.');
const UNSTORED: ForwardFailure = {
  kind: 'refused',
  refusal: { reason: 'unstored', detail: 'This server stores requests of this route only after a restart.' },
  attempts: 0,
};
const NOT_STORED = ungroupedProblem(501, 'malformed', 'This route stores requests for later, and a WebSocket cannot be stored.');
const NOTHING = (): void => {};
const TOO_MANY: ForwardFailure = {
  kind: 'refused',
  refusal: { reason: 'shed', limit: 'bounds.perClient', detail: 'This client has as many requests under way as it may; try again when one is answered.' },
  attempts: 0,
};

function isBusy(socket: Socket): boolean {
  return (socket as Socket & { _httpMessage?: unknown })._httpMessage != null;
}
