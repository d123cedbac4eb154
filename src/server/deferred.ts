import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import type { AdmissionService, GroupSettings } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import { StoredLines } from '../admission/stored-lines.ts';
import type { Tracer } from '../admission/tracing.ts';
import type { DeferredAccess } from '../api/deferred/access.ts';
import { type SubmitRoute, submitRoutesOf } from '../api/deferred/submit-routes.ts';
import type { Config } from '../config/load.ts';
import { MILLISECOND } from '../core/time.ts';
import { createCallbackTransport } from '../deferred/callback-transport.ts';
import { ClusterRequests } from '../deferred/cluster-requests.ts';
import type { DeferredRequests } from '../deferred/deferred.ts';
import type { DeferredFigures } from '../deferred/deferred-figures.ts';
import type { DeferredDeps, DeferredEvent } from '../deferred/request-lifecycle.ts';
import { createDeferred } from '../deferred/service.ts';
import type { LocalStore } from '../deferred/store.ts';
import { deferredFolder, openLmdbDeferred } from '../deferred/stores/lmdb.ts';
import { MemoryStore } from '../deferred/stores/memory.ts';
import { traceRequests } from '../deferred/traced-requests.ts';
import type { Forwarding } from '../proxy/forwarding.ts';
import type { ProxyOptions } from '../proxy/listener/listener.ts';
import type { Holder } from '../storage/store-lock.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ReplicaRequests } from './admission-stack.ts';
import type { CompiledRoutes } from './deferred-routes.ts';
import { DeferredLog } from './log-events.ts';

/** What deferred mode is opened with. */
export interface DeferredModeDeps {
  readonly admission: AdmissionService;
  readonly line: StoredLine;
  readonly replicas?: ReplicaRequests | undefined;
  readonly forwarding: Forwarding;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly holder: Holder;
  readonly onError: (error: unknown) => void;
  readonly routes: CompiledRoutes;
  /** Starts the spans of submissions; undefined: tracing is off. */
  readonly tracer?: Tracer | undefined;
}

