import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { ServerInfo, ServiceDeps } from '../api/admission-service.ts';
import { ENVELOPE_BYTES } from '../api/connect/codec.ts';
import { Connect } from '../api/connect/handler.ts';
import { oversizedBody } from '../api/connect/response.ts';
import { DashboardLists, type DashboardListsDeps } from '../api/dashboard-lists.ts';
import { SUBMIT_MESSAGE_BYTES_MAX } from '../api/deferred/calls.ts';
import { GatewayQueueFrontend } from '../api/gateway-queue.ts';
import type { FloodKind, GrpcBounds } from '../api/grpc/guard.ts';
import { Grpc } from '../api/grpc/server.ts';
import { Health, type HealthOptions } from '../api/health.ts';
import { OpenApi } from '../api/openapi/handler.ts';
import { engineProblem } from '../api/problem.ts';
import type { RateLimitAccess } from '../api/rate-limit-service.ts';
import { Rest, type RestOptions } from '../api/rest/handler.ts';
import { methodPath } from '../api/services.ts';
import { LISTENERS } from '../config/listen-options.ts';
import type { Config } from '../config/load.ts';
import { MILLISECOND, type Millis } from '../core/time.ts';
import { DeferredService } from '../gen/sluice/v1/deferred_pb.ts';
import { underBasePath } from '../http/base-path.ts';
import { BodyBudget } from '../http/body-budget.ts';
import type { EngineHandler, EngineOptions, LongBodies } from '../http/engine.ts';
import type { FaultBody, Refused } from '../http/framing.ts';
import type { HttpHandler, Listener } from '../http/listener.ts';
import { type EngineFactory, selectEngine } from '../http/select-engine.ts';
import { siteGuard } from '../http/site-guard.ts';
import { DescriptorGuard, descriptorLimit } from '../platform/descriptors.ts';
import { ProxyListener, type ProxyOptions } from '../proxy/listener/listener.ts';
import { ProxyReading } from '../proxy/listener/reading.ts';
import type { Log } from '../telemetry/log.ts';
import { openDashboard } from './dashboard.ts';
import type { GatewayQueueMode } from './gateway-queue-mode.ts';

/** What the listeners share. */
export interface ListenersDeps extends ServiceDeps, Pick<RestOptions, 'refusalOf'> {
  readonly log: Log;
  /** Of the server, as the description of the API names it. */
  readonly version: string;
  /** Of the configuration that is in force. */
  readonly revision: () => number;
  readonly health: HealthOptions;
  /** A connection was closed as it was accepted, for want of file descriptors. */
  readonly onShed: (listener: string) => void;
  /** Envoy's rate limit service; undefined: it is not configured. */
  readonly rateLimit?: Pick<RateLimitAccess, 'rules' | 'onAnswer'> | undefined;
  /** undefined: nothing is forwarded. */
  readonly proxy: Pick<ProxyOptions, 'routes' | 'forwarding' | 'auth' | 'onClientLimit' | 'storing'> | undefined;
  /** undefined: there is no gateway queue. */
  readonly gatewayQueue: GatewayQueueMode['listening'] | undefined;
}

/** Every listener of the configuration, taking callers. */
export interface Listeners {
  readonly addresses: Readonly<Record<string, string>>;
  /** Reports that this server is about to stop, and serves on. */
  leaving(): void;
  /** Other routes from now on; for requests that come in later. */
  reroute(routes: ProxyOptions['routes']): void;
  /** Takes no new callers; resolves when the last is gone, or after `graceMs`. */
  drain(graceMs: Millis): Promise<void>;
}

type ListenerAddress = Config['listen']['api'];

