import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { AdmissionService, GroupSettings } from '../admission/admission.ts';
import { type Clock, createTreeClock } from '../admission/clock.ts';
import type { AdmissionDeps } from '../admission/deps.ts';
import { LocalAdmission } from '../admission/local-admission.ts';
import type { Pace } from '../admission/pace.ts';
import type { Config } from '../config/load.ts';
import { resolveLogin } from '../config/secrets.ts';
import type { Coordinator } from '../coordination/coordinator.ts';
import { scheduleHourly } from '../coordination/membership/session-gc.ts';
import type { Revision } from '../coordination/membership/session-record.ts';
import { type Replica, type ReplicaEvent, sleep, type Timers } from '../coordination/replica.ts';
import { createReplica } from '../coordination/replica-driver.ts';
import { TIMING } from '../coordination/timing.ts';
import { SHARDS, shardOf } from '../core/sharding.ts';
import { DISTANT_PAST, MILLISECOND, type Micros, NEVER } from '../core/time.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { createLedger } from '../ledger/log-ledger.ts';
import { MemoryStore } from '../ledger/stores/memory.ts';
import type { Store } from '../ledger/stores/store.ts';
import { checkSynced } from '../nats/durability.ts';
import type { NatsOptions } from '../nats/options.ts';
import { createSystemClock, type SystemClock } from '../platform/system-clock.ts';
import { createTimers, uptime } from '../platform/timers.ts';
import { Relay, type RelayBounds } from '../relay/relay.ts';
import { instrumentClock, instrumentStore } from '../telemetry/instrumented.ts';
import type { Log } from '../telemetry/log.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import {
  type AdmissionStack,
  type AdmissionStackDeps,
  admissionDeps,
  createPace,
  type OnShard,
  type ReplicaRequests,
  type ShardChange,
  wakerOf,
} from './admission-stack.ts';
import { clusterWarnings, logConnectionEvent, logRelayEvent, logReplicaEvent, PeerLog } from './log-events.ts';
import { type NatsLink, natsOptionsOf, openNats } from './nats.ts';
import { openNatsRequests } from './nats-requests.ts';

/** Bytes that the memory of a share may take. */
const SHARE_BYTES = 64 << 20;

/** Every replica sends a heartbeat within this time: three heartbeats. */
const FIRST_HEARTBEATS = 3 * TIMING.renewEvery;

type Cluster = NonNullable<Config['cluster']>;

/** Admission of one replica among several: from NATS up. */
export async function openClusterAdmission(config: Config, cluster: Cluster, deps: AdmissionStackDeps): Promise<AdmissionStack> {
  const { clocks, version, nodeVersion, log, opened } = deps;
  const clock = createSystemClock({ sources: clocks, record: undefined, openWaker: wakerOf(clocks, log) });
  opened.push(async () => clock.stop());
  const options = await natsOptions(cluster, deps);
  const nats = await openNats(options, (change) => logConnectionEvent(log, change));
  opened.push(() => nats.close());
  const metrics = createMetrics({ version, nodeVersion, now: () => clock.now(), groups: (max) => localAdmission.groupsFrom(0, max) });
  const timely = instrumentClock(clock, metrics.timerLate);
  const store = unclosed(instrumentStore(nats.store, () => clock.now(), metrics.flushed));
  const pace = createPace(() => replica.slack());
  const admissionParts = admissionDeps(config, { clock: timely, log, metrics, pace });
  const localAdmission: LocalAdmission = new LocalAdmission({ ...admissionParts, coordinator: NOWHERE, ledger: NO_LEDGER, recording: true, shardOf });
  await localAdmission.start();
  const timers = createTimers();
  const revision = { now: revisionOf(config) };
  const degraded = metrics.cluster(() => ({
    ...{ shards: replica.views(), peers: replica.peers(), revision: revision.now, connected: nats.connected() },
    ...relay.figures,
  }));
  const { undecided, requestIds } = config.bounds;
  const shards = new Shards();
  const { replica, relay } = wireReplica({
    ...{ nats, clock, timely, store, localAdmission, log, degraded, timers, pace, settings: config.groups, revision: () => revision.now },
    name: nameOf(config, cluster),
    onShard: (change) => shards.changed(change),
    answerWithin: cluster.answerWithin,
    bounds: { held: undecided, waiting: undecided, peerRequests: requestIds },
    shareAdmission: (settings) => shareAdmission({ ...admissionParts, settings }),
  });
  opened.push(async () => relay.close());
  const unlisten = nats.onChange((change) => {
    if (change.kind === 'connected' && change.again && change.line === 'data') relay.reconnected();
  });
  const unforget = forgetNowAndThen(nats, timers, log);
  opened.push(async () => unforget());
  replica.start();
  opened.push(() => replica.leave());
  // A replica that served before it received the others' heartbeats would take a group's whole limit for its share, should NATS go away just then.
  await sleep(timers, FIRST_HEARTBEATS);
  return {
    admission: relay.admission,
    line: localAdmission,
    replicas: replicaRequests({ options, cluster, log, nats, clock, localAdmission, replica, shards }),
    metrics,
    clock,
    remarks: () => clusterWarnings(relay.isIsolated, relay.admission.replicas()),
    lost: new Promise<Error>(() => {}),
    pace,
    reconfigure: async (next) => {
      const refused = await relay.admission.reconfigure(next.groups);
      if (refused.length > 0) return refused;
      revision.now = revisionOf(next);
      replica.revise(revision.now);
      return [];
    },
    drain: (grace) => relay.admission.drain(grace),
    close: async () => {
      unlisten();
      unforget();
      await replica.leave();
      await localAdmission.drain(0);
      relay.close();
      await nats.close();
      clock.stop();
    },
  };
}

