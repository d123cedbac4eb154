import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reset, TcpProxy } from './tcp-proxy.ts';
import { until } from './until.ts';

let server: Server;
let proxy: TcpProxy;
/** The server's end of each connection, oldest first. */
let ends: Socket[];
let sockets: Socket[];

beforeEach(async () => {
  ends = [];
  sockets = [];
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    ends.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await TcpProxy.to((server.address() as { port: number }).port);
});

afterEach(async () => {
  for (const socket of [...ends, ...sockets]) socket.destroy();
  await proxy.close();
  server.close();
});

/** Both ends of a new connection through the proxy. */
async function pair(): Promise<readonly [near: Socket, far: Socket]> {
  const taken = once(server, 'connection');
  const near = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
  near.on('error', () => {});
  sockets.push(near);
  const [far] = (await taken) as [Socket];
  return [near, far];
}

async function read(socket: Socket): Promise<string> {
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  return bytes.toString();
}

/** That nothing of this kind comes while another line of the same proxy's makes a way there and back. */
async function nothing(socket: Socket, event: 'data' | 'end', meanwhile: () => Promise<unknown>): Promise<void> {
  let seen = 0;
  const count = () => {
    seen += 1;
  };
  socket.on(event, count);
  await meanwhile();
  socket.off(event, count);
  expect(seen).toBe(0);
}

/** A way there and back on a line beside the proxy, through the same event loop. */
async function aside(): Promise<void> {
  const other = await TcpProxy.to((server.address() as { port: number }).port);
  const taken = once(server, 'connection');
  const near = connect(other.port, '127.0.0.1');
  const [far] = (await taken) as [Socket];
  near.write('there');
  await read(far);
  far.write('back');
  await read(near);
  near.destroy();
  await other.close();
}

describe('a line', () => {
  test('carries bytes both ways, in order and whole', async () => {
    const [near, far] = await pair();
    const sent = Buffer.alloc(5 << 20, 'abcdefg');
    const got = text(far);
    near.end(sent);
    expect(await got).toBe(sent.toString());
    const back = text(near);
    far.end('done');
    expect(await back).toBe('done');
  });

  test('passes on each end by itself, and a reset as a reset', async () => {
    const [near, far] = await pair();
    far.resume();
    near.resume();
    near.end();
    await once(far, 'end');
    far.resetAndDestroy();
    const [error] = (await once(near, 'error')) as [{ code: string }];
    expect(error.code).toBe('ECONNRESET');
  });

  test('to a server that is not there is reset', async () => {
    server.close();
    const near = connect(proxy.port, '127.0.0.1');
    const [error] = (await once(near, 'error')) as [{ code: string }];
    expect(error.code).toBe('ECONNRESET');
  });
});

describe('cut', () => {
  test('resets both ends and refuses new ones until it is healed', async () => {
    const [near, far] = await pair();
    const ended = Promise.all([once(near, 'error'), new Promise((resolve) => far.on('close', resolve))]);
    proxy.cut();
    const [[error]] = (await ended) as [[{ code: string }], unknown];
    expect(error.code).toBe('ECONNRESET');
    const refused = connect(proxy.port, '127.0.0.1');
    expect(await once(refused, 'error')).toMatchObject([{ code: 'ECONNREFUSED' }]);
    await proxy.heal();
    const [again, behind] = await pair();
    again.write('hello');
    expect(await read(behind)).toBe('hello');
    expect(proxy.connections).toBe(1);
  });
});

describe('freeze', () => {
  test('one way leaves the other', async () => {
    const [near, far] = await pair();
    proxy.freeze('up');
    near.write('lost for now');
    await nothing(far, 'data', async () => {
      far.write('still comes');
      expect(await read(near)).toBe('still comes');
    });
    await proxy.heal();
    expect(await read(far)).toBe('lost for now');
  });

  test('holds back ends too, and delivers all in order when healed', async () => {
    const [near, far] = await pair();
    proxy.freeze('both');
    near.end('last words');
    await nothing(far, 'end', aside);
    const got = text(far);
    await proxy.heal();
    expect(await got).toBe('last words');
  });

  test('takes new connections, which stand still', async () => {
    proxy.freeze('down');
    const [near, far] = await pair();
    near.write('ask');
    expect(await read(far)).toBe('ask');
    far.write('answer');
    await nothing(near, 'data', aside);
    await proxy.heal();
    expect(await read(near)).toBe('answer');
  });

  test('pushes back on a sender of more than it holds', async () => {
    const [near, far] = await pair();
    proxy.freeze('up');
    const sent = Buffer.alloc(32 << 20, 'x');
    near.end(sent);
    await until('it to hold what it may', () => proxy.heldBytes > 1 << 20);
    // Turns enough for far more to come in.
    for (let turn = 0; turn < 50; turn++) await aside();
    expect(proxy.heldBytes).toBeLessThan(2 << 20);
    let bytes = 0;
    far.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await proxy.heal();
    await once(far, 'end');
    expect(bytes).toBe(sent.length);
  });
});

describe('delay', () => {
  test('delivers later, each way, in order', async () => {
    const [near, far] = await pair();
    proxy.delay(60);
    far.on('data', (bytes: Buffer) => far.write(bytes));
    const start = performance.now();
    near.write('a');
    near.end('b');
    far.on('end', () => far.end());
    expect(await text(near)).toBe('ab');
    expect(performance.now() - start).toBeGreaterThan(119);
  });

  test('that is healed delivers what was on its way at once', async () => {
    const [near, far] = await pair();
    proxy.delay(3_600_000);
    near.write('slow');
    await nothing(far, 'data', aside);
    await proxy.heal();
    expect(await read(far)).toBe('slow');
  });
});

test('A connection that is reset in the moment of its own end is closed, so that its process can end', async () => {
  const socket = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  const errors: Error[] = [];
  socket.on('error', (error) => errors.push(error));
  socket.end();
  reset(socket);
  await once(socket, 'close');
  expect(errors).toEqual([]);
});
