import { readFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GroupSettings } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Pace } from '../admission/pace.ts';
import { ActivityLog } from '../api/activity-log.ts';
import { type Auth, allowAnonymous, createAuth, scopedAsks, withAuthorization } from '../api/auth.ts';
import type { OperatorEvent } from '../api/operator-event.ts';
import type { RateLimitRules } from '../api/rate-limit-rules.ts';
import type { RateLimitAccess } from '../api/rate-limit-service.ts';
import { traceAdmission } from '../api/traced-admission.ts';
import type { Config } from '../config/load.ts';
import type { Variables } from '../config/overlay.ts';
import { resolveKeys, type SecretSources } from '../config/secrets.ts';
import type { ReloadEvent } from '../config/watch.ts';
import { MILLISECOND } from '../core/time.ts';
import { createRandom } from '../platform/random.ts';
import type { ClockSources } from '../platform/system-clock.ts';
import type { Forwarding } from '../proxy/forwarding.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { tracingOptions } from '../telemetry/tracing-options.ts';
import type { AdmissionStack, AdmissionStackDeps, Closer } from './admission-stack.ts';
import { type DeferredMode, type DeferredModeDeps, keepsRequests, openDeferredMode } from './deferred.ts';
import { type CompiledRoutes, compileAllRoutes } from './deferred-routes.ts';
import { type GatewayQueueMode, openGatewayQueue } from './gateway-queue-mode.ts';
import { checkAddresses, type Listeners, openListeners } from './listeners.ts';
import { BackendLog, logReload, logServing, logUnexpectedError } from './log-events.ts';
import { logOperator } from './operator-log.ts';
import { compileBackends, openForwarding, type ProxyDeps } from './proxy.ts';
import { compileRateLimitRules } from './rate-limit-rules.ts';
import { openSingleNode } from './single-node.ts';

/** What a server needs from the process it runs in. */
export interface ServeOptions {
  readonly env: Variables;
  readonly clocks: ClockSources;
  readonly logTo: Writable;
  readonly version: string;
  readonly nodeVersion: string;
  /** Id of this process, reported to another that finds the store in use. */
  readonly pid?: number | undefined;
  /** Aborts when the start is to be given up: it then rejects soon. */
  readonly stopping?: AbortSignal | undefined;
}

/** A server that serves. */
export interface RunningServer {
  /** Where each listener takes callers, by its name under `listen`. */
  readonly addresses: Readonly<Record<string, string>>;
  /** Resolves when this process may decide nothing more and should end: a newer one took its store. */
  readonly lost: Promise<Error>;
  /** Puts what a reload takes in force, wholly or not at all; answers what cannot be done. */
  reload(next: Config): Promise<readonly string[]>;
  /** When the next step of reading another configuration may be taken. */
  readonly pace: Pace;
  /** Logs what came of a reload. */
  onReload(event: ReloadEvent): void;
  /** Not ready but serving for `drain.delay`, then those held stay until `drain.grace` ends; all is closed and sealed. `atOnce`: without either. */
  drain(atOnce?: boolean): Promise<void>;
}

/**
 * Builds every part and joins them: storage, clock, the right to decide, ledger, admission, front ends. Rejects with what to
 * do when one of them cannot be had; what was opened before it is closed again.
 */
export async function serve(config: Config, options: ServeOptions): Promise<RunningServer> {
  const log = createLog(config.log.level, options.logTo);
  const opened: Closer[] = [];
  try {
    return await build(config, options, log, opened);
  } catch (cause) {
    for (const close of opened.reverse()) await close().catch(() => {});
    throw cause;
  }
}

