import { afterEach, expect, test } from 'vitest';
import { NEVER } from '../../src/core/time.ts';
import { nodeEngine } from '../../src/http/node/engine.ts';
import type { EngineFactory } from '../../src/http/select-engine.ts';
import { startRest } from '../api/rest/server.ts';
import { startApi } from '../protocol/servers.ts';
import type { FakeAdmission, FakeWaiter } from '../support/fakes/admission.ts';
import { until } from '../support/fakes/until.ts';
import { Wire } from '../support/fakes/wire.ts';

/** A place in so many bytes: a few of them fill what the kernel takes for both sides of a connection. */
const PLACE_BYTES = 1 << 20;
/** Places that the kernel takes at most, and then some. */
const PLACES_MAX = 32;

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** Engines with these bounds. */
const bounded =
  (bytesMax: number, msMax: number): EngineFactory =>
  (options, handler) =>
    nodeEngine({ ...options, unread: { bytesMax, msMax } }, handler);

/** A connection that sends one request and reads nothing. */
async function deaf(port: number, path: string, headers: readonly string[], body: Uint8Array): Promise<Wire> {
  const wire = await Wire.open(port);
  wire.socket.pause();
  wire.write([`POST ${path} HTTP/1.1`, 'Host: h', ...headers, `Content-Length: ${body.length}`, '', ''].join('\r\n'));
  wire.write(body);
  ends.push(() => wire.destroy());
  return wire;
}

/** Lets the place of who waits change at each look; returns how often it was looked at. */
async function moving(admission: FakeAdmission): Promise<{ readonly waiter: FakeWaiter; readonly looks: () => number }> {
  await until('the caller to wait', () => admission.waiting.length === 1);
  const waiter = admission.waiting[0] as FakeWaiter;
  let looks = 0;
  Object.assign(waiter, { position: () => ({ place: ++looks, expectedAt: NEVER, limit: 'x'.repeat(PLACE_BYTES) }) });
  return { waiter, looks: () => looks };
}

async function sse(bytesMax: number, msMax: number) {
  const ticks = new Set<() => void>();
  const every = (_micros: number, tick: () => void) => {
    ticks.add(tick);
    return () => void ticks.delete(tick);
  };
  const server = await startRest({ every }, bounded(bytesMax, msMax));
  ends.push(() => server.stop());
  await fetch(`${server.baseUrl}/v1/groups/slots/acquire`, { method: 'POST' });
  await deaf(server.port, '/v1/groups/slots/acquire', ['Accept: text/event-stream'], new Uint8Array(0));
  const { waiter, looks } = await moving(server.admission);
  const tick = async (): Promise<void> => {
    for (const each of [...ticks]) each();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { waiter, looks, tick, timers: () => ticks.size };
}

test('Events over plain HTTP stop being written to a caller that does not read, and it is cut after `unread.msMax`', async () => {
  const { waiter, looks, tick, timers } = await sse(64 << 20, 500);
  for (let ticks = 0; ticks < 200; ticks++) await tick();
  expect(looks()).toBeLessThan(PLACES_MAX);
  await until('the caller to be cut', () => waiter.state === 'left');
  expect(timers()).toBe(0);
});

test('Events over plain HTTP are cut at once beyond `unread.bytesMax`', async () => {
  const { waiter, looks, tick, timers } = await sse(PLACE_BYTES / 2, 600_000);
  await tick();
  await until('the caller to be cut', () => waiter.state === 'left');
  expect([looks(), timers()]).toEqual([1, 0]);
});

/** `WatchRequest { ask: { group: 'slots' }, interval: 100 ms }`, in an envelope. */
const WATCH = (() => {
  const ask = Buffer.concat([Buffer.from([0x0a, 5]), Buffer.from('slots')]);
  const nanos = Buffer.from([0x10, 0x80, 0xc2, 0xd7, 0x2f]);
  const message = Buffer.concat([Buffer.from([0x0a, ask.length]), ask, Buffer.from([0x12, nanos.length]), nanos]);
  return Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
})();

const OVER = [
  ['Connect', 'application/connect+proto'],
  ['gRPC-Web', 'application/grpc-web+proto'],
] as const;

async function watched(type: string, bytesMax: number, msMax: number) {
  const api = await startApi({ make: bounded(bytesMax, msMax) });
  ends.push(() => api.stop());
  const path = '/sluice.v1.AdmissionService/Watch';
  const acquired = await fetch(`${api.baseUrl}/sluice.v1.AdmissionService/Acquire`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"group":"slots"}',
  });
  expect(acquired.status).toBe(200);
  await deaf(Number(new URL(api.baseUrl).port), path, [`Content-Type: ${type}`, 'Connect-Protocol-Version: 1'], WATCH);
  return moving(api.admission);
}

test.each(OVER)('Watch over %s stops writing to a caller that does not read, and cuts it after `unread.msMax`', async (_name, type) => {
  const { waiter, looks } = await watched(type, 64 << 20, 500);
  await until('the caller to be cut', () => waiter.state === 'left');
  expect(looks()).toBeGreaterThan(0);
  expect(looks()).toBeLessThan(PLACES_MAX);
});

test.each(OVER)('Watch over %s is cut at once beyond `unread.bytesMax`', async (_name, type) => {
  const { waiter, looks } = await watched(type, PLACE_BYTES / 2, 600_000);
  await until('the caller to be cut', () => waiter.state === 'left');
  expect(looks()).toBe(1);
});
