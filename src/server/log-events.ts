import type { ReplicaView } from '../admission/admission.ts';
import type { AdmissionEvent } from '../admission/deps.ts';
import type { GatewayQueueEvent } from '../api/gateway-queue.ts';
import type { Config } from '../config/load.ts';
import type { ReloadEvent } from '../config/watch.ts';
import type { GonePeer, ReplicaEvent } from '../coordination/replica.ts';
import { MILLISECOND, SECOND } from '../core/time.ts';
import type { DeferredEvent } from '../deferred/request-lifecycle.ts';
import type { LimitsEvent } from '../gateway-queue/session-limits.ts';
import type { ConnectionEvent } from '../nats/options.ts';
import type { ForwardEvent } from '../proxy/forwarding.ts';
import type { RelayEvent } from '../relay/relay.ts';
import type { Log } from '../telemetry/log.ts';

/*
 * What a server logs, beside what only replicas do (cluster-log.ts): one place for the names of events, their weight and
 * the sentence that a person reads. Names are noun_verb and stay the same; docs/operations.md lists them.
 */

/** Logs that a server takes callers now: where, with what, and whether anyone may come. */
export function logServing(
  log: Log,
  { version, config, addresses, guarded }: { version: string; config: Config; addresses: Readonly<Record<string, string>>; guarded: boolean },
): void {
  if (!guarded && (addresses['api'] ?? addresses['grpc']) !== undefined)
    log.write('warn', 'auth_missing', 'Any caller that reaches api or grpc may acquire; set auth.keys. Operators are answered on admin only.');
  const { revision, groups } = config;
  const where = Object.entries(addresses).map(([name, address]) => `${name} on ${address}`);
  const what = `Sluice ${version} serves ${groups.length} groups: ${where.join(', ')}.`;
  log.write('info', 'serving', what, { version, revision, groups: groups.length, ...addresses });
}

/** Logs the events of admission. */
export function logAdmissionEvent(log: Log, event: AdmissionEvent): void {
  switch (event.kind) {
    case 'lost':
      return log.write('error', 'leadership_lost', 'Another process took this store over (store.takeOver); this one decides nothing more and stops.', {
        err: event.cause,
      });
    case 'unstored':
      return log.write('error', 'ledger_unavailable', `The ledger of ${event.root} cannot be written; what needs it is refused until it can.`, {
        root: event.root,
        err: event.cause,
      });
    case 'stored':
      return log.write('info', 'ledger_available', `The ledger of ${event.root} can be written again.`, { root: event.root });
    case 'seal_failed':
      return log.write('error', 'seal_failed', `The last state of ${event.root} could not be written; the next start treats it as a crash.`, {
        root: event.root,
        err: event.cause,
      });
    case 'recovered':
      return logRecovery(log, event);
    case 'withdrawn': {
      const { group, waiting, leases } = event;
      const what = `Group ${group} was taken out of the configuration with ${waiting} waiting, who were refused, and ${leases} leases, which end by themselves.`;
      return log.write('warn', 'group_withdrawn', what, { group, waiting, leases });
    }
    case 'fault':
      return logUnexpectedError(log, event.cause);
  }
}

/** One line for dead letters of a group in this time. */
const DEAD_EVERY_MS = 10_000;

/** What deferred mode logs: outages and dead letters, not each request. */
export class DeferredLog {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #dead = new Map<string, { loggedAt: number; since: number }>();

  /** `nowMs`: any clock that never goes back. */
  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  take(event: DeferredEvent): void {
    const log = this.#log;
    switch (event.kind) {
      case 'loaded': {
        const { requests, armed } = event;
        if (requests === 0) return;
        const what = `${requests} stored requests wait for delivery; ${armed} may have been on their way when the last process ended and count as tried.`;
        return log.write('info', 'requests_loaded', what, { requests, armed });
      }
      case 'backend_down':
        return log.write('warn', 'backend_down', `Backend ${event.backend} is down: one stored request at a time probes it, the others wait.`, {
          backend: event.backend,
        });
      case 'backend_up':
        return log.write('info', 'backend_up', `Backend ${event.backend} answers again: its stored requests are sent.`, { backend: event.backend });
      case 'store_failed':
        return log.write('error', 'requests_unstored', 'The store for deferred requests cannot commit: submits are refused until it can.', {
          err: event.cause,
        });
      case 'store_works':
        return log.write('info', 'requests_stored', 'The store for deferred requests commits again.');
      case 'ended':
        if (event.state === 'dead') this.#died(event.group, event.error);
        return;
      default:
        return;
    }
  }

