import { create, type DescMessage, type DescMethod, type FileRegistry, type Message, toBinary } from '@bufbuild/protobuf';
import { type Any, anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, type StatusObject } from '@grpc/grpc-js';
import type { Reply, StreamCall, StreamSink, UnaryCall } from '../../src/api/call.ts';
import { errorOf, type WireError } from '../../src/api/connect/response.ts';
import { statusOf } from '../../src/api/grpc/codec.ts';
import { CODES, type CodeName } from '../../src/api/refusal-status.ts';
import type { CallContext } from '../../src/api/validation.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import type { Instant } from '../../src/core/time.ts';
import { StatusSchema } from '../../src/gen/google/rpc/status_pb.ts';
import type { AnswerMetadata } from './metadata-reply.ts';

/** A message whose type is known only when the program runs. */
// biome-ignore lint/suspicious/noExplicitAny: descriptors are read at run time, so that nothing generated is kept.
export type Dynamic = Record<string, any>;

type Pairs = readonly (readonly [name: string, value: string])[];

/** What a call came with, and what its answer is to carry. */
export interface Asked {
  readonly headers: Pairs;
  readonly query: Pairs | undefined;
  readonly answer: AnswerMetadata;
}

const PACKAGE = 'connectrpc.conformance.v1';
const TYPES = 'type.googleapis.com/';

/** Messages of the suite by their short names. */
export interface Messages {
  desc(name: string): DescMessage;
  make(name: string, fields: Dynamic): Dynamic;
  method(name: string): DescMethod;
}

export function dynamic(registry: FileRegistry): Messages {
  const desc = (name: string): DescMessage => {
    const found = registry.getMessage(`${PACKAGE}.${name}`);
    if (found === undefined) throw new Error(`no message ${name}`);
    return found;
  };
  return {
    desc,
    make: (name, fields) => create(desc(name), fields as never) as unknown as Dynamic,
    method: (name) => {
      const found = registry.getService(`${PACKAGE}.ConformanceService`)?.method[name];
      if (found === undefined) throw new Error(`no method ${name}`);
      return found;
    },
  };
}

/** The suite's ConformanceService, as calls of our front ends. */
export class ConformanceService {
  /** What the call that begins now came with; calls begin synchronously. */
  now: Asked | undefined;
  readonly #messages: Messages;
  readonly #errors = new WeakMap<Refusal, WireError>();

  constructor(messages: Messages) {
    this.#messages = messages;
  }

  get calls(): readonly (UnaryCall | StreamCall)[] {
    const { method } = this.#messages;
    const unary = (name: string, answer: string): UnaryCall =>
      ({
        method: method(name),
        call: (facts: CallContext, request: unknown, reply: Reply<unknown>) => this.#unary(answer, method(name), facts, request as Dynamic, reply),
      }) as UnaryCall;
    const stream = {
      method: method('serverStream'),
      open: (facts: CallContext, request: unknown, sink: StreamSink<unknown>) => this.#stream(facts, request as Dynamic, sink),
    };
    return [unary('unary', 'UnaryResponse'), unary('idempotentUnary', 'IdempotentUnaryResponse'), stream as unknown as StreamCall];
  }

  readonly errorOf = (refusal: Refusal, now: Instant): WireError => this.#errors.get(refusal) ?? errorOf(refusal, now);

  readonly statusOf = (refusal: Refusal, now: Instant): StatusObject => {
    const error = this.#errors.get(refusal);
    if (error === undefined) return statusOf(refusal, now);
    const metadata = new Metadata();
    if (error.status !== undefined) metadata.set('grpc-status-details-bin', Buffer.from(error.status));
    return { code: CODES[error.code], details: error.message, metadata };
  };

