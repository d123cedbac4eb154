import { performance } from 'node:perf_hooks';
import { type Engine, type EngineHandler, type EngineOptions, runHandler } from '../engine.ts';
import { checkHost, checkMethod, type FramingError, faultFields, lengthOf, METHODS_ALLOWED, NO_ROOM, originForm, tooLarge, tooSlow } from '../framing.ts';
import type { UwsApp, UwsModule, UwsRequest, UwsResponse } from './binding.ts';
import { UwsExchange, type UwsExchangeOwner, type UwsHead } from './exchange.ts';

/** LIBUS_LISTEN_EXCLUSIVE_PORT: without it two servers share a port without a word. */
const EXCLUSIVE = 1;

const NO_ENCODING: FramingError = { status: 411, detail: 'Send the body with a Content-Length; this listener takes no Transfer-Encoding.' };

/**
 * The engine on uWebSockets.js, for permits only: a request costs half of what it costs on node:http, a held one an
 * eighth. Its parser takes what it should not (RFC 9112 section 6), so no Transfer-Encoding passes, and nothing happens before
 * the last byte of a body.
 */
export function uwsEngine(uws: UwsModule, options: EngineOptions, handler: EngineHandler): Engine {
  return new UwsEngine(uws, options, handler);
}

/** A body on its way. */
interface Receiving {
  readonly exchange: UwsExchange;
  readonly by: number;
}

class UwsEngine implements Engine, UwsExchangeOwner {
  readonly name = 'uws';
  closing = false;
  readonly bounds: EngineOptions['unread'];
  readonly #uws: UwsModule;
  readonly #options: EngineOptions;
  readonly #handler: EngineHandler;
  readonly #receiving = new Set<Receiving>();
  #app: UwsApp | undefined;
  #token: object | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #connections = 0;
  #onLast: (() => void) | undefined;

  constructor(uws: UwsModule, options: EngineOptions, handler: EngineHandler) {
    this.#uws = uws;
    this.#options = options;
    this.bounds = options.unread;
    this.#handler = handler;
  }

