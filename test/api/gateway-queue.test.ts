import { request } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { type GatewayQueueEvent, GatewayQueueFrontend, type GatewayQueueListenerOptions } from '../../src/api/gateway-queue.ts';
import { SECOND } from '../../src/core/time.ts';
import { type QueueRig, started } from '../gateway-queue/rig.ts';
import { settled } from '../support/fakes/clock.ts';
import { Wire } from '../support/fakes/wire.ts';

/* The listener before real sockets, over the real admission in virtual time: nothing here waits for a period. */

const BODY = `{"message": "You're free to connect now! :)"}`;
const GET = (shard: number | string) => `GET /?shard=${shard} HTTP/1.1\r\nHost: queue\r\n\r\n`;

interface Listening {
  readonly rig: QueueRig;
  readonly port: number;
  readonly events: GatewayQueueEvent[];
}

const open: GatewayQueueFrontend[] = [];
const wires: Wire[] = [];

afterEach(async () => {
  for (const wire of wires.splice(0)) wire.destroy();
  for (const frontend of open.splice(0)) await frontend.drain(0);
});

async function listening(options = '', more: Partial<GatewayQueueListenerOptions> = {}): Promise<Listening> {
  const rig = await started(options);
  const events: GatewayQueueEvent[] = [];
  const frontend = new GatewayQueueFrontend({
    ...{ address: { host: '127.0.0.1', port: 0 }, queue: rig.queue, clock: rig.clock, variant: 'twilight', strict: false },
    ...{ closeAfter: SECOND, headMsMax: 10_000, onEvent: (event: GatewayQueueEvent) => void events.push(event), ...more },
  });
  open.push(frontend);
  const { address } = await frontend.listen();
  return { rig, port: Number(address.split(':').at(-1)), events };
}

async function wired(port: number, text?: string): Promise<Wire> {
  const wire = await Wire.open(port);
  wires.push(wire);
  if (text !== undefined) wire.write(text);
  return wire;
}

/** Turns of the event loop until `seen`. */
async function turns(what: string, seen: () => boolean): Promise<void> {
  for (let turn = 0; turn < 5_000; turn++) {
    if (seen()) return;
    await new Promise((resolve) => void setImmediate(resolve));
  }
  throw new Error(`never: ${what}`);
}