/** What this replica shares stored requests by. */
function replicaRequests(deps: {
  readonly options: NatsOptions;
  readonly cluster: Cluster;
  readonly log: Log;
  readonly nats: NatsLink;
  readonly clock: Clock;
  readonly localAdmission: LocalAdmission;
  readonly replica: Replica;
  readonly shards: Shards;
}): ReplicaRequests {
  const { options, cluster, log, nats, clock, localAdmission, replica, shards } = deps;
  return {
    open: async () => {
      const until = performance.now() + cluster.startWithin / MILLISECOND;
      if (cluster.durability === 'synced') await checkSynced(cluster.monitor ?? [], until);
      return openNatsRequests(options, cluster.requestBytes, { onEvent: (change) => logConnectionEvent(log, change), nowMs: () => clock.epoch(clock.now()) });
    },
    shardOf: (group) => localAdmission.shardOf(group),
    bus: nats.messages,
    instance: () => replica.instance,
    isAlive: (instance) => instance === replica.instance || replica.peers().some((peer) => peer.instance === instance),
    watch: (onShard) => shards.watch(onShard),
  };
}

/** The shards that this replica has, for who keeps their stored requests. */
class Shards {
  readonly #gained = new Map<number, ShardChange>();
  #onShard: OnShard | undefined;

