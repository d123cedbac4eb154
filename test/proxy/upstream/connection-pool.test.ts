import { buildConnector } from 'undici';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ConnectionHandler, ConnectionPool } from '../../../src/proxy/upstream/connection-pool.ts';
import { type BackendWire, ScriptedBackend } from '../../support/fakes/backend.ts';

const AGE_MS_MAX = 30_000;

let backend: ScriptedBackend;
let connections: ConnectionPool;
let now = 0;
/** Requests that are not answered yet, in order. */
let held: BackendWire[] = [];

beforeEach(async () => {
  backend = await ScriptedBackend.open((_seen, wire) => wire.answer(200));
  now = 1_000;
  held = [];
  connections = new ConnectionPool({ origin: backend.url, options: { pipelining: 1, connect: buildConnector({}) }, ageMsMax: AGE_MS_MAX, now: () => now });
});

afterEach(async () => {
  connections.cut();
  await backend.close();
});

/** Resolves with the status, or with what went wrong. */
function send(path = '/', headers: string[] = []): Promise<number | Error> {
  return new Promise((resolve) => {
    let status = 0;
    const end = (how: number | Error): void => {
      handler.over = true;
      resolve(how);
    };
    const handler: ConnectionHandler & { over: boolean } = {
      over: false,
      onRequestStart() {},
      onResponseStart(_controller, given) {
        status = given;
      },
      onResponseData() {},
      onResponseEnd: () => end(status),
      onResponseError: (_controller, error) => end(error),
    };
    connections.dispatch({ method: 'GET', path, headers }, handler);
  });
}

/** What came back is free once undici has had its turn. */
async function sendAndRest(): Promise<void> {
  expect(await send()).toBe(200);
  await new Promise((done) => setImmediate(done));
}

/** So many at once. */
async function burst(count: number): Promise<void> {
  backend.script = (_seen, wire) => void held.push(wire);
  const all = Array.from({ length: count }, () => send());
  await backend.until(() => held.length === count);
  for (const wire of held.splice(0)) wire.answer(200);
  expect(await Promise.all(all)).toEqual(all.map(() => 200));
  backend.script = (_seen, wire) => wire.answer(200);
  await new Promise((done) => setImmediate(done));
}

test('one after another takes one connection', async () => {
  for (let each = 0; each < 5; each++) await sendAndRest();
  expect([backend.connections, connections.size]).toEqual([1, 1]);
});

test('at once, each has its own, and all are used again', async () => {
  await burst(5);
  await burst(5);
  expect([backend.connections, connections.size]).toEqual([5, 5]);
});

test('the one that was used last is used next', async () => {
  await burst(3);
  await sendAndRest();
  const last = backend.seen.at(-1)?.connection;
  for (let each = 0; each < 3; each++) await sendAndRest();
  expect(backend.seen.slice(-3).map(({ connection }) => connection)).toEqual([last, last, last]);
});

test('one that is too old is used no more', async () => {
  await sendAndRest();
  now += AGE_MS_MAX - 1;
  await sendAndRest();
  expect(backend.connections).toBe(1);
  now += 2;
  await sendAndRest();
  expect([backend.connections, connections.size]).toEqual([2, 1]);
});

test('those that a burst left behind are forgotten', async () => {
  await burst(4);
  now += 20_000;
  await sendAndRest();
  expect(connections.size).toBe(4);
  now += 45_000;
  for (let each = 0; each < 5; each++) await sendAndRest();
  expect(connections.size).toBe(1);
});

test('a request that cannot be sent leaves its connection free', async () => {
  await sendAndRest();
  for (let each = 0; each < 3; each++) expect(await send('/', ['bad name', 'x'])).toBeInstanceOf(Error);
  await sendAndRest();
  expect([backend.connections, connections.size]).toEqual([1, 1]);
});

test('one that the backend cut is opened again', async () => {
  backend.script = (_seen, wire) => wire.cut();
  expect(await send()).toBeInstanceOf(Error);
  await new Promise((done) => setImmediate(done));
  backend.script = (_seen, wire) => wire.answer(200);
  await sendAndRest();
  expect(connections.size).toBe(1);
});

test('close waits for who is on the way, and takes nobody any more', async () => {
  backend.script = (_seen, wire) => void held.push(wire);
  const one = send();
  await backend.until(() => held.length === 1);
  let closed = false;
  const closing = connections.close().then(() => {
    closed = true;
  });
  expect(await send()).toBeInstanceOf(Error);
  expect(closed).toBe(false);
  held[0]?.answer(200);
  expect(await one).toBe(200);
  await closing;
});

test('cut gives up who is on the way', async () => {
  backend.script = (_seen, wire) => void held.push(wire);
  const one = send();
  await backend.until(() => held.length === 1);
  connections.cut();
  expect(await one).toBeInstanceOf(Error);
});
