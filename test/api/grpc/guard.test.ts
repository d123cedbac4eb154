import { connect, type Socket } from 'node:net';
import { Server } from '@grpc/grpc-js';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { GrpcGuard } from '../../../src/api/grpc/guard.ts';
import { CALM, FLAG, FRAME, frame, HeaderBlocks, message, preface, reset } from '../../floods/frames.ts';
import { startGrpc } from '../../protocol/servers.ts';

const ACQUIRE = '/sluice.v1.AdmissionService/Acquire';
const WATCH = '/sluice.v1.AdmissionService/Watch';
const SESSION = '/sluice.v1.AdmissionService/Session';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
/** `group: "slots"` and `group: "open"`, as an AcquireRequest. */
const SLOTS = Buffer.from([0x0a, 5, ...Buffer.from('slots')]);
const OPEN = Buffer.from([0x0a, 4, ...Buffer.from('open')]);

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** A connection that sends what it likes. */
class RawClient {
  readonly frames: Frame[] = [];
  readonly socket: Socket;
  closed = false;
  #rest = Buffer.alloc(0);

  constructor(address: string, settings: readonly (readonly [number, number])[] = []) {
    this.socket = connect(Number(address.split(':').at(-1)), '127.0.0.1');
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('data', (bytes: Buffer) => this.#read(bytes));
    this.socket.write(preface(settings));
  }

  write(...parts: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  of(type: number): readonly Frame[] {
    return this.frames.filter((each) => each.type === type);
  }

  /** The error code of the last GOAWAY. */
  get goaway(): number | undefined {
    return this.of(FRAME.goaway).at(-1)?.payload.readUInt32BE(4);
  }

  #read(bytes: Buffer): void {
    let rest = Buffer.concat([this.#rest, bytes]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      this.frames.push({ type: rest[3] ?? 0, flags: rest[4] ?? 0, stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
      rest = rest.subarray(end);
    }
    this.#rest = rest;
  }
}

let started: Awaited<ReturnType<typeof startGrpc>> | undefined;
const clients: RawClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await started?.stop();
  started = undefined;
});

async function start(...[bounds]: Parameters<typeof startGrpc>): Promise<Awaited<ReturnType<typeof startGrpc>>> {
  started = await startGrpc(bounds);
  return started;
}

