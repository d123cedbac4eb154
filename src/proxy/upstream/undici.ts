import { lookup } from 'node:dns';
import { isIP } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';
import { buildConnector, type Client, type Dispatcher, errors } from 'undici';
import { MILLISECOND, type Millis } from '../../core/time.ts';
import { BodyReader } from '../body/buffered-body.ts';
import type { BackendSpec } from '../route.ts';
import { type ConnectionHandler, ConnectionPool } from './connection-pool.ts';
import type { Attempt, BackendHead, BackendSink, FailureReason, Forwarder, HeldRequest, RawHeaders, Sending } from './forwarder.ts';
import { guardedLookup } from './guarded-lookup.ts';
import { HEAD_ONLY_BYTES } from './head-first.ts';

/** Bytes of an answer's head at most. */
const HEAD_BYTES_MAX = 65_536;
/** An unused connection is closed after this long; below the 5 s after which many servers close theirs. */
const KEEP_ALIVE_MS = 4_000;

/**
 * The forwarder: undici's `Client.dispatch`, one request for each connection at a time, bytes as they are (no decompression,
 * no redirects, no retries of its own). Request trailers are lost, those of answers are passed on.
 */
export function createUndiciForwarder(spec: BackendSpec): Forwarder {
  return new UndiciForwarder(spec);
}

class UndiciForwarder implements Forwarder {
  readonly #urls: readonly { readonly connections: ConnectionPool; readonly servername: string }[];

  readonly #headMsMax: Millis;