  #died(group: string, error: string): void {
    const now = this.#nowMs();
    const known = this.#dead.get(group) ?? { loggedAt: Number.NEGATIVE_INFINITY, since: 0 };
    this.#dead.set(group, known);
    known.since++;
    if (now - known.loggedAt < DEAD_EVERY_MS) return;
    const { since } = known;
    known.loggedAt = now;
    known.since = 0;
    const what = `${since} stored requests of group ${group} became dead letters, the last for ${error}; see \`sluice requests list --state dead --group ${group}\`.`;
    this.#log.write('warn', 'requests_dead', what, { group, error, dead: since });
  }
}

/** One line of a kind in this time. */
const QUEUE_EVERY_MS = 10_000;

/** What the gateway queue logs: its limits as they change, and what goes wrong, at most one line of a kind in 10 s. */
export class GatewayQueueLog {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #seen = new Map<string, { loggedAt: number; since: number }>();
  #limits = '';

  /** `nowMs`: any clock that never goes back. */
  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  take(event: GatewayQueueEvent | LimitsEvent): void {
    const log = this.#log;
    switch (event.kind) {
      case 'admitted':
        return;
      case 'wrong_shard': {
        const { what, refused } = event;
        const became = refused ? 'answered 400' : 'counted as shard 0';
        return this.#often('shard_wrong', (requests) => [
          `${requests} requests of the gateway queue name no shard (${became}), the last: ${what}.`,
          { what, requests },
        ]);
      }
      case 'closed': {
        const { reason } = event;
        return this.#often('gateway_caller_closed', (connections) => [
          `Closed ${connections} connections of the gateway queue without an answer, the last for ${reason}.`,
          { reason, connections },
        ]);
      }
      case 'limits_failed': {
        const { cause, failures, retryIn } = event;
        const why = cause instanceof Error ? cause.message : String(cause);
        const msg = `The session limits are not to be had: ${why}. No session start is added until they are; the next try is in ${Math.ceil(retryIn / SECOND)} s.`;
        return log.write('warn', 'session_limits_failed', msg, { failures, err: cause });
      }
      case 'limits_taken':
        return this.#taken(event.limits);
    }
  }

  #taken({ total, remaining, resetAfter, maxConcurrency }: Extract<LimitsEvent, { kind: 'limits_taken' }>['limits']): void {
    const limits = `${total} ${maxConcurrency}`;
    const msg = `Session limits: ${remaining} of ${total} starts are left for ${Math.round(resetAfter / SECOND)} s, ${maxConcurrency} at the same time.`;
    this.#log.write(limits === this.#limits ? 'debug' : 'info', 'session_limits_taken', msg, {
      total,
      remaining,
      resetAfterMs: resetAfter / MILLISECOND,
      maxConcurrency,
    });
    this.#limits = limits;
  }

  #often(event: string, line: (since: number) => readonly [msg: string, fields: Readonly<Record<string, unknown>>]): void {
    const now = this.#nowMs();
    const known = this.#seen.get(event) ?? { loggedAt: Number.NEGATIVE_INFINITY, since: 0 };
    this.#seen.set(event, known);
    known.since++;
    if (now - known.loggedAt < QUEUE_EVERY_MS) return;
    const [msg, fields] = line(known.since);
    known.loggedAt = now;
    known.since = 0;
    this.#log.write('warn', event, msg, fields);
  }
}

/** Logs an error that is a bug, or broken I/O. */
export function logUnexpectedError(log: Log, err: unknown): void {
  log.write('error', 'unexpected_error', `An unexpected error: ${err instanceof Error ? err.message : String(err)}`, { err });
}

/** After a crash: what it cost. After a clean stop: what goes on. */
function logRecovery(log: Log, { shard, trees, crashed, leases, bounds, heldFor }: Extract<AdmissionEvent, { kind: 'recovered' }>): void {
  const fields = { ...(shard === undefined ? {} : { shard }), trees, crashed, leases, bounds, heldForMs: Math.ceil(heldFor / MILLISECOND) };
  if (crashed === 0) return log.write(shard === undefined ? 'info' : 'debug', 'state_restored', `Exact state was restored: ${leases} leases live on.`, fields);
  const what =
    `The last process ended without a clean stop: ${crashed} trees of groups start with what may have been spent counted as spent ` +
    `(${bounds} recorded bounds; limits that recover within 3 s are used up), ${leases} leases live on, nothing is admitted for ${fields.heldForMs} ms.`;
  log.write('warn', 'crash_recovered', what, fields);
}

