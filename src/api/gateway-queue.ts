import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../admission/clock.ts';
import { DelayQueue } from '../admission/delay-queue.ts';
import type { RefusalReason } from '../core/refusal.ts';
import type { Micros, Millis } from '../core/time.ts';
import type { Caller, GatewayQueue } from '../gateway-queue/gateway-queue.ts';
import { readShard } from '../gateway-queue/shard.ts';
import type { EngineOptions } from '../http/engine.ts';
import type { Listener } from '../http/listener.ts';
import { acceptsNextRequest, closeServer, createNodeServer, listenOn, PIPELINED_MAX } from '../http/node/server.ts';

/** Whose answers are given. */
export type GatewayQueueVariant = 'twilight' | 'pluralkit';

/** What happens at the listener; for the log and metrics. */
export type GatewayQueueEvent =
  /** A caller may start its session. */
  | { readonly kind: 'admitted' }
  /** A connection is closed without an answer. `request`: what came was no HTTP. */
  | { readonly kind: 'closed'; readonly reason: RefusalReason | 'request' }
  /** A `shard` that is none; `refused`: answered 400, else counted as 0. */
  | { readonly kind: 'wrong_shard'; readonly what: string; readonly refused: boolean };

/** What the listener needs. */
export interface GatewayQueueListenerOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly tls?: NonNullable<EngineOptions['tls']>;
  readonly queue: GatewayQueue;
  readonly clock: Clock;
  readonly variant: GatewayQueueVariant;
  /** Answers 400 to a `shard` that is none. */
  readonly strict: boolean;
  /** A connection is closed without an answer so late. */
  readonly closeAfter: Micros;
  /** Time for a head to arrive; more than 10 s is not given. */
  readonly headMsMax: Millis;
  readonly onEvent: (event: GatewayQueueEvent) => void;
}

/** Bytes of a body that are read and dropped; what comes beyond stays with its sender, and its connection ends with the answer. */
const BODY_BYTES_MAX = 1 << 20;

const ANSWERS: Readonly<Record<GatewayQueueVariant, { readonly fields: readonly string[]; readonly body: string }>> = {
  twilight: { fields: [], body: `{"message": "You're free to connect now! :)"}` },
  pluralkit: { fields: ['Content-Type', 'text/plain; charset=utf-8'], body: 'You are free to connect now! :)' },
};

/**
 * Holds any request, of any method and path, until its bucket lets it go, and answers 200. Clients of this protocol take every
 * answer for leave to start, so nothing else is ever answered: a connection that cannot be served is closed, after `closeAfter`.
 * Always on node:http.
 */
export class GatewayQueueFrontend implements Listener {
  readonly name = 'gatewayQueue';
  readonly #options: GatewayQueueListenerOptions;
  readonly #closing: DelayQueue<Socket>;
  readonly #pipelined = new WeakMap<Socket, number>();
  #draining = false;
  #server: Server | undefined;

  constructor(options: GatewayQueueListenerOptions) {
    this.#options = options;
    this.#closing = new DelayQueue({ clock: options.clock, delay: options.closeAfter, due: (socket) => void socket.destroy() });
  }

  async listen(): Promise<{ readonly address: string }> {
    const { address, tls, headMsMax } = this.#options;
    const server = await createNodeServer({ receiveMsMax: headMsMax, ...(tls === undefined ? {} : { tls }) });
    for (const event of ['request', 'checkContinue', 'checkExpectation'])
      server.on(event, (request: IncomingMessage, response: ServerResponse) => this.#take(request, response));
    server.on('connect', (request: IncomingMessage, socket) => this.#connect(request, socket as Socket));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#clientError(error, socket as Socket));
    const { host, port } = await listenOn(server, address.host, address.port);
    this.#server = server;
    return { address: `${host.includes(':') ? `[${host}]` : host}:${port}` };
  }

  /** Those held are admitted or closed by admission's drain; no connection is taken any more. */
  async drain(graceMs: Millis): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#draining = true;
    await closeServer(server, graceMs);
  }

  /** One request of a connection at a time: the next is looked at when the answer before it is written. */
  #take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    if (socket.writableEnded || socket.destroyed || !acceptsNextRequest(request, response)) return;
    if (response.socket !== null) return this.#begin(request, response);
    const queued = (this.#pipelined.get(socket) ?? 0) + 1;
    this.#pipelined.set(socket, queued);
    if (queued > PIPELINED_MAX) return this.#close(socket, 'request');
    response.once('socket', () => {
      this.#pipelined.set(socket, (this.#pipelined.get(socket) ?? 1) - 1);
      // Not within the end of the answer before it.
      setImmediate(() => {
        if (!socket.writableEnded && !socket.destroyed) this.#begin(request, response);
      });
    });
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const { queue, strict, onEvent } = this.#options;
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    const read = readShard(mark < 0 ? '' : url.slice(mark + 1));
    if ('wrong' in read) {
      onEvent({ kind: 'wrong_shard', what: read.wrong, refused: strict });
      if (strict) return this.#refuse(request, response, read.wrong);
    }
    dropBody(request);
    let caller: Caller | undefined;
    let isGone = false;
    const gone = (): void => {
      isGone = true;
      caller?.leave();
    };
    response.once('close', gone);
    caller = queue.arrive('wrong' in read ? 0 : (read.shard ?? 0), {
      admit: () => {
        response.off('close', gone);
        if (isGone || request.socket.destroyed || request.socket.writableEnded) return false;
        this.#admit(request, response);
        return true;
      },
      close: (reason) => {
        response.off('close', gone);
        this.#close(request.socket, reason);
      },
    });
  }

  #admit(request: IncomingMessage, response: ServerResponse): void {
    const { variant, onEvent } = this.#options;
    const { fields, body } = ANSWERS[variant];
    response.writeHead(200, [...fields, 'Content-Length', String(body.length), ...this.#last(request)]);
    response.end(body);
    onEvent({ kind: 'admitted' });
  }

  #refuse(request: IncomingMessage, response: ServerResponse, wrong: string): void {
    const body = `${wrong}\n`;
    dropBody(request);
    response.writeHead(400, ['Content-Type', 'text/plain; charset=utf-8', 'Content-Length', String(Buffer.byteLength(body)), ...this.#last(request)]);
    response.end(body);
  }

  /** The connection ends with this answer: a body that is not all here would be taken for the next request, or the server stops. */
  #last(request: IncomingMessage): readonly string[] {
    return this.#draining || !request.complete ? ['Connection', 'close'] : [];
  }

  /** CONNECT is a method as any. */
  #connect(request: IncomingMessage, socket: Socket): void {
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    response.once('finish', () => socket.end());
    socket.once('close', () => response.emit('close'));
    this.#begin(request, response);
  }

  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    if (socket.destroyed || socket.writableEnded) return;
    if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
    this.#close(socket, 'request');
  }

  #close(socket: Socket, reason: RefusalReason | 'request'): void {
    if (socket.destroyed) return;
    this.#options.onEvent({ kind: 'closed', reason });
    this.#closing.push(socket);
  }
}

/** Reads a body and drops it, so that its sender's leaving is seen; a long one is left with its sender. */
function dropBody(request: IncomingMessage): void {
  let bytes = 0;
  request.on('data', (piece: Uint8Array) => {
    bytes += piece.byteLength;
    if (bytes > BODY_BYTES_MAX) request.pause();
  });
}
