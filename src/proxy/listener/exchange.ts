import type { IncomingMessage, ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { IndexedItem } from '../../core/collections/indexed-set.ts';
import { type FaultBody, rawRefusal } from '../../http/framing.ts';
import type { PacedReads } from '../../http/node/paced-reads.ts';
import { reasonPhrase } from '../../http/reason-phrase.ts';
import type { ForwardFailure, ForwardHandle, ResponseSink } from '../incoming.ts';
import type { BackendHead, RawHeaders } from '../upstream/forwarder.ts';
import type { ProxyResponse } from './error-response.ts';
import { UNROUTED } from './request.ts';

/** What an exchange reports to its listener. */
export interface ExchangeCallbacks {
  /** Responses carry `Connection: close` for keep-alive callers. */
  readonly closing: boolean;
  /** Reads connections on after answers of 400 and above. */
  readonly refusals: PacedReads;
  answerFor(why: ForwardFailure, exchange: ProxyExchange): ProxyResponse;
  /** Was written to the end, cut, or left. */
  over(exchange: ProxyExchange): void;
  /** An answer is out and its connection ends: read what still comes, for `LINGER_MS`, so that the caller sees the answer and not a reset. */
  linger(exchange: ProxyExchange): void;
  /** Is answered, though its body has not ended: it has a little time to. */
  onBodyDiscarded(exchange: ProxyExchange): void;
  onError(error: unknown): void;
}

/** One request and its answer, from the moment it is its connection's turn. */
export class ProxyExchange implements ResponseSink, IndexedItem {
  place = -1;
  readonly request: IncomingMessage;
  /** Where its request goes, once that is known. */
  entered = UNROUTED;
  readonly #response: ServerResponse;
  readonly #owner: ExchangeCallbacks;
  #delivery: ForwardHandle | undefined;
  #over = false;
  /** Something of the body was written. */
  #written = false;
  #stalledSince: number | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, owner: ExchangeCallbacks) {
    this.request = request;
    this.#response = response;
    this.#owner = owner;
    // Not `once`, which wraps it: a response closes one time.
    response.on('close', () => this.#gone());
  }

  /** The response has begun: nothing else can be sent. */
  get begun(): boolean {
    return this.#response.headersSent;
  }

  /** Since when the caller has not read what is waiting, by `performance.now()`; undefined: it reads. */
  get stalledSince(): number | undefined {
    return this.#stalledSince;
  }

  /** Whose delivery it is; called at once when the caller has gone meanwhile. */
  handOver(delivery: ForwardHandle): void {
    if (this.#over) delivery.leave();
    else this.#delivery = delivery;
  }

  /** Answers `Expect: 100-continue`. */
  wanted(): void {
    if (!this.#over && !this.begun) this.#response.writeContinue();
  }

  onInformation(head: BackendHead): void {
    // A caller of HTTP/1.0 knows of no answer but the last one (RFC 9110 15.2).
    if (this.#over || this.begun || this.request.httpVersion !== '1.1') return;
    // A status line needs three digits, the first of them 1 to 9.
    if (head.status < 100) return;
    let text = `HTTP/1.1 ${head.status} ${reasonPhrase(head.status, head.statusText)}\r\n`;
    for (let i = 0; i < head.headers.length; i += 2) text += `${head.headers[i]}: ${head.headers[i + 1]}\r\n`;
    this.request.socket.write(`${text}\r\n`, 'latin1');
  }

  onHead(head: BackendHead): void {
    if (this.#over) return;
    const headers = this.#owner.closing ? [...head.headers, 'Connection', 'close'] : head.headers;
    this.#response.sendDate = false;
    try {
      this.#response.writeHead(head.status, reasonPhrase(head.status, head.statusText), headers as string[]);
      flushLater(this);
    } catch (cause) {
      this.#owner.onError(cause);
      this.#delivery?.leave();
      this.#abandon();
    }
  }

  /** Sends the head now, unless it left with the first bytes of the body. */
  flush(): void {
    // `flushHeaders` would write the bytes of a field as UTF-8.
    if (!this.#over && !this.#written) this.#response.write('', 'latin1');
  }

  onData(chunk: Uint8Array, resume: () => void): boolean {
    if (this.#over) return true;
    this.#written = true;
    if (this.#response.write(chunk)) return true;
    this.#stalledSince = performance.now();
    this.#response.once('drain', () => {
      this.#stalledSince = undefined;
      resume();
    });
    return false;
  }

  onEnd(trailers: RawHeaders): void {
    if (this.#over) return;
    if (trailers.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(pairs(trailers));
    this.#finish();
    this.#response.end();
    // What is left of the body is dumped by node; a sender that goes on for ever is cut.
    if (!this.request.complete) this.#owner.onBodyDiscarded(this);
    if (this.#response.writableLength > 0) this.#owner.linger(this);
  }

  onNone(why: ForwardFailure): void {
    if (this.#over) return;
    let answer: ProxyResponse;
    try {
      answer = this.#owner.answerFor(why, this);
    } catch (cause) {
      this.#owner.onError(cause);
      return this.#abandon();
    }
    this.answer(answer);
  }

  /** An answer of the proxy's own. */
  answer(answer: ProxyResponse): void {
    if (this.#over) return;
    if (this.request.complete) this.#write(answer);
    else this.refuse(answer.status, { contentType: '', body: answer.body }, answer.headers);
  }

  /** Leaves the answer to another; nothing was written. */
  release(): void {
    this.#finish();
  }

  onBroken(): void {
    if (!this.#over) this.#abandon();
  }

  /** Ends the connection with an answer, whatever of the request is still to come, and what was under way for it. Nothing may have been written. */
  refuse(status: number, made: FaultBody, headers: ProxyResponse['headers'] = []): void {
    if (this.#over) return;
    const delivery = this.#delivery;
    this.#finish();
    delivery?.leave();
    const type = headers.find(([name]) => name === 'Content-Type')?.[1] ?? made.contentType;
    const others = headers.filter(([name]) => name !== 'Content-Type');
    this.request.resume();
    this.request.socket.end(rawRefusal(status, { contentType: type, body: this.request.method === 'HEAD' ? '' : made.body }, others));
    this.#owner.linger(this);
  }

  /** Writes an answer of our own to a request that is whole. */
  #write({ status, headers, body }: ProxyResponse): void {
    const all = [...headers, ['Content-Length', String(Buffer.byteLength(body))] as const];
    if (this.#owner.closing) all.push(['Connection', 'close']);
    this.#finish();
    this.#response.writeHead(status, all.flat());
    if (status < 400) this.#response.end(body);
    else this.#response.end(body, () => this.#owner.refusals.refused(this.request.socket));
    if (this.#response.writableLength > 0) this.#owner.linger(this);
  }

  /** Without a word: something was written that cannot be taken back. */
  #abandon(): void {
    this.#finish();
    this.request.socket.destroy();
  }

  #finish(): void {
    this.#over = true;
    this.#delivery = undefined;
    this.#owner.over(this);
  }

  #gone(): void {
    if (this.#over) return;
    const delivery = this.#delivery;
    this.#finish();
    delivery?.leave();
  }
}

/** Heads that wait for what came with them; mostly a body that came in the same packet, which is cheaper to write with its head. */
let heads: ProxyExchange[] = [];

function flushLater(exchange: ProxyExchange): void {
  if (heads.push(exchange) === 1) queueMicrotask(flushHeads);
}

function flushHeads(): void {
  const all = heads;
  heads = [];
  for (const exchange of all) exchange.flush();
}

function pairs(raw: RawHeaders): [string, string][] {
  const out: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) out.push([raw[i] as string, raw[i + 1] as string]);
  return out;
}