async function build(config: Config, options: ServeOptions, log: Log, opened: Closer[]): Promise<RunningServer> {
  const auth = createAuth(await credentials(config, options));
  const routes = await compileAllRoutes(config, secretSources(options));
  await checkAddresses(config);
  const { env, clocks, version, nodeVersion, pid, stopping } = options;
  const toOpen = { env, clocks, version, nodeVersion, pid, stopping, log, opened };
  const stack = await (config.cluster === undefined ? openSingleNode(config, toOpen) : openCluster(config, config.cluster, toOpen));
  const { metrics, clock } = stack;
  const tracing = await openTracing(options, log, opened);
  const admission = tracing === undefined ? stack.admission : traceAdmission(stack.admission, tracing.tracer);
  const state: State = { revision: config.revision, notReady: 'starting', refusals: refusalsOf(config), rateLimits: compileRateLimitRules(config) };
  const onError = (error: unknown): void => logUnexpectedError(log, error);
  const keeps = keepsRequests(config, routes);
  // Routes define which caller may go where; a caller that shows a credential is held to it.
  const forwarded = { admission: scopedAsks(admission, allowAnonymous(auth)), clock, tracer: tracing?.tracer, onError };
  const forwarding = await openProxy(config, keeps, forwarded, { log, metrics, opened });
  const deferred = keeps
    ? await openDeferred(config, { ...stack, tracer: tracing?.tracer, log, onError, routes, forwarding, holder: { pid, address: 'this process' } }, opened)
    : undefined;
  const gatewayQueue = await openGatewayQueue(config, { admission, clock, log, metrics, version, opened, secrets: secretSources(options) });
  const activity = new ActivityLog();
  const listeners = await openListeners(config, {
    admission: withAuthorization(admission, auth),
    auth,
    ...{ log, version, onError, revision: () => state.revision },
    activity,
    onOperator: (event) => keepOperator(event, { log, activity, clock }),
    refusalOf: (group) => state.refusals.get(group),
    deferred: deferred?.access,
    tracing: tracing !== undefined,
    rateLimit: rateLimitOf(state, metrics.rateLimited),
    proxy: forwarding && {
      routes: routes.proxy,
      forwarding,
      auth,
      storing: deferred && { ...deferred.storing, ...allowAnonymous(auth) },
      onClientLimit: (what) => metrics.forward({ kind: 'client_limit', what }),
    },
    gatewayQueue: gatewayQueue?.listening,
    onShed: metrics.connectionShed,
    health: { notReady: () => state.notReady ?? gatewayQueue?.notReady(), remarks: stack.remarks, metrics: () => metrics.scrape(), onError },
  });
  await stack.serving?.(listeners.addresses);
  state.notReady = undefined;
  logServing(log, { version, config, addresses: listeners.addresses, guarded: auth.demanded });
  return {
    addresses: listeners.addresses,
    ...{ lost: stack.lost, pace: stack.pace },
    onReload: (event) => logReload(log, event),
    reload: async (next) => {
      const taken = await reload(next, { options, log, auth, admission: stack, forwarding, stores: deferred !== undefined, state });
      if (!('proxy' in taken)) return taken;
      state.revision = next.revision;
      deferred?.replace(taken, next.groups);
      gatewayQueue?.replace(next);
      listeners.reroute(taken.proxy);
      return [];
    },
    drain: drainer({ config, log, admission: stack, forwarding, deferred, gatewayQueue, listeners, tracing, notReady: () => (state.notReady = 'draining') }),
  };
}

/** Logs what an operator did, and keeps it. Returns the id of its entry. */
function keepOperator(event: OperatorEvent, { log, activity, clock }: { readonly log: Log; readonly activity: ActivityLog; readonly clock: Clock }): string {
  const text = logOperator(log, event);
  const { caller: who, kind: what, group, reason = '', refused = '' } = event;
  return activity.add({ at: clock.epoch(clock.now()), who, what, group, reason, text, refused });
}

/** Forwarding with its metrics and its log; closed again when the start fails. undefined: nothing is forwarded, and nothing stored. */
async function openProxy(
  config: Config,
  keeps: boolean,
  deps: Omit<ProxyDeps, 'random' | 'events'>,
  { log, metrics, opened }: Pick<AdmissionStackDeps, 'log' | 'opened'> & Pick<AdmissionStack, 'metrics'>,
): Promise<Forwarding | undefined> {
  const backendLog = new BackendLog(log, () => performance.now());
  const events: ProxyDeps['events'] = (event) => {
    metrics.forward(event);
    backendLog.take(event);
  };
  const forwarding = await openForwarding(config, keeps, { ...deps, random: createRandom(), events });
  if (forwarding !== undefined) {
    opened.push(() => forwarding.close(0));
    metrics.holding(() => forwarding.held);
  }
  return forwarding;
}

/** What changes while it serves. */
interface State {
  revision: number;
  notReady: string | undefined;
  refusals: Refusals;
  rateLimits: RateLimitRules | undefined;
}

/** The rate limit service with the rules of the last reload; undefined: it is not configured. */
function rateLimitOf(state: State, onAnswer: RateLimitAccess['onAnswer']): Pick<RateLimitAccess, 'rules' | 'onAnswer'> | undefined {
  const { rateLimits } = state;
  return rateLimits && { rules: () => state.rateLimits ?? rateLimits, onAnswer };
}

/** What is drained, and what is notified of it. */
interface Drained {
  readonly config: Config;
  readonly log: Log;
  readonly admission: AdmissionStack;
  readonly forwarding: Forwarding | undefined;
  readonly deferred: DeferredMode | undefined;
  readonly gatewayQueue: GatewayQueueMode | undefined;
  readonly listeners: Listeners;
  readonly tracing: Tracing | undefined;
  readonly notReady: () => void;
}

