import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MINUTE, SECOND } from '../../src/core/time.ts';
import { createSystemClock, type SystemClock } from '../../src/platform/system-clock.ts';
import type { Forwarding } from '../../src/proxy/forwarding.ts';
import { createForwarding } from '../../src/proxy/forwarding-service.ts';
import type { ForwardFailure, ResponseSink } from '../../src/proxy/incoming.ts';
import type { BackendHead, RawHeaders } from '../../src/proxy/upstream/forwarder.ts';
import { createUndiciForwarder } from '../../src/proxy/upstream/undici.ts';
import { FakeAdmission } from '../support/fakes/admission.ts';
import { ScriptedBackend, type SeenRequest } from '../support/fakes/backend.ts';
import { folder } from '../support/fakes/folder.ts';
import { FACTS, routeOf } from './forward-rig.ts';

/* Requests of every shape to a recorder that knows nothing of proxies: what it saw differs only in the documented fields. */

let backend: ScriptedBackend;
let forwarding: Forwarding;
let clock: SystemClock;
let disk: Awaited<ReturnType<typeof folder>>;
const faults: unknown[] = [];

beforeAll(async () => {
  backend = await ScriptedBackend.open();
  disk = await folder();
  clock = createSystemClock({ sources: { monotonic: () => process.hrtime.bigint(), wall: Date.now, boot: '' }, record: undefined });
  forwarding = await createForwarding({
    admission: new FakeAdmission(),
    clock,
    backends: [
      {
        name: 'shop',
        urls: [backend.url],
        timeout: { connect: SECOND, firstByte: 10 * SECOND, idle: 10 * SECOND },
        concurrency: undefined,
        onAbort: 'cancel',
        eject: { failures: 5, for: SECOND },
        queue: { requestsMax: 10_000, wait: 30 * SECOND },
        resolveEvery: MINUTE,
        tls: undefined,
      },
    ],
    forwarder: createUndiciForwarder,
    hold: { memoryBytesMax: 8 << 20, diskBytesMax: 64 << 20, folder: disk.path },
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    events: () => {},
    onError: (error) => faults.push(error),
  });
});

afterAll(async () => {
  await forwarding.close();
  clock.stop();
  await backend.close();
  await disk.end();
});

/** A field that crosses: no framing, nothing for one connection, nothing of ours. */
const OWN =
  /^(connection|keep-alive|proxy-|te$|trailer$|transfer-encoding|upgrade|http2-settings|content-length|expect|host|sluice|forwarded|x-forwarded|x_forwarded|via$|traceparent)/i;
const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/);
const name = fc.oneof(
  { weight: 3, arbitrary: token.filter((text) => !OWN.test(text)) },
  fc.constantFrom('Cookie', 'cookie', 'X-Repeat', 'x-repeat', 'Accept', 'Content-Type'),
);
const value = fc.stringMatching(/^([!-~\x80-\xff]([\t !-~\x80-\xff]{0,40}[!-~\x80-\xff])?)?$/);
const fields = fc.array(fc.tuple(name, value), { maxLength: 20 }).map((pairs) => pairs.flat());
const target = fc.stringMatching(/^\/[!"$-~]{0,60}$/).filter((text) => !text.includes('#'));
const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  fc
    .tuple(fc.integer({ min: 1, max: 600_000 }), fc.integer({ min: 0, max: 255 }))
    .map(([length, seed]) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 256)),
);
const body = fc.record({ bytes, pieces: fc.integer({ min: 1, max: 7 }), chunked: fc.boolean() });
const request = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'),
  target,
  headers: fields,
  body: fc.option(body, { nil: undefined }),
  way: fc.constantFrom('body', 'headers', 'bare', 'small'),
});
const answer = fc.record({
  status: fc.constantFrom(200, 201, 204, 206, 301, 304, 400, 404, 429, 500, 503, 599),
  headers: fields,
  bytes,
  framing: fc.constantFrom('length', 'chunked', 'close'),
  information: fc.boolean(),
});

