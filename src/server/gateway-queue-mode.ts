import { performance } from 'node:perf_hooks';
import type { AdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { GatewayQueueListenerOptions } from '../api/gateway-queue.ts';
import { SESSION_STARTS } from '../config/gateway-queue-options.ts';
import type { Config } from '../config/load.ts';
import { resolveSecrets, type SecretSources } from '../config/secrets.ts';
import { discordLimits } from '../gateway-queue/discord-limits.ts';
import { GatewayQueue } from '../gateway-queue/gateway-queue.ts';
import { type LimitsSource, SessionLimits, type SessionStartLimit } from '../gateway-queue/session-limits.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Closer } from './admission-stack.ts';
import { GatewayQueueLog } from './log-events.ts';

/** What the gateway queue is opened with. */
export interface GatewayQueueModeDeps {
  readonly admission: AdmissionService;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly secrets: SecretSources;
  /** Of this package. */
  readonly version: string;
  /** Closes what was opened if the start fails. */
  readonly opened: Closer[];
}

/** The gateway queue of this process. */
export interface GatewayQueueMode {
  /** For its listener. */
  readonly listening: Pick<GatewayQueueListenerOptions, 'queue' | 'clock' | 'variant' | 'strict' | 'closeAfter' | 'onEvent'>;
  /** Why callers should go elsewhere; undefined: ready. */
  notReady(): string | undefined;
  /** What a reload takes; the groups have been changed before. */
  replace(next: Config): void;
  /** Stops fetching limits. */
  stop(): void;
}

/** Opens the gateway queue; undefined: it has no listener. Rejects, saying what to do, if the token cannot be had. */
export async function openGatewayQueue(config: Config, deps: GatewayQueueModeDeps): Promise<GatewayQueueMode | undefined> {
  if (config.listen.gatewayQueue.address === 'none') return undefined;
  const { gatewayQueue: options } = config;
  const { admission, clock, log, metrics } = deps;
  const source = await sourceOf(config, deps);
  const queue = new GatewayQueue({
    ...{ admission, clock, group: options.group, returnWithin: options.returnWithin, callersMax: options.backlog },
    maxConcurrency: source === undefined ? options.maxConcurrency : undefined,
    spacing: options.period + options.slack,
  });
  let last: SessionStartLimit | undefined;
  const count = metrics.gatewayQueue(() => ({ held: queue.held, maxConcurrency: queue.maxConcurrency, starts: last }));
  const queueLog = new GatewayQueueLog(log, () => performance.now());
  const onEvent = (event: Parameters<typeof count>[0] & Parameters<GatewayQueueLog['take']>[0]): void => {
    count(event);
    queueLog.take(event);
  };
  const limits = source && limitsOf(config, deps, { source, queue, onEvent, seen: (limits) => (last = limits) });
  deps.opened.push(async () => limits?.stop());
  limits?.start();
  return {
    listening: {
      ...{ queue, clock, onEvent, variant: options.variant, closeAfter: options.closeAfter },
      strict: (options.shards ?? (options.variant === 'pluralkit' ? 'strict' : 'lenient')) === 'strict',
    },
    notReady: () => (queue.maxConcurrency === undefined ? 'the session limits are not known yet: callers of the gateway queue are held' : undefined),
    replace: ({ gatewayQueue: next }) => {
      queue.rebound({ spacing: next.period + next.slack, callersMax: next.backlog });
      if (source === undefined) queue.setMaxConcurrency(next.maxConcurrency);
    },
    stop: () => limits?.stop(),
  };
}

function limitsOf(
  { gatewayQueue: options }: Config,
  { admission, clock }: GatewayQueueModeDeps,
  deps: {
    source: LimitsSource;
    queue: GatewayQueue;
    onEvent: ConstructorParameters<typeof SessionLimits>[0]['onEvent'];
    seen: (limits: SessionStartLimit) => void;
  },
): SessionLimits {
  const { source, queue, onEvent, seen } = deps;
  return new SessionLimits({
    ...{ source, admission, clock, onEvent, group: options.group, limit: SESSION_STARTS, random: Math.random },
    ...{ refresh: options.refresh, countedWithin: options.countedWithin },
    taken: (fetched) => {
      seen(fetched);
      queue.setMaxConcurrency(fetched.maxConcurrency);
    },
  });
}

/** What is asked for session limits; undefined: there is no token. */
async function sourceOf({ gatewayQueue: { token, limitsUrl: url } }: Config, { secrets, version }: GatewayQueueModeDeps): Promise<LimitsSource | undefined> {
  if (token === undefined) return undefined;
  const mistakes: string[] = [];
  const [found] = await resolveSecrets('gatewayQueue.token', [token], secrets, mistakes);
  if (found === undefined || !/^[\x21-\x7e ]+$/.test(found)) throw new Error(mistakes[0] ?? 'gatewayQueue.token: it has characters that no token has');
  return discordLimits({ url, token: found, version });
}
