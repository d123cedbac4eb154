import { subscribe } from 'node:diagnostics_channel';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { createAuth } from '../../src/api/auth.ts';
import { ENVELOPE_BYTES } from '../../src/api/connect/codec.ts';
import { Connect } from '../../src/api/connect/handler.ts';
import { oversizedBody } from '../../src/api/connect/response.ts';
import { Grpc } from '../../src/api/grpc/server.ts';
import { engineProblem } from '../../src/api/problem.ts';
import { nodeEngine } from '../../src/http/node/engine.ts';
import { GRPC_BOUNDS } from '../protocol/servers.ts';
import { FakeAdmission } from '../support/fakes/admission.ts';
import { MetadataReply } from './metadata-reply.ts';
import { type Asked, ConformanceService, type Dynamic, dynamic } from './service.ts';

/*
 * The program that `connectconformance` starts for each kind of server: its ConformanceService on the front ends as they are
 * shipped. What the front ends have no need for (headers and trailers that a call chooses) is put on the wire here; the
 * errors of the suite come in by `errorOf` and `statusOf`.
 *
 *   node test/connectconformance/server.ts IMAGE    IMAGE: descriptors of the suite's protos, by `buf build`
 */

const GRPC = 2;
const CASE = 'x-test-case-name';

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2] ?? '')));
const messages = dynamic(registry);

async function readOrder(): Promise<Dynamic> {
  let all = Buffer.alloc(0);
  for await (const chunk of process.stdin) {
    all = Buffer.concat([all, chunk as Buffer]);
    if (all.length >= 4 && all.length >= 4 + all.readUInt32BE(0)) break;
  }
  return fromBinary(messages.desc('ServerCompatRequest'), all.subarray(4)) as unknown as Dynamic;
}

const order = await readOrder();
const limit: number = order['messageReceiveLimit'] || 65_536;
const asked = new Map<string, Asked>();
const service = new ConformanceService(messages);
const parts = { admission: new FakeAdmission(), onError: (error: unknown) => console.error(error), operators: true };

interface Pem {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

/** PEM texts, if the suite wants TLS. */
function pemOf(): Pem | undefined {
  if (!order['useTls']) return undefined;
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  const pair = { cert: text(order['serverCreds'].cert), key: text(order['serverCreds'].key) };
  return order['clientTlsCert'].length > 0 ? { ...pair, clientCa: text(order['clientTlsCert']) } : pair;
}

const pem = pemOf();

async function serveGrpc(): Promise<number> {
  subscribe('http2.server.stream.created', (message) => {
    const { stream, headers } = message as { stream: ServerHttp2Stream; headers: IncomingHttpHeaders };
    const name = String(headers[CASE] ?? '');
    const at: Asked = { headers: pairsOf(headers), query: undefined, answer: { headers: [], trailers: [] } };
    asked.set(name, at);
    // The front end asks who calls before it runs a call, which is how the call is known here.
    headers['authorization'] = name;
    wrap(stream, 'respond', (inner) => (fields, options) => {
      const headers = grouped(at.answer.headers);
      if (options?.endStream !== true || at.answer.headers.length === 0)
        return inner.call(stream, { ...fields, ...headers, ...(options?.endStream ? grouped(at.answer.trailers) : {}) }, options);
      // Headers of the call's own cannot stand in an answer of trailers only.
      const { ':status': status, 'content-type': type, ...trailers } = (fields ?? {}) as OutgoingHttpHeaders;
      inner.call(stream, { ':status': status, 'content-type': type, ...headers }, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers(trailers));
      stream.end();
    });
    wrap(stream, 'sendTrailers', (inner) => (fields) => inner.call(stream, { ...fields, ...grouped(at.answer.trailers) }));
  });
  const auth = {
    ...createAuth([]),
    identify: (name: string | undefined) => {
      service.now = asked.get(name ?? '');
      return createAuth([]).identify(undefined);
    },
  };
  const grpc = new Grpc({
    ...parts,
    auth,
    host: '127.0.0.1',
    port: 0,
    ...(pem === undefined ? {} : { tls: pem }),
    bounds: GRPC_BOUNDS,
    onFlood: (kind) => console.error('flood', kind),
    more: service.calls,
    statusOf: service.statusOf,
    messageBytesMax: limit,
  });
  return Number((await grpc.listen()).address.split(':').at(-1));
}

/** Wraps a method of a stream, also where the front end puts another one in its place. */
function wrap<N extends 'respond' | 'sendTrailers'>(stream: ServerHttp2Stream, name: N, made: (inner: ServerHttp2Stream[N]) => ServerHttp2Stream[N]): void {
  let inner = stream[name];
  Object.defineProperty(stream, name, {
    get: () => made(inner),
    set: (next: ServerHttp2Stream[N]) => {
      inner = next;
    },
  });
}

async function serveHttp(): Promise<number> {
  subscribe('http.server.request.start', (message) => {
    const { request } = message as { request: IncomingMessage };
    const headers = request.rawHeaders.flatMap((name, index, all): [string, string][] => (index % 2 === 0 ? [[name, all[index + 1] ?? '']] : []));
    asked.set(String(request.headers[CASE] ?? ''), { headers, query: undefined, answer: { headers: [], trailers: [] } });
  });
  const connect = new Connect({ ...parts, auth: createAuth([]), more: service.calls, errorOf: service.errorOf, registry, messageBytesMax: limit });
  const problem = (status: number, detail: string, refused?: { contentType: string }) =>
    (status === 413 && refused !== undefined ? oversizedBody(refused.contentType, detail) : undefined) ?? engineProblem(status, detail);
  const folder = mkdtempSync(join(tmpdir(), 'sluice-conformance-'));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const tls =
    pem === undefined
      ? {}
      : {
          tls: {
            cert: file('cert.pem', pem.cert),
            key: file('key.pem', pem.key),
            ...(pem.clientCa === undefined ? {} : { clientCa: file('ca.pem', pem.clientCa) }),
          },
        };
  const engine = nodeEngine(
    { bodyBytesMax: limit + ENVELOPE_BYTES, receiveMsMax: 10_000, unread: { bytesMax: 4 << 20, msMax: 60_000 }, problem, ...tls },
    (request, reply) => {
      const at = asked.get(request.header(CASE) ?? '') ?? { headers: [], query: undefined, answer: { headers: [], trailers: [] } };
      service.now = { ...at, query: request.method === 'GET' ? [...new URLSearchParams(request.query)] : undefined };
      if (connect.takes(request.path)) return connect.handle(request, new MetadataReply(reply, service.now.answer));
      const { contentType, body } = engineProblem(404, 'There is nothing at this path.');
      reply.send(404, [['Content-Type', contentType]], body);
    },
  );
  return (await engine.listen('127.0.0.1', 0)).port;
}

function pairsOf(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : String(value).split(/, ?/)).map((each): [string, string] => [name, each]),
  );
}

function grouped(pairs: readonly (readonly [string, string])[]): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const [name, value] of pairs) {
    const key = name.toLowerCase();
    all[key] = [...(all[key] ?? []), value];
  }
  return all;
}

const port = order['protocol'] === GRPC ? await serveGrpc() : await serveHttp();
const made = messages.make('ServerCompatResponse', { host: '127.0.0.1', port, pemCert: pem === undefined ? new Uint8Array(0) : Buffer.from(pem.cert) });
const bytes = toBinary(messages.desc('ServerCompatResponse'), made as never);
const head = Buffer.alloc(4);
head.writeUInt32BE(bytes.length);
process.stdout.write(Buffer.concat([head, bytes]));
process.on('SIGTERM', () => process.exit(0));