type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never;
type Answered = typeof answer extends fc.Arbitrary<infer T> ? T : never;

function cut(all: Uint8Array, pieces: number): Uint8Array[] {
  const size = Math.max(1, Math.ceil(all.length / pieces));
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.subarray(i * size, (i + 1) * size));
}

/** What came back. */
interface Back {
  readonly head: BackendHead | undefined;
  readonly bytes: Buffer;
  readonly information: number[];
  readonly none: ForwardFailure | undefined;
}

function deliver(asked: Asked): Promise<Back> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    const information: number[] = [];
    let head: BackendHead | undefined;
    const done = (none: ForwardFailure | undefined): void => resolve({ head, bytes: Buffer.concat(chunks), information, none });
    const sink: ResponseSink = {
      onInformation: ({ status }) => information.push(status),
      onHead: (told) => {
        head = told;
      },
      onData: (chunk) => chunks.push(Uint8Array.from(chunk)) > 0,
      onEnd: () => done(undefined),
      onNone: done,
      onBroken: reject,
    };
    const { admission, ...rest } = routeOf({ group: 'open', key: undefined, priorityClass: undefined, charge: asked.way === 'headers' ? 'headers' : 'body' });
    const route = { ...rest, attemptsMax: 1, admission: asked.way === 'bare' ? undefined : admission };
    const small = { ...route, hold: { ...route.hold, memoryBytesMax: 1000 } };
    const sent = asked.body;
    const incoming = {
      method: asked.method,
      target: asked.target,
      headers: ['Host', 'shop.example:81', ...asked.headers],
      body: sent && {
        length: sent.chunked ? undefined : sent.bytes.length,
        stream: Readable.from(cut(sent.bytes, sent.pieces), { objectMode: false }),
        wanted: () => {},
      },
      facts: FACTS,
      wait: undefined,
    };
    forwarding.deliver(incoming, asked.way === 'small' ? small : route, sink);
  });
}

function play(told: Answered): void {
  backend.script = (seen, { socket }) => {
    const lines = pairs(told.headers).map(([key, text]) => `${key}: ${text}\r\n`);
    const bare = told.status === 204 || told.status === 304 || seen.method === 'HEAD';
    const framing =
      told.framing === 'length'
        ? `Content-Length: ${told.bytes.length}\r\n`
        : told.framing === 'chunked'
          ? 'Transfer-Encoding: chunked\r\n'
          : 'Connection: close\r\n';
    const information = told.information ? 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' : '';
    socket.write(Buffer.from(`${information}HTTP/1.1 ${told.status} Said So\r\n${lines.join('')}${told.status === 204 ? '' : framing}\r\n`, 'latin1'));
    if (!bare) {
      if (told.framing !== 'chunked') socket.write(told.bytes);
      else {
        for (const piece of cut(told.bytes, 3)) socket.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
        socket.write('0\r\n\r\n');
      }
    }
    if (told.framing === 'close' && told.status !== 204) socket.end();
  };
}

function pairs(headers: RawHeaders): [string, string][] {
  return headers.flatMap((key, i) => (i % 2 === 0 ? [[key, headers[i + 1] ?? '']] : [])) as [string, string][];
}

/** Fields without those the proxy is documented to add or to frame with. */
function endToEnd(headers: RawHeaders): [string, string][] {
  return pairs(headers).filter(
    ([key]) =>
      !/^(host|connection|content-length|transfer-encoding|traceparent|forwarded|x-forwarded-(for|proto|host)|via|sluice-attempt|server-timing)$/i.test(key),
  );
}

