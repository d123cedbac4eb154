import { type DescMethod, type DescMethodUnary, fromBinary, fromJson, type JsonObject, type Message, toBinary, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ErrorInfoSchema, RetryInfoSchema } from '../../src/gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../src/gen/google/rpc/status_pb.ts';
import { AcquireRequestSchema, AdmissionService } from '../../src/gen/sluice/v1/admission_pb.ts';
import { GroupService } from '../../src/gen/sluice/v1/group_pb.ts';
import type { Answer, Badness, Fields, Runner } from './table.ts';

/** Fills the gap between a client's types and a table's: the method by its name. */
export function methodNamed(name: string): DescMethodUnary {
  const method = [...AdmissionService.methods, ...GroupService.methods].find((each) => each.name === name);
  if (method?.methodKind !== 'unary') throw new Error(`The table names ${name}, which is no unary method.`);
  return method as DescMethodUnary;
}

function messageOf(method: DescMethod, fields: Fields): Message {
  return fromJson(method.input, fields as JsonObject);
}

function answerOf(method: DescMethod, message: Message): Answer {
  return { ok: true, fields: toJson(method.output, message) as Record<string, unknown> };
}

/** A good Acquire in binary form; field 99 is one that it does not have. */
const GOOD = toBinary(AcquireRequestSchema, fromJson(AcquireRequestSchema, { group: 'open' }));

/** Bad requests in binary form, without any framing; `content_type` is the framing's matter. */
export function badBytes(badness: Badness): Uint8Array {
  switch (badness) {
    case 'malformed':
      return Buffer.from([0x0a, 0x7f, 0x61]);
    case 'wrong_type':
      // ttl as a group of bytes that is no Duration.
      return Buffer.from([0x0a, 0x04, 0x6f, 0x70, 0x65, 0x6e, 0x1a, 0x02, 0x08, 0xff]);
    case 'unknown_field':
      return Buffer.concat([GOOD, Buffer.from([0x98, 0x06, 0x01])]);
    case 'oversized':
      return Buffer.concat([Buffer.from([0x12, 0xe0, 0xa7, 0x12]), Buffer.alloc(300_000, 'k'), GOOD]);
    case 'content_type':
      return GOOD;
  }
}

/** The same in JSON. */
export function badJson(badness: Badness): string {
  switch (badness) {
    case 'malformed':
      return '{"group": "open"';
    case 'wrong_type':
      return '{"group": "open", "ttl": true}';
    case 'unknown_field':
      return '{"group": "open", "grupo": 1}';
    case 'oversized':
      return JSON.stringify({ group: 'open', key: 'k'.repeat(300_000) });
    case 'content_type':
      return '{"group": "open"}';
  }
}

const CODE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Code)
    .filter((entry): entry is [string, Code] => typeof entry[1] === 'number')
    .map(([name, code]) => [code, name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toLowerCase()]),
);

const IDENTITY = (bytes: Buffer): Buffer => bytes;

/** @grpc/grpc-js's own client; `authorization` where the server asks for it. */
export function grpcRunner(address: string, authorization?: string): Runner {
  const client = new Client(address, credentials.createInsecure());
  const metadata = new Metadata();
  if (authorization !== undefined) metadata.set('authorization', authorization);
  const send = (path: string, request: Buffer): Promise<Buffer | ServiceError> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(path, IDENTITY, IDENTITY, request, metadata, (error, bytes) => resolve(error ?? bytes ?? Buffer.alloc(0)));
    });
  const path = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;
  const { acquire } = AdmissionService.method;
  return {
    name: 'gRPC',
    async call(name, fields) {
      const method = methodNamed(name);
      const result = await send(path(method), Buffer.from(toBinary(method.input, messageOf(method, fields))));
      return result instanceof Error ? grpcError(result) : answerOf(method, fromBinary(method.output, result));
    },
    async bad(badness) {
      // The client writes its own content type: the frame is no gRPC at all then, which a raw HTTP/2 test shows.
      if (badness === 'content_type') return { ok: false, code: undefined, reason: undefined, limit: undefined, retry: false, message: '', http: 415 };
      const result = await send(path(acquire), Buffer.from(badBytes(badness)));
      return result instanceof Error ? grpcError(result) : answerOf(acquire, fromBinary(acquire.output, result));
    },
    async close() {
      client.close();
    },
  };
}

