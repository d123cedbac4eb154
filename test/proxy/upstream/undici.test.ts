import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MILLISECOND, MINUTE, SECOND } from '../../../src/core/time.ts';
import type { BackendSpec } from '../../../src/proxy/route.ts';
import type { Attempt, BackendHead, BackendSink, Forwarder, HeldBody, HeldRequest, RawHeaders, Sending } from '../../../src/proxy/upstream/forwarder.ts';
import { createUndiciForwarder } from '../../../src/proxy/upstream/undici.ts';
import { type Script, ScriptedBackend, valuesOf } from '../../support/fakes/backend.ts';

const TIMEOUT = { connect: SECOND, firstByte: 5 * SECOND, idle: 5 * SECOND };

/** What came back of one attempt. */
class Caller implements BackendSink {
  readonly information: BackendHead[] = [];
  head: BackendHead | undefined;
  readonly chunks: Buffer[] = [];
  trailers: RawHeaders | undefined;
  /** Reads no more once it has this many bytes. */
  full = Number.POSITIVE_INFINITY;
  resume: (() => void) | undefined;
  sending!: Sending;
  #over!: (attempt: Attempt) => void;
  readonly attempt = new Promise<Attempt>((resolve) => {
    this.#over = resolve;
  });
  /** Told whenever a piece came. */
  onPiece: () => void = () => {};

  onInformation(head: BackendHead): void {
    this.information.push(head);
  }

  onHead(head: BackendHead): void {
    this.head = head;
  }

  onData(chunk: Uint8Array, resume: () => void): boolean {
    this.chunks.push(Buffer.from(chunk));
    this.resume = resume;
    this.onPiece();
    return this.bytes < this.full;
  }

  onEnd(trailers: RawHeaders): void {
    this.trailers = trailers;
  }

  onAttempt(attempt: Attempt): void {
    this.#over(attempt);
  }

  get bytes(): number {
    return this.chunks.reduce((sum, { length }) => sum + length, 0);
  }

  get body(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }
}

let backend: ScriptedBackend;
let forwarder: Forwarder;

function specOf(url: string, more: Partial<BackendSpec> = {}): BackendSpec {
  return {
    name: 'shop',
    urls: [url],
    timeout: TIMEOUT,
    concurrency: undefined,
    onAbort: 'cancel',
    eject: { failures: 5, for: 10 * SECOND },
    queue: { requestsMax: 10_000, wait: 30 * SECOND },
    resolveEvery: MINUTE,
    tls: undefined,
    ...more,
  };
}

async function serve(script?: Script, more: Partial<BackendSpec> = {}): Promise<void> {
  if (script !== undefined) backend.script = script;
  await forwarder.close();
  forwarder = createUndiciForwarder(specOf(backend.url, more));
}

function held(open: () => Uint8Array | Readable, length?: number): HeldBody {
  return { length, replayable: true, open, drop() {} };
}

function send(request: Partial<HeldRequest> = {}, caller = new Caller()): Caller {
  caller.sending = forwarder.forward({ method: 'GET', target: '/', headers: ['Host', 'shop'], body: undefined, ...request }, 0, caller);
  return caller;
}

beforeEach(async () => {
  backend = await ScriptedBackend.open();
  forwarder = createUndiciForwarder(specOf(backend.url));
});

afterEach(async () => {
  await backend.close();
  await forwarder.close();
});

