import { describe, expect, test } from 'vitest';
import { tracingOptions } from '../../src/telemetry/tracing-options.ts';

const ON = { OTEL_TRACES_EXPORTER: 'otlp' };

describe('tracing is off', () => {
  test.each([
    ['without a variable', {}],
    ['where the exporter is none, whatever endpoint there is', { OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' }],
    ['where the SDK is disabled', { ...ON, OTEL_SDK_DISABLED: 'TRUE' }],
    ['where variables are there and empty', { OTEL_TRACES_EXPORTER: '', OTEL_EXPORTER_OTLP_ENDPOINT: '' }],
  ])('%s', (_name, env) => {
    expect(tracingOptions(env)).toBeUndefined();
  });
});

describe('tracing is on', () => {
  test.each([
    ['by the exporter, to the usual address', ON, 'http://localhost:4318/v1/traces'],
    ['by an endpoint for all signals, below which traces have a path', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318/' }, 'http://c:4318/v1/traces'],
    ['by an endpoint for traces, taken as it is', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c/t' }, 'http://c/t'],
  ])('%s', (_name, env, url) => {
    expect(tracingOptions(env)).toMatchObject({ url, warnings: [], sampler: { isParentBased: true, ratio: 1 } });
  });

  test.each([
    ['always_on', '0.5', { isParentBased: false, ratio: 1 }],
    ['always_off', undefined, { isParentBased: false, ratio: 0 }],
    ['traceidratio', '0.25', { isParentBased: false, ratio: 0.25 }],
    ['parentbased_always_off', undefined, { isParentBased: true, ratio: 0 }],
    ['parentbased_traceidratio', '0', { isParentBased: true, ratio: 0 }],
  ])('with the sampler %s and %s', (name, arg, sampler) => {
    expect(tracingOptions({ ...ON, OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: arg })).toMatchObject({ sampler, warnings: [] });
  });

  test('a value that cannot be used is ignored with a warning that says what is used', () => {
    const found = tracingOptions({
      OTEL_TRACES_EXPORTER: 'zipkin',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_TRACES_SAMPLER: 'toString',
      OTEL_BSP_SCHEDULE_DELAY: '-1',
      OTEL_BSP_MAX_QUEUE_SIZE: '1e9',
    });
    expect(found).toMatchObject({ sampler: { isParentBased: true, ratio: 1 }, scheduledDelayMillis: 5_000, maxQueueSize: 2_048 });
    expect(found?.warnings).toHaveLength(5);
    expect(tracingOptions({ ...ON, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' })?.warnings).toHaveLength(1);
  });

  test('a batch is never larger than the queue', () => {
    expect(tracingOptions({ ...ON, OTEL_BSP_MAX_QUEUE_SIZE: '100' })).toMatchObject({ maxQueueSize: 100, maxExportBatchSize: 100 });
  });
});
