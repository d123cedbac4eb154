import { createHash, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Recorded } from '../../support/fakes/recorder.ts';
import { seededBelow } from '../../support/seeded.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/*
 * Requests of every shape through the proxy and directly: what the backend saw differs in the documented fields only, and so do
 * the answers. `SLUICE_SEED=7` replays.
 */

const SEED = Number(process.env['SLUICE_SEED'] ?? 20_261_121);
const SHAPES = 300;

const CONFIG = `http: { engine: node, ambiguousPaths: match }
backends: { shop: { urls: [ BACKEND ] } }
groups: { held: {}, streamed: {} }

routes:
  - { match: { path: /held/* }, group: held, backend: shop, body: { max: 128MiB } }
  - { match: { path: /streamed/* }, group: streamed, backend: shop, charge: headers, body: { max: 128MiB } }
  - { match: { path: /straight/* }, backend: shop, body: { max: 128MiB } }
`;

const ADDED = new Set(['forwarded', 'via', 'traceparent', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'sluice-attempt']);
const FRAMING = new Set(['connection', 'content-length', 'transfer-encoding', 'keep-alive', 'trailer', 'te']);
const ANSWER_ADDED = new Set(['via', 'server-timing', 'connection', 'keep-alive', 'transfer-encoding']);

let rig: ProxyRig;
beforeAll(async () => {
  rig = await proxyRig(CONFIG, (request, socket) => {
    const { status, headers, body, chunked } = answerTo(request);
    const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    if (request.method === 'HEAD' || status === 204 || status === 304) return void socket.write(`HTTP/1.1 ${status} X\r\n${fields}\r\n`);
    if (!chunked)
      return void socket.write(Buffer.concat([Buffer.from(`HTTP/1.1 ${status} X\r\n${fields}Content-Length: ${body.length}\r\n\r\n`, 'latin1'), body]));
    socket.write(`HTTP/1.1 ${status} X\r\n${fields}Transfer-Encoding: chunked\r\n\r\n`, 'latin1');
    for (let at = 0; at < body.length; at += 10_000) {
      const piece = body.subarray(at, at + 10_000);
      socket.write(`${piece.length.toString(16)}\r\n`);
      socket.write(piece);
      socket.write('\r\n');
    }
    socket.write('0\r\n\r\n');
  });
});
afterAll(() => rig.stop());

/** The answer depends on what was asked and on nothing else. */
function answerTo({ target, headers }: Recorded): { status: number; headers: readonly (readonly [string, string])[]; body: Buffer; chunked: boolean } {
  const number = Number(new URLSearchParams(target.split('?')[1]).get('n'));
  const draw = seededBelow(number);
  const status = [200, 200, 201, 204, 304, 404, 418, 500][draw(8)] ?? 200;
  const own = headers.filter(([name]) => name.toLowerCase().startsWith('x-r')).map(([, value]) => ['X-Seen', value] as const);
  return {
    status,
    headers: [['Set-Cookie', 'a'], ['X-One', String(number)], ['set-cookie', 'b'], ...own],
    body: Buffer.alloc(draw(100_000), String(number)),
    chunked: draw(2) === 0,
  };
}

interface Shape {
  readonly head: string;
  readonly pieces: readonly Uint8Array[];
  readonly slow: boolean;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'REPORT', 'LOCK', 'MKCOL', 'SEARCH', 'PURGE'];
const WAYS = ['held', 'streamed', 'straight'];
const SEGMENTS = ['a', '%2F', '%c3%a9', '~x', ';p=1', 'a=b', "!$&'()*,", '@:', '-._', '%00', '{}', '[1]', '|', '%', 'very'.repeat(50)];
const QUERIES = ['a=1&a=2', '', '?', '%20+', '[]={}', '&&', "'", '/../', 'x=%ff', 'q'.repeat(1000)];
const SIZES = [0, 0, 1, 2, 100, 1023, 1024, 65_535, 65_536, 65_537, 300_000, 2 ** 20];