function raw(settings: readonly (readonly [number, number])[] = []): RawClient {
  const client = new RawClient(started?.address ?? '', settings);
  clients.push(client);
  return client;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

const open = (id: number, blocks: HeaderBlocks, flags = 0): Buffer => frame(FRAME.headers, FLAG.endHeaders | flags, id, blocks.next());
const ids = (count: number, first = 1): readonly number[] => Array.from({ length: count }, (_, index) => first + 2 * index);

/** Asks on a connection of its own and waits for the answer. */
async function asks(): Promise<void> {
  const client = raw();
  const blocks = new HeaderBlocks(ACQUIRE);
  client.write(open(1, blocks), message(1, OPEN, true));
  await until(() => client.of(FRAME.data).length > 0 || client.closed);
  expect(client.of(FRAME.data).length).toBe(1);
}

/** Takes the one lease of `slots`, so that others wait. */
async function takeSlot(): Promise<void> {
  const client = raw();
  client.write(open(1, new HeaderBlocks(ACQUIRE)), message(1, SLOTS, true));
  await until(() => client.of(FRAME.data).length === 1);
}

it('meters connections only while there are some, so that an idle server sleeps', async () => {
  const begun = vi.spyOn(globalThis, 'setInterval');
  const ended = vi.spyOn(globalThis, 'clearInterval');
  const meters = () => begun.mock.results.filter((_, at) => begun.mock.calls[at]?.[1] === 100).map(({ value }) => value as unknown);
  try {
    await start();
    expect(meters()).toHaveLength(0);
    const [one, other] = [raw(), raw()];
    await until(() => one.of(FRAME.settings).length > 0 && other.of(FRAME.settings).length > 0);
    expect(meters()).toHaveLength(1);
    one.socket.destroy();
    other.socket.destroy();
    await until(() => ended.mock.calls.some(([timer]) => timer === meters()[0]));
    raw();
    await until(() => meters().length === 2);
  } finally {
    begun.mockRestore();
    ended.mockRestore();
  }
});

describe('one gRPC connection', () => {
  it('is told how many calls it may have open, and further ones are refused', async () => {
    const { admission, floods } = await start({ streamsMax: 20 });
    await takeSlot();
    const client = raw();
    const blocks = new HeaderBlocks(ACQUIRE);
    client.write(...ids(21).flatMap((id) => [open(id, blocks), message(id, SLOTS, true)]));
    await until(() => client.of(FRAME.reset).length === 1 && admission.waiting.length === 20);
    const [settings] = client.of(FRAME.settings);
    expect(settings?.payload.includes(Buffer.from([0, 3, 0, 0, 0, 20]))).toBe(true);
    expect(client.of(FRAME.reset).map(({ stream, payload }) => [stream, payload.readUInt32BE(0)])).toEqual([[41, 7]]);
    expect(floods).toEqual([]);
  });

  it('is closed with ENHANCE_YOUR_CALM when it opens more calls in a second than it may', async () => {
    const { floods } = await start({ opensPerSecondMax: 50 });
    const client = raw();
    const blocks = new HeaderBlocks(ACQUIRE);
    client.write(...ids(60).flatMap((id) => [open(id, blocks), message(id, OPEN, true)]));
    await until(() => client.closed);
    expect([client.goaway, floods]).toEqual([CALM, ['opens']]);
  });

  it.each([
    ['calls that are cancelled at once', ACQUIRE, (id: number, blocks: HeaderBlocks) => [open(id, blocks), reset(id)]],
    ['calls without a message', ACQUIRE, (id: number, blocks: HeaderBlocks) => [open(id, blocks, FLAG.endStream)]],
    ['calls of paths that are not there', '/no/where', (id: number, blocks: HeaderBlocks) => [open(id, blocks, FLAG.endStream)]],
    ['asks that are cancelled', ACQUIRE, (id: number, blocks: HeaderBlocks) => [open(id, blocks), message(id, SLOTS, true), reset(id)]],
  ])('is closed with ENHANCE_YOUR_CALM for a flood of %s', async (_name, path, one) => {
    const { floods, admission } = await start({ resetsMax: 100 });
    const client = raw();
    const blocks = new HeaderBlocks(path);
    client.write(...ids(110).flatMap((id) => one(id, blocks)));
    await until(() => client.closed && admission.waiting.length === 0);
    expect([client.goaway, floods]).toEqual([CALM, ['resets']]);
  });

  it.each([
    ['pings', frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    ['settings', frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))],
  ])('is closed with ENHANCE_YOUR_CALM for a flood of %s', async (kind, one) => {
    const { floods } = await start();
    const client = raw();
    client.write(...Array.from({ length: 600 }, () => one));
    await until(() => client.closed);
    expect([client.goaway, floods]).toEqual([CALM, [kind]]);
  });

  it('is closed for frames that ask for nothing, by their bytes', async () => {
    const { floods } = await start({ bytesPerSecondMax: 65_536 });
    const client = raw();
    const one = frame(FRAME.windowUpdate, 0, 0, Buffer.from([0, 0, 0, 1]));
    client.write(Buffer.concat(Array.from({ length: 400_000 }, () => one)));
    await until(() => client.closed);
    expect(floods).toEqual(['bytes']);
  });

  it('may ping as often as it asks', async () => {
    const { floods } = await start();
    const client = raw();
    const blocks = new HeaderBlocks(ACQUIRE);
    const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(8));
    for (const id of ids(700)) {
      client.write(open(id, blocks), message(id, OPEN, true), ping);
      if (id % 100 === 1) await until(() => client.of(FRAME.ping).length * 2 > id);
    }
    await until(() => client.of(FRAME.ping).length === 700);
    expect(floods).toEqual([]);
  });

  it('that flooded slows down the next ones of its address, and closes none that is open', async () => {
    const { floods } = await start({ resetsMax: 10 });
    const before = raw();
    const kept = new HeaderBlocks(ACQUIRE);
    before.write(open(1, kept), message(1, OPEN, true));
    await until(() => before.of(FRAME.data).length === 1);
    const flooder = raw();
    const blocks = new HeaderBlocks(ACQUIRE);
    flooder.write(...ids(20).map((id) => open(id, blocks, FLAG.endStream)));
    await until(() => flooder.closed);
    expect(floods).toEqual(['resets']);
    const began = performance.now();
    await asks();
    // One each 250 ms, by the server's own timer.
    expect(performance.now() - began).toBeGreaterThan(50);
    before.write(open(3, kept), message(3, OPEN, true));
    await until(() => before.of(FRAME.data).length === 2);
  });
});