function drainer({ config, log, admission, forwarding, deferred, gatewayQueue, listeners, tracing, notReady }: Drained): RunningServer['drain'] {
  let closing: Promise<void> | undefined;
  return async (atOnce = false) => {
    const [delay, grace] = atOnce ? [0, 0] : [config.drain.delay / MILLISECOND, config.drain.grace / MILLISECOND];
    const what = `Not ready any more: serves on for ${delay / 1000} s, then refuses new callers; callers that wait have up to ${grace / 1000} s.`;
    log.write('info', 'draining', what, { delayMs: delay, graceMs: grace });
    notReady();
    listeners.leaving();
    if (delay > 0) await sleep(delay);
    // Those held are answered by admission; then their connections can end.
    await Promise.all([admission.drain(grace * MILLISECOND), listeners.drain(grace + LAST_ANSWERS_MS), deferred?.drain(grace)]);
    // A second signal drains again, without wait timeout.
    closing ??= forwarding?.close(LAST_ANSWERS_MS * MILLISECOND);
    await closing;
    gatewayQueue?.stop();
    await admission.close();
    await tracing?.close(LAST_SPANS_MS);
    log.write('info', 'stopped', 'All callers are answered and the state is written.');
  };
}

/** What replicas need of NATS is loaded with them only. */
async function openCluster(config: Config, cluster: NonNullable<Config['cluster']>, deps: AdmissionStackDeps): Promise<AdmissionStack> {
  return (await import('./cluster.ts')).openClusterAdmission(config, cluster, deps);
}

/** Tracing as the standard variables of OpenTelemetry say; undefined: off, and none of its code is loaded. */
async function openTracing({ env, version }: ServeOptions, log: Log, opened: Closer[]): Promise<Tracing | undefined> {
  const options = tracingOptions(env);
  if (options === undefined) return undefined;
  const tracing = (await import('../telemetry/tracing.ts')).openTracing(options, { version, log, nowMs: () => performance.now() });
  opened.push(() => tracing.close(0));
  return tracing;
}

/** The last spans have this long to reach their collector. */
const LAST_SPANS_MS = 2_000;

/** The last refusals of a drain have this long to reach their callers. */
const LAST_ANSWERS_MS = 1000;

type Refusals = ReadonlyMap<string, GroupSettings['refusal']>;

function refusalsOf(config: Config): Refusals {
  return new Map(config.groups.map(({ spec, refusal }) => [spec.name, refusal]));
}

async function credentials(config: Config, options: Pick<ServeOptions, 'env'>) {
  const { keys, mistakes } = await resolveKeys(config.auth.keys, secretSources(options));
  if (mistakes.length > 0) throw new Error(mistakes.join('; '));
  return keys;
}

function secretSources({ env }: Pick<ServeOptions, 'env'>): SecretSources {
  return { env, readFile: (path) => readFile(path, 'utf8') };
}

/** What a reload changes. */
interface Reloading {
  readonly options: ServeOptions;
  readonly log: Log;
  readonly auth: Auth;
  readonly admission: AdmissionStack;
  readonly forwarding: Forwarding | undefined;
  /** Requests are stored here. */
  readonly stores: boolean;
  readonly state: State;
}

/** Deferred requests; closed again when the start fails. */
async function openDeferred(
  config: Config,
  deps: Omit<DeferredModeDeps, 'forwarding'> & { readonly forwarding: Forwarding | undefined },
  opened: Closer[],
): Promise<DeferredMode> {
  const { forwarding } = deps;
  if (forwarding === undefined) throw new Error('forwarding is not open');
  const mode = await openDeferredMode(config, { ...deps, forwarding });
  opened.push(() => mode.drain(0));
  return mode;
}

/** What may be refused or fail comes first, so that all of it is taken or nothing. */
async function reload(next: Config, { options, log, auth, admission, forwarding, stores, state }: Reloading): Promise<readonly string[] | CompiledRoutes> {
  const routes = await compileAllRoutes(next, secretSources(options)).catch((cause: Error) => cause);
  if (routes instanceof Error) return [routes.message];
  if (routes.deferred.size > 0 && !stores) return ['routes: the first route that stores requests takes a restart'];
  // Whether the service is there was settled at the start.
  if ((next.envoy === undefined) !== (state.rateLimits === undefined)) return ['envoy: from none to some, or from some to none, takes a restart'];
  const keys = await credentials(next, options).catch((cause: Error) => cause);
  if (keys instanceof Error) return [keys.message];
  // Who may call GroupService on api and grpc was settled at the start.
  if (keys.length > 0 !== auth.demanded) return ['auth.keys: from no keys to some, or from some to none, takes a restart'];
  const backends =
    forwarding &&
    (await compileBackends(next)
      .then((specs) => forwarding.prepare(specs))
      .catch((cause: Error) => cause));
  if (backends instanceof Error) return [backends.message];
  const refused = await admission.reconfigure(next);
  if (refused.length > 0) return refused;
  auth.replace(keys);
  backends?.();
  state.refusals = refusalsOf(next);
  state.rateLimits = compileRateLimitRules(next);
  log.setLevel(next.log.level);
  return routes;
}
