import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { type DescService, type Message, toBinary } from '@bufbuild/protobuf';
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type StatusObject,
  type sendUnaryData,
  status,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { traceContextOf } from '../../admission/tracing.ts';
import { takeAll } from '../../core/collections/take-all.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { Micros, Millis } from '../../core/time.ts';
import { RateLimitService } from '../../gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { file_google_rpc_error_details } from '../../gen/google/rpc/error_details_pb.ts';
import { Health } from '../../gen/grpc/health/v1/health_pb.ts';
import { AdmissionService, type SessionRequest, SessionResponseSchema } from '../../gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../../gen/sluice/v1/deferred_pb.ts';
import type { Listener } from '../../http/listener.ts';
import { Outbox, type OutboxStream } from '../../http/node/outbox.ts';
import type { ServiceDeps } from '../admission-service.ts';
import { ANSWERED, runHeldCall, type StreamCall, type UnaryCall } from '../call.ts';
import { SUBMIT_MESSAGE_BYTES_MAX } from '../deferred/calls.ts';
import { NOT_CONFIGURED, type RateLimitAccess, rateLimitCall } from '../rate-limit-service.ts';
import { caught, methodPath, NOT_DEFERRED, SERVICES, unaryCalls } from '../services.ts';
import { Session } from '../session.ts';
import { type CallContext, isRefusal, malformed } from '../validation.ts';
import { watchCall } from '../watch.ts';
import { encodedFiles, methodDefinition, type Received, statusOf } from './codec.ts';
import { type FloodKind, type GrpcBounds, GrpcGuard, STREAM_ID } from './guard.ts';

/** What the gRPC front end needs. */
export interface GrpcOptions extends ServiceDeps {
  /** Of {@link Grpc.listen}. Absent: loopback. */
  readonly host?: string;
  /** 0 or absent: any that is free. */
  readonly port?: number;
  /** PEM texts; with `clientCa` every caller must show a certificate of it. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** GroupService answers here. */
  readonly operators: boolean;
  /** Envoy's rate limit service; undefined: it is not configured. */
  readonly rateLimit?: RateLimitAccess | undefined;
  /** Calls besides those of sluice.v1, as in Connect. */
  readonly more?: readonly (UnaryCall | StreamCall)[];
  /** Writes refusals; default {@link statusOf}. */
  readonly statusOf?: typeof statusOf;
  /** Longest message taken; default {@link MESSAGE_BYTES_MAX}. */
  readonly messageBytesMax?: number;
  /** What one connection may do. */
  readonly bounds: GrpcBounds;
  /** Records that a connection was closed for a flood. */
  readonly onFlood: (kind: FloodKind, remoteAddress: string) => void;
}

/** Longest message taken: an acquire with every field at its bound is below 4 KiB, an override of 64 limits below 16. */
export const MESSAGE_BYTES_MAX = 65_536;

/**
 * Half-open callers are seen within 50 s. grpc-js counts no client's pings, so that clients may ping each 10 s, as C-core's
 * clients want for long polls.
 */
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

const WATCH = methodPath(AdmissionService.method.watch);
const SESSION = methodPath(AdmissionService.method.session);
const SUBMIT = methodPath(DeferredService.method.submit);

/** gRPC on a port of its own, with health and reflection. */
export class Grpc implements Listener {
  readonly name = 'grpc';
  readonly #options: GrpcOptions;
  readonly #bytesMax: number;
  readonly #server: Server;
  readonly #health: HealthImplementation;
  readonly #healthWatches = new Set<{ end: () => void }>();
  readonly #left = new Leavers();
  readonly #guard: GrpcGuard;
  readonly #statusOf: typeof statusOf;
  readonly #paths = new Set<string>();
  readonly #services: readonly DescService[];