describe('a request', () => {
  test('goes as it is: target, order, repeats and bytes of its fields', async () => {
    const headers = ['Host', 'shop:1', 'X-One', '1', 'cookie', 'a=1', 'X-ONE', '2', 'Cookie', 'b=2', 'X-Latin', 'caf\u00e9'];
    const caller = send({ target: "/a%2Fb/../c;d?x=1&x=2&y='%zz", headers });
    expect(await caller.attempt).toEqual({ kind: 'answered', status: 200 });
    const [seen] = backend.seen;
    expect(seen?.target).toBe("/a%2Fb/../c;d?x=1&x=2&y='%zz");
    const own = ['host', 'connection'];
    expect(seen?.headers.filter((_, i) => !own.includes(seen.headers[i - (i % 2)]?.toLowerCase() ?? ''))).toEqual(headers.slice(2));
    expect(valuesOf(seen?.headers ?? [], 'host')).toEqual(['shop:1']);
  });

  test.each([
    ['POST', 'whole', 5],
    ['PUT', 'whole', 0],
    ['POST', 'stream', 5],
    ['POST', 'chunked', 5],
    ['PATCH', 'chunked', 0],
    ['GET', 'stream', 5],
    ['GET', 'chunked', 5],
    ['DELETE', 'whole', 5],
    ['REPORT', 'stream', 5],
  ])('%s with a body (%s, %i bytes) arrives with its bytes', async (method, how, length) => {
    const bytes = Buffer.alloc(length, 'x');
    const body =
      how === 'whole'
        ? held(() => bytes, length)
        : held(() => Readable.from(length === 0 ? [] : [bytes.subarray(0, 2), bytes.subarray(2)]), how === 'stream' ? length : undefined);
    await send({ method, body }).attempt;
    expect(backend.seen.map((seen) => [seen.method, seen.body.toString()])).toEqual([[method, 'x'.repeat(length)]]);
    expect(backend.anomalies).toEqual([]);
  });

  test('a body that ends early is cut, and never taken for whole', async () => {
    const attempt = await send({ method: 'POST', body: held(() => Readable.from([Buffer.from('abc')]), 5) }).attempt;
    expect(attempt).toMatchObject({ kind: 'failed', why: 'sender', sent: true });
    expect(backend.seen).toEqual([]);
  });

  test('a body that is longer than it said is cut before the first byte too many', async () => {
    const attempt = await send({ method: 'POST', body: held(() => Readable.from([Buffer.from('abc'), Buffer.from('defGET /evil')]), 5) }).attempt;
    expect(attempt).toMatchObject({ kind: 'failed', why: 'sender', sent: true });
    expect(backend.seen).toEqual([]);
    expect(backend.anomalies).toEqual([]);
  });

  test('a body whose sender fails is cut, and it is the sender who failed', async () => {
    const body = held(
      () =>
        new Readable({
          read() {
            this.push('abc');
            this.destroy(Object.assign(new Error('gone'), { code: 'ERR_SLUICE_SENDER' }));
          },
        }),
    );
    expect(await send({ method: 'POST', body }).attempt).toMatchObject({ kind: 'failed', why: 'sender' });
    expect(backend.seen).toEqual([]);
  });

  test('an answer before the end of the body ends the request, and its connection', async () => {
    const body = new Readable({ read: () => {} });
    body.push('abc');
    const caller = send({ method: 'POST', body: held(() => body) });
    await backend.until(() => backend.begun === 1);
    for (const socket of backend.sockets) socket.write('HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno');
    expect(await caller.attempt).toEqual({ kind: 'answered', status: 413 });
    expect([caller.body, backend.seen]).toEqual(['no', []]);
    await backend.until(() => backend.sockets.size === 0);
    expect(body.destroyed).toBe(true);
  });

  test('a backend that reads slowly slows the sender down', async () => {
    let made = 0;
    const body = new Readable({
      highWaterMark: 65_536,
      read() {
        made += 65_536;
        this.push(made > 64 << 20 ? null : Buffer.alloc(65_536));
      },
    });
    const caller = send({ method: 'POST', body: held(() => body) });
    await backend.until(() => backend.begun === 1);
    const [socket] = backend.sockets;
    socket?.pause();
    // Turns of the event loop until nothing moves any more.
    for (let still = 0, last = -1; still < 50; still = made === last ? still + 1 : 0, last = made, await new Promise((resolve) => setImmediate(resolve)));
    expect(made).toBeLessThan(32 << 20);
    caller.sending.abort(new Error('enough'));
    expect(await caller.attempt).toMatchObject({ kind: 'failed', why: 'aborted', sent: true });
  });
});

