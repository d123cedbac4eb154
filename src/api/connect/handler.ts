import type { DescMethod, DescService, Registry } from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { traceContextOf } from '../../admission/tracing.ts';
import type { Refusal } from '../../core/refusal.ts';
import { AdmissionService } from '../../gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../../gen/sluice/v1/deferred_pb.ts';
import type { EngineReply, EngineRequest, EngineStream } from '../../http/engine.ts';
import type { HttpHandler } from '../../http/listener.ts';
import type { ServiceDeps } from '../admission-service.ts';
import { ANSWERED, runHeldCall, type StreamCall, type UnaryCall } from '../call.ts';
import { SUBMIT_MESSAGE_BYTES_MAX } from '../deferred/calls.ts';
import { formQuery } from '../rest/form-query.ts';
import { methodPath, NOT_DEFERRED, SERVICES, unaryCalls } from '../services.ts';
import { type CallContext, isRefusal, malformed } from '../validation.ts';
import { watchCall } from '../watch.ts';
import { acceptPost, type CallFormat, decode, encode, envelope, formatOf, queryFormat, timeoutOf, tooLong, unsupportedEncoding, unwrap } from './codec.ts';
import { endOfStream, errorOf, headersOf, plainError, sendError, sendMessage, sendPlain, unimplemented, type WireError } from './response.ts';

/** What Connect and gRPC-Web need. */
export interface ConnectOptions extends ServiceDeps {
  /** GroupService answers here. */
  readonly operators: boolean;
  /** Calls besides those of sluice.v1; the public conformance suite drives the very code with its own, and with the rest. */
  readonly more?: readonly (UnaryCall | StreamCall)[];
  /** Writes refusals; default {@link errorOf}. */
  readonly errorOf?: typeof errorOf;
  /** Messages that an Any may hold in JSON. */
  readonly registry?: Registry;
  /** Longest message taken; default {@link MESSAGE_BYTES_MAX}. */
  readonly messageBytesMax?: number;
}

/** Longest message taken, its envelope not counted; as over gRPC. */
export const MESSAGE_BYTES_MAX = 65_536;
/** Longest query of a GET. */
const QUERY_BYTES_MAX = 8192;

/** A method with what is done for it: a call, or a sentence why not. */
interface Entry {
  readonly method: DescMethod;
  readonly streaming: boolean;
  readonly serve: UnaryCall | StreamCall | WireError;
}

const NO_SESSION = unimplemented('Session needs a stream in both directions, which HTTP/1.1 has not; use gRPC, or Acquire.');
const NO_METHOD = unimplemented('No such call; look into proto/sluice/v1 for those there are.');

/** Connect and gRPC-Web over HTTP/1.1: a method's descriptor and its call are all this knows of it. */
export class Connect implements HttpHandler {
  readonly #options: ConnectOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #errorOf: typeof errorOf;
  readonly #bytesMax: number;

  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#errorOf = options.errorOf ?? errorOf;
    this.#bytesMax = options.messageBytesMax ?? MESSAGE_BYTES_MAX;
    for (const call of [...unaryCalls(options, options.operators), watchCall(options), ...(options.more ?? [])]) {
      this.#entries.set(methodPath(call.method), { method: call.method, streaming: 'open' in call, serve: call });
    }
    for (const method of SERVICES.flatMap((service: DescService) => service.methods)) {
      if (this.#entries.has(methodPath(method))) continue;
      const serve = method === AdmissionService.method.session ? NO_SESSION : unimplemented(NOT_DEFERRED);
      this.#entries.set(methodPath(method), { method, streaming: method.methodKind !== 'unary', serve });
    }
  }

  takes(path: string): boolean {
    return path.startsWith('/sluice.v1.') || this.#entries.has(path);
  }

  handle(request: EngineRequest, reply: EngineReply): void {
    const entry = this.#entries.get(request.path);
    if (entry === undefined) return void sendError(reply, undefined, NO_METHOD, 404);
    if (request.method === 'GET' && entry.method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS) return this.#get(entry, request, reply);
    if (request.method !== 'POST') {
      const allow = entry.method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS ? 'GET, POST' : 'POST';
      return void sendPlain(reply, 405, `Use ${allow} for this call.`, [['Allow', allow]]);
    }
    const format = formatOf(request.header('content-type') ?? '', entry.streaming);
    if (format === undefined) {
      const accepted = acceptPost(entry.streaming);
      return void sendPlain(reply, 415, `Send one of the content types ${accepted}.`, [['Accept-Post', accepted]]);
    }
    const encoding = unsupportedEncoding(request, format);
    if (encoding !== undefined) {
      const error = unimplemented('No compression is understood; send the message as it is.');
      return void sendError(reply, format, error, undefined, [['Accept-Encoding', 'identity']]);
    }
    const version = request.header('connect-protocol-version');
    if (version !== undefined && version !== '1') return this.#refuse(reply, format, malformed('`Connect-Protocol-Version` must be 1.'));
    const bytesMax = entry.method === DeferredService.method.submit ? SUBMIT_MESSAGE_BYTES_MAX : this.#bytesMax;
    const bytes = format.protocol === 'unary' ? whole(request.body, bytesMax) : unwrap(request.body, bytesMax);
    if ('reason' in bytes) return this.#refuse(reply, format, bytes);
    if ('code' in bytes) return void sendError(reply, format, plainError(bytes.code, bytes.message));
    this.#serve(entry, format, bytes, request, reply);
  }

