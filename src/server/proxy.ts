import { readFile } from 'node:fs/promises';
import { BlockList } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GroupSettings } from '../admission/admission.ts';
import type { BackendOptions } from '../config/backend-options.ts';
import { routeName } from '../config/check-routes.ts';
import type { Config } from '../config/load.ts';
import type { RouteOptions } from '../config/route-options.ts';
import { type Micros, SECOND } from '../core/time.ts';
import type { ProxyRoute } from '../deferred/proxy-route.ts';
import type { Forwarding, ForwardingOptions } from '../proxy/forwarding.ts';
import { createForwarding } from '../proxy/forwarding-service.ts';
import type { BackendSpec, CostRule, Route } from '../proxy/route.ts';
import { createUndiciForwarder } from '../proxy/upstream/undici.ts';

/** A forwarded request's lease is renewed while it runs, so it need not be long: what a process that died held is free soon after (docs/design/coordination.md, decision 7). */
const LEASE_MAX: Micros = 10 * SECOND;

/** The parts of a configuration that forwarding is made of. */
export interface ForwardingConfig {
  readonly backends: ReadonlyMap<string, BackendOptions>;
  readonly routes: readonly RouteOptions[];
  readonly groups: readonly GroupSettings[];
}

/** What forwarding needs besides the configuration. */
export type ProxyDeps = Pick<ForwardingOptions, 'admission' | 'clock' | 'random' | 'events' | 'tracer' | 'onError'>;

/** Forwarding, or undefined where no proxy listens and none is needed for stored requests (`wanted`). Rejects with what to do when a file or the folder for bodies cannot be had. */
export async function openForwarding(config: Config, wanted: boolean, deps: ProxyDeps): Promise<Forwarding | undefined> {
  if (config.listen.proxy.address === 'none' && !wanted) return undefined;
  const { memory, disk, path } = config.bodies;
  return createForwarding({
    ...deps,
    backends: await compileBackends(config),
    forwarder: createUndiciForwarder,
    hold: {
      memoryBytesMax: memory,
      diskBytesMax: disk,
      folder: path ?? (config.store.kind === 'disk' ? join(config.store.path, 'bodies') : join(tmpdir(), 'sluice-bodies')),
    },
  });
}

/** Backends as forwarding takes them. Rejects when a file with authorities cannot be read. */
export async function compileBackends({ backends }: Pick<ForwardingConfig, 'backends'>): Promise<readonly BackendSpec[]> {
  return Promise.all(
    [...backends].map(async ([name, { urls, timeout, concurrency, onAbort, ca, ejection, queue, resolve, quotaHeaders }]) => ({
      name,
      urls,
      timeout,
      concurrency,
      onAbort,
      eject: ejection,
      queue: { requestsMax: queue.requests, wait: queue.wait },
      resolveEvery: resolve,
      quotaHeaders: quotaHeaders && {
        remaining: quotaHeaders.remaining?.toLowerCase(),
        reset: quotaHeaders.reset?.toLowerCase(),
        retryAfter: quotaHeaders.retryAfter?.toLowerCase(),
      },
      tls: ca === undefined ? undefined : { ca: await authorities(name, ca), cert: undefined, key: undefined, servername: undefined },
    })),
  );
}

/** Routes as the listener takes them, in their order. The configuration must have been read without a mistake. */
export function compileRoutes({ routes, groups }: Omit<ForwardingConfig, 'backends'>): readonly ProxyRoute[] {
  const named = new Map(groups.map((group) => [group.spec.name, group]));
  return routes.map((options, index) => {
    const { match, refusal, key, group } = options;
    // A limit takes every spelling that may reach what it guards; what passes free takes its own alone.
    const usual = group === undefined ? 'exact' : 'any';
    const { host, path, methods, header: headers } = match;
    return {
      match: { host, path, methods, headers, exactCase: (match.case ?? usual) === 'exact', exactSlash: (match.slash ?? usual) === 'exact' },
      route: compileRoute(options, index, options.group === undefined ? undefined : named.get(options.group)),
      refusal,
      trusted: listOf(options.trustedProxies),
      needsCaller: key?.from === 'caller',
      deferred: undefined,
    };
  });
}

function compileRoute(options: RouteOptions, index: number, group: GroupSettings | undefined): Route {
  const { body, charge } = options;
  return {
    name: routeName(options, index),
    backend: options.backend,
    admission: group && {
      group: group.spec.name,
      key: options.key,
      priorityClass: options.class,
      classes: new Set(group.priority.classes.keys()),
      costs: [...options.costs].map(([unit, cost]) => compileCost(unit, cost)),
      wait: group.wait.default,
      lease: Math.min(group.lease.default, LEASE_MAX),
      charge,
      pushbackMax: group.pushback.max,
    },
    hold: {
      bodyBytesMax: body.max,
      memoryBytesMax: body.memory,
      groupBytesMax: group?.spec.backlog.bytes ?? body.max,
      receiveMax: body.receive,
      bytesPerSecondMin: body.rate,
    },
    attemptsMax: options.attempts,
    drops: dropsOf(options.dropHeaders),
  };
}

function dropsOf(patterns: RouteOptions['dropHeaders']): Route['drops'] {
  if (patterns.length === 0) return undefined;
  const ends = (pattern: string): boolean => pattern.endsWith('*');
  return { names: new Set(patterns.filter((each) => !ends(each))), prefixes: patterns.filter(ends).map((each) => each.slice(0, -1)) };
}

type CostOptions = RouteOptions['costs'] extends ReadonlyMap<string, infer V> ? V : never;

function compileCost(unit: string, { ask, default: usual, settle }: CostOptions): CostRule {
  if (ask?.from === 'value') return { unit, ask: undefined, fallback: ask.value, settle };
  return { unit, ask, fallback: usual, settle };
}

/** Addresses of an option, to look one up in. */
export function listOf(ranges: RouteOptions['trustedProxies']): BlockList {
  const list = new BlockList();
  for (const { address, bits, family } of ranges) list.addSubnet(address, bits, family);
  return list;
}

function authorities(name: string, path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Error(`backends.${name}.ca: ${path} cannot be read.`, { cause });
  });
}