function shape(index: number): Shape {
  const draw = seededBelow(SEED + index);
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)] as T;
  const method = pick(METHODS);
  const path = Array.from({ length: draw(4) }, () => pick(SEGMENTS)).join('/');
  const fields = Array.from(
    { length: draw(20) },
    (_each, at) =>
      `${pick(['X-R', 'x-r', 'X-Q', 'Accept', 'Cookie', 'X-Empty'])}${draw(3) === 0 ? '' : at}: ${pick(['', 'v', 'two words', '\xe9\xff', '"q"', 'v'.repeat(500)])}\r\n`,
  );
  // One of them is as large as they come.
  const size = index === 7 ? 64 * 2 ** 20 : pick(SIZES);
  const body = randomBytes(size);
  const bodied = size > 0 || draw(2) === 0;
  const chunked = bodied && draw(2) === 0;
  const framing = !bodied ? '' : chunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${size}\r\n`;
  const head = `${method} /${pick(WAYS)}/${path}?n=${index}&${pick(QUERIES)} HTTP/1.1\r\nHost: api.example.com\r\n${fields.join('')}${framing}\r\n`;
  const pieces: Uint8Array[] = [];
  const step = Math.max(1, Math.min(pick([1, 1000, 65_536, 2 ** 20]), size) || 1);
  const piece = size > 100_000 ? Math.max(step, 65_536) : Math.max(step, Math.ceil(size / 50));
  for (let at = 0; at < size; at += piece) {
    const part = body.subarray(at, at + piece);
    if (chunked) pieces.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
    else pieces.push(part);
  }
  if (chunked) pieces.push(Buffer.from('0\r\n\r\n'));
  return { head, pieces, slow: draw(4) === 0 && size < 100_000 };
}

/** What came back: status, fields, and the bytes of the body. */
interface Back {
  readonly status: string;
  readonly headers: readonly string[];
  readonly hash: string;
}

async function send({ head, pieces, slow }: Shape, port: number): Promise<Back> {
  const socket = connect({ port, host: '127.0.0.1' });
  const chunks: Buffer[] = [];
  let bytes = 0;
  let wake = (): void => {};
  let drained = (): void => {};
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    bytes += chunk.length;
    wake();
  });
  socket.on('error', () => wake());
  socket.on('drain', () => drained());
  socket.on('close', () => {
    drained();
    wake();
  });
  socket.write(Buffer.from(head, 'latin1'));
  for (const piece of pieces) {
    if (!socket.write(piece)) {
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
    }
    if (slow) await new Promise((resolve) => setImmediate(resolve));
  }
  for (let looked = -1; ; ) {
    if (bytes !== looked) {
      looked = bytes;
      const back = parse(Buffer.concat(chunks), head.startsWith('HEAD '));
      if (back !== undefined) {
        socket.destroy();
        return back;
      }
    }
    if (socket.destroyed) throw new Error(`cut after ${JSON.stringify(Buffer.concat(chunks).toString('latin1', 0, 300))} for ${head.slice(0, 200)}`);
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

function parse(all: Buffer, isHead: boolean): Back | undefined {
  const end = all.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [status = '', ...headers] = all.toString('latin1', 0, end).split('\r\n');
  const kept = headers.filter((field) => !ANSWER_ADDED.has(field.slice(0, field.indexOf(':')).toLowerCase()));
  const rest = all.subarray(end + 4);
  const done = (body: Uint8Array): Back => ({ status, headers: kept, hash: createHash('sha256').update(body).digest('hex') });
  if (isHead || / (204|304) /.test(status)) return done(Buffer.alloc(0));
  const length = headers.find((field) => /^content-length:/i.test(field))?.split(':')[1];
  if (length !== undefined) return rest.length >= Number(length) ? done(rest.subarray(0, Number(length))) : undefined;
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = rest.indexOf('\r\n', at);
    if (line < 0) return undefined;
    const size = Number.parseInt(rest.toString('latin1', at, line), 16);
    if (size === 0) return rest.indexOf('\r\n\r\n', line) >= 0 ? done(Buffer.concat(parts)) : undefined;
    parts.push(rest.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

/** What may not differ. */
function essence({ method, target, headers, body, whole }: Recorded): unknown {
  const fields = headers.filter(([name]) => !ADDED.has(name.toLowerCase()) && !FRAMING.has(name.toLowerCase()));
  // undici writes Host in small letters.
  return {
    method,
    target,
    fields: fields.map(([name, value]) => [/^host$/i.test(name) ? 'host' : name, value]),
    body: createHash('sha256').update(body).digest('hex'),
    whole,
  };
}

test(`${SHAPES} requests of every shape reach their backend through the proxy as they do directly, and so do the answers`, async () => {
  const direct = Number(new URL(rig.backend.url).port);
  for (let index = 0; index < SHAPES; index++) {
    const made = shape(index);
    rig.backend.seen.length = 0;
    const plain = await send(made, direct);
    const through = await send(made, rig.port);
    expect(rig.backend.seen, made.head).toHaveLength(2);
    const [bare, forwarded] = rig.backend.seen as [Recorded, Recorded];
    expect(essence(forwarded), `seed ${SEED}, request ${index}`).toEqual(essence(bare));
    expect(through, `seed ${SEED}, request ${index}: ${made.head}`).toEqual(plain);
  }
});
