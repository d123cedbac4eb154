import { randomUUID } from 'node:crypto';
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
import type { Refusal } from '../core/refusal.ts';
import type { Micros, Millis } from '../core/time.ts';
import { file_google_rpc_error_details } from '../gen/google/rpc/error_details_pb.ts';
import { Health } from '../gen/grpc/health/v1/health_pb.ts';
import { AdmissionService, type SessionRequest, type SessionResponse, type WatchRequest, type WatchResponse } from '../gen/sluice/v1/admission_pb.ts';
import { type CallFacts, isRefusal } from './ask.ts';
import { ANSWERED, hold, type UnaryCall } from './calls.ts';
import { pathOf, SERVICES, UNBUILT, unaryCalls } from './directory.ts';
import type { Frontend } from './frontend.ts';
import { encodedFiles, methodDefinition, type Received, statusOf } from './grpc-codec.ts';
import type { ServiceParts } from './service.ts';
import { Session } from './session.ts';
import { everyInterval, watch } from './watch.ts';

/** What the gRPC front end needs. */
export interface GrpcParts extends ServiceParts {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** PEM texts; with `clientCa` every caller must show a certificate of it. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** GroupService answers here. */
  readonly operators: boolean;
}

/** Longest message taken: an ask with every field at its bound is below 4 KiB, an override of 64 limits below 16. */
export const MESSAGE_BYTES_MAX = 65_536;

/**
 * Half-open callers are seen within 50 s. grpc-js counts no client's pings, so that clients may ping each 10 s, as C-core's
 * clients want for long polls.
 */
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;
/** Calls held on one connection at most. */
const STREAMS_MAX = 100_000;

/** gRPC on a port of its own, with health and reflection. */
export class Grpc implements Frontend {
  readonly name = 'grpc';
  readonly #parts: GrpcParts;
  readonly #server: Server;
  readonly #health: HealthImplementation;
  readonly #healthWatches = new Set<{ end: () => void }>();
  readonly #left = new Leavers();

  constructor(parts: GrpcParts) {
    this.#parts = parts;
    this.#server = new Server({
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.max_concurrent_streams': STREAMS_MAX,
    });
    this.#addServices();
    this.#health = new HealthImplementation();
    this.#addHealth();
    new ReflectionService(reflected()).addToServer(this.#server);
  }

  async listen(): Promise<{ readonly address: string }> {
    const { host, port, tls } = this.#parts;
    const credentials = tls === undefined ? ServerCredentials.createInsecure() : secure(tls);
    const bracketed = host.includes(':') ? `[${host}]` : host;
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${bracketed}:${port}`, credentials, (error, free) => {
        if (error === null) resolve(free);
        else reject(new Error(`gRPC cannot listen on ${bracketed}:${port}; free the port or set \`listen.grpc\` to another.`, { cause: error }));
      });
    });
    this.serving(true);
    return { address: `${bracketed}:${bound}` };
  }

  /** What the health service says of every service, from now on; calls are taken all the same. */
  serving(on: boolean): void {
    for (const name of ['', ...SERVICES.map(({ typeName }) => typeName)]) this.#health.setStatus(name, on ? 'SERVING' : 'NOT_SERVING');
  }

  async drain(graceMs: Millis): Promise<void> {
    this.serving(false);
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
    const unary = new Map(unaryCalls(this.#parts, this.#parts.operators).map((each) => [pathOf(each.method), each]));
    for (const service of SERVICES) {
      const definition: Record<string, ServiceDefinition[string]> = {};
      const handlers: Record<string, UntypedHandleCall> = {};
      for (const method of service.methods) {
        definition[method.name] = methodDefinition(method);
        const call = unary.get(pathOf(method));
        if (call !== undefined) handlers[method.name] = this.#unary(call);
        else if (method === AdmissionService.method.watch) handlers[method.name] = this.#watch;
        else if (method === AdmissionService.method.session) handlers[method.name] = this.#session;
        else handlers[method.name] = unbuilt;
      }
      this.#server.addService(definition, handlers);
    }
  }

  #unary({ call }: UnaryCall): UntypedHandleCall {
    const { admission } = this.#parts;
    return (stream: ServerUnaryCall<Received<unknown>, unknown>, answer: sendUnaryData<unknown>) => {
      const { request } = stream;
      const facts = this.#factsOf(stream);
      if (isRefusal(facts)) return answer(statusOf(facts, admission.now()));
      if ('refusal' in request) return answer(statusOf(request.refusal, admission.now()));
      const leave = hold(call, facts, request.message, (message, refusal) => {
        if (stream.cancelled) return false;
        if (refusal === undefined) answer(null, message);
        else answer(statusOf(refusal, admission.now()));
        return true;
      });
      if (leave !== ANSWERED) this.#left.watch(stream, leave);
    };
  }

  readonly #watch = (stream: ServerWritableStream<Received<WatchRequest>, WatchResponse>): void => {
    const { request } = stream;
    const facts = this.#factsOf(stream);
    if (isRefusal(facts)) return this.#fail(stream, facts);
    if ('refusal' in request) return this.#fail(stream, request.refusal);
    const leave = watch({ ...this.#parts, every: everyInterval }, facts, request.message, {
      send: (news) => {
        if (stream.cancelled) return false;
        stream.write(news);
        return true;
      },
      end: (refusal) => {
        if (stream.cancelled) return;
        if (refusal === undefined) stream.end();
        else this.#fail(stream, refusal);
      },
    });
    this.#left.watch(stream, leave);
  };

  readonly #session = (stream: ServerDuplexStream<Received<SessionRequest>, SessionResponse>): void => {
    const facts = this.#factsOf(stream);
    if (isRefusal(facts)) return this.#fail(stream, facts);
    const session = new Session({
      ...this.#parts,
      newId: randomUUID,
      facts: () => ({ ...facts, remaining: remainingOf(stream) }),
      send: (message) => {
        if (stream.cancelled) return false;
        // A caller that asks and does not read is not listened to until it does.
        if (!stream.write(message)) stream.pause();
        return true;
      },
    });
    stream.on('drain', () => stream.resume());
    stream.on('data', (received: Received<SessionRequest>) => {
      if ('message' in received) return session.receive(received.message);
      session.end();
      this.#fail(stream, received.refusal);
    });
    stream.on('end', () => {
      session.end();
      stream.end();
    });
    this.#left.watch(stream, () => session.end());
  };

  /** Who calls and how long they stay, or why they may not. */
  #factsOf(stream: Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getDeadline'>): CallFacts | Refusal {
    const caller = this.#parts.auth.identify(stream.metadata.get('authorization')[0]?.toString());
    return typeof caller === 'string' ? { caller, remaining: remainingOf(stream) } : caller;
  }

  /** Ends a stream with a refusal: grpc-js takes the status of an error event. */
  #fail(stream: { emit(event: 'error', status: StatusObject): boolean }, refusal: Refusal): void {
    stream.emit('error', statusOf(refusal, this.#parts.admission.now()));
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
        this.#server.addService(service as ServiceDefinition, { check, watch: tracked as UntypedHandleCall });
      },
    });
  }
}

