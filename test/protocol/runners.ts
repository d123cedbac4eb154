import { type DescMethod, type DescMethodUnary, fromBinary, fromJson, type JsonObject, type Message, toBinary, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ErrorInfoSchema, RetryInfoSchema } from '../../src/gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../src/gen/google/rpc/status_pb.ts';
import { AcquireRequestSchema, AdmissionService } from '../../src/gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../../src/gen/sluice/v1/deferred_pb.ts';
import { GroupService } from '../../src/gen/sluice/v1/group_pb.ts';
import type { Answer, Badness, Fields, Runner } from './table.ts';

/** Fills the gap between a client's types and a table's: the method by its name. */
export function methodNamed(name: string): DescMethodUnary {
  const method = [...AdmissionService.methods, ...GroupService.methods, ...DeferredService.methods].find((each) => each.name === name);
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
  const code = status[error.code]?.toLowerCase().replace('cancelled', 'canceled');
  return { ok: false, code, message: error.details, http: undefined, ...told(find) };
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

/** @connectrpc/connect-web's client, with the Connect protocol. It sends bodies chunked, which uWebSockets.js refuses: see {@link wholeRunner}. */
export function connectRunner(baseUrl: string, binary: boolean): Runner {
  const transport = createConnectTransport({ baseUrl, useBinaryFormat: binary });
  const { name, bad, close } = wholeRunner(baseUrl, binary ? 'Connect proto' : 'Connect JSON');
  return { name, call: (method, fields) => throughTransport(transport, method, fields), bad, close };
}

/** @connectrpc/connect-web's client, with gRPC-Web; chunked, too. */
export function grpcWebRunner(baseUrl: string): Runner {
  const transport = createGrpcWebTransport({ baseUrl });
  const { name, bad, close } = wholeRunner(baseUrl, 'gRPC-Web');
  return { name, call: (method, fields) => throughTransport(transport, method, fields), bad, close };
}

const TYPES = { 'Connect JSON': 'application/json', 'Connect proto': 'application/proto', 'gRPC-Web': 'application/grpc-web+proto' } as const;

/** A protocol written by hand over fetch, whose bodies have a Content-Length, as those of browsers have. */
export function wholeRunner(baseUrl: string, name: keyof typeof TYPES, authorization?: string): Runner {
  const json = name === 'Connect JSON';
  const send = async (method: DescMethodUnary, bytes: Uint8Array, type: string): Promise<Answer> => {
    const body = Buffer.from(name === 'gRPC-Web' ? enveloped(bytes) : bytes);
    const response = await fetch(`${baseUrl}/${method.parent.typeName}/${method.name}`, {
      method: 'POST',
      headers: { 'Content-Type': type, ...(authorization !== undefined && { Authorization: authorization }) },
      body,
    });
    if (response.headers.get('content-type') === TYPES['gRPC-Web']) return grpcWebAnswer(response, method);
    return connectAnswer(response, method, json);
  };
  return {
    name,
    async call(called, fields) {
      const method = methodNamed(called);
      return send(method, json ? Buffer.from(JSON.stringify(fields)) : toBinary(method.input, messageOf(method, fields)), TYPES[name]);
    },
    bad: (badness) =>
      send(methodNamed('Acquire'), json ? Buffer.from(badJson(badness)) : badBytes(badness), badness === 'content_type' ? 'text/plain' : TYPES[name]),
    close: () => Promise.resolve(),
  };
}

function enveloped(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** A unary answer of Connect as it lies on the wire. */
async function connectAnswer(response: Response, method: DescMethod, json: boolean): Promise<Answer> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const text = Buffer.from(bytes).toString();
  if (response.ok) return json ? { ok: true, fields: JSON.parse(text) } : answerOf(method, fromBinary(method.output, bytes));
  // An answer of HTTP's own (405, 415) is no error of the call.
  if (!response.headers.get('content-type')?.startsWith('application/json')) {
    return { ok: false, code: undefined, reason: undefined, limit: undefined, retry: false, message: text, http: response.status };
  }
  const body = JSON.parse(text) as { code?: string; message?: string; details?: { type: string; value: string }[] };
  const find = (type: string): Uint8Array | undefined => {
    const found = body.details?.find((detail) => detail.type === type);
    return found === undefined ? undefined : Buffer.from(found.value, 'base64');
  };
  return { ok: false, code: body.code, message: body.message ?? '', http: response.status, ...told(find) };
}

/** Reads the trailers at the end of a gRPC-Web body. */
async function grpcWebAnswer(response: Response, method: DescMethod): Promise<Answer> {
  const body = Buffer.from(await response.arrayBuffer());
  let at = 0;
  while (body[at] === 0) at += 5 + body.readUInt32BE(at + 1);
  const lines = body
    .subarray(at + 5)
    .toString()
    .split('\r\n');
  const trailers = new Map(lines.map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  const number = Number(trailers.get('grpc-status'));
  if (number === 0) return answerOf(method, fromBinary(method.output, body.subarray(5, at)));
  const { details } = fromBinary(StatusSchema, Buffer.from(trailers.get('grpc-status-details-bin') ?? '', 'base64'));
  const find = (type: string): Uint8Array | undefined => details.find(({ typeUrl }) => typeUrl.endsWith(`/${type}`))?.value;
  return { ok: false, code: CODE_NAMES.get(number), message: decodeURIComponent(trailers.get('grpc-message') ?? ''), http: response.status, ...told(find) };
}

/** What the details of an error say. */
function told(find: (type: string) => Uint8Array | undefined): { reason: string | undefined; limit: string | undefined; retry: boolean } {
  const bytes = find(ErrorInfoSchema.typeName);
  const info = bytes === undefined ? undefined : fromBinary(ErrorInfoSchema, bytes);
  return { reason: info?.reason, limit: info?.metadata['limit'], retry: find(RetryInfoSchema.typeName) !== undefined };
}
