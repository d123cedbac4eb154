import type { Refusal } from '../../core/refusal.ts';
import type { Instant, Micros } from '../../core/time.ts';
import type { EngineReply } from '../../http/engine.ts';
import { toRetryMillis, toRetrySeconds } from '../../http/retry-after.ts';
import { type ErrorDetail, errorDetails, statusDetails } from '../error-details.ts';
import { CODES, CONNECT_HTTP, type CodeName, describe, REFUSAL_STATUS, retryAfter } from '../refusal-status.ts';
import { type CallFormat, envelope, formatOf } from './codec.ts';

/** An error before it is written in one of the three ways. */
export interface WireError {
  readonly code: CodeName;
  readonly message: string;
  readonly details: readonly ErrorDetail[];
  /** Encoded google.rpc.Status, for gRPC-Web. */
  readonly status: Uint8Array | undefined;
  /** For Retry-After and `retry-after-ms`; undefined: never, or not known. */
  readonly retryIn: Micros | undefined;
}

type Headers = readonly (readonly [name: string, value: string])[];

/** A refusal, ready to be written. */
export function errorOf(refusal: Refusal, now: Instant): WireError {
  return {
    code: REFUSAL_STATUS[refusal.reason].code,
    message: describe(refusal),
    details: errorDetails(refusal, now),
    status: statusDetails(refusal, now),
    retryIn: retryAfter(refusal, now),
  };
}

/** An error that no refusal stands for. */
export function plainError(code: CodeName, message: string): WireError {
  return { code, message, details: [], status: undefined, retryIn: undefined };
}

/** What the server does not do. */
export function unimplemented(message: string): WireError {
  return plainError('unimplemented', message);
}

/** An answer of HTTP's own (405, 415): no client may take it for an error of the call, so it is plain text. */
export function sendPlain(reply: EngineReply, status: number, message: string, more: Headers): boolean {
  return reply.send(status, [...headersOf('text/plain; charset=utf-8'), ...more], `${message}\n`);
}

/** A body of more bytes than an engine takes, answered as the protocol of its content type wants it; undefined: of none. */
export function oversizedBody(
  contentType: string,
  detail: string,
): { readonly status: number; readonly contentType: string; readonly body: string | Uint8Array } | undefined {
  const format = formatOf(contentType, false) ?? formatOf(contentType, true);
  if (format === undefined) return undefined;
  const error = errorOf({ reason: 'too_large', detail }, 0 as Instant);
  if (format.protocol === 'unary') return { status: CONNECT_HTTP[error.code], contentType: 'application/json', body: JSON.stringify(errorJson(error)) };
  return { status: 200, contentType: format.contentType, body: endOfStream(format, error) };
}

/** Writes the answer of a unary call; false: the caller was gone. */
export function sendMessage(reply: EngineReply, format: CallFormat, bytes: Uint8Array): boolean {
  if (format.protocol === 'unary') return reply.send(200, headersOf(format.contentType), bytes);
  return reply.send(200, headersOf(format.contentType), Buffer.concat([envelope(0, bytes), endOfStream(format, undefined)]));
}

/** Writes an error as the whole answer; false: the caller was gone. `http` where the error is HTTP's own (404). */
export function sendError(reply: EngineReply, format: CallFormat | undefined, error: WireError, http?: number, more: Headers = []): boolean {
  if (format !== undefined && format.protocol !== 'unary') {
    return reply.send(200, [...headersOf(format.contentType), ...more], endOfStream(format, error));
  }
  const headers: (readonly [string, string])[] = [...headersOf('application/json'), ...more];
  if (error.retryIn !== undefined) headers.push(['Retry-After', String(toRetrySeconds(error.retryIn))]);
  return reply.send(http ?? CONNECT_HTTP[error.code], headers, `${JSON.stringify(errorJson(error))}\n`);
}

/** The last part of an enveloped answer: https://connectrpc.com/docs/protocol#error-end-stream, and gRPC-Web's trailers. */
export function endOfStream({ protocol }: CallFormat, error: WireError | undefined): Buffer {
  if (protocol === 'stream') return envelope(2, Buffer.from(JSON.stringify(error === undefined ? {} : { error: errorJson(error) })));
  return envelope(0x80, Buffer.from(error === undefined ? 'grpc-status: 0\r\n' : trailers(error)));
}

/** State of this very moment: no cache may keep it. */
export function headersOf(contentType: string): (readonly [string, string])[] {
  return [
    ['Content-Type', contentType],
    ['Cache-Control', 'no-store'],
  ];
}

/** https://connectrpc.com/docs/protocol#error-end-stream */
function errorJson({ code, message, details }: WireError): object {
  if (details.length === 0) return { code, message };
  return { code, message, details: details.map(({ type, value }) => ({ type, value: unpadded(value) })) };
}

function trailers({ code, message, status, retryIn }: WireError): string {
  const lines = [`grpc-status: ${CODES[code]}`, `grpc-message: ${encodeURIComponent(message)}`];
  if (status !== undefined) lines.push(`grpc-status-details-bin: ${unpadded(status)}`);
  if (retryIn !== undefined) lines.push(`retry-after-ms: ${toRetryMillis(retryIn)}`);
  return `${lines.join('\r\n')}\r\n`;
}

function unpadded(bytes: Uint8Array): string {
  const padded = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  const end = padded.indexOf('=');
  return end < 0 ? padded : padded.slice(0, end);
}
