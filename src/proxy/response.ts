import type { Clock } from '../admission/clock.ts';
import type { Costs } from '../core/group.ts';
import type { Micros } from '../core/time.ts';
import { firstHeader, responseHeaders, responseTrailers } from './headers.ts';
import type { ResponseSink } from './incoming.ts';
import { exhaustedHint, parseRetryAfter } from './retry-after.ts';
import type { CostRule, QuotaHeaders } from './route.ts';
import type { BackendHead, RawHeaders } from './upstream/forwarder.ts';
import { UsageParser } from './usage.ts';

/** Of a response that has no reader so much is read, to keep its connection; beyond, it is cut. */
const SWALLOWED_BYTES_MAX = 64 << 10;

/** What the way of one answer is made of. */
export interface ResponseRelayDeps {
  readonly head: BackendHead;
  readonly costs: readonly CostRule[];
  readonly quotaHeaders: QuotaHeaders | undefined;
  readonly clock: Clock;
  /** undefined: no caller is left. */
  readonly sink: ResponseSink | undefined;
  readonly run: ResponseOwner;
}

/** Whom an answer is part of. */
export interface ResponseOwner {
  /** The backend wants quiet for so long: is the request to be sent again, and this response to be dropped? */
  retry(pause: Micros): boolean;
  /** Adds what an answer gets beside its own headers. */
  addHeaders(headers: string[]): void;
  /** The rest of the response is not wanted, or must not be sent. */
  abort(cause: Error): void;
}

/** One answer of a backend on its way to the caller, or to be dropped. */
export class ResponseRelay {
  readonly #deps: ResponseRelayDeps;
  readonly #settler: UsageParser | undefined;
  #sink: ResponseSink | undefined;
  #swallowed = 0;
  #resume: (() => void) | undefined;
  /** The backend answered 429 or 503. */
  readonly pushedBack: boolean;
  /** How long it wants quiet, where it states it. */
  readonly hint: Micros | undefined;
  /** How long it wants quiet though it has served this request: nothing is left of its quota. */
  readonly exhausted: Micros | undefined;
  /** The request is to be sent again. */
  replays = false;
  /** The caller has seen its head. */
  sent = false;

  constructor(deps: ResponseRelayDeps) {
    this.#deps = deps;
    this.#sink = deps.sink;
    const { clock, costs, quotaHeaders: names } = deps;
    const { status, headers } = deps.head;
    this.pushedBack = status === 429 || status === 503;
    this.hint = this.pushedBack ? parseRetryAfter(headers, clock.epoch(clock.now()), names) : undefined;
    this.exhausted = this.pushedBack || names === undefined ? undefined : exhaustedHint(headers, clock.epoch(clock.now()), names);
    const settles = !this.pushedBack && costs.length > 0;
    this.#settler = !settles ? undefined : UsageParser.of(costs, firstHeader(headers, 'content-type'), firstHeader(headers, 'content-encoding'));
  }

  /** Sends the head, unless it is to be dropped or cannot be sent. */
  begin(): void {
    const { head, run } = this.#deps;
    if (this.hint !== undefined && this.#sink !== undefined) this.replays = run.retry(this.hint);
    if (this.replays) this.#sink = undefined;
    if (this.#sink === undefined) return;
    const headers = responseHeaders(head.headers);
    if (headers === undefined) {
      this.#sink = undefined;
      return run.abort(new Error('A header of the answer holds a control character or a name that is none.'));
    }
    // RFC 9110 8.6: a 204 has no Content-Length; a strict reader behind would wait for bytes that never come.
    if (head.status === 204) dropField(headers, 'content-length');
    run.addHeaders(headers);
    this.sent = true;
    this.#sink.onHead({ status: head.status, statusText: head.statusText, headers });
  }

  /** False: full; `resume` is called when there is room. */
  data(chunk: Uint8Array, resume: () => void): boolean {
    this.#settler?.take(chunk);
    if (this.#sink !== undefined) {
      this.#resume = resume;
      return this.#sink.onData(chunk, resume);
    }
    this.#swallowed += chunk.byteLength;
    if (this.replays && this.#swallowed > SWALLOWED_BYTES_MAX) this.#deps.run.abort(new Error('the response is not wanted any more'));
    return true;
  }

  end(trailers: RawHeaders): void {
    this.#sink?.onEnd(trailers.length === 0 ? trailers : responseTrailers(trailers));
  }

  /** The caller is gone; what still comes is read and forgotten. */
  leave(): void {
    this.#sink = undefined;
    this.#resume?.();
  }

  /** The real costs, where the response contains them. */
  costs(missing: (unit: string) => void): Costs | undefined {
    return this.#settler?.costs(missing);
  }
}

function dropField(headers: string[], name: string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) if ((headers[i] as string).toLowerCase() === name) headers.splice(i, 2);
}
