import { lookup } from 'node:dns';
import { type ClientRequest, type IncomingMessage, request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { MILLISECOND, type Micros, type Millis } from '../../core/time.ts';
import { rawRefusal } from '../../http/framing.ts';
import { reasonPhrase } from '../../http/reason-phrase.ts';
import type { Forwarding, TunnelSink, UpgradeTarget } from '../forwarding.ts';
import { responseHeaders } from '../headers.ts';
import type { ForwardFailure, ForwardHandle, IncomingRequest } from '../incoming.ts';
import type { Route } from '../route.ts';
import type { RawHeaders } from '../upstream/forwarder.ts';
import { guardedLookup } from '../upstream/guarded-lookup.ts';
import type { ProxyResponse } from './error-response.ts';

/** Who sends more before the upgrade is answered speaks another protocol. */
const EARLY_BYTES_MAX = 65_536;

const BROKEN_FIELD = 'The answer of the backend has a status below 100, or a field that holds a control character.';

/**
 * One upgrade: admitted like any request, then two sockets joined until either ends; its slot is held as long. Node has
 * taken its hands off the caller's socket: what is written here is all that is written.
 */
export class TunnelSocket implements TunnelSink {
  readonly #socket: Socket;
  /** What came before the tunnel was there. */
  readonly #early: Buffer[];
  #earlyBytes: number;
  readonly #answerFor: (why: ForwardFailure) => ProxyResponse;
  #delivery: ForwardHandle | undefined;
  #way: UpgradeTarget | undefined;
  #asking: ClientRequest | undefined;
  #backend: Socket | undefined;
  #deadline: NodeJS.Timeout | undefined;
  /** Fields of an answer that pushed back. */
  #pushback: RawHeaders | undefined;
  #sent = false;
  /** The head of an answer in place of a tunnel is on its way to the caller. */
  #refusing = false;
  #over = false;
  #target = '/';

  /** `first`: what came behind the head. */
  constructor(socket: Socket, first: Buffer, answerFor: (why: ForwardFailure) => ProxyResponse) {
    this.#socket = socket;
    this.#early = [first];
    this.#earlyBytes = first.length;
    this.#answerFor = answerFor;
    socket.setTimeout(0);
    socket.once('close', () => this.#gone());
    socket.once('end', () => this.#gone());
    // Ends are reported only to a reader.
    socket.on('data', this.#onBytes);
  }

  readonly #onBytes = (bytes: Buffer): void => {
    if (this.#over) return;
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > EARLY_BYTES_MAX) this.#gone();
  };

  handOver(delivery: ForwardHandle): void {
    if (this.#over) delivery.leave();
    else this.#delivery = delivery;
  }

  /** An answer in place of a tunnel. */
  answer({ status, headers, body }: ProxyResponse): void {
    if (this.#over) return;
    this.#over = true;
    const type = headers.find(([name]) => name === 'Content-Type')?.[1] ?? 'text/plain';
    const others = headers.filter(([name]) => name !== 'Content-Type');
    this.#socket.end(rawRefusal(status, { contentType: type, body }, others));
    this.#socket.resume();
  }

  onNone(why: ForwardFailure): void {
    this.#delivery = undefined;
    this.answer(this.#answerFor(why));
  }

  onWay(way: UpgradeTarget): void {
    if (this.#over) return void way.end({ sent: false, ok: true });
    this.#way = way;
    this.#sent = false;
    const url = new URL(way.url);
    const { tls, timeout } = way.spec;
    const ask = url.protocol === 'https:' ? tlsRequest : plainRequest;
    const asking = ask({
      agent: false,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port,
      method: 'GET',
      path: this.#target,
      headers: [...way.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket'],
      setHost: false,
      lookup: guardedLookup(lookup),
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls?.key === undefined ? {} : { key: tls.key }),
      ...(tls?.servername === undefined ? {} : { servername: tls.servername }),
    });
    this.#asking = asking;
    // Of the whole: a backend that trickles 1xx is late too.
    this.#waitFor(timeout.connect, () => this.#failed(503, 'No connection to the backend; it has not seen the request.', new Error('connect timeout')));
    asking.once('socket', (socket) =>
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
        this.#sent = true;
        this.#waitFor(timeout.firstByte, () => this.#failed(504, 'The backend did not answer in time.', new Error('no answer to an upgrade')));
      }),
    );
    asking.once('upgrade', (answer: IncomingMessage, backend: Socket, first: Buffer) => this.#join(way, answer, backend, first));
    asking.once('response', (answer: IncomingMessage) => this.#refused(way, answer));
    asking.on('error', (cause) => {
      if (this.#asking === asking) this.#failed(this.#sent ? 502 : 503, 'The backend could not be reached, or broke off.', cause);
    });
    asking.end();
  }

  onLost(): void {
    this.#cut();
  }

  /** Lets it be until `ms` have gone by, then cuts it. */
  closeBy(ms: Millis): void {
    const last = setTimeout(() => this.#cut(), ms);
    this.#socket.once('close', () => clearTimeout(last));
  }

  /** Origin form of what was asked. */
  target(text: string): this {
    this.#target = text;
    return this;
  }

  /** One deadline at a time. */
  #waitFor(micros: Micros, late: () => void): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(late, micros / MILLISECOND);
  }

  #join(way: UpgradeTarget, answer: IncomingMessage, backend: Socket, first: Buffer): void {
    if (this.#over) return void backend.destroy();
    const headers = responseHeaders(answer.rawHeaders);
    if (headers === undefined) {
      backend.destroy();
      return this.#failed(502, BROKEN_FIELD, new Error(BROKEN_FIELD));
    }
    clearTimeout(this.#deadline);
    way.responding();
    this.#backend = backend;
    backend.setTimeout(0);
    backend.on('error', () => backend.destroy());
    backend.once('close', () => this.#cut());
    this.#socket.write(head(101, 'Switching Protocols', [...headers, ...way.added, 'Connection', 'Upgrade', 'Upgrade', answer.headers.upgrade ?? 'websocket']));
    if (first.length > 0) this.#socket.write(first);
    this.#socket.off('data', this.#onBytes);
    for (const bytes of this.#early.splice(0)) if (bytes.length > 0) backend.write(bytes);
    this.#socket.pipe(backend).pipe(this.#socket);
  }

  /** The backend would not: its answer goes to the caller, and the connection ends. */
  #refused(way: UpgradeTarget, answer: IncomingMessage): void {
    if (this.#over) return void answer.destroy();
    const { statusCode: status = 0, statusMessage = '' } = answer;
    const came = responseHeaders(answer.rawHeaders);
    if (came === undefined || status < 200) return this.#failed(502, BROKEN_FIELD, new Error(BROKEN_FIELD));
    way.responding();
    if (status === 429 || status === 503) this.#pushback = answer.rawHeaders;
    this.#waitFor(way.spec.timeout.idle, () => this.#reset());
    answer.on('data', () => this.#deadline?.refresh());
    const headers = came.filter((_each, i, all) => all[i - (i % 2)]?.toLowerCase() !== 'content-length');
    this.#refusing = true;
    this.#socket.write(head(status, reasonPhrase(status, statusMessage), [...headers, ...way.added, 'Connection', 'close']));
    answer.pipe(this.#socket);
    answer.once('end', () => this.#finish(true));
    answer.once('error', () => this.#reset());
  }

  #failed(status: 502 | 503 | 504, detail: string, cause: Error): void {
    if (this.#refusing) return this.#reset();
    if (this.#over || this.#backend !== undefined) return this.#cut();
    clearTimeout(this.#deadline);
    const [way, asking] = [this.#way, this.#asking];
    this.#way = this.#asking = undefined;
    asking?.destroy();
    if (way?.end({ sent: this.#sent, ok: false })) return;
    this.answer(this.#answerFor({ kind: 'failed', status, detail, attempts: 1, cause }));
  }

  #gone(): void {
    this.#delivery?.leave();
    this.#cut();
  }

  /** Breaks an answer off, whose end is that of its connection: a caller must not take what it has for all. */
  #reset(): void {
    if (this.#over) return;
    this.#asking?.destroy();
    if ('encrypted' in this.#socket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
    this.#finish(true);
  }

  #cut(): void {
    this.#asking?.destroy();
    // What was written is still read by the other side.
    this.#backend?.destroySoon();
    this.#socket.destroySoon();
    this.#finish(true);
  }

  #finish(ok: boolean): void {
    this.#over = true;
    this.#delivery = undefined;
    clearTimeout(this.#deadline);
    const way = this.#way;
    this.#way = undefined;
    way?.end({ sent: this.#sent, ok, ...(this.#pushback === undefined ? {} : { pushback: this.#pushback }) });
  }
}

/** Requests an upgrade, and joins the two ends once it is there. */
export function openTunnel(tunnel: TunnelSocket, forwarding: Forwarding, incoming: IncomingRequest, route: Route): void {
  tunnel.target(incoming.target).handOver(forwarding.tunnel(incoming, route, tunnel));
}

function head(status: number, text: string, headers: RawHeaders): Buffer {
  let lines = `HTTP/1.1 ${status} ${text}\r\n`;
  for (let i = 0; i < headers.length; i += 2) lines += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return Buffer.from(`${lines}\r\n`, 'latin1');
}
