import { PassThrough } from 'node:stream';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { AcquireRequestSchema, AcquireResponseSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { ScriptedBackend } from '../support/fakes/backend.ts';
import { Collector, type ReceivedSpan } from '../support/fakes/collector.ts';
import { until } from '../support/fakes/until.ts';

/* A whole server in this process, before a backend, with a collector of OpenTelemetry beside it. */

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = '00f067aa0ba902b7';
const ACQUIRE = '/sluice.v1.AdmissionService/Acquire';
const SAMPLED = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: 'vendor=1' };

let collector: Collector;
let backend: ScriptedBackend;
let running: RunningServer | undefined;
let log = '';

beforeEach(async () => {
  collector = await Collector.open();
  backend = await ScriptedBackend.open();
  log = '';
});

afterEach(async () => {
  await running?.drain(true);
  running = undefined;
  await collector.close();
  await backend.close();
});

async function start(
  env: Readonly<Record<string, string>> = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '20' },
): Promise<RunningServer> {
  const text = `
listen: { api: "127.0.0.1:0", grpc: "127.0.0.1:0", health: "127.0.0.1:0", admin: none, proxy: "127.0.0.1:0" }
http: { engine: node }
drain: { delay: 0, grace: 0 }
store: memory
groups:
  slots: { limits: [ { name: one, concurrency: 1 } ] }
  free: { limits: [ { name: many, concurrency: 100 } ] }
backends: { erp: { urls: [ "http://127.0.0.1:${backend.port}" ] } }
routes:
  - { name: later, match: { path: /later/* }, backend: erp, group: free, mode: deferred, retry: { delays: [ 10ms ] } }
  - { name: live, match: { path: /* }, backend: erp, group: free }
`;
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const logTo = new PassThrough();
  logTo.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  running = await serve(loaded.config, { env, clocks, logTo, version: '1.2.3', nodeVersion: '24' });
  return running;
}

const named = (spans: readonly ReceivedSpan[], name: string): ReceivedSpan => {
  const found = spans.find((span) => span.name === name);
  if (found === undefined) throw new Error(`no span ${name} among ${spans.map((span) => span.name).join(', ')}`);
  return found;
};
const has =
  (...names: readonly string[]) =>
  (spans: readonly ReceivedSpan[]): boolean =>
    names.every((name) => spans.some((span) => span.name === name));
const sentBy = (seen: { readonly headers: readonly string[] } | undefined, name: string): string | undefined => {
  const headers = seen?.headers ?? [];
  const at = headers.findIndex((field, index) => index % 2 === 0 && field.toLowerCase() === name);
  return at < 0 ? undefined : headers[at + 1];
};

describe('a permit', () => {
  test('that is granted over plain HTTP is a span `wait` in the trace of its caller', async () => {
    const { addresses } = await start();
    await fetch(`http://${addresses['api']}/v1/groups/slots/acquire?ttl=0`, { method: 'POST', headers: SAMPLED });
    const span = named(await collector.until(has('wait')), 'wait');
    expect(span).toMatchObject({ traceId: TRACE, parentId: CALLER, status: 0 });
    expect(span.attributes).toMatchObject({ 'sluice.group': 'slots', 'sluice.outcome': 'admitted', 'sluice.fence': expect.any(String) as string });
    expect(span.resource).toMatchObject({ 'service.name': 'sluice', 'service.version': '1.2.3' });
    expect(collector.posts[0]).toBe('POST /v1/traces application/x-protobuf');
  });

  test('that is asked for over Connect and over gRPC is in the trace of its caller, too', async () => {
    const { addresses } = await start();
    const headers = { ...SAMPLED, 'Content-Type': 'application/json' };
    await fetch(`http://${addresses['api']}${ACQUIRE}`, { method: 'POST', headers, body: '{"group":"free","ttl":"0s"}' });
    await acquireOverGrpc(addresses['grpc'] ?? '', SAMPLED);
    const spans = await collector.until((seen) => seen.length >= 2);
    expect(spans.map(({ name, traceId, parentId }) => [name, traceId, parentId])).toEqual([
      ['wait', TRACE, CALLER],
      ['wait', TRACE, CALLER],
    ]);
  });

  test('that is refused, and one whose caller leaves, end their spans; neither is an error', async () => {
    const { addresses } = await start();
    const url = `http://${addresses['api']}/v1/groups/slots/acquire`;
    await fetch(`${url}?ttl=0`, { method: 'POST', headers: SAMPLED });
    await fetch(`${url}?ttl=0`, { method: 'POST', headers: SAMPLED });
    const leaving = new AbortController();
    const gone = fetch(`${url}?ttl=60s`, { method: 'POST', headers: { ...SAMPLED, accept: 'text/event-stream' }, signal: leaving.signal });
    await (await gone).body?.getReader().read();
    leaving.abort();
    const spans = await collector.until((seen) => seen.length >= 3);
    expect(spans.map(({ attributes, status }) => [attributes['sluice.outcome'], attributes['sluice.refusal'], attributes['sluice.limit'], status])).toEqual([
      ['admitted', undefined, undefined, 0],
      ['refused', 'expired', 'one', 0],
      ['cancelled', undefined, undefined, 0],
    ]);
  });
});

