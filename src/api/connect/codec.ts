import { type DescMessage, fromBinary, fromJsonString, type Message, type Registry, toBinary, toJsonString } from '@bufbuild/protobuf';
import type { Refusal } from '../../core/refusal.ts';
import { MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import { AcquireRequestSchema, type AcquireResponse, AcquireResponseSchema, ExplainRequestSchema } from '../../gen/sluice/v1/admission_pb.ts';
import type { EngineRequest } from '../../http/engine.ts';
import { decodeAcquire, encodeAcquired } from '../codec/acquire-binary.ts';
import { acquiredJson, acquireFromJson } from '../codec/acquire-json.ts';
import { millisOfInstant } from '../instant-text.ts';
import { malformed } from '../validation.ts';

/** How a call over HTTP/1.1 is written: which of three protocols, and its messages as binary or JSON. */
export interface CallFormat {
  /** `unary`: Connect, the message is the body. `stream`: Connect, enveloped. `web`: gRPC-Web, enveloped, trailers last. */
  readonly protocol: 'unary' | 'stream' | 'web';
  readonly json: boolean;
  /** Of request and answer alike. */
  readonly contentType: string;
}

const UNARY_PROTO: CallFormat = { protocol: 'unary', json: false, contentType: 'application/proto' };
const UNARY_JSON: CallFormat = { protocol: 'unary', json: true, contentType: 'application/json' };
const FORMATS: readonly CallFormat[] = [
  UNARY_PROTO,
  UNARY_JSON,
  { protocol: 'stream', json: false, contentType: 'application/connect+proto' },
  { protocol: 'stream', json: true, contentType: 'application/connect+json' },
  { protocol: 'web', json: false, contentType: 'application/grpc-web+proto' },
  { protocol: 'web', json: true, contentType: 'application/grpc-web+json' },
  { protocol: 'web', json: false, contentType: 'application/grpc-web' },
];
const BY_TYPE = new Map(FORMATS.map((format) => [format.contentType, format]));

/** Where a call's format comes from and what it wants: unary calls have no Connect stream, streams no Connect unary form. */
export function formatOf(contentType: string, streaming: boolean): CallFormat | undefined {
  const format = BY_TYPE.get(contentType) ?? BY_TYPE.get(plain(contentType));
  return format?.protocol === (streaming ? 'unary' : 'stream') ? undefined : format;
}

/** The format of a GET, from its `encoding`. */
export function queryFormat(encoding: string | undefined): CallFormat | undefined {
  return encoding === 'json' ? UNARY_JSON : encoding === 'proto' ? UNARY_PROTO : undefined;
}

/** The value of `Accept-Post` beside a 415. */
export function acceptPost(streaming: boolean): string {
  return FORMATS.filter(({ protocol }) => protocol !== (streaming ? 'unary' : 'stream'))
    .map(({ contentType }) => contentType)
    .join(', ');
}

function plain(contentType: string): string {
  const lower = contentType.toLowerCase();
  const mark = lower.indexOf(';');
  const parameter = lower.slice(mark + 1).trim();
  return mark >= 0 && (parameter === 'charset=utf-8' || parameter === 'charset="utf-8"') ? lower.slice(0, mark).trimEnd() : lower;
}

/** The compression a request names and the server does not have; undefined: none is named. */
export function unsupportedEncoding(request: EngineRequest, { protocol }: CallFormat): string | undefined {
  const name = protocol === 'unary' ? 'content-encoding' : protocol === 'stream' ? 'connect-content-encoding' : 'grpc-encoding';
  const encoding = request.header(name);
  return encoding === undefined || encoding === 'identity' || encoding === '' ? undefined : encoding;
}

const GRPC_UNITS: Readonly<Record<string, Micros>> = { H: 3600 * SECOND, M: 60 * SECOND, S: SECOND, m: MILLISECOND, u: 1, n: 0.001 };

/** Time the caller gives the call; undefined: no end. */
export function timeoutOf(request: EngineRequest, { protocol }: CallFormat): Micros | undefined | Refusal {
  if (protocol === 'web') {
    const text = request.header('grpc-timeout');
    if (text === undefined) return undefined;
    const [, count, unit] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
    if (count === undefined || unit === undefined) return malformed('`Grpc-Timeout` must be up to 8 digits and one of H, M, S, m, u, n.');
    return Math.floor(Number(count) * (GRPC_UNITS[unit] ?? 0));
  }
  const text = request.header('connect-timeout-ms');
  if (text === undefined) return undefined;
  return /^\d{1,10}$/.test(text) ? Number(text) * MILLISECOND : malformed('`Connect-Timeout-Ms` must be up to 10 digits.');
}

/** A message of more bytes than may be. */
export function tooLong(bytesMax: number): Refusal {
  return { reason: 'too_large', detail: `A message may be at most ${bytesMax} bytes.` };
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** A message from its bytes; unknown members of JSON are refused (mostly misspelt ones), unknown fields of the binary form are not. */
export function decode(schema: DescMessage, bytes: Uint8Array, json: boolean, registry?: Registry): Message | Refusal {
  try {
    if (schema === AcquireRequestSchema) return decodeAsk(bytes, json);
    if (!json) return fromBinary(schema, bytes);
    const text = UTF8.decode(bytes);
    const wrong = checkInstants(schema, text);
    if (wrong !== undefined) return wrong;
    return fromJsonString(schema, schema === ExplainRequestSchema ? withoutAlias(text, 2) : text, registry === undefined ? {} : { registry });
  } catch (error) {
    return malformed(`The body is no ${schema.typeName} in ${json ? 'JSON' : 'binary form'}: ${error instanceof Error ? error.message : 'unreadable'}.`);
  }
}

const INSTANT = 'google.protobuf.Timestamp';

/** Refuses times of days that do not exist, which `fromJsonString` takes for later ones. What else is wrong with them is left to it. */
function checkInstants(schema: DescMessage, text: string): Refusal | undefined {
  const fields = schema.fields.filter(({ message }) => message?.typeName === INSTANT);
  if (fields.length === 0) return undefined;
  const json = JSON.parse(text) as unknown;
  if (typeof json !== 'object' || json === null) return undefined;
  const members = new Map(Object.entries(json));
  for (const { name, jsonName } of fields) {
    for (const value of [members.get(name), members.get(jsonName)]) {
      if (typeof value === 'string' && Number.isNaN(millisOfInstant(value)))
        return malformed(`\`${name}\` is not a time; write for example \`2030-01-31T08:00:00Z\`.`);
    }
  }
  return undefined;
}

/** The request of every acquire: by hand where it is a usual one. */
function decodeAsk(bytes: Uint8Array, json: boolean): Message {
  if (!json) return decodeAcquire(bytes) ?? fromBinary(AcquireRequestSchema, bytes);
  const text = UTF8.decode(bytes);
  return acquireFromJson(text) ?? fromJsonString(AcquireRequestSchema, withoutAlias(text, 1));
}

/** Sticky, and every character is in some token: a string that does not end is not looked for again. */
const TOKEN = /"(?:[^"\\]|\\.)*"(?=\s*(:?))|[{[\]}]|[^"{[\]}]+/gy;

