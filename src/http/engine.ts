import type { Socket } from 'node:net';
import type { BodyBudget } from './body-budget.ts';
import type { FaultBody, Refused } from './framing.ts';

/**
 * An HTTP/1.1 listener: parses requests with whole bodies, reports when the caller is gone, writes responses. Two fulfil it
 * (`node.ts`, `uws.ts`); front ends do not depend on which. Framing it cannot vouch for is refused here,
 * before any handler runs.
 */
export interface Engine {
  readonly name: 'node' | 'uws';
  /** Resolves with the address once connections are taken; rejects with what to do when the port is not to be had. */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** Takes no new connections, closes idle ones, sends `Connection: close` to keep-alive callers; resolves when the last is gone or after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** What an engine needs to know. */
export interface EngineOptions {
  /** A longer body is refused with 413 before the handler runs. */
  readonly bodyBytesMax: number;
  /** Bodies of paths that may be longer than `bodyBytesMax`. */
  readonly longBodies?: LongBodies;
  /** Longest time for a request's head and body to arrive. */
  readonly receiveMsMax: number;
  /** What a stream may keep for a caller that does not read: bytes, and milliseconds in which the caller takes none of them. Its connection is closed beyond. */
  readonly unread: { readonly bytesMax: number; readonly msMax: number };
  /** Paths of PEM files, read once at `listen`; with `clientCa` callers must show a certificate of it (node:http only). */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Takes connections that speak HTTP/2 (node:http only). Absent: they are refused as what is no HTTP/1.1. */
  readonly http2?: (socket: Socket) => void;
  /** Writes the engine's own refusals (400, 408, 411, 413, 431) as bodies, so that they look like all others. */
  readonly problem: (status: number, detail: string, refused?: Refused) => FaultBody;
}

/** Paths whose bodies may be longer, and how much of them is held at once. */
export interface LongBodies {
  /** Longest body at a path, without its query; undefined: `bodyBytesMax` holds. */
  readonly bytesMax: (path: string) => number | undefined;
  /** What is held of them, by all connections; one for which there is no room is refused with 503. */
  readonly budget: BodyBudget;
}

/** A request whose body has arrived whole. Valid for as long as its exchange. */
export interface EngineRequest {
  /** Upper case, one of the methods the engine lets through (GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS). */
  readonly method: string;
  /** As sent, undecoded, without the query. */
  readonly path: string;
  /** As sent, without '?'; '' when absent. */
  readonly query: string;
  /** Value of a header by lower-case name; repeated ones joined by ', '; undefined when absent. */
  header(name: string): string | undefined;
  readonly body: Uint8Array;
  readonly remoteAddress: string;
}

/** The answer to one request; each ends in exactly one `send`, or in `stream` and its `end`, or in the caller's leaving. */
export interface EngineReply {
  /** Called at most once, when the caller left before the answer was complete. */
  onGone(gone: () => void): void;
  /** Writes a whole answer. False: the caller was already gone, nothing was written. Header names in their usual spelling. */
  send(status: number, headers: readonly (readonly [name: string, value: string])[], body: string | Uint8Array): boolean;
  /** Begins an answer that is written bit by bit (SSE, Connect streams). */
  stream(status: number, headers: readonly (readonly [name: string, value: string])[]): EngineStream;
}

/** A body being written. */
export interface EngineStream {
  /** False: what was written before has not left for the caller yet; news would be out of date once it does. */
  readonly ready: boolean;
  /** False: the caller is gone, or reads so slowly that more than `unread.bytesMax` waits: then the engine has closed it. */
  write(chunk: string | Uint8Array): boolean;
  end(): void;
}

/** Takes one request; called synchronously once its body is there. A throw becomes a 500 of `problem`. */
export type EngineHandler = (request: EngineRequest, reply: EngineReply) => void;

/** One request and its answer, as an engine holds them. */
interface Exchange extends EngineRequest, EngineReply {
  /** The answer's head is written. */
  readonly begun: boolean;
  /** Cuts an answer that cannot be completed. */
  abandon(): void;
}

/** Hands a whole request to its handler; one that throws is answered 500, or cut where its answer had begun. */
export function runHandler(handler: EngineHandler, exchange: Exchange, problem: EngineOptions['problem']): void {
  try {
    handler(exchange, exchange);
  } catch {
    if (exchange.begun) return exchange.abandon();
    const made = problem(500, 'The server failed at this request; the operator finds the reason in the log.');
    exchange.send(500, [['Content-Type', made.contentType]], made.body);
  }
}