  #unary(answer: string, method: DescMethod, facts: CallContext, request: Dynamic, reply: Reply<unknown>): { cancel(): void; delivered(): void } {
    const { now } = this;
    const wanted = request['responseDefinition'] as Dynamic | undefined;
    const requestInfo = this.#info(method.input, request, facts, now);
    this.#answer(now, wanted);
    const send = (): void => {
      if (wanted?.['response'].case === 'error') return reply(undefined, this.#error(wanted['response'].value, requestInfo));
      const data = wanted?.['response'].case === 'responseData' ? wanted['response'].value : new Uint8Array(0);
      reply(this.#messages.make(answer, { payload: this.#messages.make('ConformancePayload', { requestInfo, data }) }), undefined);
    };
    const timer = this.#later(facts, wanted, send, (refusal) => reply(undefined, refusal));
    return { cancel: () => clearTimeout(timer), delivered() {} };
  }

  #stream(facts: CallContext, request: Dynamic, sink: StreamSink<unknown>): () => void {
    const { now } = this;
    const wanted = request['responseDefinition'] as Dynamic | undefined;
    const requestInfo = this.#info(this.#messages.desc('ServerStreamRequest'), request, facts, now);
    this.#answer(now, wanted);
    const data: readonly Uint8Array[] = wanted?.['responseData'] ?? [];
    const began = performance.now();
    let sent = 0;
    let timer: NodeJS.Timeout | undefined;
    const end = (): void => sink.end(wanted?.['error'] === undefined ? undefined : this.#error(wanted['error'], sent === 0 ? requestInfo : undefined));
    const next = (): void => {
      if (sent >= data.length) return end();
      const send = (): void => {
        const payload = this.#messages.make('ConformancePayload', sent === 0 ? { data: data[sent], requestInfo } : { data: data[sent] });
        sent += 1;
        sink.send(this.#messages.make('ServerStreamResponse', { payload }));
        next();
      };
      if (!wanted?.['responseDelayMs']) return send();
      const passed = (performance.now() - began) * 1000;
      const left = facts.remaining === undefined ? undefined : facts.remaining - passed;
      timer = this.#later({ ...facts, remaining: left }, wanted, send, sink.end);
    };
    next();
    return () => clearTimeout(timer);
  }

  /** Calls `then` after the delay that the suite wants, or `late` at the deadline of the caller if that is sooner. */
  #later(facts: CallContext, wanted: Dynamic | undefined, then: () => void, late: (refusal: Refusal) => void): NodeJS.Timeout | undefined {
    const delay = wanted?.['responseDelayMs'] ?? 0;
    const left = facts.remaining === undefined ? Number.POSITIVE_INFINITY : facts.remaining / 1000;
    if (left < delay)
      return setTimeout(
        () => late(this.#refusal({ code: 'deadline_exceeded', message: 'too late', details: [], status: undefined, retryIn: undefined })),
        left,
      );
    if (delay > 0) return setTimeout(then, delay);
    then();
    return undefined;
  }

  #answer(now: Asked | undefined, wanted: Dynamic | undefined): void {
    if (now === undefined) return;
    now.answer.headers = pairs(wanted?.['responseHeaders']);
    now.answer.trailers = pairs(wanted?.['responseTrailers']);
  }

  #info(input: DescMessage, request: Dynamic, { remaining }: CallContext, now: Asked | undefined): Dynamic {
    const { make } = this.#messages;
    const info: Dynamic = { requestHeaders: this.#grouped(now?.headers ?? []), requests: [anyPack(input, request as Message)] };
    if (remaining !== undefined) info['timeoutMs'] = BigInt(Math.round(remaining / 1000));
    if (now?.query !== undefined) info['connectGetInfo'] = make('ConformancePayload.ConnectGetInfo', { queryParams: this.#grouped(now.query) });
    return make('ConformancePayload.RequestInfo', info);
  }

  #grouped(all: Pairs): readonly Dynamic[] {
    const byName = new Map<string, string[]>();
    for (const [name, value] of all) byName.set(name.toLowerCase(), [...(byName.get(name.toLowerCase()) ?? []), value]);
    return [...byName].map(([name, value]) => this.#messages.make('Header', { name, value }));
  }

  #error(error: Dynamic, requestInfo: Dynamic | undefined): Refusal {
    const infoDesc = this.#messages.desc('ConformancePayload.RequestInfo');
    const info = requestInfo === undefined ? [] : [{ type: infoDesc.typeName, value: toBinary(infoDesc, requestInfo as never) }];
    const details = [...(error['details'] as Any[]).map(({ typeUrl, value }) => ({ type: typeUrl.split('/').at(-1) ?? '', value })), ...info];
    const code = (Object.keys(CODES) as CodeName[]).find((name) => CODES[name] === error['code']) ?? 'unknown';
    const message: string = error['message'] ?? '';
    const status = create(StatusSchema, { code: error['code'], message, details: details.map(({ type, value }) => ({ typeUrl: TYPES + type, value })) });
    return this.#refusal({ code, message, details, status: toBinary(StatusSchema, status), retryIn: undefined });
  }

  #refusal(error: WireError): Refusal {
    const refusal: Refusal = { reason: 'fault' };
    this.#errors.set(refusal, error);
    return refusal;
  }
}

function pairs(headers: readonly Dynamic[] = []): Pairs {
  return headers.flatMap(({ name, value }) => (value as string[]).map((each): [string, string] => [name, each]));
}
