import { PassThrough } from 'node:stream';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, type ClientUnaryCall, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { formatError } from '../../src/config/errors.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import type { RateLimitDescriptorSchema } from '../../src/gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.ts';
import {
  type RateLimitRequest,
  RateLimitRequestSchema,
  type RateLimitResponse,
  RateLimitResponseSchema,
} from '../../src/gen/envoy/service/ratelimit/v3/rls_pb.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/** A descriptor as a test writes it: its entries in order, and what else it says. */
export type Described = readonly [entries: Readonly<Record<string, string>>, more?: { readonly hits?: number | bigint; readonly negative?: boolean }];

/** A request of Envoy. */
export function rateLimitRequest(descriptors: readonly Described[], more: { readonly domain?: string; readonly hits?: number } = {}): RateLimitRequest {
  const { domain = 'edge', hits = 0 } = more;
  return create(RateLimitRequestSchema, { domain, hitsAddend: hits, descriptors: descriptors.map(descriptorOf) });
}

function descriptorOf([entries, { hits, negative = false } = {}]: Described): MessageInitShape<typeof RateLimitDescriptorSchema> {
  return {
    entries: Object.entries(entries).map(([key, value]) => ({ key, value })),
    isNegativeHits: negative,
    ...(hits !== undefined && { hitsAddend: BigInt(hits) }),
  };
}

/** What a call ends in. */
export type RateLimitAnswer = RateLimitResponse | ServiceError;

/** A caller of ShouldRateLimit, over real gRPC. */
export class RateLimitClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure());
  }

  /** Calls; `deadlineMs` from now. */
  begin(request: RateLimitRequest, { deadlineMs = 100_000, token = '' } = {}): { readonly call: ClientUnaryCall; readonly result: Promise<RateLimitAnswer> } {
    const metadata = new Metadata();
    if (token !== '') metadata.set('authorization', `Bearer ${token}`);
    const path = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';
    const write = (message: RateLimitRequest): Buffer => Buffer.from(toBinary(RateLimitRequestSchema, message));
    const read = (bytes: Buffer): RateLimitResponse => fromBinary(RateLimitResponseSchema, bytes);
    let settle: (answer: RateLimitAnswer) => void = () => {};
    const result = new Promise<RateLimitAnswer>((resolve) => {
      settle = resolve;
    });
    const options = { deadline: Date.now() + deadlineMs };
    const call = this.#client.makeUnaryRequest(path, write, read, request, metadata, options, (error, answer) =>
      settle(error ?? (answer as RateLimitResponse)),
    );
    return { call, result };
  }

  ask(request: RateLimitRequest, options: { readonly deadlineMs?: number; readonly token?: string } = {}): Promise<RateLimitAnswer> {
    return this.begin(request, options).result;
  }

  close(): void {
    this.#client.close();
  }
}

/** The headers that Envoy is to add, by name. */
export function addedHeaders(answer: RateLimitAnswer): Readonly<Record<string, string>> {
  if (answer instanceof Error) throw answer;
  return Object.fromEntries(answer.responseHeadersToAdd.map(({ key, value }) => [key, value]));
}

/** Reads a configuration without a mistake, with listeners of a test. */
export function rateLimitConfig(text: string): Config {
  const listen = 'listen: { api: none, grpc: "127.0.0.1:0", health: "127.0.0.1:0", admin: none }\nstore: memory\ndrain: { delay: 0, grace: 0 }\n';
  const loaded = loadConfig({ text: `${listen}${text}`, name: 'envoy.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  return loaded.config;
}

/** A whole server, with a client of its rate limit service. */
export async function rateLimitServer(
  text: string,
): Promise<{ readonly running: RunningServer; readonly client: RateLimitClient; metrics(): Promise<string>; stop(): Promise<void> }> {
  const clocks = { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' };
  const running = await serve(rateLimitConfig(text), { env: {}, clocks, logTo: new PassThrough().resume(), version: 'test', nodeVersion: process.version });
  const client = new RateLimitClient(running.addresses['grpc'] ?? '');
  return {
    running,
    client,
    metrics: async () => (await fetch(`http://${running.addresses['health']}/metrics`)).text(),
    stop: async () => {
      client.close();
      await running.drain(true);
    },
  };
}
