import { create, type DescFile, type DescMessage, type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Metadata, type MethodDefinition, type StatusObject } from '@grpc/grpc-js';
import type { Refusal } from '../../core/refusal.ts';
import type { Instant } from '../../core/time.ts';
import { AcquireRequestSchema, type AcquireResponse, AcquireResponseSchema } from '../../gen/sluice/v1/admission_pb.ts';
import { toRetryMillis } from '../../http/retry-after.ts';
import { decodeAcquire, encodeAcquired } from '../codec/acquire-binary.ts';
import { tooLong } from '../connect/codec.ts';
import { statusDetails } from '../error-details.ts';
import { CODES, describe, REFUSAL_STATUS, retryAfter } from '../refusal-status.ts';
import { malformed } from '../validation.ts';

/** A request as it came: a message, or why its bytes are none. grpc-js would answer INTERNAL where a caller's bytes are at fault. */
export type Received<T> = { readonly message: T } | { readonly refusal: Refusal };

/** How grpc-js reads and writes one method; made once, so that no call looks anything up. A message of more than `bytesMax` is refused. */
export function methodDefinition(method: DescMethod, bytesMax: number): MethodDefinition<Received<unknown>, unknown> {
  const { input, output, methodKind } = method;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
    responseStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
    requestDeserialize: (bytes) =>
      bytes.length > bytesMax ? { refusal: tooLong(bytesMax) } : input === AcquireRequestSchema ? receiveAcquire(bytes) : receive(input, bytes),
    requestSerialize: (received) => bytesOf(input, 'message' in received ? received.message : create(input)),
    // Streams encode before they write, to count what waits.
    responseSerialize:
      output === AcquireResponseSchema
        ? (message) => encodeAcquired(message as AcquireResponse) ?? bytesOf(output, message)
        : (message) => (message instanceof Uint8Array ? bufferOf(message) : bytesOf(output, message)),
    responseDeserialize: (bytes) => fromBinary(output, bytes),
  };
}

function receiveAcquire(bytes: Uint8Array): Received<unknown> {
  const message = decodeAcquire(bytes);
  return message === undefined ? receive(AcquireRequestSchema, bytes) : { message };
}

function receive(schema: DescMessage, bytes: Uint8Array): Received<unknown> {
  try {
    return { message: fromBinary(schema, bytes) };
  } catch (error) {
    return { refusal: malformed(`The bytes are no ${schema.typeName}: ${error instanceof Error ? error.message : 'unreadable'}.`) };
  }
}

function bytesOf(schema: DescMessage, message: unknown): Buffer {
  return bufferOf(toBinary(schema, message as Message));
}

/** grpc-js copies with Buffer's own method. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A refusal in gRPC: code, sentence, and details in `grpc-status-details-bin`; `retry-after-ms` besides, for clients without google.rpc. */
export function statusOf(refusal: Refusal, now: Instant): StatusObject {
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', bufferOf(statusDetails(refusal, now)));
  const wait = retryAfter(refusal, now);
  if (wait !== undefined) metadata.set('retry-after-ms', String(toRetryMillis(wait)));
  return { code: CODES[REFUSAL_STATUS[refusal.reason].code], details: describe(refusal), metadata };
}

/** The descriptors of some files and of all they import, as the reflection service wants them: encoded, each once. */
export function encodedFiles(files: readonly DescFile[]): readonly Buffer[] {
  const found = new Map<string, Buffer>();
  const visit = (file: DescFile): void => {
    if (found.has(file.name)) return;
    found.set(file.name, bytesOf(FileDescriptorProtoSchema, file.proto));
    for (const dependency of file.dependencies) visit(dependency);
  };
  for (const file of files) visit(file);
  return [...found.values()];
}