/** The same JSON with the member `class`, as the file and plain HTTP call it, under the name that the message has for it. `depth`: of the acquire. */
function withoutAlias(text: string, depth: number): string {
  if (!text.includes('"class"') || !isJson(text)) return text;
  let at = 0;
  return text.replaceAll(TOKEN, (token, colon: string | undefined) => {
    if (token === '{' || token === '[') at++;
    else if (token === '}' || token === ']') at--;
    else if (at === depth && colon === ':' && token === '"class"') return '"priorityClass"';
    return token;
  });
}

/** Strings end then, so that looking for tokens takes linear time. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The permit of every acquire: by hand where it is a usual one. */
function encodePermit(permit: AcquireResponse, json: boolean): Uint8Array | undefined {
  if (!json) return encodeAcquired(permit);
  const text = acquiredJson(permit);
  return text === undefined ? undefined : Buffer.from(`${text}\n`);
}

/** The bytes of a message, or its text as one line. */
export function encode(schema: DescMessage, message: unknown, json: boolean, registry?: Registry): Uint8Array {
  const byHand = schema === AcquireResponseSchema ? encodePermit(message as AcquireResponse, json) : undefined;
  if (byHand !== undefined) return byHand;
  return json ? Buffer.from(`${toJsonString(schema, message as Message, registry === undefined ? {} : { registry })}\n`) : toBinary(schema, message as Message);
}

/** Bytes before a message of an enveloped body. */
export const ENVELOPE_BYTES = 5;
const COMPRESSED = 1;

/** What is wrong with the framing of a body, beside what is malformed. */
export interface FramingError {
  readonly code: 'unimplemented' | 'internal';
  readonly message: string;
}

const NO_MESSAGE: FramingError = { code: 'unimplemented', message: 'The body holds no message; send exactly one.' };
const TWO_MESSAGES: FramingError = { code: 'unimplemented', message: 'The body holds more than one message; send exactly one.' };
const COMPRESSED_PLAIN: FramingError = { code: 'internal', message: 'The message is marked as compressed, and no encoding was named.' };

/** Returns the one message of an enveloped body, which may have `bytesMax`, or what is wrong with its framing; codes as the gRPC and Connect specifications name them. */
export function unwrap(body: Uint8Array, bytesMax: number): Uint8Array | Refusal | FramingError {
  if (body.length === 0) return NO_MESSAGE;
  if (body.length < ENVELOPE_BYTES) return malformed('The body must hold one message behind its envelope of 5 bytes.');
  const length = Buffer.from(body.buffer, body.byteOffset, body.length).readUInt32BE(1);
  if (((body[0] ?? 0) & COMPRESSED) !== 0) return COMPRESSED_PLAIN;
  if (body[0] !== 0) return malformed('The envelope has flags that a request does not have.');
  if (length > bytesMax) return tooLong(bytesMax);
  if (body.length > ENVELOPE_BYTES + length) return TWO_MESSAGES;
  if (body.length !== ENVELOPE_BYTES + length) return malformed('The body must hold exactly one message, as long as its envelope states.');
  return body.subarray(ENVELOPE_BYTES);
}

/** A part of an enveloped answer: 0 a message, 2 the end of a Connect stream, 0x80 trailers of gRPC-Web. */
export function envelope(flags: 0 | 2 | 0x80, bytes: Uint8Array): Buffer {
  const part = Buffer.allocUnsafe(ENVELOPE_BYTES + bytes.length);
  part[0] = flags;
  part.writeUInt32BE(bytes.length, 1);
  part.set(bytes, ENVELOPE_BYTES);
  return part;
}
