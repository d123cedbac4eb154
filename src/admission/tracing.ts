/*
 * Traces, as admission, forwarding and deferred requests see them: who starts spans knows this contract alone, and which
 * library records them is the composition root's business (telemetry/tracing.ts). Where tracing is off there is no tracer,
 * and no request pays for one.
 */

/** A place in a trace that another process sent, or that is handed on to one: the fields of W3C Trace Context. */
export interface TraceContext {
  /** Valid: see {@link traceContextOf}. */
  readonly traceparent: string;
  /** undefined: none. */
  readonly tracestate: string | undefined;
}

/** What a span is to the other side: `server` and `client` of a call, `producer` and `consumer` of a stored request. */
export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

/** Values that describe a span, by name. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** How a span begins. */
export interface SpanOptions {
  readonly kind: SpanKind;
  /** undefined: it begins a trace of its own. */
  readonly parent: TraceContext | undefined;
  /** A span of another trace that caused this one. */
  readonly link?: TraceContext | undefined;
  readonly attributes: SpanAttributes;
}

/** A span that was started; `end` is called exactly once, and nothing after it. */
export interface Span {
  /** Of the span itself: what is handed on, and the parent of spans below it. */
  readonly context: TraceContext;
  set(name: string, value: string | number | boolean): void;
  /** `error`: why it failed, as a word of a fixed list. */
  end(error?: string): void;
}

/** Starts spans. */
export interface Tracer {
  start(name: string, options: SpanOptions): Span;
}

/** Version 00, or a later one that may go on; no identifier of zeros only (Trace Context 3.2). */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/;
/** Longest `tracestate` that is passed on (Trace Context 3.3.1.5). */
const TRACESTATE_CHARS_MAX = 512;

/** Returns whether the value of a `traceparent` field is one that may be followed. */
export function isTraceparent(value: string): boolean {
  return TRACEPARENT.test(value);
}

/** Returns the context of two fields as they came; undefined if `traceparent` is missing or malformed. A `tracestate` that is too long is dropped. */
export function traceContextOf(traceparent: string | undefined, tracestate: string | undefined): TraceContext | undefined {
  if (traceparent === undefined || !isTraceparent(traceparent)) return undefined;
  const fits = tracestate !== undefined && tracestate !== '' && tracestate.length <= TRACESTATE_CHARS_MAX;
  return { traceparent, tracestate: fits ? tracestate : undefined };
}