describe('a call whose request does not come', () => {
  it.each([
    ['Acquire without a message', ACQUIRE, Buffer.alloc(0)],
    ['Acquire with half of a message', ACQUIRE, frame(FRAME.data, 0, 1, Buffer.from([0, 0, 0, 0, 7, 0x0a]))],
    ['Session with half of a message', SESSION, frame(FRAME.data, 0, 1, Buffer.from([0, 0, 0, 0, 7, 0x0a]))],
    ['Session without a message', SESSION, Buffer.alloc(0)],
    ['reflection without a message', REFLECTION, Buffer.alloc(0)],
  ])('is ended with invalid_argument: %s', async (_name, path, more) => {
    await start({ firstMessageMs: 100 });
    const client = raw();
    client.write(open(1, new HeaderBlocks(path)), more);
    await until(() => client.of(FRAME.headers).length === 1);
    expect(client.of(FRAME.headers)[0]?.flags).toBe(FLAG.endHeaders | FLAG.endStream);
  });
});

describe('a call without a message', () => {
  it.each([
    ['in HEADERS', FLAG.endStream, Buffer.alloc(0)],
    ['in DATA without a byte', 0, frame(FRAME.data, FLAG.endStream, 1)],
  ])('that ends %s is unimplemented at once', async (_name, flags, more) => {
    await start();
    const client = raw();
    client.write(open(1, new HeaderBlocks(ACQUIRE), flags), more);
    await until(() => client.of(FRAME.headers).length === 1);
    // `grpc-status: 12`, literal or in Huffman code as nghttp2 writes it.
    expect(client.of(FRAME.headers)[0]?.flags).toBe(FLAG.endHeaders | FLAG.endStream);
  });
});

/** SETTINGS_INITIAL_WINDOW_SIZE 0: the server may send no byte of an answer. */
const ZERO_WINDOW = [[4, 0]] as const;

describe('a caller that gives no window', () => {
  it('of Watch gets no further places, and is cut when it has read nothing for the time', async () => {
    const { admission } = await start({ unreadMs: 200 });
    await takeSlot();
    const client = raw(ZERO_WINDOW);
    client.write(open(1, new HeaderBlocks(WATCH)), message(1, Buffer.from([0x0a, SLOTS.length, ...SLOTS]), true));
    await until(() => client.of(FRAME.reset).length === 1);
    await until(() => admission.waiting.length === 0);
  });

  it('of Session is cut once more bytes wait than may', async () => {
    const { admission } = await start({ unreadBytesMax: 1_000 });
    const client = raw(ZERO_WINDOW);
    client.write(open(1, new HeaderBlocks(SESSION)));
    // Each asks for a group that is not there, and is refused at once.
    const ask = (id: number): Buffer => message(1, Buffer.from([0x0a, 1, 0x61 + id, 0x12 + 8, 0]), false);
    client.write(...Array.from({ length: 20 }, (_, id) => ask(id)));
    await until(() => client.of(FRAME.reset).length === 1);
    await until(() => admission.endedSessions.length === 1);
  });

  it('of Acquire is cut when it does not read its answer', async () => {
    await start({ unreadMs: 200 });
    const client = raw(ZERO_WINDOW);
    client.write(open(1, new HeaderBlocks(ACQUIRE)), message(1, OPEN, true));
    await until(() => client.of(FRAME.reset).length === 1);
  });

  it('of reflection is not read any further', async () => {
    await start();
    const client = raw(ZERO_WINDOW);
    client.write(open(1, new HeaderBlocks(REFLECTION)));
    const symbol = Buffer.from('sluice.v1.AdmissionService');
    const ask = message(1, Buffer.concat([Buffer.from([0x22, symbol.length]), symbol]), false);
    let sent = 0;
    // The server's own window of the stream is 64 KiB; once it stops reading it gives no more.
    while (sent < 60_000) {
      client.write(ask);
      sent += ask.length;
    }
    await asks();
    const given = client.of(FRAME.windowUpdate).filter(({ stream }) => stream === 1);
    expect(given.reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0)).toBeLessThan(60_000);
  });
});

describe('the guard', () => {
  it('refuses a grpc-js that keeps its servers elsewhere', () => {
    const bounds = { streamsMax: 1, opensPerSecondMax: 10, resetsMax: 10, bytesPerSecondMax: 1, firstMessageMs: 1, unreadMs: 1, unreadBytesMax: 1 };
    const guard = new GrpcGuard({ bounds, cuttable: new Set(), endless: new Set(), serves: () => true, onFlood: () => {} });
    expect(() => guard.attach(new Server())).toThrow('http2Servers');
  });
});
