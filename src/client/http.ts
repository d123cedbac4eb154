import type { Timing } from './clock.ts';
import { parseServerDuration, parseServerRange } from './duration.ts';
import { SluiceRefused } from './errors.ts';

/** Where the server is and how to speak to it. */
export interface HttpTransportOptions {
  readonly address: string;
  readonly token: string | (() => string | Promise<string>) | undefined;
  readonly fetch: typeof fetch;
  readonly timing: Timing;
}

/** One call. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object | undefined;
  /** In place of `body`: of another type than JSON. */
  readonly text?: { readonly type: string; readonly text: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** Once it is aborted the {@link Reply} is `cut`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds without a byte after which the connection counts as cut. */
  readonly silenceMs: number;
}

/** How a call ended. `stream`: an event stream is open; every chunk must be announced by `received`, and `close` called at the end. */
export type Reply =
  | { readonly kind: 'ok'; readonly status: number; readonly body: Readonly<Record<string, unknown>> }
  | { readonly kind: 'stream'; readonly body: ReadableStream<Uint8Array>; readonly received: () => void; readonly close: () => void }
  | { readonly kind: 'refused'; readonly refusal: SluiceRefused }
  | { readonly kind: 'cut'; readonly cause: unknown };

/** How a call ended whose answer is not looked into. */
export type RawReply =
  | { readonly kind: 'whole'; readonly status: number; readonly headers: Headers; readonly bytes: Uint8Array }
  | { readonly kind: 'cut'; readonly cause: unknown };

/** Statuses of those in between (a gateway, a balancer) that state nothing about the request. */
const BETWEEN: ReadonlySet<number> = new Set([408, 500, 502, 503, 504]);

/** One HTTP exchange after another with one server. Expected failures are values. */
export class HttpTransport {
  readonly #options: HttpTransportOptions;
  readonly #base: string;

  constructor(options: HttpTransportOptions) {
    this.#options = options;
    let end = options.address.length;
    while (options.address[end - 1] === '/') end--;
    this.#base = options.address.slice(0, end);
  }

  /** Sends a call and reads its answer. */
  async call(call: Call): Promise<Reply> {
    const { timing } = this.#options;
    const over = new AbortController();
    const tooLong = () => over.abort(new Error(`nothing was received for ${Math.round(call.silenceMs / 1000)} s`));
    let stop = timing.later(call.silenceMs, tooLong);
    const gone = () => over.abort(call.signal?.reason);
    if (call.signal?.aborted) gone();
    call.signal?.addEventListener('abort', gone, { once: true });
    const close = () => {
      stop();
      call.signal?.removeEventListener('abort', gone);
    };
    const received = () => {
      stop();
      stop = timing.later(call.silenceMs, tooLong);
    };
    let streams = false;
    try {
      const response = await this.#send(call, over.signal);
      if (response.body !== null && isEvents(response)) {
        streams = true;
        received();
        return { kind: 'stream', body: response.body, received, close };
      }
      return await read(response);
    } catch (cause) {
      return { kind: 'cut', cause: over.signal.aborted ? over.signal.reason : cause };
    } finally {
      if (!streams) close();
    }
  }

  /** Sends a call and reads its answer whole, whatever it is. Redirects are not followed. */
  async raw(call: Call): Promise<RawReply> {
    const over = new AbortController();
    const stop = this.#options.timing.later(call.silenceMs, () => over.abort(new Error(`no answer came within ${Math.round(call.silenceMs / 1000)} s`)));
    try {
      const response = await this.#send(call, over.signal, 'manual');
      return { kind: 'whole', status: response.status, headers: response.headers, bytes: new Uint8Array(await response.arrayBuffer()) };
    } catch (cause) {
      return { kind: 'cut', cause: over.signal.aborted ? over.signal.reason : cause };
    } finally {
      stop();
    }
  }

  async #send(call: Call, signal: AbortSignal, redirect: 'follow' | 'manual' = 'follow'): Promise<Response> {
    const { token, fetch } = this.#options;
    const secret = typeof token === 'function' ? await token() : token;
    const headers: Record<string, string> = { Accept: 'application/json', ...call.headers };
    if (secret !== undefined && secret !== '') headers['Authorization'] = `Bearer ${secret}`;
    if (call.body !== undefined) headers['Content-Type'] = 'application/json';
    if (call.text !== undefined) headers['Content-Type'] = call.text.type;
    const body = call.text?.text ?? (call.body === undefined ? null : JSON.stringify(call.body));
    return fetch(`${this.#base}${call.path}`, { method: call.method, headers, body, signal, redirect });
  }
}

function isEvents(response: Response): boolean {
  return response.ok && (response.headers.get('content-type') ?? '').startsWith('text/event-stream');
}

async function read(response: Response): Promise<Reply> {
  const text = await response.text();
  const body = parseJsonObject(text);
  if (response.ok) {
    return body === undefined
      ? { kind: 'cut', cause: new Error(`the answer (${response.status}) is not JSON`) }
      : { kind: 'ok', status: response.status, body };
  }
  if (typeof body?.['reason'] === 'string') return { kind: 'refused', refusal: refusalOf(body, response.status) };
  const cause = new Error(`the answer was HTTP ${response.status}, and not from Sluice`);
  if (BETWEEN.has(response.status)) return { kind: 'cut', cause };
  return {
    kind: 'refused',
    refusal: new SluiceRefused({ reason: 'http', status: response.status, detail: cause.message, limit: undefined, retryAfterMs: undefined }),
  };
}

/** A problem as an error. */
export function refusalOf(problem: Readonly<Record<string, unknown>>, status: number): SluiceRefused {
  const { reason, detail, limit, retryAfter, range } = problem;
  return new SluiceRefused({
    reason: String(reason),
    status: typeof problem['status'] === 'number' ? problem['status'] : status,
    detail: typeof detail === 'string' ? detail : String(reason),
    limit: typeof limit === 'string' ? limit : undefined,
    retryAfterMs: parseServerDuration(retryAfter),
    range: parseServerRange(range),
  });
}

/** A JSON object; undefined: it is none. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