  changed(change: ShardChange): void {
    const { kind, shard, term } = change;
    if (kind === 'gained') this.#gained.set(shard, change);
    else if (this.#gained.get(shard)?.term === term) this.#gained.delete(shard);
    this.#onShard?.(change);
  }

  watch(onShard: OnShard): () => void {
    for (const change of this.#gained.values()) onShard(change);
    this.#onShard = onShard;
    return () => {
      this.#onShard = undefined;
    };
  }
}

/** Creates an admission over nothing but memory, for degraded mode. Its fences are the smallest there are: a backend that checks them admits no request by them. */
async function shareAdmission(deps: Omit<AdmissionDeps, 'coordinator' | 'ledger' | 'recording'>): Promise<AdmissionService> {
  const leaderLease = { term: 0n, from: DISTANT_PAST, until: () => NEVER, extend: () => undefined };
  const coordinator: Coordinator = { ...NOWHERE, place: () => ({ at: 'here', leaderLease }) };
  const ledger = createLedger({ store: new MemoryStore({ bytes: SHARE_BYTES }), clock: deps.clock, term: 0n });
  const admission = new LocalAdmission({ ...deps, coordinator, ledger, recording: false });
  await admission.start();
  return admission;
}

/** Trees come with their shards, and are asked for nowhere else. */
const NOWHERE: Coordinator = { place: () => ({ at: 'nowhere' }), onLost: () => {}, leave: async () => {} };
const NO_LEDGER: Ledger = { tree: () => Promise.reject(new Error('trees come with their shards')), close: async () => {} };

/** Each term closes its ledger, but not what all of them write to. */
function unclosed(store: Store): Store {
  return {
    append: (subject, bytes, last, relief) => store.append(subject, bytes, last, relief),
    read: (subject, from) => store.read(subject, from),
    trim: (subject, before) => store.trim(subject, before),
    close: async () => {},
  };
}

/** The groups as the file has them; two files of one revision are to have one hash. */
function revisionOf({ revision, digests }: Config): Revision {
  return { number: revision ?? 0, hash: createHash('sha256').update(digests).digest('hex').slice(0, 16) };
}

/** Another for each replica of a machine, and the same over restarts. */
function nameOf({ listen }: Config, { name }: Cluster): string {
  const addresses = [listen.api, listen.grpc, listen.proxy, listen.gatewayQueue].flatMap((listener) =>
    listener === undefined || listener.address === 'none' ? [] : listener.address,
  );
  return name ?? `${hostname()}:${addresses[0]?.port ?? 0}`;
}

/** Old sessions have no use, and any replica may clear them away. */
function forgetNowAndThen(nats: NatsLink, timers: Timers, log: Log): () => void {
  const act = async (): Promise<void> => {
    const sessions = await nats.forgetSessions();
    if (sessions > 0) log.write('info', 'sessions_collected', `${sessions} ended sessions were cleared away in NATS.`, { sessions });
  };
  const failed = (cause: unknown) =>
    log.write('warn', 'session_gc_failed', 'Ended sessions could not be cleared away in NATS; it is tried again in an hour.', { err: cause });
  return scheduleHourly({ timers, random: Math.random, act, failed });
}

async function natsOptions(cluster: Cluster, { env }: AdmissionStackDeps): Promise<NatsOptions> {
  const { login, mistakes } = await resolveLogin(cluster, { env, readFile: (path) => readFile(path, 'utf8') });
  if (mistakes.length > 0) throw new Error(mistakes.join('; '));
  return natsOptionsOf(cluster, login, cluster.name ?? hostname());
}

/** What joins a process to the other replicas. */
interface JoinDeps {
  /** This replica's name. */
  readonly name: string;
  readonly nats: Pick<NatsLink, 'registers' | 'messages' | 'serverTime'>;
  /** Looked at for the machine's clocks. */
  readonly clock: SystemClock;
  /** The time of this process, as admission reads it. */
  readonly timely: Clock;
  /** What all terms write to; none of them closes it. */
  readonly store: Store;
  readonly localAdmission: LocalAdmission;
  readonly settings: readonly GroupSettings[];
  readonly bounds: RelayBounds;
  readonly shareAdmission: (settings: readonly GroupSettings[]) => Promise<AdmissionService>;
  /** The configuration that it runs by now. */
  readonly revision: () => Revision;
  readonly timers: Timers;
  readonly pace: Pace;
  /** A question to the registers is asked again after this without an answer. */
  readonly answerWithin: Micros;
  readonly log: Log;
  /** Called before a shard's trees are closed, and after they began to be opened. */
  readonly onShard: OnShard;
  /** An admission outside the promises is to be counted. */
  readonly degraded: (group: string, how: string) => void;
}

/** A replica and its relay, joined to the admission of this process; the replica is yet to be started. */
function wireReplica(deps: JoinDeps): { readonly replica: Replica; readonly relay: Relay } {
  const { nats, clock, timely, store, localAdmission, timers, log } = deps;
  const peerLog = new PeerLog(log);
  const replica: Replica = createReplica({
    replica: deps.name,
    instance: randomUUID(),
    shards: SHARDS,
    timing: TIMING,
    registers: nats.registers,
    messages: { publish: (bytes) => nats.messages.publish('hb', bytes), onHeartbeat: (listener) => nats.messages.subscribe('hb', listener) },
    notify: (instance, shard, term) => relay.notify(instance, shard, term),
    clocks: { reading: () => clock.record(), uptime },
    timers,
    answerWithin: deps.answerWithin,
    defer: (run) => void setImmediate(run),
    newName: randomUUID,
    revision: deps.revision(),
    serverTime: () => nats.serverTime(),
    onEvent: (event) => {
      follow(event, { localAdmission, relay, replica, store, clock: timely, onShard: deps.onShard });
      logReplicaEvent(log, event);
      if (event.kind === 'peers') peerLog.changed(replica.peers(), event.gone ?? []);
    },
  });
  const relay: Relay = new Relay({
    admission: localAdmission,
    replica,
    self: () => {
      const { number, hash } = deps.revision();
      return { replica: deps.name, revision: number, hash, shards: replica.views().filter(({ phase }) => phase !== 'elsewhere').length };
    },
    messages: nats.messages,
    clock: timely,
    timers,
    defer: (run) => void setImmediate(run),
    pace: deps.pace,
    newName: randomUUID,
    settings: deps.settings,
    shardOf,
    bounds: deps.bounds,
    limits: true,
    shareAdmission: deps.shareAdmission,
    onEvent: (event) => (event.kind === 'degraded' ? deps.degraded(event.group, event.how) : logRelayEvent(log, event)),
  });
  return { replica, relay };
}

interface Following {
  readonly localAdmission: LocalAdmission;
  readonly relay: Relay;
  readonly replica: Replica;
  readonly store: Store;
  readonly clock: Clock;
  readonly onShard: OnShard;
}

/** Handles events of the replica in their order: trees come and go, then their waiters go with them. */
function follow(event: ReplicaEvent, { localAdmission, relay, replica, store, clock, onShard }: Following): void {
  switch (event.kind) {
    case 'gained': {
      const { shard, leaderLease, clock: shardTime } = event.handle;
      const treeClock = createTreeClock(clock, shardTime);
      const ledger = createLedger({ store, clock: treeClock, term: leaderLease.term, from: leaderLease.from });
      void localAdmission.openShard(shard, { leaderLease, clock: treeClock, ledger }, relay.barrier(shard, leaderLease.term));
      onShard({ kind: 'gained', shard, term: leaderLease.term, decides: () => treeClock.now() < leaderLease.until() });
      break;
    }
    case 'lost':
      onShard({ kind: 'lost', shard: event.shard, term: event.term });
      localAdmission.loseShard(event.shard, event.term);
      break;
    case 'seal': {
      const { shard, term } = event;
      onShard({ kind: 'handed', shard, term });
      const sealed = (): void => replica.sealed(shard, term);
      void localAdmission.seal(shard, () => replica.halt(shard, term)).then(sealed, sealed);
      break;
    }
    case 'placed':
    case 'peers':
    case 'reachable':
    case 'trouble':
      break;
  }
  relay.onReplica(event);
}