/**
 * Callers that left, handed on together once the sockets were read another time: when many leave at once, giving up the first
 * place may admit the second, whose own cancel is still on its way; by then every one of them is marked as cancelled.
 */
class Leavers {
  #leaving: (() => void)[] = [];

  watch(stream: { on(event: 'cancelled', left: () => void): unknown }, leave: () => void): void {
    stream.on('cancelled', () => {
      // Two turns: the cancels of one packet may span two reads.
      if (this.#leaving.push(leave) === 1) setImmediate(() => setImmediate(() => this.#handOn()));
    });
  }

  #handOn(): void {
    const leaving = this.#leaving;
    this.#leaving = [];
    for (const leave of leaving) leave();
  }
}

/** Time to the caller's own deadline, which is grpc-js's: milliseconds of the wall clock, taken from `grpc-timeout` as the call came in. */
function remainingOf(stream: { getDeadline(): Date | number }): Micros | undefined {
  const deadline = Number(stream.getDeadline());
  return Number.isFinite(deadline) ? Math.max(0, Math.round((deadline - Date.now()) * 1000)) : undefined;
}

/** Our services, gRPC's health, and what refusals carry. The reflection service takes what proto-loader makes, and of that reads one member only. */
function reflected(): ConstructorParameters<typeof ReflectionService>[0] {
  const fileDescriptorProtos = encodedFiles([...SERVICES.map(({ file }) => file), Health.file, file_google_rpc_error_details]);
  return { sluice: { fileDescriptorProtos } } as unknown as ConstructorParameters<typeof ReflectionService>[0];
}

function unbuilt(_stream: unknown, answer: sendUnaryData<unknown>): void {
  answer({ code: status.UNIMPLEMENTED, details: UNBUILT });
}

function secure(tls: NonNullable<GrpcParts['tls']>): ServerCredentials {
  const { cert, key, clientCa } = tls;
  const pair = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }];
  return ServerCredentials.createSsl(clientCa === undefined ? null : Buffer.from(clientCa), pair, clientCa !== undefined);
}
