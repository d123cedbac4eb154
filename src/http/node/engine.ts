import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { type Engine, type EngineHandler, type EngineOptions, runHandler } from '../engine.ts';
import {
  checkMethod,
  type FramingError,
  faultFields,
  HEAD_MS_MAX,
  LINGER_MS,
  METHODS_ALLOWED,
  NO_ROOM,
  type Refused,
  rawRefusal,
  tooLarge,
  tooSlow,
} from '../framing.ts';
import { LingeringSockets } from '../lingering-sockets.ts';
import { NodeExchange, type NodeExchangeOwner } from './exchange.ts';
import { PacedReads } from './paced-reads.ts';
import { type SplitServer, splitProtocols } from './protocol-split.ts';
import { acceptsNextRequest, closeServer, createNodeServer, listenOn, NO_EXPECTATION, PIPELINED_MAX, toFramingError, validateFraming } from './server.ts';

/** The engine on node:http: the one that is always there, and the only one for forwarding. */
export function nodeEngine(options: EngineOptions, handler: EngineHandler): Engine {
  return new NodeEngine(options, handler);
}

function refusedOf({ url = '', headers }: IncomingMessage): Refused {
  return { path: url.split('?', 1)[0] ?? '', contentType: headers['content-type'] ?? '' };
}

/** A body on its way. */
interface Receiving {
  readonly exchange: NodeExchange;
  readonly by: number;
}

