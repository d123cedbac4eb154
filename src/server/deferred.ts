import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import type { AdmissionService, GroupSettings } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { StoredLine } from '../admission/stored-line.ts';
import type { DeferredAccess } from '../api/deferred/access.ts';
import { type SubmitRoute, submitRoutesOf } from '../api/deferred/submit-routes.ts';
import type { Config } from '../config/load.ts';
import { MILLISECOND } from '../core/time.ts';
import { createCallbackTransport } from '../deferred/callback-transport.ts';
import { createDeferred, type DeferredService } from '../deferred/service.ts';
import type { DeferredStore } from '../deferred/store.ts';
import { deferredFolder, openLmdbDeferred } from '../deferred/stores/lmdb.ts';
import { MemoryStore } from '../deferred/stores/memory.ts';
import type { Forwarding } from '../proxy/forwarding.ts';
import type { ProxyOptions } from '../proxy/listener/listener.ts';
import type { Holder } from '../storage/store-lock.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { CompiledRoutes } from './deferred-routes.ts';
import { DeferredLog } from './log-events.ts';

/** What deferred mode is opened with. */
export interface DeferredModeDeps {
  readonly admission: AdmissionService;
  readonly line: StoredLine | undefined;
  readonly forwarding: Forwarding;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly holder: Holder;
  readonly onFault: (error: unknown) => void;
  readonly routes: CompiledRoutes;
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

/** Whether requests are stored here, or were: some route stores them, or an earlier process left a store. */
export function keepsRequests({ store }: Config, { deferred }: CompiledRoutes): boolean {
  return deferred.size > 0 || (store.kind === 'disk' && existsSync(deferredFolder(store.path)));
}

/** Opens the store, reads what is pending, and begins to deliver. Rejects, saying what to do, when the store cannot be used. */
export async function openDeferredMode(config: Config, deps: DeferredModeDeps): Promise<DeferredMode> {
  const { log, metrics, clock, line, forwarding } = deps;
  if (line === undefined) throw new Error(AMONG_REPLICAS);
  let { routes } = deps;
  let submitRoutes = submitRoutesOf(routes.proxy);
  let groups = settingsByName(config.groups);
  const deferredLog = new DeferredLog(log, () => performance.now());
  const store = await openStore(config, deps);
  const { inFlight, down } = config.deferred;
  let requests: DeferredService | undefined;
  const count = metrics.deferred(() => requests?.figures ?? NOTHING);
  try {
    requests = await createDeferred({
      store,
      line,
      admission: deps.admission,
      forwarding,
      clock,
      routes: () => routes.deferred,
      settings: (group) => groups.get(group),
      events: (event) => {
        count(event);
        deferredLog.take(event);
      },
      onFault: deps.onFault,
      defer: (run) => void setImmediate(run),
      random: Math.random,
      callbacks: createCallbackTransport(),
      bounds: { inFlightMax: inFlight, downAfter: down.after, probeMs: down.probe / MILLISECOND },
    });
  } catch (cause) {
    await store.close();
    throw cause;
  }
  const service = requests;
  tellStranded(log, service, groups);
  const costMissing = (route: string, unit: string): void => {
    metrics.forward({ kind: 'cost_missing', route, unit, stage: 'ask' });
  };
  return {
    access: { requests: service, routes: () => submitRoutes, submitBytesMax: submitBytesOf(submitRoutes) },
    storing: { requests: service, nowMs: () => clock.epoch(clock.now()), costMissing },
    replace: (next, settings) => {
      routes = next;
      submitRoutes = submitRoutesOf(next.proxy);
      groups = settingsByName(settings);
      tellStranded(log, service, groups);
    },
    drain: (graceMs) => service.drain(graceMs),
  };
}

/** Says whose requests wait for a group that is not in the file: they are neither refused nor lost. */
function tellStranded(log: Log, service: DeferredService, groups: ReadonlyMap<string, GroupSettings>): void {
  for (const [group, { pending }] of service.figures.groups) {
    if (groups.has(group)) continue;
    const what = `${pending} stored requests wait for group ${group}, which is not in the configuration: bring it back, or cancel them.`;
    log.tell('warn', 'requests_stranded', what, { group, pending });
  }
}

/** Longest submission: a body of 32 MiB in base64. It is held and read whole; larger ones stream to their route on the proxy. */
const SUBMIT_BYTES_MAX = 48 << 20;

/** JSON with the longest body in base64, and some room for the rest. */
function submitBytesOf(routes: readonly SubmitRoute[]): number {
  const longest = Math.max(1 << 20, ...routes.map(({ route }) => route.hold.bodyBytesMax));
  return Math.min(SUBMIT_BYTES_MAX, Math.ceil((longest * 4) / 3) + (64 << 10));
}

const AMONG_REPLICAS = 'Deferred requests are kept by one node as yet: take `cluster` out, or the routes with mode: deferred and respondAsync.';
const NOTHING = { sending: 0, delayed: 0, ended: { done: 0, dead: 0, cancelled: 0 }, groups: new Map(), bytes: 0, bytesMax: 0, down: [] };

function openStore({ store }: Config, { holder }: DeferredModeDeps): Promise<DeferredStore> {
  if (store.kind === 'memory') return Promise.resolve(new MemoryStore({ bytesMax: store.bytes }));
  return openLmdbDeferred(store.path, { holder, takeOver: store.takeOver }, { bytesMax: store.bytes });
}

function settingsByName(groups: readonly GroupSettings[]): ReadonlyMap<string, GroupSettings> {
  return new Map(groups.map((group) => [group.spec.name, group]));
}