describe('a forwarded request', () => {
  test('is one span with its wait and its attempt below it; the backend is sent the context of the attempt', async () => {
    const { addresses } = await start();
    backend.script = (_seen, wire) => wire.answer(204);
    await fetch(`http://${addresses['proxy']}/x`, { headers: SAMPLED });
    const spans = await collector.until(has('GET live', 'wait', 'forward'));
    const [whole, wait, forward] = [named(spans, 'GET live'), named(spans, 'wait'), named(spans, 'forward')];
    expect([whole.traceId, whole.parentId, whole.kind]).toEqual([TRACE, CALLER, 2]);
    expect([wait.traceId, wait.parentId]).toEqual([TRACE, whole.spanId]);
    expect([forward.traceId, forward.parentId, forward.kind]).toEqual([TRACE, whole.spanId, 3]);
    expect(forward.attributes).toMatchObject({ 'sluice.backend': 'erp', 'http.response.status_code': 204, 'sluice.outcome': 'answered', 'sluice.attempt': 1 });
    expect(sentBy(backend.seen[0], 'traceparent')).toBe(`00-${TRACE}-${forward.spanId}-01`);
    expect(sentBy(backend.seen[0], 'tracestate')).toBe('vendor=1');
    expect(wait.endNs <= forward.startNs && forward.endNs <= whole.endNs).toBe(true);
  });

  test('without a context begins a trace of its own, and one that its caller does not sample is not exported', async () => {
    const { addresses } = await start();
    await fetch(`http://${addresses['proxy']}/quiet`, { headers: { traceparent: `00-${TRACE}-${CALLER}-00` } });
    await fetch(`http://${addresses['proxy']}/own`);
    const spans = await collector.until(has('GET live', 'wait', 'forward'));
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
    expect(named(spans, 'GET live')).toMatchObject({ parentId: '' });
    expect(named(spans, 'GET live').traceId).not.toBe(TRACE);
    expect(sentBy(backend.seen[0], 'traceparent')).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`));
  });

  test('that cannot be sent ends its spans as errors', async () => {
    const { addresses } = await start();
    backend.script = (_seen, wire) => wire.cut();
    await fetch(`http://${addresses['proxy']}/x`, { method: 'POST', headers: SAMPLED });
    const spans = await collector.until(has('POST live', 'forward'));
    expect(named(spans, 'forward')).toMatchObject({ status: 2, attributes: { 'error.type': 'reset' } });
    expect(named(spans, 'POST live')).toMatchObject({ status: 2, attributes: { 'error.type': '502' } });
  });
});

describe('a stored request', () => {
  test('is delivered in a trace of its own, linked to its submit, which is in the trace of its caller', async () => {
    const { addresses } = await start();
    let first = true;
    backend.script = (_seen, wire) => {
      wire.answer(first ? 500 : 200);
      first = false;
    };
    const answer = await fetch(`http://${addresses['proxy']}/later/x`, { method: 'POST', headers: SAMPLED, body: '{}' });
    expect(answer.status).toBe(202);
    const spans = await collector.until((seen) => seen.filter(({ name }) => name === 'deliver').length >= 2 && has('submit')(seen));
    const submit = named(spans, 'submit');
    expect([submit.traceId, submit.parentId, submit.kind]).toEqual([TRACE, CALLER, 4]);
    const deliveries = spans.filter(({ name }) => name === 'deliver');
    expect(deliveries.map(({ links, parentId, kind }) => [links, parentId, kind])).toEqual([
      [[`${TRACE}-${submit.spanId}`], '', 5],
      [[`${TRACE}-${submit.spanId}`], '', 5],
    ]);
    const [one, two] = deliveries.map(({ traceId }) => traceId);
    expect(new Set([one, two, TRACE]).size).toBe(3);
    const forwards = spans.filter(({ name }) => name === 'forward');
    expect(forwards.map(({ traceId }) => traceId)).toEqual([one, two]);
    expect(backend.seen.map((seen) => sentBy(seen, 'traceparent'))).toEqual(forwards.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`));
  });
});

describe('without the variables of OpenTelemetry', () => {
  test('no span is made, the context of a caller goes on as it came, and the library is not loaded', async () => {
    const { addresses } = await start({});
    await fetch(`http://${addresses['proxy']}/x`, { headers: SAMPLED });
    expect(sentBy(backend.seen[0], 'traceparent')).toBe(SAMPLED.traceparent);
    await running?.drain(true);
    expect(collector.posts).toEqual([]);
    expect(log).not.toContain('tracing_');
  });
});

test('a collector that refuses what it is sent costs no caller anything, and is named in the log once', async () => {
  collector.status = 400;
  const { addresses } = await start();
  for (let each = 0; each < 3; each++) expect((await fetch(`http://${addresses['proxy']}/x`)).status).toBe(200);
  await running?.drain(true);
  await until('the log is written', () => log.includes('"event":"stopped"'));
  expect(collector.posts.length).toBeGreaterThan(0);
  expect(log.match(/"event":"tracing_failed"/g)).toHaveLength(1);
});

/** Calls Acquire of the group `free` over gRPC with these metadata. */
async function acquireOverGrpc(address: string, fields: Readonly<Record<string, string>>): Promise<void> {
  const client = new Client(address, credentials.createInsecure());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  await new Promise<void>((resolve, reject) => {
    const encode = (group: string): Buffer => Buffer.from(toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { group })));
    const decode = (bytes: Buffer) => fromBinary(AcquireResponseSchema, bytes);
    client.makeUnaryRequest(ACQUIRE, encode, decode, 'free', metadata, (error) => (error === null ? resolve() : reject(error)));
  });
  client.close();
}
