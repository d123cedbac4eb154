import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Millis } from '../../core/time.ts';
import type { EngineOptions, EngineReply, EngineRequest, EngineStream } from '../engine.ts';
import { Outbox } from './outbox.ts';
import type { PacedReads } from './paced-reads.ts';

const NO_BYTES = new Uint8Array(0);

/** What an exchange reports to its engine. */
export interface NodeExchangeOwner {
  /** Responses carry `Connection: close` for keep-alive callers. */
  readonly closing: boolean;
  readonly bounds: EngineOptions['unread'];
  /** Reads connections on after answers of 400 and above. */
  readonly refusals: PacedReads;
  /** An answer is written but not all of it has been read. */
  unread(socket: Socket): void;
}

/** One request on node:http and its answer: one object for both, since most are answered at once. */
export class NodeExchange implements EngineRequest, EngineReply, EngineStream {
  readonly path: string;
  readonly query: string;
  body: Uint8Array = NO_BYTES;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #owner: NodeExchangeOwner;
  #over = false;
  /** What a stream has not been rid of yet; from the first write that has no answer before it on the connection. */
  #outbox: Outbox | undefined;
  #queuedGone: (() => void) | undefined;

  /** `target` in origin form. */
  constructor(request: IncomingMessage, response: ServerResponse, target: string, owner: NodeExchangeOwner) {
    this.#request = request;
    this.#response = response;
    this.#owner = owner;
    const mark = target.indexOf('?');
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
  }

  get method(): string {
    return this.#request.method ?? '';
  }

  get remoteAddress(): string {
    return this.#request.socket.remoteAddress ?? '';
  }

  get socket(): Socket {
    return this.#request.socket;
  }

  /** The connection is closed, or closing from the caller's side. */
  get lost(): boolean {
    const socket = this.#request.socket;
    return socket.destroyed || socket.writableEnded;
  }

  /** Its answer waits for that of a request before it on the same connection. */
  get queued(): boolean {
    return this.#response.socket === null;
  }

  header(name: string): string | undefined {
    return this.#request.headers[name] as string | undefined;
  }

  onGone(gone: () => void): void {
    const closed = (): void => {
      if (this.#over) return;
      this.#over = true;
      this.#outbox?.close();
      gone();
    };
    // Node does not emit `close` on a response queued behind a pipelined one when its socket ends.
    if (this.#response.socket === null) {
      this.#queuedGone = closed;
      this.#request.socket.once('close', closed);
    } else {
      this.#response.once('close', closed);
    }
  }

  send(status: number, headers: readonly (readonly [string, string])[], body: string | Uint8Array): boolean {
    if (this.#over || this.lost) return false;
    const response = this.#response;
    response.writeHead(status, this.#fields(headers, status === 204 ? undefined : Buffer.byteLength(body)));
    this.#finish();
    if (status < 400) response.end(body);
    else response.end(body, () => this.#owner.refusals.refused(this.#request.socket));
    if (response.writableLength > 0) this.#owner.unread(this.#request.socket);
    return true;
  }

  get ready(): boolean {
    return this.#outbox?.empty ?? this.#response.writableLength === 0;
  }

  stream(status: number, headers: readonly (readonly [string, string])[]): EngineStream {
    if (this.#over || this.lost) return this;
    this.#response.writeHead(status, this.#fields(headers, undefined));
    this.#response.flushHeaders();
    return this;
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.#over || this.lost) return false;
    const response = this.#response;
    // Behind another answer of the connection nothing can be read yet: only the bytes count.
    if (response.socket === null) response.write(chunk);
    else {
      this.#outbox ??= this.#open();
      if (this.#outbox.send(chunk) === undefined) return false;
    }
    if (response.writableLength <= this.#owner.bounds.bytesMax) return true;
    this.#request.socket.destroy();
    return false;
  }

  end(): void {
    if (this.#over || this.lost) return;
    this.#finish();
    this.#response.end();
    if (this.#response.writableLength > 0) this.#owner.unread(this.#request.socket);
  }

  /** Ends the connection without a word: something was written that cannot be taken back. */
  abandon(): void {
    this.#request.socket.destroy();
  }

  /** Part of an answer is already on its way. */
  get begun(): boolean {
    return this.#response.headersSent;
  }

  #open(): Outbox {
    const response = this.#response;
    const stream = { cancelled: false, write: (chunk: string | Uint8Array, written: () => void) => response.write(chunk, written) };
    const { bytesMax, msMax } = this.#owner.bounds;
    return new Outbox(stream, { bytesMax, unreadMs: msMax as Millis, cut: () => void this.#request.socket.destroy() });
  }

  #finish(): void {
    this.#over = true;
    this.#outbox?.close();
    if (this.#queuedGone !== undefined) this.#request.socket.removeListener('close', this.#queuedGone);
  }

  // node takes pairs as they are, but its types know only flat lists.
  #fields(headers: readonly (readonly [string, string])[], length: number | undefined): string[] {
    const fields: (readonly [string, string])[] = headers.slice();
    if (length !== undefined) fields.push(['Content-Length', String(length)]);
    if (this.#owner.closing) fields.push(['Connection', 'close']);
    return fields as unknown as string[];
  }
}