/** Logs what came of a reload. */
export function logReload(log: Log, event: ReloadEvent): void {
  if (event.kind === 'refused') {
    const { mistakes } = event;
    const more = mistakes.length > 1 ? ` (and ${mistakes.length - 1} more)` : '';
    const fields = { mistakes, advice: 'Nothing was changed.' };
    return log.write('error', 'reload_refused', `The configuration was not reloaded, nothing was changed: ${mistakes[0] ?? 'no reason given'}${more}`, fields);
  }
  if (event.kind === 'unthreaded') {
    const what = `No worker thread could be started to read the configuration (${event.cause.message}); callers wait while it is read.`;
    return log.write('warn', 'reload_unthreaded', what, { err: event.cause });
  }
  const { revision, groups, needRestart } = event;
  const waits = needRestart.length > 0 ? `; restart to change ${needRestart.join(', ')}` : '';
  const what = `The configuration was reloaded: revision ${revision}, ${groups} groups${waits}.`;
  log.write(needRestart.length > 0 ? 'warn' : 'info', 'reloaded', what, { revision, groups, needRestart });
}

/** A URL that fails and answers in turn is logged at most this often, in milliseconds. */
const FLAP_MS = 10_000;

/** URLs remembered at most; reloads can bring others without end. */
const URLS_MAX = 10_000;

/** Outcomes of an attempt that are not the backend's: the caller left, or its body broke off. */
const NOT_ITS_FAULT: ReadonlySet<string> = new Set(['aborted', 'sender']);

interface Failing {
  readonly sinceMs: number;
  attempts: number;
}

/** Logs what becomes of backends: the first attempt that fails and the first that is answered again, not each one between. */
export class BackendLog {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #failing = new Map<string, Failing>();
  readonly #loggedAt = new Map<string, number>();

  /** `nowMs` is a monotonic clock. */
  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** Takes one event of forwarding. */
  take(event: ForwardEvent): void {
    switch (event.kind) {
      case 'attempt':
        return this.#attempt(event);
      case 'ejected':
        return this.#log.write('warn', 'backend_ejected', `${event.url} of backend ${event.backend} gets no requests for a while.`, fieldsOf(event));
      case 'restored':
        return this.#log.write('info', 'backend_restored', `${event.url} of backend ${event.backend} gets requests again.`, fieldsOf(event));
      case 'pushback': {
        const pause = event.retryAfter === undefined ? '' : ` for ${(event.retryAfter / SECOND).toFixed(1)} s`;
        return this.#log.write('debug', 'backend_pushed_back', `Backend ${event.backend} asked for a pause${pause}.`, fieldsOf(event));
      }
      case 'cost_missing':
        return this.#log.write('debug', 'cost_missing', `A cost in ${event.unit} was not where route ${event.route} looks for it.`, fieldsOf(event));
    }
  }

  #attempt({ backend, url, outcome }: Extract<ForwardEvent, { kind: 'attempt' }>): void {
    const failing = this.#failing.get(url);
    if (outcome === 'answered') {
      if (failing !== undefined) this.#recovered(backend, url, failing);
      return;
    }
    if (NOT_ITS_FAULT.has(outcome)) return;
    if (failing !== undefined) {
      failing.attempts++;
      return;
    }
    const now = this.#nowMs();
    this.#failing.set(url, { sinceMs: now, attempts: 1 });
    if (this.#isQuiet(url, now)) return;
    if (this.#loggedAt.size >= URLS_MAX) this.#forgetAll();
    this.#loggedAt.set(url, now);
    this.#log.write('warn', 'backend_failed', `${url} of backend ${backend} does not answer: ${outcome}.`, { backend, url, outcome });
  }

  #recovered(backend: string, url: string, { sinceMs, attempts }: Failing): void {
    this.#failing.delete(url);
    const now = this.#nowMs();
    // Only an end whose beginning was logged.
    if ((this.#loggedAt.get(url) ?? -1) < sinceMs) return;
    const seconds = ((now - sinceMs) / 1000).toFixed(1);
    const what = `${url} of backend ${backend} answers again, after ${attempts} failed attempts in ${seconds} s.`;
    this.#log.write('info', 'backend_recovered', what, { backend, url, attempts, failedForMs: Math.round(now - sinceMs) });
  }

  #forgetAll(): void {
    this.#failing.clear();
    this.#loggedAt.clear();
  }

  #isQuiet(url: string, now: number): boolean {
    const last = this.#loggedAt.get(url);
    return last !== undefined && now - last < FLAP_MS;
  }
}

function fieldsOf({ kind: _, ...fields }: ForwardEvent): Readonly<Record<string, unknown>> {
  return fields;
}