  async listen(host: string, port: number): Promise<{ host: string; port: number }> {
    const { tls } = this.#options;
    if (tls?.clientCa !== undefined) throw new Error('clientCa needs the engine node: uWebSockets.js does not say who called.');
    const app = tls === undefined ? this.#uws.App() : this.#uws.SSLApp({ key_file_name: tls.key, cert_file_name: tls.cert });
    app.filter((_response, count) => this.#count(count));
    app.any('/*', (response, request) => this.#take(response, request));
    const token = await new Promise<object | false>((resolve) => app.listen(host, port, EXCLUSIVE, resolve));
    if (token === false) throw new Error(`Cannot listen on ${host}:${port}. Choose another address, or stop who has it.`);
    this.#app = app;
    this.#token = token;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(1_000, Math.ceil(this.#options.receiveMsMax / 4)));
    this.#sweeper.unref();
    return { host, port: this.#uws.us_socket_local_port(token) };
  }

  async close(graceMs: number): Promise<void> {
    if (this.#token === undefined || this.#app === undefined) return;
    this.closing = true;
    this.#uws.us_listen_socket_close(this.#token);
    this.#token = undefined;
    await new Promise<void>((resolve) => {
      if (this.#connections <= 0) return resolve();
      const last = setTimeout(resolve, graceMs);
      this.#onLast = () => {
        clearTimeout(last);
        resolve();
      };
    });
    this.#app.close();
    clearInterval(this.#sweeper);
  }

  #count(change: number): void {
    this.#connections += change;
    if (this.#connections <= 0) this.#onLast?.();
  }

  #take(response: UwsResponse, request: UwsRequest): void {
    const fields: string[] = [];
    let host: string | undefined;
    let length: string | undefined;
    let encoded = false;
    request.forEach((name, value) => {
      fields.push(name, value);
      if (name === 'host') host = host === undefined ? value : `${host},${value}`;
      else if (name === 'content-length') length = length === undefined ? value : `${length},${value}`;
      else if (name === 'transfer-encoding') encoded = true;
    });
    const method = request.getCaseSensitiveMethod();
    const query = request.getQuery();
    const url = request.getUrl();
    const fault = checkMethod(method) ?? checkHost(host) ?? (encoded ? NO_ENCODING : undefined);
    const target = fault ?? originForm(query === undefined ? url : `${url}?${query}`, method, host);
    const bytes = length === undefined ? 0 : lengthOf(length);
    const bytesMax = this.#options.longBodies?.bytesMax(url) ?? this.#options.bodyBytesMax;
    const refused = typeof target !== 'string' ? target : typeof bytes !== 'number' ? bytes : bytes > bytesMax ? tooLarge(bytesMax) : undefined;
    // Of an absolute form the rest, as on node:http.
    const origin = typeof target === 'string' ? target : url;
    const mark = origin.indexOf('?');
    const head: UwsHead = { method, path: mark < 0 ? origin : origin.slice(0, mark), query: mark < 0 ? '' : origin.slice(mark + 1), fields };
    const exchange = new UwsExchange(head, response, this);
    if (refused !== undefined) {
      response.onAborted(() => exchange.aborted());
      // Answered within the parser, a refusal would close the connection only after what is hidden behind it was served.
      // While it is pending, the parser itself ends a connection that goes on with another request.
      setImmediate(() => this.#refuse(exchange, refused));
    } else if (bytes === 0) {
      runHandler(this.#handler, exchange, this.#options.problem);
      if (exchange.over) return;
      exchange.late = true;
      response.onAborted(() => exchange.aborted());
    } else this.#receive(response, exchange, bytes as number);
  }

  #receive(response: UwsResponse, exchange: UwsExchange, announced: number): void {
    const receiving: Receiving = { exchange, by: performance.now() + this.#options.receiveMsMax };
    this.#receiving.add(receiving);
    let body: Uint8Array | undefined;
    let bytes = 0;
    const hasRoom = this.#room(exchange);
    response.onAborted(() => {
      this.#receiving.delete(receiving);
      exchange.aborted();
    });
    response.onData((chunk, last) => {
      if (exchange.over || bytes + chunk.byteLength > announced || !this.#receiving.has(receiving)) return;
      if (bytes + chunk.byteLength > this.#options.bodyBytesMax && !hasRoom(bytes + chunk.byteLength)) {
        this.#receiving.delete(receiving);
        body = undefined;
        // Outside the parser, as every refusal.
        return void setImmediate(() => this.#refuse(exchange, NO_ROOM));
      }
      // The chunk's memory is taken back when this returns.
      if (last && bytes === 0) body = new Uint8Array(chunk.slice(0));
      else {
        body ??= new Uint8Array(announced);
        body.set(new Uint8Array(chunk), bytes);
      }
      bytes += chunk.byteLength;
      if (!last) return;
      this.#receiving.delete(receiving);
      exchange.body = body as Uint8Array;
      runHandler(this.#handler, exchange, this.#options.problem);
      exchange.late = true;
    });
  }

  /** Takes room for a long body as it comes; given back when its answer is out, or its caller gone. */
  #room(exchange: UwsExchange): (bytes: number) => boolean {
    let taken = 0;
    return (bytes) => {
      const budget = this.#options.longBodies?.budget;
      if (budget?.take(bytes - taken) !== true) return false;
      taken = bytes;
      exchange.onOver = () => budget.give(taken);
      return true;
    };
  }

  #refuse(exchange: UwsExchange, fault: FramingError): void {
    const made = this.#options.problem(fault.status, fault.detail, { path: exchange.path, contentType: exchange.header('content-type') ?? '' });
    const allow: (readonly [string, string])[] = fault.status === 405 ? [['Allow', METHODS_ALLOWED]] : [];
    exchange.refuse(made.status ?? fault.status, [...allow, ...faultFields(fault), ['Content-Type', made.contentType]], made.body);
  }

  #sweep(): void {
    const now = performance.now();
    for (const receiving of this.#receiving) {
      if (receiving.by > now) continue;
      this.#receiving.delete(receiving);
      this.#refuse(receiving.exchange, tooSlow(this.#options.receiveMsMax));
    }
  }
}
