import { STATUS_CODES } from 'node:http';
import type { EngineOptions, EngineReply, EngineRequest, EngineStream } from '../engine.ts';
import { assertField } from '../framing.ts';
import type { UwsResponse } from './binding.ts';

const NO_BYTES = new Uint8Array(0);
const STATUS_LINES = new Map(Object.entries(STATUS_CODES).map(([code, text]) => [Number(code), `${code} ${text}`]));

/** What an exchange reads of its engine. */
export interface UwsExchangeOwner {
  readonly closing: boolean;
  readonly bounds: EngineOptions['unread'];
}

/** What was read of a request before its handler ran: `req` of uWebSockets.js dies with it. */
export interface UwsHead {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Name, value, name, value. */
  readonly fields: readonly string[];
}

/** One request on uWebSockets.js and its answer. `#over` guards every touch of the response. */
export class UwsExchange implements EngineRequest, EngineReply, EngineStream {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  body: Uint8Array = NO_BYTES;
  readonly #fields: readonly string[];
  readonly #response: UwsResponse;
  readonly #owner: UwsExchangeOwner;
  /** Set by the engine once the handler has returned: what is written from then on has to be corked. */
  late = false;
  /** The engine's; called once, when the exchange is answered or its caller gone. */
  onOver: (() => void) | undefined;
  #over = false;
  #begun = false;
  #gone: (() => void) | undefined;
  /** Bytes written since everything was last taken by the socket. */
  #unread = 0;
  /** Closes the connection unless something is taken before. */
  #unreadTimer: NodeJS.Timeout | undefined;

  constructor(head: UwsHead, response: UwsResponse, owner: UwsExchangeOwner) {
    this.method = head.method;
    this.path = head.path;
    this.query = head.query;
    this.#fields = head.fields;
    this.#response = response;
    this.#owner = owner;
  }

  get remoteAddress(): string {
    return this.#over ? '' : Buffer.from(this.#response.getRemoteAddressAsText()).toString('latin1');
  }

  /** Answered, or the caller has left. */
  get over(): boolean {
    return this.#over;
  }

  /** Part of an answer is already on its way. */
  get begun(): boolean {
    return this.#begun;
  }

  header(name: string): string | undefined {
    const fields = this.#fields;
    let value: string | undefined;
    for (let index = 0; index < fields.length; index += 2) {
      if (fields[index] === name) value = value === undefined ? fields[index + 1] : `${value}, ${fields[index + 1]}`;
    }
    return value;
  }

  onGone(gone: () => void): void {
    this.#gone = gone;
  }

  /** The engine's: the response is dead from here on. */
  aborted(): void {
    if (this.#over) return;
    this.#finish();
    this.#gone?.();
  }

  send(status: number, headers: readonly (readonly [string, string])[], body: string | Uint8Array): boolean {
    if (this.#over) return false;
    this.#check(headers);
    this.#finish();
    if (this.late) this.#response.cork(() => this.#whole(status, headers, body));
    else this.#whole(status, headers, body);
    return true;
  }

  get ready(): boolean {
    return this.#unread === 0;
  }

  stream(status: number, headers: readonly (readonly [string, string])[]): EngineStream {
    if (this.#over) return this;
    this.#check(headers);
    this.#begun = true;
    this.#response.onWritable(() => {
      this.#read();
      return true;
    });
    // The head leaves with the first bytes of the body: uWebSockets.js has no flush, and an empty write would end it.
    this.#response.cork(() => this.#head(status, this.#owner.closing ? [...headers, ['Connection', 'close']] : headers));
    return this;
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.#over) return false;
    const bytes = Buffer.byteLength(chunk);
    if (bytes === 0 || this.method === 'HEAD') return true;
    let taken = true;
    this.#response.cork(() => {
      taken = this.#response.write(chunk);
    });
    const { bytesMax, msMax } = this.#owner.bounds;
    if (taken) this.#read();
    else {
      this.#unread += bytes;
      this.#unreadTimer ??= setTimeout(() => this.abandon(), msMax).unref();
    }
    if (this.#unread <= bytesMax) return true;
    this.abandon();
    return false;
  }

  /** The socket took all that was written. */
  #read(): void {
    this.#unread = 0;
    clearTimeout(this.#unreadTimer);
    this.#unreadTimer = undefined;
  }

  end(): void {
    if (this.#over) return;
    this.#finish();
    this.#response.cork(() => {
      this.#response.end(undefined, this.#owner.closing);
    });
  }

  /** Ends the connection without a word; the caller counts as gone. */
  abandon(): void {
    if (this.#over) return;
    // `close` calls the abort handler, and that calls `aborted`.
    this.#response.close();
  }

  /** Ends the exchange with an answer of the engine's own, and the connection with it; only outside the parser. */
  refuse(status: number, headers: readonly (readonly [string, string])[], body: string | Uint8Array): void {
    if (this.#over) return;
    this.#finish();
    this.#response.cork(() => {
      this.#head(status, headers);
      this.#response.end(body, true);
    });
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#unreadTimer);
    this.onOver?.();
  }

  #check(headers: readonly (readonly [string, string])[]): void {
    for (const [name, value] of headers) assertField(name, value);
  }

  #whole(status: number, headers: readonly (readonly [string, string])[], body: string | Uint8Array): void {
    this.#head(status, headers);
    if (this.method === 'HEAD' || status === 204 || status === 304) {
      this.#response.endWithoutBody(status === 204 ? undefined : Buffer.byteLength(body), this.#owner.closing);
    } else this.#response.end(body, this.#owner.closing);
  }

  /** One call for all fields, for each crosses into C++: those after the first ride in its value, checked before. */
  #head(status: number, headers: readonly (readonly [string, string])[]): void {
    const response = this.#response;
    if (status !== 200) response.writeStatus(STATUS_LINES.get(status) ?? `${status} Unnamed`);
    const [first] = headers;
    if (first === undefined) return;
    let value = first[1];
    for (let index = 1; index < headers.length; index += 1) value += `\r\n${headers[index]?.[0]}: ${headers[index]?.[1]}`;
    response.writeHeader(first[0], value);
  }
}