/** Opens every listener that is not `none`, or none at all: rejects with what to do about the first that cannot be had. */
export async function openListeners(config: Config, given: ListenersDeps): Promise<Listeners> {
  const closing = new AbortController();
  const addresses: Record<string, string> = {};
  const server = (): ServerInfo => ({ version: given.version, revision: given.revision(), listeners: addresses });
  const parts = { ...given, server, ...(given.deferred && { deferred: { ...given.deferred, closing: closing.signal } }) };
  const spared: { guard?: DescriptorGuard } = {};
  const frontends = await frontendsOf(config, { ...parts, health: withRemark(parts.health, () => spared.guard?.remark) });
  const open: Listener[] = [];
  try {
    for (const frontend of frontends) {
      addresses[frontend.name] = (await frontend.listen()).address;
      open.push(frontend);
    }
  } catch (cause) {
    for (const frontend of open) await frontend.drain(0);
    throw cause;
  }
  const guard = new DescriptorGuard({
    ...{ limit: descriptorLimit(), reserve: config.bounds.descriptors, log: parts.log, onShed: parts.onShed },
    ...{ names: portsOf(addresses), spared: new Set(portsOf({ health: addresses['health'], admin: addresses['admin'] }).keys()) },
    nowMs: () => performance.now(),
  });
  spared.guard = guard;
  return {
    addresses,
    leaving: () => {
      for (const frontend of open) {
        if (frontend instanceof Grpc) frontend.serving(false);
        else if (frontend instanceof HttpFrontend) frontend.grpc?.serving(false);
      }
    },
    reroute: (routes) => {
      for (const frontend of open) if (frontend instanceof ProxyListener) frontend.reroute(routes);
    },
    drain: async (graceMs) => {
      closing.abort();
      // Those who watch are answered until the last caller has gone.
      const watched = (frontend: Listener): boolean => frontend.name === 'health' || frontend.name === 'admin';
      await Promise.all(open.filter((each) => !watched(each)).map((each) => each.drain(graceMs)));
      await Promise.all(open.filter(watched).map((each) => each.drain(Math.min(graceMs, LAST_LOOK_MS))));
      guard.close();
    },
  };
}

/** Operators and probes that still read when all callers have gone have so long. */
const LAST_LOOK_MS: Millis = 500;

function withRemark(health: HealthOptions, remark: () => string | undefined): HealthOptions {
  return { ...health, remarks: () => [...health.remarks(), ...[remark()].filter((line) => line !== undefined)] };
}

function portsOf(addresses: Readonly<Record<string, string | undefined>>): ReadonlyMap<number, string> {
  const ports = new Map<number, string>();
  for (const [name, address] of Object.entries(addresses)) if (address !== undefined) ports.set(Number(address.slice(address.lastIndexOf(':') + 1)), name);
  return ports;
}

/**
 * Rejects when an address of the configuration is taken. To be asked before the store is touched: a second server that was
 * started by mistake must not take the term from the first, and then fail for want of a port.
 */
export async function checkAddresses({ listen }: Config): Promise<void> {
  for (const name of LISTENERS) {
    const { address } = listen[name];
    if (address === 'none' || address.port === 0) continue;
    const { host, port } = address;
    const probe = createServer();
    await new Promise<void>((resolve, reject) => {
      probe.once('error', (cause) => reject(new Error(`listen.${name}: ${host}:${port} is not to be had; stop who has it, or choose another.`, { cause })));
      probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve()));
    });
  }
}