interface Got {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function send(port: number, method: string, path: string, body?: string): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', method, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (piece) => (text += String(piece)));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

describe('Any request is held and answered 200', () => {
  test('GQ-1: DELETE of any path with a body gets the exact 45 bytes at once, without a content type', async () => {
    const { port } = await listening();
    const got = await send(port, 'DELETE', '/any/path', 'some body');
    expect(got.status).toBe(200);
    expect(got.body).toBe(BODY);
    expect(Buffer.byteLength(got.body)).toBe(45);
    expect(got.headers['content-type']).toBeUndefined();
    expect(got.headers['content-length']).toBe('45');
  });

  test.each(['GET', 'PUT', 'PATCH', 'POST', 'OPTIONS', 'PROPFIND', 'TRACE'])('also by the method %s', async (method) => {
    const { port } = await listening('maxConcurrency: 0');
    expect(await send(port, method, '/healthz?x=1')).toMatchObject({ status: 200, body: BODY });
  });

  test('also by HEAD, without the body', async () => {
    const { port } = await listening('maxConcurrency: 0');
    expect(await send(port, 'HEAD', '/')).toMatchObject({ status: 200, body: '' });
  });

  test.each([
    ['CONNECT', 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n'],
    ['a request for another protocol', 'GET / HTTP/1.1\r\nHost: queue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
    ['an expectation', 'GET / HTTP/1.1\r\nHost: queue\r\nExpect: the-unexpected\r\n\r\n'],
    ['HTTP/1.0 without a host', 'GET / HTTP/1.0\r\n\r\n'],
    ['a body that waits for 100', 'POST / HTTP/1.1\r\nHost: queue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n'],
  ])('also %s', async (_what, text) => {
    const { port } = await listening('maxConcurrency: 0');
    const wire = await wired(port, text);
    expect(await wire.until((received) => received.endsWith(BODY))).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  test('a body longer than a megabyte is left with its sender, who is answered all the same', async () => {
    const { port } = await listening('maxConcurrency: 0');
    const wire = await wired(port, `POST / HTTP/1.1\r\nHost: queue\r\nContent-Length: ${1 << 24}\r\n\r\n${'x'.repeat(1 << 16)}`);
    const received = await wire.until((text) => text.endsWith(BODY));
    expect(received).toMatch(/Connection: close/i);
  });
});

describe('The connection of a caller', () => {
  test('that is lost frees its place at once', async () => {
    const { rig, port } = await listening();
    await send(port, 'GET', '/?shard=0');
    const wire = await wired(port, GET(1));
    await turns('the caller is held', () => rig.queue.held === 1);
    wire.destroy();
    await turns('its place is free', () => rig.queue.held === 0);
    expect(rig.rig.waiting('gateway-queue')).toBe(0);
  });

  test('holds one request at a time: what is pipelined takes no place before the answer to the one before', async () => {
    const { rig, port } = await listening();
    const wire = await wired(port, GET(0) + GET(1) + GET(2));
    await wire.until((received) => received.endsWith(BODY));
    await turns('the second is held', () => rig.queue.held === 1);
    await rig.pass(5);
    await turns('the second is answered', () => wire.answers === 2);
    await turns('the third is held', () => rig.queue.held === 1);
    expect(wire.answers).toBe(2);
  });

  test('is kept for the next request', async () => {
    const { port } = await listening('maxConcurrency: 0');
    const wire = await wired(port, GET(0));
    await wire.until(() => wire.answers === 1);
    wire.write(GET(1));
    await wire.until(() => wire.answers === 2);
  });
});

describe('What cannot be served is closed without an answer, a second later', () => {
  test('C9: a caller beyond the backlog', async () => {
    const { rig, port, events } = await listening('backlog: 1');
    await send(port, 'GET', '/');
    await wired(port, GET(1));
    await turns('one is held', () => rig.queue.held === 1);
    const shed = await wired(port, GET(2));
    await turns('it is to be closed', () => events.some(({ kind }) => kind === 'closed'));
    await rig.pass(0.9);
    expect(shed.closed).toBe(false);
    await rig.pass(0.2);
    expect(await shed.untilClosed()).toBe('');
    expect(events).toContainEqual({ kind: 'closed', reason: 'shed' });
    expect(rig.queue.held).toBe(1);
  });

  test('C9: a caller that is held while the server drains', async () => {
    const { rig, port, events } = await listening();
    await send(port, 'GET', '/');
    const wire = await wired(port, GET(1));
    await turns('it is held', () => rig.queue.held === 1);
    const drained = rig.rig.admission.drain(2 * SECOND);
    await rig.pass(3.1);
    await drained;
    expect(await wire.untilClosed()).toBe('');
    expect(events).toContainEqual({ kind: 'closed', reason: 'draining' });
  });

  test.each(['nonsense\r\n\r\n', 'BREW / HTTP/1.1\r\nHost: queue\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: q\r\n\r\n`])(
    'C9: what is no HTTP (%#)',
    async (text) => {
      const { rig, port, events } = await listening();
      const wire = await wired(port, text);
      await turns('it is to be closed', () => events.length > 0);
      await rig.pass(1.1);
      expect(await wire.untilClosed()).toBe('');
      expect(events).toEqual([{ kind: 'closed', reason: 'request' }]);
    },
  );
});

describe('A shard that is none', () => {
  test.each(['abc', '-1', '1&shard=2', '4294967296', '', '1.5', '0x1'])('GQ-12: shard=%s is held as shard 0, answered 200, and counted', async (shard) => {
    const { rig, port, events } = await listening('maxConcurrency: 2');
    await send(port, 'GET', '/?shard=0');
    const wire = await wired(port, GET(shard));
    await turns('it is held', () => rig.queue.held === 1);
    expect(events.filter(({ kind }) => kind === 'wrong_shard')).toHaveLength(1);
    await rig.pass(5);
    await wire.until((received) => received.endsWith(BODY));
  });

  test.each(['abc', '-1', '1&shard=2', '4294967296'])('GQ-12: strict, shard=%s is answered 400 and takes no slot', async (shard) => {
    const { rig, port } = await listening('maxConcurrency: 2', { strict: true });
    expect((await send(port, 'GET', `/?shard=${shard}`)).status).toBe(400);
    expect(await send(port, 'GET', '/?shard=0')).toMatchObject({ status: 200 });
    expect(rig.queue.held).toBe(0);
  });

  test('one that is missing is shard 0, without a warning', async () => {
    const { port, events } = await listening();
    await send(port, 'GET', '/');
    expect(events).toEqual([{ kind: 'admitted' }]);
  });
});

describe("PluralKit's variant", () => {
  test('GQ-19: answers with its text; shard=-1 is 400, and the next is served', async () => {
    const { port } = await listening('variant: pluralkit, maxConcurrency: 16', { variant: 'pluralkit', strict: true });
    expect(await send(port, 'GET', '/?shard=3')).toMatchObject({ status: 200, body: 'You are free to connect now! :)' });
    expect((await send(port, 'GET', '/?shard=-1')).status).toBe(400);
    expect(await send(port, 'GET', '/?shard=4')).toMatchObject({ status: 200 });
    await settled();
  });
});