/** A sentence for each change of a connection. */
const LINK: Readonly<Record<ConnectionEvent['kind'], (fields: Readonly<Record<string, unknown>>) => string>> = {
  waiting: ({ why }) => `NATS is not ready yet, and is tried again: ${why}`,
  connected: ({ line, server, again }) => `The ${line} connection to NATS is up${again === true ? ' again' : ''}: ${server}.`,
  disconnected: ({ line, server }) => `The ${line} connection to NATS broke (${server}); it is dialled again.`,
  leaving: ({ line, server }) => `NATS server ${server} is about to stop; the ${line} connection moves to another.`,
  unfit: ({ why }) => `NATS must not be built on as it is: ${why}`,
  refused: ({ why }) => `NATS refused something: ${why}`,
  closed: ({ line }) => `The ${line} connection to NATS is closed.`,
};

/** What becomes of the connections to NATS. */
export function logConnectionEvent(log: Log, change: ConnectionEvent): void {
  const { kind, ...fields } = change;
  const bad = kind === 'unfit' || kind === 'refused' ? 'error' : kind === 'disconnected' || kind === 'waiting' ? 'warn' : 'info';
  log.write(bad, `nats_${kind}`, LINK[kind](fields as Record<string, unknown>), fields);
}

/** What an operator of replicas looks for. */
export function logReplicaEvent(log: Log, event: ReplicaEvent): void {
  switch (event.kind) {
    case 'gained': {
      const { shard, leaderLease } = event.handle;
      return log.write('debug', 'shard_acquired', `Shard ${shard} is decided here, in term ${leaderLease.term}.`, { shard, term: String(leaderLease.term) });
    }
    case 'lost':
      return log.write('debug', 'shard_lost', `Shard ${event.shard} is not decided here any more.`, { shard: event.shard, term: String(event.term) });
    case 'seal':
      return log.write('debug', 'shard_sealing', `Shard ${event.shard} is being handed over.`, { shard: event.shard, term: String(event.term) });
    case 'reachable':
      if (event.reachable) return log.write('info', 'cluster_reached', 'A session of this replica is live in NATS: it may decide.');
      return log.write('warn', 'cluster_lost', 'No session of this replica is live in NATS: it decides nothing of what it had.');
    case 'trouble':
      return log.write('warn', 'cluster_trouble', sentence(event.what), { what: event.what, err: event.cause });
    case 'placed':
    case 'peers':
      return;
  }
}

/** What a replica that is ready reports of the others all the same; one line each. */
export function clusterWarnings(alone: boolean, replicas: readonly ReplicaView[]): readonly string[] {
  const own = replicas.find(({ self }) => self);
  const others = replicas.filter(({ revision, hash }) => revision !== own?.revision || hash !== own.hash);
  const runs = others.map(({ name, revision, hash }) => `cluster: ${name} runs revision ${revision} (${hash}), this one ${own?.revision} (${own?.hash})`);
  return alone ? ['cluster: unreachable', ...runs] : runs;
}

/** What becomes of the way to the other replicas. */
export function logRelayEvent(log: Log, event: Exclude<RelayEvent, { kind: 'degraded' }>): void {
  switch (event.kind) {
    case 'alone': {
      const { isIsolated, replicas } = event;
      if (!isIsolated) return log.write('info', 'cluster_rejoined', 'The other replicas are reached again.', { replicas });
      return log.write('warn', 'cluster_isolated', `No other replica is reached; groups go on as their \`unreachable\` says, as one of ${replicas}.`, {
        replicas,
      });
    }
    case 'instance_replaced':
      return log.write('warn', 'instance_replaced', 'The others had taken this process for dead; its callers are asked for again.', {
        instance: event.instance,
      });
    case 'trouble':
      return log.write('warn', 'relay_trouble', `In the traffic between replicas: ${event.what} failed.`, { what: event.what, err: event.cause });
  }
}

function sentence(text: string): string {
  return text.endsWith('.') ? text : `${text}.`;
}

/** Logs who joins and who is gone. A peer that leaves in order has given its shards away; one that dies, or is cut off, has not. */
export class PeerLog {
  readonly #log: Log;
  #known: ReadonlySet<string> = new Set();

  constructor(log: Log) {
    this.#log = log;
  }

  /** To be called at each change of the peers, with those that are there and those that are gone since the last call. */
  changed(peers: readonly { readonly replica: string; readonly instance: string }[], gone: readonly GonePeer[]): void {
    for (const { replica, instance, shards, leaving } of gone) {
      const fields = { replica, instance, shards };
      if (leaving && shards === 0) this.#log.write('info', 'peer_left', `Replica ${replica} has left; it decided nothing any more.`, fields);
      else this.#log.write('warn', 'peer_lost', `Replica ${replica} is silent: dead or cut off, with ${shards} shards to be taken over.`, fields);
    }
    for (const { replica, instance } of peers) {
      if (!this.#known.has(instance)) this.#log.write('info', 'peer_joined', `Replica ${replica} is there.`, { replica, instance });
    }
    this.#known = new Set(peers.map(({ instance }) => instance));
  }
}