async function frontendsOf(config: Config, deps: ListenersDeps & Pick<DashboardListsDeps, 'server'>): Promise<readonly Listener[]> {
  const { api, grpc, health, admin } = config.listen;
  // Without credentials operators are answered where only they should come in.
  const operators = config.auth.keys.length > 0;
  const frontends: Listener[] = [];
  const longBodies = deps.deferred && longBodiesOf(deps.deferred.submitBytesMax);
  const http = (name: string, listener: ListenerAddress, routes: readonly HttpHandler[], make: EngineFactory, more: HttpMore = {}): void => {
    const { address, tls } = listener;
    const handler = more.guard?.(dispatch(routes)) ?? dispatch(routes);
    if (address !== 'none') frontends.push(new HttpFrontend({ name, address, tls, handler, make, config, longBodies, grpc: more.grpc }));
  };
  const apiRoutes = (open: boolean): readonly HttpHandler[] => [
    new Connect({ ...deps, operators: open, messageBytesMax: config.bounds.body }),
    new Rest({ ...deps, operators: open }),
  ];
  const engine = await selectEngine(config.http.engine, { clientCa: api.tls?.clientCa !== undefined });
  deps.log.write('info', 'engine_chosen', `HTTP/1.1 on api is served by ${engine.name}: ${engine.why}`, {
    listener: 'api',
    engine: engine.name,
    why: engine.why,
  });
  http('api', api, apiRoutes(operators), engine.make);
  if (grpc.address !== 'none') {
    const rateLimit = deps.rateLimit && { ...deps.rateLimit, refusalOf: deps.refusalOf, random: Math.random };
    const tls = await pem(grpc.tls);
    frontends.push(new Grpc({ ...deps, ...grpc.address, ...tls, rateLimit, operators, bounds: grpcBounds(config), onFlood: floodLog(deps.log) }));
  }
  const proxied = proxyOf(config, deps);
  if (proxied !== undefined) frontends.push(proxied);
  const { address, tls } = config.listen.gatewayQueue;
  if (deps.gatewayQueue !== undefined && address !== 'none')
    frontends.push(new GatewayQueueFrontend({ ...deps.gatewayQueue, address, ...engineTls(tls), headMsMax: config.bounds.receive / MILLISECOND }));
  const node = await selectEngine('node', { clientCa: false });
  const path = admin.dashboard;
  const base = path === 'none' || path === '/' ? '/' : path.replace(/\/$/, '');
  const answers = { admission: deps.admission, refusalOf: deps.refusalOf, random: Math.random };
  const lists = new DashboardLists({
    ...deps,
    answers,
    nowMs: () => performance.now(),
  });
  const pages = path === 'none' || admin.address === 'none' ? [] : [await openDashboard(base)];
  const hosts = operators ? undefined : hostsOf(admin);
  http('admin', admin, [lists, ...apiRoutes(true), new OpenApi(deps.version), ...pages], node.make, {
    guard: (handler) => siteGuard({ hosts, problem: engineProblem }, underBasePath(base, handler)),
    // No site guard: a browser speaks no HTTP/2 without TLS, and with TLS it is given HTTP/1.1.
    grpc:
      admin.address === 'none'
        ? undefined
        : new Grpc({ ...deps, rateLimit: undefined, operators: true, bounds: grpcBounds(config), onFlood: floodLog(deps.log) }),
  });
  http('health', health, [new Health(deps.health)], node.make);
  return frontends;
}

/** Of submissions that are on their way, all listeners together. */
const SUBMITS_BYTES_MAX = 256 << 20;

/** Paths that take a whole request in their body. */
function longBodiesOf(submitBytesMax: number): LongBodies {
  const long = new Map([
    ['/v1/requests', submitBytesMax],
    [methodPath(DeferredService.method.submit), SUBMIT_MESSAGE_BYTES_MAX + ENVELOPE_BYTES],
  ]);
  return { bytesMax: (path) => long.get(path), budget: new BodyBudget(Math.max(SUBMITS_BYTES_MAX, submitBytesMax)) };
}

/** What few listeners have. */
interface HttpMore {
  /** Stands before the handler. */
  readonly guard?: (handler: EngineHandler) => EngineHandler;
  /** Answers gRPC at the same address. */
  readonly grpc?: Grpc | undefined;
}

/** Names of the listener of operators beside those of loopback. */
function hostsOf({ address, hosts }: Config['listen']['admin']): ReadonlySet<string> {
  const own = address === 'none' ? [] : [address.host.includes(':') ? `[${address.host}]` : address.host];
  return new Set([...own, ...hosts].map((host) => host.toLowerCase()));
}

function proxyOf(config: Config, deps: ListenersDeps): Listener | undefined {
  const { address, tls } = config.listen.proxy;
  if (deps.proxy === undefined || address === 'none') return undefined;
  const { receive, unread, unreadBytes, perClient } = config.bounds;
  const bounds = { headMsMax: receive / MILLISECOND, unreadMsMax: unread / MILLISECOND, unreadBytesMax: unreadBytes, perClientMax: perClient };
  const refusesAmbiguous = config.http.ambiguousPaths === 'refuse';
  const reading = deps.deferred && new ProxyReading({ ...deps, random: Math.random }, deps.deferred);
  return new ProxyListener({ ...deps, ...deps.proxy, ...bounds, refusesAmbiguous, address, ...engineTls(tls), random: Math.random, reading });
}