  constructor(spec: BackendSpec) {
    this.#headMsMax = spec.timeout.firstByte / MILLISECOND;
    this.#urls = spec.urls.map((url) => {
      // Never from the Host field of a request, which undici would take for want of another.
      return { connections: connectionsOf(spec, url), servername: spec.tls?.servername ?? new URL(url).hostname };
    });
  }

  forward(request: HeldRequest, url: number, sink: BackendSink): Sending {
    const target = this.#urls[url];
    if (target === undefined) throw new Error(`This backend has no URL ${url}.`);
    const { body } = request;
    const opened = body === undefined ? null : (body.open() as Buffer | Readable);
    const sending = new UndiciSending(sink, opened, this.#headMsMax);
    // Of bytes undici says the length itself.
    const length = opened !== null && 'destroy' in opened ? body?.length : undefined;
    // A body that is still on its way: its first byte may be late, and the backend is to have the head before.
    const marked = opened instanceof BodyReader && !opened.replays;
    if (marked) opened.mark();
    const announced = marked && length !== undefined ? length + HEAD_ONLY_BYTES : length;
    const headers = announced === undefined ? request.headers : request.headers.concat('content-length', String(announced));
    const options: Dispatcher.DispatchOptions & { readonly servername: string } = {
      method: request.method as Dispatcher.HttpMethod,
      path: request.target,
      headers: headers as string[],
      body: opened,
      servername: target.servername,
    };
    try {
      target.connections.dispatch(options, sending, marked);
    } catch (cause) {
      sending.onResponseError(undefined, cause as Error);
    }
    return sending;
  }

  async close(): Promise<void> {
    await Promise.all(this.#urls.map(({ connections }) => connections.close()));
  }

  cut(): void {
    for (const { connections } of this.#urls) connections.cut();
  }
}

function connectionsOf(spec: BackendSpec, url: string): ConnectionPool {
  const { timeout, tls } = spec;
  const { hostname } = new URL(url);
  const bare = hostname.replace(/^\[|\]$/g, '');
  const connector = buildConnector({
    timeout: timeout.connect / MILLISECOND,
    allowH2: false,
    lookup: guardedLookup(lookup),
    keepAlive: true,
    ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls?.key === undefined ? {} : { key: tls.key }),
    minVersion: 'TLSv1.2',
  } as buildConnector.BuildOptions);
  const servername = tls?.servername ?? (isIP(bare) === 0 ? bare : undefined);
  const options: Client.Options & { readonly connect: buildConnector.connector } = {
    pipelining: 1,
    allowH2: false,
    headersTimeout: timeout.firstByte / MILLISECOND,
    bodyTimeout: timeout.idle / MILLISECOND,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: HEAD_BYTES_MAX,
    strictContentLength: true,
    connect: (options, callback) => {
      const { servername: _, ...rest } = options;
      if (options.protocol !== 'https:') return connector(rest, callback);
      connector(servername === undefined ? rest : { ...rest, servername }, callback);
    },
  };
  // A name is looked up at each connection, so its age is the age of what was found.
  return new ConnectionPool({ origin: url, options, ageMsMax: spec.resolveEvery / MILLISECOND, now: () => performance.now() });
}

/** One attempt, and undici's handler of it. */
class UndiciSending implements Sending, ConnectionHandler {
  /** undefined: how this ended was reported. */
  #sink: BackendSink | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #aborted: Error | undefined;
  #status = 0;
  /** When the first 1xx came. */
  #informedSince: Millis | undefined;
  readonly #headMsMax: Millis;
  #resume: (() => void) | undefined;
  readonly #body: Readable | Uint8Array | null;

  constructor(sink: BackendSink, body: Readable | Uint8Array | null, headMsMax: Millis) {
    this.#headMsMax = headMsMax;
    this.#sink = sink;
    this.#body = body;
  }

  get over(): boolean {
    return this.#sink === undefined;
  }

  abort(cause: Error): void {
    if (this.#sink === undefined || this.#aborted !== undefined) return;
    this.#aborted = cause;
    if (this.#controller !== undefined) return this.#controller.abort(cause);
    // Not yet on any connection: undici gives it up when its turn comes, no caller has to wait for that.
    this.#finish({ kind: 'failed', sent: false, why: 'aborted', cause });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#aborted !== undefined) return controller.abort(this.#aborted);
    this.#controller = controller;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, statusText = ''): void {
    if (this.#sink === undefined) return;
    const head: BackendHead = { status, statusText, headers: rawOf((controller as { rawHeaders?: unknown }).rawHeaders) };
    if (status < 200) {
      // undici begins to wait anew at each 1xx; in all it is waited for twice as long at most.
      this.#informedSince ??= performance.now();
      if (performance.now() - this.#informedSince > this.#headMsMax) return controller.abort(new errors.HeadersTimeoutError('no answer but 1xx'));
      return this.#sink.onInformation(head);
    }
    this.#status = status;
    this.#sink.onHead(head);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#sink === undefined) return;
    this.#resume ??= () => controller.resume();
    if (!this.#sink.onData(chunk, this.#resume)) controller.pause();
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#sink === undefined) return;
    this.#sink.onEnd(rawOf((controller as { rawTrailers?: unknown }).rawTrailers));
    this.#finish({ kind: 'answered', status: this.#status });
  }

  onResponseError(_controller: unknown, error: Error): void {
    const cause = this.#aborted ?? error;
    if (this.#status !== 0) return this.#finish({ kind: 'broken', cause });
    const sent = this.#controller !== undefined;
    this.#finish({ kind: 'failed', sent, why: this.#aborted !== undefined ? 'aborted' : whyOf(error, sent), cause });
  }

  #finish(attempt: Attempt): void {
    const sink = this.#sink;
    this.#sink = undefined;
    // One that never went out has no other reader.
    if (this.#body !== null && 'destroy' in this.#body && !this.#body.destroyed) this.#body.destroy();
    sink?.onAttempt(attempt);
  }
}

function whyOf(error: Error & { code?: string }, sent: boolean): FailureReason {
  switch (error.code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
      return 'connect';
    case 'UND_ERR_HEADERS_TIMEOUT':
      return 'first_byte';
    case 'UND_ERR_BODY_TIMEOUT':
      return 'idle';
    case 'UND_ERR_INVALID_ARG':
    case 'UND_ERR_NOT_SUPPORTED':
      return 'invalid';
    case 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH':
    case 'ERR_SLUICE_SENDER':
      return 'sender';
    default:
      return sent ? 'reset' : 'connect';
  }
}

const NONE: RawHeaders = [];

/** Names and values as undici holds them: bytes, taken one for one. */
function rawOf(raw: unknown): RawHeaders {
  if (!Array.isArray(raw) || raw.length === 0) return NONE;
  const headers = new Array<string>(raw.length);
  for (let i = 0; i < raw.length; i++) {
    const each = raw[i] as Buffer | string;
    headers[i] = typeof each === 'string' ? each : each.toString('latin1');
  }
  return headers;
}