  /** https://connectrpc.com/docs/protocol#unary-get-request */
  #get(entry: Entry, request: EngineRequest, reply: EngineReply): void {
    if (request.query.length > QUERY_BYTES_MAX) return this.#refuse(reply, undefined, { reason: 'too_large', detail: 'The query is too long; use POST.' });
    const query = formQuery(request.query);
    if (query === undefined)
      return this.#refuse(reply, undefined, malformed('The query holds a percent sign that encodes no UTF-8; write %25 for the sign itself.'));
    const format = queryFormat(query.get('encoding'));
    if (format === undefined) return void sendPlain(reply, 415, '`encoding` must be json or proto.', []);
    if ((query.get('connect') ?? 'v1') !== 'v1') return this.#refuse(reply, format, malformed('`connect` must be v1.'));
    if ((query.get('compression') ?? 'identity') !== 'identity') return void sendError(reply, format, unimplemented('No compression is understood.'));
    const message = query.get('message');
    if (message === undefined) return this.#refuse(reply, format, malformed('`message` is missing in the query.'));
    const bytes = Buffer.from(message, query.get('base64') === '1' ? 'base64url' : 'utf8');
    this.#serve(entry, format, bytes, request, reply);
  }

  #serve({ method, serve }: Entry, format: CallFormat, bytes: Uint8Array, request: EngineRequest, reply: EngineReply): void {
    if ('code' in serve) return void sendError(reply, format, serve);
    const facts = this.#factsOf(request, format);
    if (isRefusal(facts)) return this.#refuse(reply, format, facts);
    const message = decode(method.input, bytes, format.json, this.#options.registry);
    if (isRefusal(message)) return this.#refuse(reply, format, message);
    const leave = 'open' in serve ? this.#stream(serve, facts, message, format, reply) : this.#unary(serve, facts, message, format, reply);
    if (leave !== ANSWERED) reply.onGone(leave);
  }

  #unary({ method, call }: UnaryCall, facts: CallContext, request: unknown, format: CallFormat, reply: EngineReply): () => void {
    return runHeldCall(call, facts, request, (message, refusal) => {
      if (refusal !== undefined) return sendError(reply, format, this.#errorOf(refusal, this.#options.admission.now()));
      return sendMessage(reply, format, encode(method.output, message, format.json, this.#options.registry));
    });
  }

  #stream({ method, open }: StreamCall, facts: CallContext, request: unknown, format: CallFormat, reply: EngineReply): () => void {
    let stream: EngineStream | undefined;
    return open(facts, request, {
      ready: () => stream?.ready !== false,
      send: (message) => {
        stream ??= reply.stream(200, headersOf(format.contentType));
        return stream.write(envelope(0, encode(method.output, message, format.json, this.#options.registry)));
      },
      end: (refusal) => {
        const error = refusal === undefined ? undefined : this.#errorOf(refusal, this.#options.admission.now());
        stream ??= reply.stream(200, headersOf(format.contentType));
        stream.write(endOfStream(format, error));
        stream.end();
      },
    });
  }

  #factsOf(request: EngineRequest, format: CallFormat): CallContext | Refusal {
    const caller = this.#options.auth.identify(request.header('authorization'));
    if (typeof caller !== 'string') return caller;
    const remaining = timeoutOf(request, format);
    if (typeof remaining === 'object') return remaining;
    const trace = this.#options.tracing ? traceContextOf(request.header('traceparent'), request.header('tracestate')) : undefined;
    return { caller, remaining, trace };
  }

  #refuse(reply: EngineReply, format: CallFormat | undefined, refusal: Refusal): void {
    sendError(reply, format, this.#errorOf(refusal, this.#options.admission.now()));
  }
}

function whole(body: Uint8Array, bytesMax: number): Uint8Array | Refusal {
  return body.length > bytesMax ? tooLong(bytesMax) : body;
}