function grpcBounds({ bounds }: Config): GrpcBounds {
  return {
    streamsMax: bounds.grpcStreams,
    opensPerSecondMax: bounds.grpcOpens,
    resetsMax: bounds.grpcResets,
    bytesPerSecondMax: bounds.grpcBytes,
    firstMessageMs: bounds.firstMessage / MILLISECOND,
    unreadMs: bounds.unread / MILLISECOND,
    unreadBytesMax: bounds.unreadBytes,
  };
}

/** Logs connections that were closed for a flood: one line a second at most, which counts those since the last. */
function floodLog(log: Log): (kind: FloodKind, remoteAddress: string) => void {
  let until = 0;
  let count = 0;
  return (kind, remoteAddress) => {
    count += 1;
    const now = performance.now();
    if (now < until) return;
    until = now + 1_000;
    log.write('warn', 'grpc_flood', `closed ${count} gRPC connections for a flood of ${kind}, the last from ${remoteAddress}`, {
      kind,
      remoteAddress,
      connections: count,
    });
    count = 0;
  };
}

/** The texts of the PEM files. */
async function pem(tls: ListenerAddress['tls']) {
  if (tls === undefined) return {};
  const read = (path: string): Promise<string> =>
    readFile(path, 'utf8').catch((cause: unknown) => {
      throw new Error(`listen.grpc.tls: ${path} cannot be read.`, { cause });
    });
  const [cert, key] = [await read(tls.cert), await read(tls.key)];
  return { tls: tls.clientCa === undefined ? { cert, key } : { cert, key, clientCa: await read(tls.clientCa) } };
}

/** Protocols that share an HTTP address. */
class HttpFrontend implements Listener {
  readonly name: string;
  readonly #address: { readonly host: string; readonly port: number };
  readonly #engine: ReturnType<EngineFactory>;
  /** Answers gRPC at the same address; undefined: nothing does. */
  readonly grpc: Grpc | undefined;

  constructor(deps: {
    name: string;
    address: { host: string; port: number };
    tls: ListenerAddress['tls'];
    handler: EngineHandler;
    make: EngineFactory;
    config: Config;
    longBodies: LongBodies | undefined;
    grpc: Grpc | undefined;
  }) {
    const { name, address, tls, handler, make, config, longBodies, grpc } = deps;
    this.name = name;
    this.#address = address;
    this.grpc = grpc;
    const options: EngineOptions = {
      ...(grpc !== undefined && { http2: grpc.shared() }),
      // A message of the longest may be in an envelope.
      bodyBytesMax: config.bounds.body + ENVELOPE_BYTES,
      ...(longBodies !== undefined && { longBodies }),
      receiveMsMax: config.bounds.receive / MILLISECOND,
      unread: { bytesMax: config.bounds.unreadBytes, msMax: config.bounds.unread / MILLISECOND },
      problem: (status, detail, refused) => connectOversized(status, detail, refused) ?? engineProblem(status, detail),
      ...engineTls(tls),
    };
    this.#engine = make(options, handler);
  }

  async listen(): Promise<{ readonly address: string }> {
    const { host, port } = await this.#engine.listen(this.#address.host, this.#address.port);
    return { address: `${host.includes(':') ? `[${host}]` : host}:${port}` };
  }

  async drain(graceMs: Millis): Promise<void> {
    await Promise.all([this.#engine.close(graceMs), this.grpc?.drain(graceMs)]);
  }
}

/** A body that is too large for the listener, in Connect and gRPC-Web. */
function connectOversized(status: number, detail: string, refused: Refused | undefined): FaultBody | undefined {
  return status === 413 && refused?.path.startsWith('/sluice.v1.') === true ? oversizedBody(refused.contentType, detail) : undefined;
}

function engineTls(tls: ListenerAddress['tls']): Pick<EngineOptions, 'tls'> {
  if (tls === undefined) return {};
  const { cert, key, clientCa } = tls;
  return { tls: clientCa === undefined ? { cert, key } : { cert, key, clientCa } };
}

function dispatch(routes: readonly HttpHandler[]): EngineHandler {
  return (request, reply) => {
    const route = routes.find((each) => each.takes(request.path));
    if (route !== undefined) return route.handle(request, reply);
    const { contentType, body } = engineProblem(404, 'There is nothing at this path; see proto/sluice/v1 and docs for those there are.');
    reply.send(404, [['Content-Type', contentType]], body);
  };
}