describe('an answer', () => {
  test('comes as it is: status, text, fields with repeats, bytes, trailers; nothing is unpacked or followed', async () => {
    await serve((_seen, wire) =>
      wire.raw(
        'HTTP/1.1 302 Gone Fishing\r\nLocation: /x\r\nset-cookie: a\r\nSet-Cookie: b\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n',
      ),
    );
    const caller = send();
    expect(await caller.attempt).toEqual({ kind: 'answered', status: 302 });
    expect(caller.head?.statusText).toBe('Gone Fishing');
    expect(caller.head?.headers).toEqual(['Location', '/x', 'set-cookie', 'a', 'Set-Cookie', 'b', 'Content-Encoding', 'gzip', 'Transfer-Encoding', 'chunked']);
    expect(caller.body).toBe('abc');
    expect(caller.trailers).toEqual(['X-Sum', '1']);
    expect(backend.seen).toHaveLength(1);
  });

  test('1xx come before it', async () => {
    await serve((_seen, wire) => {
      wire.raw('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n');
      wire.answer(200, [], 'ok');
    });
    const caller = send();
    await caller.attempt;
    expect(caller.information.map(({ status, headers }) => [status, headers])).toEqual([
      [103, ['Link', '</a>']],
      [102, []],
    ]);
    expect(caller.body).toBe('ok');
  });

  test.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'],
  ])('%s: %j has no body, and its length is passed on', async (method, answer) => {
    await serve((_seen, wire) => wire.raw(answer));
    const caller = send({ method });
    expect((await caller.attempt).kind).toBe('answered');
    expect(caller.body).toBe('');
    expect(valuesOf(caller.head?.headers ?? [], 'content-length')).toEqual(answer.includes('5') ? ['5'] : []);
  });

  test('a caller who reads slowly slows the backend down', async () => {
    let drained = false;
    await serve((_seen, wire) => {
      wire.raw('HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n');
      wire.socket.once('drain', () => {
        drained = true;
      });
      wire.raw(Buffer.alloc(64 << 20));
    });
    const caller = new Caller();
    caller.full = 1;
    const first = new Promise<void>((resolve) => {
      caller.onPiece = resolve;
    });
    send({}, caller);
    await first;
    const before = caller.bytes;
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(caller.bytes - before).toBeLessThan(1 << 20);
    expect(drained).toBe(false);
    caller.full = Number.POSITIVE_INFINITY;
    caller.resume?.();
    expect(await caller.attempt).toEqual({ kind: 'answered', status: 200 });
    expect(caller.bytes).toBe(64 << 20);
  });

  test.each([
    ['closes before its answer', (_seen, wire) => wire.cut(), { kind: 'failed', why: 'reset', sent: true }],
    ['talks nonsense', (_seen, wire) => wire.raw('SSH-2.0-x\r\n\r\n'), { kind: 'failed', sent: true }],
    ['switches protocols unasked', (_seen, wire) => wire.raw('HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'), { kind: 'failed', sent: true }],
    ['sends two lengths', (_seen, wire) => wire.raw('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'), { sent: true }],
    ['breaks off', (_seen, wire) => void wire.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'), { kind: 'broken' }],
    ['breaks off a chunk', (_seen, wire) => void wire.socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab'), { kind: 'broken' }],
  ] as [string, Script, object][])('a backend that %s has not answered', async (_what, script, attempt) => {
    await serve(script);
    expect(await send().attempt).toMatchObject(attempt);
  });

  test('a second answer behind the first reaches nobody', async () => {
    await serve((_seen, wire) => wire.raw('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'));
    for (let i = 0; i < 3; i++) {
      const caller = send();
      await caller.attempt;
      expect(caller.body).toBe('ok');
    }
  });
});

describe('time', () => {
  test('no first byte in time', async () => {
    await serve(() => {}, { timeout: { ...TIMEOUT, firstByte: 100 * MILLISECOND } });
    expect(await send().attempt).toMatchObject({ kind: 'failed', why: 'first_byte', sent: true });
  });

  test('nothing more in time', async () => {
    await serve((_seen, wire) => wire.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'), { timeout: { ...TIMEOUT, idle: 100 * MILLISECOND } });
    expect(await send().attempt).toMatchObject({ kind: 'broken' });
  });

  test('nobody listens: no byte was sent', async () => {
    const { url } = backend;
    await backend.close();
    await forwarder.close();
    forwarder = createUndiciForwarder(specOf(url));
    expect(await send({ method: 'POST', body: held(() => Readable.from(['x'])) }).attempt).toMatchObject({ kind: 'failed', why: 'connect', sent: false });
    backend = await ScriptedBackend.open();
  });
});

describe('giving up', () => {
  test('while the backend works: its connection ends', async () => {
    await serve(() => {});
    const caller = send();
    await backend.until(() => backend.seen.length === 1);
    caller.sending.abort(new Error('left'));
    expect(await caller.attempt).toMatchObject({ kind: 'failed', why: 'aborted', sent: true });
    await backend.until(() => backend.sockets.size === 0);
  });

  test('in the middle of an answer', async () => {
    await serve((_seen, wire) => wire.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'));
    const caller = new Caller();
    const first = new Promise<void>((resolve) => {
      caller.onPiece = resolve;
    });
    send({}, caller);
    await first;
    caller.sending.abort(new Error('left'));
    caller.sending.abort(new Error('again'));
    expect(await caller.attempt).toMatchObject({ kind: 'broken' });
    await backend.until(() => backend.sockets.size === 0);
  });

  test('before it is connected: at once, and nothing is sent', async () => {
    const caller = send();
    caller.sending.abort(new Error('left'));
    expect(await caller.attempt).toMatchObject({ kind: 'failed', why: 'aborted', sent: false });
    await send({ target: '/second' }).attempt;
    expect(backend.seen.map(({ target }) => target)).toEqual(['/second']);
  });
});