/** Deferred requests of this process. */
export interface DeferredMode {
  /** For the protocols. */
  readonly access: DeferredAccess;
  /** For routes that store. */
  readonly storing: Omit<NonNullable<ProxyOptions['storing']>, 'scope'>;
  /** Routes and groups of another file, from now on. */
  replace(routes: CompiledRoutes, groups: readonly GroupSettings[]): void;
  /** Starts no attempt any more; those on their way have `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

/** Deferred requests, and how they end. */
interface OpenedRequests {
  readonly requests: DeferredRequests & { readonly figures: DeferredFigures };
  drain(graceMs: number): Promise<void>;
}

/** Whether requests are stored here, or were: some route stores them, or an earlier process left a store. */
export function keepsRequests({ store, cluster }: Config, { deferred }: CompiledRoutes): boolean {
  return deferred.size > 0 || (cluster === undefined && store.kind === 'disk' && existsSync(deferredFolder(store.path)));
}

/** Opens the store, reads what is pending, and begins to deliver. Rejects, saying what to do, when the store cannot be used. */
export async function openDeferredMode(config: Config, deps: DeferredModeDeps): Promise<DeferredMode> {
  const { log, metrics, clock, line, forwarding } = deps;
  let { routes } = deps;
  let submitRoutes = submitRoutesOf(routes.proxy);
  let groups = settingsByName(config.groups);
  const deferredLog = new DeferredLog(log, () => performance.now());
  const { inFlight, inFlightBytes, down } = config.deferred;
  let opened: OpenedRequests | undefined;
  const count = metrics.deferred(() => opened?.requests.figures ?? NOTHING);
  const common = {
    ...{ line, admission: deps.admission, forwarding, clock, onError: deps.onError },
    routes: () => routes.deferred,
    settings: (group: string) => groups.get(group),
    events: (event: DeferredEvent) => {
      count(event);
      deferredLog.take(event);
      // A shard that came with requests: of groups that are in the file, or not.
      if (event.kind === 'loaded' && event.requests > 0) setImmediate(() => opened !== undefined && logStranded());
    },
    defer: (run: () => void) => void setImmediate(run),
    random: Math.random,
    bounds: { inFlightMax: inFlight, inFlightBytesMax: inFlightBytes, downAfter: down.after, probeMs: down.probe / MILLISECOND },
  };
  opened = await (deps.replicas === undefined ? openAlone(config, common, deps) : openAmongReplicas(common, deps.replicas));
  const { requests: service, drain } = opened;
  const requests = deps.tracer === undefined ? service : traceRequests(service, deps.tracer);
  const stranded = new Set<string>();
  const logStranded = (): void => logStrandedGroups(log, service, groups, stranded);
  logStranded();
  const costMissing = (route: string, unit: string): void => {
    metrics.forward({ kind: 'cost_missing', route, unit, stage: 'ask' });
  };
  return {
    access: {
      requests,
      routes: () => submitRoutes,
      submitBytesMax: submitBytesOf(submitRoutes),
      counts: deps.replicas === undefined ? () => countsOf(service.figures) : undefined,
    },
    storing: { requests, nowMs: () => clock.epoch(clock.now()), costMissing },
    replace: (next, settings) => {
      routes = next;
      submitRoutes = submitRoutesOf(next.proxy);
      groups = settingsByName(settings);
      logStranded();
    },
    drain,
  };
}

type Common = Omit<DeferredDeps, 'store' | 'callbacks' | 'inFlight' | 'shared'>;

/** Requests in a store of this process's own. */
async function openAlone(config: Config, common: Common, deps: DeferredModeDeps): Promise<OpenedRequests> {
  const store = await openStore(config, deps);
  try {
    const requests = await createDeferred({ ...common, store, callbacks: createCallbackTransport() });
    return { requests, drain: (graceMs) => requests.drain(graceMs) };
  } catch (cause) {
    await store.close();
    throw cause;
  }
}

/** Requests that all replicas share over NATS. */
async function openAmongReplicas(common: Common, replicas: ReplicaRequests): Promise<OpenedRequests> {
  const nats = await replicas.open();
  const lines = new StoredLines({ line: common.line, shardOf: replicas.shardOf });
  const { edge, openStore: openShard, space } = nats;
  const requests = new ClusterRequests({
    ...{ ...common, edge, space, openStore: openShard, lines },
    ...{ ...replicas, transport: createCallbackTransport() },
  });
  const unwatch = replicas.watch(({ kind, shard, term, decides = () => true }) => {
    if (kind === 'handed') requests.handOver(shard, term);
    else if (kind === 'gained') requests.gained(shard, term, decides);
    else requests.lost(shard, term);
  });
  return {
    requests,
    drain: async (graceMs) => {
      await requests.drain(graceMs);
      unwatch();
      await nats.close();
    },
  };
}

function countsOf({ groups, ended }: DeferredFigures): { readonly pending: number; readonly dead: number } {
  let pending = 0;
  for (const group of groups.values()) pending += group.pending;
  return { pending, dead: ended.dead };
}

/** Logs whose requests wait for a group that is not in the file, once for each until it is back: they are neither refused nor lost. */
function logStrandedGroups(log: Log, service: OpenedRequests['requests'], groups: ReadonlyMap<string, GroupSettings>, logged: Set<string>): void {
  for (const group of logged) if (groups.has(group)) logged.delete(group);
  for (const [group, { pending }] of service.figures.groups) {
    if (groups.has(group) || logged.has(group)) continue;
    logged.add(group);
    const what = `${pending} stored requests wait for group ${group}, which is not in the configuration: bring it back, or cancel them.`;
    log.write('warn', 'requests_stranded', what, { group, pending });
  }
}

/** Longest submission: a body of 32 MiB in base64. It is held and read whole; larger ones stream to their route on the proxy. */
const SUBMIT_BYTES_MAX = 48 << 20;

/** JSON with the longest body in base64, and some room for the rest. */
function submitBytesOf(routes: readonly SubmitRoute[]): number {
  const longest = Math.max(1 << 20, ...routes.map(({ route }) => route.hold.bodyBytesMax));
  return Math.min(SUBMIT_BYTES_MAX, Math.ceil((longest * 4) / 3) + (64 << 10));
}

const NOTHING = { sending: 0, delayed: 0, ended: { done: 0, dead: 0, cancelled: 0 }, groups: new Map(), bytes: 0, bytesMax: 0, down: [] };

function openStore({ store }: Config, { holder }: DeferredModeDeps): Promise<LocalStore> {
  if (store.kind === 'memory') return Promise.resolve(new MemoryStore({ bytesMax: store.bytes }));
  return openLmdbDeferred(store.path, { holder, takeOver: store.takeOver }, { bytesMax: store.bytes });
}

function settingsByName(groups: readonly GroupSettings[]): ReadonlyMap<string, GroupSettings> {
  return new Map(groups.map((group) => [group.spec.name, group]));
}
