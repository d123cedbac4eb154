import { type Span, type TraceContext, type Tracer, traceContextOf } from '../admission/tracing.ts';
import { firstHeader } from './headers.ts';
import type { ForwardFailure, IncomingRequest } from './incoming.ts';
import type { Route } from './route.ts';
import type { RawHeaders } from './upstream/forwarder.ts';

/** Statuses from here on are failures of the backend. */
const SERVER_FAULT = 500;

/** Returns the trace context among raw fields; undefined if there is none that may be followed. */
export function traceContextIn(headers: RawHeaders): TraceContext | undefined {
  return traceContextOf(firstHeader(headers, 'traceparent'), firstHeader(headers, 'tracestate'));
}

/**
 * The spans of one forwarded request: one for the whole of it, and below it a span `forward` for each attempt, whose context
 * the backend is sent. A live request goes on with its caller's trace; a stored one begins a trace of its own (`deliver`),
 * linked to the span of its submission, since that ended long before.
 */
export class RequestTrace {
  readonly #tracer: Tracer;
  readonly #request: Span;
  #attempt: Span | undefined;
  #isEnded = false;

  constructor(tracer: Tracer, { method, headers, sent }: IncomingRequest, route: Route) {
    this.#tracer = tracer;
    const came = traceContextIn(headers);
    const group = route.admission === undefined ? {} : { 'sluice.group': route.admission.group };
    const attributes = { 'http.request.method': method, 'sluice.route': route.name, ...group };
    this.#request =
      sent === undefined
        ? tracer.start(`${method} ${route.name}`, { kind: 'server', parent: came, attributes })
        : tracer.start('deliver', {
            kind: 'consumer',
            parent: undefined,
            link: came,
            attributes: { ...attributes, 'sluice.request': sent.id, 'sluice.attempts_before': sent.attemptsBefore },
          });
  }

  /** Of the whole request: the parent of the time in the queue. */
  get context(): TraceContext {
    return this.#request.context;
  }

  /** Begins an attempt; returns what the backend is sent. */
  forward(backend: string, url: string, attempt: number): TraceContext {
    this.#attempt?.end('aborted');
    const attributes = { 'sluice.backend': backend, 'server.address': url, 'sluice.attempt': attempt };
    this.#attempt = this.#tracer.start('forward', { kind: 'client', parent: this.#request.context, attributes });
    return this.#attempt.context;
  }

  /** The head of a response came, of the attempt under way. */
  responded(status: number): void {
    this.#attempt?.set('http.response.status_code', status);
    this.#request.set('http.response.status_code', status);
    if (status >= SERVER_FAULT) this.#attempt?.set('error.type', String(status));
  }

  /** The attempt under way ended: `answered`, `broken`, or why it failed. */
  attempted(outcome: string): void {
    this.#attempt?.set('sluice.outcome', outcome);
    this.#attempt?.end(outcome === 'answered' ? undefined : outcome);
    this.#attempt = undefined;
  }

  /** Its caller gets no response of a backend. */
  failed(why: ForwardFailure): void {
    const reason = why.kind === 'refused' ? why.refusal.reason : why.kind;
    this.#request.set('sluice.refusal', reason);
    this.end(why.kind === 'failed' ? String(why.status) : undefined);
  }

  /** Ends all of it; again: nothing. */
  end(error?: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#attempt?.end('aborted');
    this.#attempt = undefined;
    this.#request.end(error);
  }
}