class NodeEngine implements Engine, NodeExchangeOwner {
  readonly name = 'node';
  closing = false;
  readonly refusals = new PacedReads();
  readonly bounds: EngineOptions['unread'];
  readonly #options: EngineOptions;
  readonly #handler: EngineHandler;
  readonly #receiving = new Set<Receiving>();
  readonly #lingering = new LingeringSockets();
  readonly #pipelined = new WeakMap<Socket, number>();
  #server: Server | undefined;
  /** What tells its protocol from another at the same address; undefined: there is no other. */
  #split: SplitServer | undefined;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: EngineOptions, handler: EngineHandler) {
    this.#options = options;
    this.bounds = options.unread;
    this.#handler = handler;
  }

  async listen(host: string, port: number): Promise<{ host: string; port: number }> {
    const server = await createNodeServer(this.#options);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#take(request, response, false));
    server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => this.#take(request, response, true));
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => this.#refuse(request, response, NO_EXPECTATION));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#clientError(error, socket));
    this.refusals.attend(server);
    const { http2, receiveMsMax } = this.#options;
    const split = http2 && splitProtocols(server, http2, Math.min(HEAD_MS_MAX, receiveMsMax));
    const address = await listenOn(split?.front ?? server, host, port);
    this.#server = server;
    this.#split = split;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(1_000, Math.ceil(this.#options.receiveMsMax / 4)));
    this.#sweeper.unref();
    return address;
  }

  async close(graceMs: number): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.closing = true;
    this.#split?.close();
    await closeServer(server, graceMs);
    clearInterval(this.#sweeper);
  }

  unread(socket: Socket): void {
    this.#lingering.add(socket, this.#options.receiveMsMax);
  }

  #take(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): void {
    // What comes after a refusal on the same connection is only read to let the refusal through.
    if (request.socket.writableEnded || !acceptsNextRequest(request, response)) return;
    if (response.socket === null && !this.#mayQueue(request.socket, response)) return;
    const target = validateFraming(request, checkMethod);
    if (typeof target !== 'string') return this.#refuse(request, response, target);
    const { headers } = request;
    const length = headers['content-length'];
    const exchange = new NodeExchange(request, response, target, this);
    if (headers['transfer-encoding'] === undefined && (length === undefined || length === '0'))
      return runHandler(this.#handler, exchange, this.#options.problem);
    const { bodyBytesMax, longBodies } = this.#options;
    const bytesMax = longBodies?.bytesMax(exchange.path) ?? bodyBytesMax;
    if (length !== undefined && Number(length) > bytesMax) return this.#refuse(request, response, tooLarge(bytesMax));
    if (awaitsContinue) response.writeContinue();
    this.#receive(request, response, exchange, bytesMax);
  }

  #receive(request: IncomingMessage, response: ServerResponse, exchange: NodeExchange, bytesMax: number): void {
    const receiving: Receiving = { exchange, by: performance.now() + this.#options.receiveMsMax };
    this.#receiving.add(receiving);
    let first: Uint8Array | undefined;
    let more: Uint8Array[] | undefined;
    let bytes = 0;
    const hasRoom = this.#room(response);
    request.on('data', (chunk: Uint8Array) => {
      if (!this.#receiving.has(receiving)) return;
      bytes += chunk.byteLength;
      const fault = bytes > bytesMax ? tooLarge(bytesMax) : bytes > this.#options.bodyBytesMax && !hasRoom(bytes) ? NO_ROOM : undefined;
      if (fault !== undefined) {
        first = more = undefined;
        this.#receiving.delete(receiving);
        this.#refuse(request, response, fault);
      } else if (first === undefined) first = chunk;
      else {
        more ??= [first];
        more.push(chunk);
      }
    });
    request.on('end', () => {
      if (!this.#receiving.delete(receiving) || exchange.lost) return;
      exchange.body = more === undefined ? (first ?? exchange.body) : Buffer.concat(more);
      runHandler(this.#handler, exchange, this.#options.problem);
    });
  }

  /** Takes room for a long body as it comes; given back when its answer is out, or its caller gone. */
  #room(response: ServerResponse): (bytes: number) => boolean {
    let taken = 0;
    return (bytes) => {
      const budget = this.#options.longBodies?.budget;
      if (budget?.take(bytes - taken) !== true) return false;
      if (taken === 0) response.once('close', () => budget.give(taken));
      taken = bytes;
      return true;
    };
  }

  #mayQueue(socket: Socket, response: ServerResponse): boolean {
    const queued = (this.#pipelined.get(socket) ?? 0) + 1;
    this.#pipelined.set(socket, queued);
    response.once('finish', () => this.#pipelined.set(socket, (this.#pipelined.get(socket) ?? 1) - 1));
    if (queued <= PIPELINED_MAX) return true;
    socket.destroy();
    return false;
  }

  #refuse(request: IncomingMessage, response: ServerResponse, fault: FramingError): void {
    request.resume();
    const made = this.#options.problem(fault.status, fault.detail, refusedOf(request));
    if (response.socket !== null) return this.#refuseRaw(request.socket, fault, made);
    // Its turn comes after the requests before it.
    const allow = fault.status === 405 ? ['Allow', METHODS_ALLOWED] : faultFields(fault).flat();
    response.writeHead(made.status ?? fault.status, [
      ...allow,
      'Content-Type',
      made.contentType,
      'Connection',
      'close',
      'Content-Length',
      String(Buffer.byteLength(made.body)),
    ]);
    response.end(made.body);
  }

  #refuseRaw(socket: Socket, fault: FramingError, made = this.#options.problem(fault.status, fault.detail)): void {
    socket.end(rawRefusal(made.status ?? fault.status, made, faultFields(fault)));
    this.#lingering.add(socket, LINGER_MS);
  }

  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    if (socket.destroyed || socket.writableEnded) return;
    if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
    // With a request held, a refusal would be taken for its answer.
    const busy = (socket as Socket & { _httpMessage?: unknown })._httpMessage != null;
    if (busy && !this.#forget(socket)) return void socket.destroy();
    this.#refuseRaw(socket, toFramingError(error, this.#options.receiveMsMax));
  }

  /** True: a body was on its way, its request is next to be answered, and has not reached the handler. */
  #forget(socket: Socket): boolean {
    for (const receiving of this.#receiving) {
      if (receiving.exchange.socket === socket) return this.#receiving.delete(receiving) && !receiving.exchange.queued;
    }
    return false;
  }

  #sweep(): void {
    const now = performance.now();
    for (const receiving of this.#receiving) {
      if (receiving.exchange.lost) this.#receiving.delete(receiving);
      else if (receiving.by <= now) {
        this.#receiving.delete(receiving);
        if (receiving.exchange.queued) receiving.exchange.abandon();
        else this.#refuseRaw(receiving.exchange.socket, tooSlow(this.#options.receiveMsMax));
      }
    }
    this.#lingering.sweep(now);
  }
}