/** An error of grpc-js's client in the words of the table. */
export function grpcError(error: ServiceError): Answer {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const details = bytes instanceof Buffer ? fromBinary(StatusSchema, bytes).details : [];
  const find = (type: string): Uint8Array | undefined => details.find(({ typeUrl }) => typeUrl.endsWith(`/${type}`))?.value;
  const info = find(ErrorInfoSchema.typeName);
  const { reason, metadata } = info === undefined ? { reason: undefined, metadata: {} as Record<string, string> } : fromBinary(ErrorInfoSchema, info);
  const code = status[error.code]?.toLowerCase().replace('cancelled', 'canceled');
  return { ok: false, code, reason, limit: metadata['limit'], retry: find(RetryInfoSchema.typeName) !== undefined, message: error.details, http: undefined };
}

function connectError(error: unknown): Answer {
  if (!(error instanceof ConnectError)) throw error;
  const [info] = error.findDetails(ErrorInfoSchema);
  const retry = error.findDetails(RetryInfoSchema).length > 0;
  const code = CODE_NAMES.get(error.code);
  return { ok: false, code, reason: info?.reason, limit: info?.metadata['limit'], retry, message: error.rawMessage, http: undefined };
}

async function throughTransport(transport: Transport, name: string, fields: Fields): Promise<Answer> {
  const method = methodNamed(name);
  const client = createClient(method.parent, transport) as unknown as Record<string, (request: Message) => Promise<Message>>;
  try {
    return answerOf(method, (await client[method.localName]?.(messageOf(method, fields))) as Message);
  } catch (error) {
    return connectError(error);
  }
}

const PATH = '/sluice.v1.AdmissionService/Acquire';

/** @connectrpc/connect-node's client, with the Connect protocol. */
export function connectRunner(baseUrl: string, binary: boolean): Runner {
  const transport = createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: binary });
  return {
    name: binary ? 'Connect proto' : 'Connect JSON',
    call: (name, fields) => throughTransport(transport, name, fields),
    async bad(badness) {
      const type = badness === 'content_type' ? 'text/plain' : binary ? 'application/proto' : 'application/json';
      const body = binary ? Buffer.from(badBytes(badness)) : badJson(badness);
      return connectAnswer(await fetch(`${baseUrl}${PATH}`, { method: 'POST', headers: { 'Content-Type': type }, body }));
    },
    close: () => Promise.resolve(),
  };
}

/** A unary answer of Connect as it lies on the wire. */
export async function connectAnswer(response: Response): Promise<Answer> {
  if (response.ok) return { ok: true, fields: {} };
  const body = (await response.json()) as { code?: string; message?: string; details?: { type: string; value: string }[] };
  const info = body.details?.find(({ type }) => type === ErrorInfoSchema.typeName);
  const reason = info === undefined ? undefined : fromBinary(ErrorInfoSchema, Buffer.from(info.value, 'base64')).reason;
  return { ok: false, code: body.code, reason, limit: undefined, retry: false, message: body.message ?? '', http: response.status };
}

/** @connectrpc/connect-node's client, with gRPC-Web. */
export function grpcWebRunner(baseUrl: string): Runner {
  const transport = createGrpcWebTransport({ baseUrl, httpVersion: '1.1' });
  return {
    name: 'gRPC-Web',
    call: (name, fields) => throughTransport(transport, name, fields),
    async bad(badness) {
      const bytes = badBytes(badness);
      const head = Buffer.alloc(5);
      head.writeUInt32BE(bytes.length, 1);
      const type = badness === 'content_type' ? 'text/plain' : 'application/grpc-web+proto';
      const response = await fetch(`${baseUrl}${PATH}`, { method: 'POST', headers: { 'Content-Type': type }, body: Buffer.concat([head, bytes]) });
      return response.headers.get('content-type') === 'application/grpc-web+proto' ? grpcWebAnswer(response) : connectAnswer(response);
    },
    close: () => Promise.resolve(),
  };
}

/** Reads the trailers at the end of a gRPC-Web body. */
async function grpcWebAnswer(response: Response): Promise<Answer> {
  const body = Buffer.from(await response.arrayBuffer());
  let at = 0;
  while (body[at] === 0) at += 5 + body.readUInt32BE(at + 1);
  const trailers = new Map(
    body
      .subarray(at + 5)
      .toString()
      .split('\r\n')
      .map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
  );
  const number = Number(trailers.get('grpc-status'));
  if (number === 0) return { ok: true, fields: {} };
  const details = fromBinary(StatusSchema, Buffer.from(trailers.get('grpc-status-details-bin') ?? '', 'base64')).details;
  const info = details.find(({ typeUrl }) => typeUrl.endsWith(ErrorInfoSchema.typeName));
  const reason = info === undefined ? undefined : fromBinary(ErrorInfoSchema, info.value).reason;
  const message = decodeURIComponent(trailers.get('grpc-message') ?? '');
  return { ok: false, code: CODE_NAMES.get(number), reason, limit: undefined, retry: false, message, http: response.status };
}