function expectSeen(asked: Asked, seen: SeenRequest | undefined): void {
  expect(seen?.method).toBe(asked.method);
  expect(seen?.target).toBe(asked.target);
  expect(endToEnd(seen?.headers ?? [])).toEqual(pairs(asked.headers));
  expect(seen?.headers.filter((_, i) => seen.headers[i - 1]?.toLowerCase() === 'host')).toEqual(['shop.example:81']);
  expect(Buffer.compare(seen?.body ?? Buffer.alloc(0), Buffer.from(asked.body?.bytes ?? []))).toBe(0);
  expect(seen?.trailers).toEqual([]);
}

test('a backend sees the request, and its caller the answer, byte for byte', async () => {
  await fc.assert(
    fc.asyncProperty(request, answer, async (asked, told) => {
      backend.seen.length = 0;
      play(told);
      const back = await deliver(asked);
      expect(back.none).toBeUndefined();
      expect(backend.anomalies).toEqual([]);
      expect(backend.seen).toHaveLength(1);
      expectSeen(asked, backend.seen[0]);
      expect([back.head?.status, back.head?.statusText]).toEqual([told.status, 'Said So']);
      expect(endToEnd(back.head?.headers ?? [])).toEqual(pairs(told.headers));
      expect(back.information).toEqual(told.information ? [103] : []);
      const bare = told.status === 204 || told.status === 304 || asked.method === 'HEAD';
      expect(Buffer.compare(back.bytes, bare ? Buffer.alloc(0) : Buffer.from(told.bytes))).toBe(0);
      expect(forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
    }),
    { numRuns: 300 },
  );
  expect(faults).toEqual([]);
});

test('many at once, some of which leave: nobody gets the answer of another, nothing is sent twice', async () => {
  backend.seen.length = 0;
  backend.script = (seen, wire) =>
    void setImmediate(() => wire.answer(200, [`X-Target: ${seen.target}`], Buffer.concat([Buffer.from(seen.target), seen.body])));
  const { admission, ...rest } = routeOf({ group: 'open', key: undefined, priorityClass: undefined });
  let left = 0;
  const one = (id: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const chunks: Uint8Array[] = [];
      let head: BackendHead | undefined;
      const body = Buffer.alloc(id % 3 === 0 ? 0 : 100 * id, id % 256);
      const sink: ResponseSink = {
        onInformation() {},
        onHead: (told) => {
          head = told;
        },
        onData: (chunk) => chunks.push(Uint8Array.from(chunk)) > 0,
        onEnd: () => {
          const got = Buffer.concat(chunks);
          const right = got.equals(Buffer.concat([Buffer.from(`/${id}`), body])) && head?.headers.includes(`/${id}`) === true;
          if (right) resolve();
          else reject(new Error(`request ${id} got ${got.toString('latin1', 0, 20)}`));
        },
        onNone: (why) => reject(new Error(JSON.stringify(why))),
        onBroken: reject,
      };
      const stream = Readable.from(cut(body, 3), { objectMode: false });
      const incoming = {
        method: 'POST',
        target: `/${id}`,
        headers: ['Host', 'x'],
        body: { length: body.length, stream, wanted: () => {} },
        facts: FACTS,
        wait: undefined,
      };
      const delivery = forwarding.deliver(incoming, { ...rest, attemptsMax: 3, admission: id % 2 === 0 ? admission : undefined }, sink);
      if (id % 5 !== 0) return;
      const leave = (): void => {
        delivery.leave();
        left++;
        resolve();
      };
      if (id % 10 === 0) setImmediate(leave);
      else void backend.until(() => backend.begun > id).then(leave);
    });
  backend.begun = 0;
  for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 100 }, (_, i) => one(round * 100 + i)));
  const targets = backend.seen.map((seen) => seen.target);
  expect(new Set(targets).size).toBe(targets.length);
  expect(targets.length).toBeGreaterThanOrEqual(400);
  expect(left).toBeGreaterThan(50);
  expect([backend.anomalies, faults]).toEqual([[], []]);
  expect(forwarding.held).toEqual({ memory: 0, disk: 0, bodies: 0 });
});
