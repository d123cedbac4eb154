import {
  type Context,
  createTraceState,
  DiagLogLevel,
  diag,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, detectResources, resourceAttributesEnvDetector, resourceFromAttributes, serviceNameEnvDetector } from '@opentelemetry/resources';
import { AlwaysOffSampler, BatchSpanProcessor, ParentBasedSampler, type Sampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Span, SpanOptions, TraceContext, Tracer } from '../admission/tracing.ts';
import type { Log } from './log.ts';
import type { SamplerOptions, TracingOptions } from './tracing-options.ts';

/** Spans go out by OTLP. */
export interface Tracing {
  readonly tracer: Tracer;
  /** Sends what is left and ends, within `msMax` milliseconds. */
  close(msMax: number): Promise<void>;
}

/** What tracing needs beside its options. */
export interface TracingDeps {
  readonly version: string;
  readonly log: Log;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
}

/** Longest trouble that is logged. */
const TROUBLE_CHARS_MAX = 300;
/** One line of the log about spans that cannot be exported in this time, in milliseconds. */
const FAILED_EVERY_MS = 60_000;

const KINDS = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

/** Opens OpenTelemetry's tracing, in nothing global but its log of troubles. Loaded only where tracing is on. */
export function openTracing(options: TracingOptions, deps: TracingDeps): Tracing {
  const { url, sampler, warnings, ...batching } = options;
  for (const warning of warnings) deps.log.write('warn', 'tracing_misconfigured', warning);
  const trouble = troubleLog(deps);
  diag.setLogger(
    { error: trouble, warn: trouble, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const named = resourceFromAttributes({ 'service.name': 'sluice', 'service.version': deps.version });
  const detected = detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] });
  const provider = new TracerProvider({
    resource: defaultResource().merge(named).merge(detected),
    sampler: samplerOf(sampler),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url }), ...batching })],
  });
  const tracer = provider.getTracer('sluice', deps.version);
  deps.log.write('info', 'tracing_started', `Spans are sent to ${printable(url)}.`, { url: printable(url) });
  return {
    tracer: { start: (name, span) => startSpan(tracer, name, span) },
    close: async (msMax) => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, msMax);
      });
      await Promise.race([provider.shutdown().catch((cause: unknown) => trouble(cause instanceof Error ? cause.message : String(cause))), late]);
      clearTimeout(timer);
    },
  };
}

function startSpan(tracer: ReturnType<TracerProvider['getTracer']>, name: string, { kind, parent, link, attributes }: SpanOptions): Span {
  const linked = link === undefined ? undefined : spanContextOf(link);
  const links = linked === undefined ? {} : { links: [{ context: linked }] };
  return new ExportedSpan(tracer.startSpan(name, { kind: KINDS[kind], attributes, ...links }, contextOf(parent)));
}

class ExportedSpan implements Span {
  readonly #span: OtelSpan;

  constructor(span: OtelSpan) {
    this.#span = span;
  }

  get context(): TraceContext {
    const { traceId, spanId, traceFlags, traceState } = this.#span.spanContext();
    return { traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`, tracestate: traceState?.serialize() };
  }

  set(name: string, value: string | number | boolean): void {
    this.#span.setAttribute(name, value);
  }

  end(error?: string): void {
    if (error !== undefined) {
      this.#span.setAttribute('error.type', error);
      this.#span.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.#span.end();
  }
}

function contextOf(parent: TraceContext | undefined): Context {
  return parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, spanContextOf(parent));
}

/** A valid `traceparent` has its parts at fixed places, whatever version it is of. */
function spanContextOf({ traceparent, tracestate }: TraceContext): SpanContext {
  const state = tracestate === undefined ? {} : { traceState: createTraceState(tracestate) };
  return {
    traceId: traceparent.slice(3, 35),
    spanId: traceparent.slice(36, 52),
    traceFlags: Number.parseInt(traceparent.slice(53, 55), 16) & 1,
    isRemote: true,
    ...state,
  };
}

function samplerOf({ isParentBased, ratio }: SamplerOptions): Sampler {
  const root = ratio === 0 ? new AlwaysOffSampler() : new TraceIdRatioBasedSampler(ratio);
  return isParentBased ? new ParentBasedSampler({ root }) : root;
}

/** What the library reports of itself: warnings and errors, one line in a minute at most. */
function troubleLog({ log, nowMs }: TracingDeps): (message: string, ...more: readonly unknown[]) => void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let since = 0;
  return (message, ...more) => {
    since++;
    const now = nowMs();
    if (now - toldAt < FAILED_EVERY_MS) return;
    const what = [messageOf(message), ...more].map(String).join(' ').slice(0, TROUBLE_CHARS_MAX);
    log.write('warn', 'tracing_failed', `Spans could not be exported: ${what}`, { times: since });
    toldAt = now;
    since = 0;
  };
}

function ignore(): void {}

/** The library reports an error as JSON of all its fields, stack and response among them; returns its message alone. */
function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    return typeof message === 'string' ? message : text;
  } catch {
    return text;
  }
}

/** A URL without what may be a secret in it. */
function printable(url: string): string {
  const parsed = URL.parse(url);
  return parsed === null ? 'an address that is none' : `${parsed.origin}${parsed.pathname}`;
}
