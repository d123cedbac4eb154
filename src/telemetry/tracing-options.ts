/** Variables of the environment. */
type Variables = Readonly<Record<string, string | undefined>>;

/** How spans are sampled: of traces that begin here, or (`isParentBased`) as their parent was. */
export interface SamplerOptions {
  readonly isParentBased: boolean;
  /** Share of traces, 0 to 1. */
  readonly ratio: number;
}

/** What the standard variables of OpenTelemetry say. Those that are not here (headers, compression, certificates, resource) the exporter reads by itself. */
export interface TracingOptions {
  /** Where spans are posted. */
  readonly url: string;
  readonly sampler: SamplerOptions;
  /** OTEL_BSP_*: times in milliseconds, numbers of spans. */
  readonly scheduledDelayMillis: number;
  readonly exportTimeoutMillis: number;
  readonly maxQueueSize: number;
  readonly maxExportBatchSize: number;
  /** Sentences about values that are ignored. */
  readonly warnings: readonly string[];
}

const DEFAULT_ENDPOINT = 'http://localhost:4318';
const PROTOCOL = 'http/protobuf';
/** Largest queue of spans, and longest delay, that a variable may ask for. */
const SPANS_MAX = 1_000_000;
const MS_MAX = 3_600_000;

const SAMPLERS: Readonly<Record<string, (ratio: number) => SamplerOptions>> = {
  always_on: () => ({ isParentBased: false, ratio: 1 }),
  always_off: () => ({ isParentBased: false, ratio: 0 }),
  traceidratio: (ratio) => ({ isParentBased: false, ratio }),
  parentbased_always_on: () => ({ isParentBased: true, ratio: 1 }),
  parentbased_always_off: () => ({ isParentBased: true, ratio: 0 }),
  parentbased_traceidratio: (ratio) => ({ isParentBased: true, ratio }),
};

/**
 * Reads the variables of OpenTelemetry. Returns undefined, tracing is off, unless OTEL_TRACES_EXPORTER is `otlp`, or it is not
 * set and an OTLP endpoint is; OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none switch it off again. Values that cannot be used are
 * ignored with a warning, as the specification wants it.
 */
export function tracingOptions(env: Variables): TracingOptions | undefined {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] || undefined;
  const base = env['OTEL_EXPORTER_OTLP_ENDPOINT'] || undefined;
  const exporter = env['OTEL_TRACES_EXPORTER'] || (endpoint === undefined && base === undefined ? 'none' : 'otlp');
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true' || exporter === 'none') return undefined;
  const warnings: string[] = [];
  if (exporter !== 'otlp') warnings.push(`OTEL_TRACES_EXPORTER is ${exporter}; only otlp and none are known: spans are exported by otlp.`);
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL'] || PROTOCOL;
  if (protocol !== PROTOCOL) warnings.push(`The OTLP protocol ${protocol} is not known; spans are sent by ${PROTOCOL}.`);
  const count = (name: string, usual: number, max: number): number => wholeNumber(env, name, { usual, max }, warnings);
  const maxQueueSize = count('OTEL_BSP_MAX_QUEUE_SIZE', 2048, SPANS_MAX);
  return {
    url: endpoint ?? `${(base ?? DEFAULT_ENDPOINT).replace(/\/$/, '')}/v1/traces`,
    sampler: samplerOf(env, warnings),
    scheduledDelayMillis: count('OTEL_BSP_SCHEDULE_DELAY', 5_000, MS_MAX),
    exportTimeoutMillis: count('OTEL_BSP_EXPORT_TIMEOUT', 30_000, MS_MAX),
    maxQueueSize,
    maxExportBatchSize: Math.min(count('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512, SPANS_MAX), maxQueueSize),
    warnings,
  };
}

function samplerOf(env: Variables, warnings: string[]): SamplerOptions {
  const name = env['OTEL_TRACES_SAMPLER'] || 'parentbased_always_on';
  const make = Object.hasOwn(SAMPLERS, name) ? SAMPLERS[name] : undefined;
  if (make === undefined) warnings.push(`OTEL_TRACES_SAMPLER is ${name}, which is not known; parentbased_always_on is used.`);
  const arg = env['OTEL_TRACES_SAMPLER_ARG'] || '1';
  const ratio = Number(arg);
  const fits = ratio >= 0 && ratio <= 1;
  if (!fits && name.endsWith('traceidratio')) warnings.push(`OTEL_TRACES_SAMPLER_ARG is ${arg}, not a number from 0 to 1; all traces are sampled.`);
  return (make ?? (() => ({ isParentBased: true, ratio: 1 })))(fits ? ratio : 1);
}

function wholeNumber(env: Variables, name: string, { usual, max }: { readonly usual: number; readonly max: number }, warnings: string[]): number {
  const text = env[name] || String(usual);
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  warnings.push(`${name} is ${text}, not a whole number from 1 to ${max}; ${usual} is used.`);
  return usual;
}