  constructor(options: GrpcOptions) {
    this.#options = options;
    const { bounds, onFlood } = options;
    this.#services = options.rateLimit === undefined ? SERVICES : [...SERVICES, RateLimitService];
    this.#bytesMax = options.messageBytesMax ?? MESSAGE_BYTES_MAX;
    const longest = options.deferred === undefined ? this.#bytesMax : Math.max(this.#bytesMax, SUBMIT_MESSAGE_BYTES_MAX);
    this.#statusOf = options.statusOf ?? statusOf;
    const longMessages = new Map(options.deferred === undefined ? [] : [[SUBMIT, longest]]);
    const serves = (path: string): boolean => this.#paths.has(path);
    this.#guard = new GrpcGuard({ bounds, onFlood, cuttable: new Set([WATCH, SESSION]), endless: new Set([SESSION]), serves, longMessages });
    this.#server = new Server({
      // Of the longest there is; each method has its own bound (grpc-codec.ts).
      'grpc.max_receive_message_length': longest,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.max_concurrent_streams': options.bounds.streamsMax,
      // Counts calls for an inspector that is not served.
      'grpc.enable_channelz': 0,
    });
    this.#addServices();
    this.#health = new HealthImplementation();
    this.#addHealth();
    new ReflectionService(reflected(this.#services)).addToServer({
      addService: (service, handlers) => this.#add(service as ServiceDefinition, pacedByReader(handlers)),
    });
  }

  #add(service: ServiceDefinition, handlers: Record<string, UntypedHandleCall>): void {
    for (const { path } of Object.values(service)) this.#paths.add(path);
    this.#server.addService(service, handlers);
  }

  /** Returns what takes connections from a listener of another's, which they share; in place of {@link listen}. Call once. */
  shared(): (socket: Duplex) => void {
    const { injectConnection } = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#guard.attach(this.#server);
    this.serving(true);
    return injectConnection;
  }

  async listen(): Promise<{ readonly address: string }> {
    const { host = '127.0.0.1', port = 0, tls } = this.#options;
    const credentials = tls === undefined ? ServerCredentials.createInsecure() : secure(tls);
    const bracketed = host.includes(':') ? `[${host}]` : host;
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${bracketed}:${port}`, credentials, (error, free) => {
        if (error === null) resolve(free);
        else reject(new Error(`gRPC cannot listen on ${bracketed}:${port}; free the port or set \`listen.grpc\` to another.`, { cause: error }));
      });
    });
    this.#guard.attach(this.#server);
    this.serving(true);
    return { address: `${bracketed}:${bound}` };
  }

  /** What the health service reports of every service, from now on; calls are taken all the same. */
  serving(on: boolean): void {
    for (const name of ['', ...this.#services.map(({ typeName }) => typeName)]) this.#health.setStatus(name, on ? 'SERVING' : 'NOT_SERVING');
  }

  async drain(graceMs: Millis): Promise<void> {
    this.serving(false);
    this.#guard.close();
    for (const call of this.#healthWatches) call.end();
    await new Promise<void>((resolve) => {
      const cut = setTimeout(() => {
        this.#server.forceShutdown();
        resolve();
      }, graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(cut);
        resolve();
      });
    });
  }

  #addServices(): void {
    const { operators, rateLimit, onError, more = [] } = this.#options;
    const limiting = rateLimit === undefined ? [] : [caught(onError, rateLimitCall({ ...this.#options, ...rateLimit }))];
    const all = [...unaryCalls(this.#options, operators), watchCall(this.#options), ...limiting, ...more];
    const calls = new Map(all.map((each) => [methodPath(each.method), each]));
    for (const service of new Set([...SERVICES, RateLimitService, ...more.map(({ method }) => method.parent)])) {
      const definition: Record<string, ServiceDefinition[string]> = {};
      const handlers: Record<string, UntypedHandleCall> = {};
      for (const method of service.methods) {
        definition[method.name] = methodDefinition(method, methodPath(method) === SUBMIT ? SUBMIT_MESSAGE_BYTES_MAX : this.#bytesMax);
        const call = calls.get(methodPath(method));
        if (call !== undefined) handlers[method.name] = 'open' in call ? this.#stream(call) : this.#unary(call);
        else if (method === AdmissionService.method.session) handlers[method.name] = this.#session;
        else handlers[method.name] = method.parent === RateLimitService ? notConfigured : notDeferred;
      }
      this.#add(definition, handlers);
    }
  }

  #unary({ call }: UnaryCall): UntypedHandleCall {
    const { admission } = this.#options;
    return (stream: ServerUnaryCall<Received<unknown>, unknown>, answer: sendUnaryData<unknown>) => {
      const { request } = stream;
      const facts = this.#factsOf(stream);
      if (isRefusal(facts)) return answer(this.#statusOf(facts, admission.now()));
      if ('refusal' in request) return answer(this.#statusOf(request.refusal, admission.now()));
      const leave = runHeldCall(call, facts, request.message, (message, refusal) => {
        if (stream.cancelled) return false;
        if (refusal === undefined) answer(null, message);
        else answer(this.#statusOf(refusal, admission.now()));
        return true;
      });
      if (leave !== ANSWERED) this.#left.watch(stream, leave);
    };
  }

  #stream({ method, open }: StreamCall): UntypedHandleCall {
    return (stream: ServerWritableStream<Received<unknown>, Uint8Array>): void => {
      const { request } = stream;
      const facts = this.#factsOf(stream);
      if (isRefusal(facts)) return this.#fail(stream, facts);
      if ('refusal' in request) return this.#fail(stream, request.refusal);
      const outbox = this.#outbox(stream);
      const leave = open(facts, request.message, {
        ready: () => outbox.empty,
        send: (message) => outbox.send(toBinary(method.output, message as Message)) !== undefined,
        end: (refusal) => {
          if (stream.cancelled) return;
          if (refusal === undefined) stream.end();
          else this.#fail(stream, refusal);
        },
      });
      this.#left.watch(stream, leave);
    };
  }

  readonly #session = (stream: ServerDuplexStream<Received<SessionRequest>, Uint8Array>): void => {
    const facts = this.#factsOf(stream);
    if (isRefusal(facts)) return this.#fail(stream, facts);
    const outbox = this.#outbox(stream);
    const { bounds } = this.#options;
    const first = setTimeout(() => this.#fail(stream, malformed(`No message came within ${bounds.firstMessageMs / 1000} s.`)), bounds.firstMessageMs);
    first.unref();
    const session = new Session({
      ...this.#options,
      newId: randomUUID,
      facts: () => ({ ...facts, remaining: remainingOf(stream) }),
      send: (message) => {
        const more = outbox.send(toBinary(SessionResponseSchema, message));
        // A caller that sends and does not read is not read from until it does.
        if (more === false) stream.pause();
        return more !== undefined;
      },
    });
    stream.on('drain', () => stream.resume());
    stream.on('data', (received: Received<SessionRequest>) => {
      clearTimeout(first);
      if ('message' in received) return session.receive(received.message);
      session.end();
      this.#fail(stream, received.refusal);
    });
    stream.on('end', () => {
      session.end();
      stream.end();
    });
    this.#left.watch(stream, () => {
      clearTimeout(first);
      session.end();
    });
  };

  #outbox(stream: OutboxStream & Pick<ServerWritableStream<unknown, unknown>, 'metadata'> & LeavingStream): Outbox {
    const id = stream.metadata.get(STREAM_ID)[0]?.toString();
    const { unreadBytesMax, unreadMs } = this.#options.bounds;
    const outbox = new Outbox(stream, { bytesMax: unreadBytesMax, unreadMs, cut: () => this.#guard.cut(id) });
    stream.on('cancelled', () => outbox.close());
    return outbox;
  }

  /** Who calls and how long they stay, or why they may not. */
  #factsOf(stream: Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getDeadline'>): CallContext | Refusal {
    const caller = this.#options.auth.identify(stream.metadata.get('authorization')[0]?.toString());
    if (typeof caller !== 'string') return caller;
    const field = (name: string): string | undefined => stream.metadata.get(name)[0]?.toString();
    const trace = this.#options.tracing ? traceContextOf(field('traceparent'), field('tracestate')) : undefined;
    return { caller, remaining: remainingOf(stream), trace };
  }

  /** Ends a stream with a refusal: grpc-js takes the status of an error event. */
  #fail(stream: { emit(event: 'error', status: StatusObject): boolean }, refusal: Refusal): void {
    stream.emit('error', this.#statusOf(refusal, this.#options.admission.now()));
  }

  #addHealth(): void {
    this.#health.addToServer({
      addService: (service, handlers) => {
        const check = handlers['check'] as UntypedHandleCall;
        const watchHealth = handlers['watch'] as (call: unknown) => void;
        const tracked = (call: ServerWritableStream<unknown, unknown>): void => {
          this.#healthWatches.add(call);
          call.on('cancelled', () => this.#healthWatches.delete(call));
          watchHealth(call);
        };
        this.#add(service as ServiceDefinition, { check, watch: tracked as UntypedHandleCall });
      },
    });
  }
}

interface LeavingStream {
  on(event: 'cancelled', left: () => void): unknown;
}

/**
 * Callers that left, handed on together once the sockets were read another time: when many leave at once, giving up the first
 * place may admit the second, whose own cancel is still on its way; by then every one of them is marked as cancelled.
 */
class Leavers {
  readonly #leaving: (() => void)[] = [];

  watch(stream: LeavingStream, leave: () => void): void {
    stream.on('cancelled', () => {
      // Two turns: the cancels of one packet may span two reads.
      if (this.#leaving.push(leave) === 1) setImmediate(() => setImmediate(() => this.#handOn()));
    });
  }

  #handOn(): void {
    for (const leave of takeAll(this.#leaving)) leave();
  }
}

/** Time to the caller's own deadline, which is grpc-js's: milliseconds of the wall clock, taken from `grpc-timeout` as the call came in. */
function remainingOf(stream: { getDeadline(): Date | number }): Micros | undefined {
  const deadline = Number(stream.getDeadline());
  return Number.isFinite(deadline) ? Math.max(0, Math.round((deadline - Date.now()) * 1000)) : undefined;
}

/** Our services, gRPC's health, and what refusals carry. The reflection service takes what proto-loader makes, and of that reads one member only. */
function reflected(services: readonly DescService[]): ConstructorParameters<typeof ReflectionService>[0] {
  const fileDescriptorProtos = encodedFiles([...services.map(({ file }) => file), Health.file, file_google_rpc_error_details]);
  return { sluice: { fileDescriptorProtos } } as unknown as ConstructorParameters<typeof ReflectionService>[0];
}

/** Streams in both directions whose requests are read no faster than their answers are. */
function pacedByReader(handlers: Record<string, UntypedHandleCall>): Record<string, UntypedHandleCall> {
  const paced = Object.entries(handlers).map(([name, handle]): [string, UntypedHandleCall] => {
    const handleStream = handle as (call: ServerDuplexStream<unknown, unknown>) => void;
    return [
      name,
      ((call: ServerDuplexStream<unknown, unknown>) => {
        const write = call.write.bind(call) as (message: unknown) => boolean;
        call.write = ((message: unknown) => {
          const more = write(message);
          if (!more) call.pause();
          return more;
        }) as typeof call.write;
        call.on('drain', () => call.resume());
        handleStream(call);
      }) as UntypedHandleCall,
    ];
  });
  return Object.fromEntries(paced);
}

function notDeferred(_stream: unknown, answer: sendUnaryData<unknown>): void {
  answer({ code: status.UNIMPLEMENTED, details: NOT_DEFERRED });
}

function notConfigured(_stream: unknown, answer: sendUnaryData<unknown>): void {
  answer({ code: status.UNIMPLEMENTED, details: NOT_CONFIGURED });
}

function secure(tls: NonNullable<GrpcOptions['tls']>): ServerCredentials {
  const { cert, key, clientCa } = tls;
  const pair = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }];
  return ServerCredentials.createSsl(clientCa === undefined ? null : Buffer.from(clientCa), pair, clientCa !== undefined);
}
