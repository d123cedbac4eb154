/**
 * The bare transports that Sluice is measured against: they read a request and answer with fixed bytes of the same size.
 * `node bench/api/bare.ts KIND PORT BYTES`
 */
import { createServer } from 'node:http';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type sendUnaryData, type UntypedHandleCall } from '@grpc/grpc-js';
import { toProto } from '../../src/api/duration.ts';
import { AcquireRequestSchema, AcquireResponseSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { loadUws } from '../../src/http/uws/binding.ts';

const TYPE = 'application/json';

/** Answers every request, as soon as its body is there. */
function helloNode(port: number, answer: Buffer): void {
  const server = createServer((request, response) => {
    const send = (): void => {
      response.writeHead(200, { 'Content-Type': TYPE, 'Content-Length': answer.length });
      response.end(answer);
    };
    // Without a body there is nothing to wait for.
    if (request.headers['content-length'] === undefined) return send();
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => void chunks.push(chunk));
    request.on('end', send);
  });
  server.keepAliveTimeout = 65_000;
  server.listen(port, '127.0.0.1');
}

/** Answers nobody, and keeps what an answer would need. */
function holdNode(port: number): void {
  const held = new Set<unknown>();
  const server = createServer((_request, response) => {
    held.add(response);
    response.once('close', () => held.delete(response));
  });
  server.requestTimeout = 0;
  server.listen(port, '127.0.0.1');
}

/** What this uses of uWebSockets.js beyond what Sluice does. */
interface Response {
  onAborted(gone: () => void): void;
  onData(take: (chunk: ArrayBuffer, last: boolean) => void): void;
  cork(write: () => void): void;
  writeHeader(name: string, value: string): Response;
  end(body: Buffer): void;
}

interface App {
  any(path: string, handle: (response: Response, request: { getHeader(name: string): string }) => void): void;
  listen(host: string, port: number, done: () => void): void;
}

async function helloUws(port: number, answer: Buffer, held: boolean): Promise<void> {
  const uws = (await loadUws()) as unknown as { App(): App };
  const app = uws.App();
  app.any('/*', (response, request) => {
    const send = (): void => response.cork(() => response.writeHeader('Content-Type', TYPE).end(answer));
    response.onAborted(() => {});
    if (held) return;
    if (request.getHeader('content-length') === '') return send();
    response.onData((_chunk, last) => {
      if (last) send();
    });
  });
  app.listen('127.0.0.1', port, () => {});
}

/** Bytes in, bytes out; `codec`: with the messages decoded and encoded by protobuf-es. */
function echoGrpc(port: number, answer: Buffer, codec: boolean): void {
  const server = new Server({ 'grpc.max_concurrent_streams': 100_000 });
  const response = create(AcquireResponseSchema, { permit: 'x'.repeat(Math.max(0, answer.length - 4)), waited: toProto(0) });
  const path = '/sluice.v1.AdmissionService/Acquire';
  server.addService(
    {
      acquire: {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: codec ? (bytes: Buffer) => fromBinary(AcquireRequestSchema, bytes) : (bytes: Buffer) => bytes,
        responseSerialize: codec ? (message: typeof response) => Buffer.from(toBinary(AcquireResponseSchema, message)) : (bytes: Buffer) => bytes,
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    },
    { acquire: ((_call: unknown, done: sendUnaryData<unknown>) => done(null, codec ? response : answer)) as UntypedHandleCall },
  );
  server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), () => {});
}

const [kind = '', port = '', bytes = ''] = process.argv.slice(2);
const answer = Buffer.alloc(Number(bytes), 'x');
if (kind === 'hello-node') helloNode(Number(port), answer);
else if (kind === 'hold-node') holdNode(Number(port));
else if (kind === 'hello-uws' || kind === 'hold-uws') await helloUws(Number(port), answer, kind === 'hold-uws');
else if (kind === 'echo-grpc') echoGrpc(Number(port), answer, false);
else if (kind === 'echo-grpc-codec') echoGrpc(Number(port), answer, true);
