import type { AdmissionService, GroupSettings, LocalAdmissionService } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import type { Pace } from '../admission/pace.ts';
import { Slices } from '../admission/slices.ts';
import type { PeerView, Replica, ReplicaEvent, Timers } from '../coordination/replica.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import { ClusterView } from './cluster-view.ts';
import { DegradedMode, type DegradedOptions } from './degraded-mode.ts';
import { GroupDirectory } from './group-directory.ts';
import { OpeningQueue } from './opening-queue.ts';
import { OwnerClient, PendingCalls } from './owner-client.ts';
import { OwnerService } from './owner-service.ts';
import { PendingRequests } from './pending-requests.ts';
import { PositionPoller } from './position-poller.ts';
import { LimitCache, RoutedAdmission } from './routed-admission.ts';
import { TakeoverBarriers } from './takeover-barrier.ts';
import type { RelayMessage } from './transport/codec.ts';
import { type MessageBus, PeerTransport } from './transport/peer-transport.ts';

/** How much the relay keeps; each is an option with a default. */
export interface RelayBounds {
  /** Requests held while no replica decides for them; beyond: `undecided`. */
  readonly held: number;
  /** Requests that wait until the channel to their peer takes them, for each peer; beyond: `shed`. */
  readonly waiting: number;
  /** Requests of one peer in the gates of this process; beyond: `shed`. */
  readonly peerRequests: number;
}

/** Time at most that a replica waits at its end until its peers have received everything. */
const FLUSH_TIMEOUT: Micros = SECOND / 2;

/** Events of the relay, for the log and metrics. */
export type RelayEvent =
  /** No other replica can be reached (`isIsolated`), or one can again. While isolated, groups with `share` or `open` are decided here, as one of `replicas`. */
  | { readonly kind: 'alone'; readonly isIsolated: boolean; readonly replicas: number }
  /** A caller was admitted on a share, or without any limit. */
  | { readonly kind: 'degraded'; readonly group: string; readonly how: DegradedOptions }
  /** A peer took this process for dead; it continues under another address. */
  | { readonly kind: 'instance_replaced'; readonly instance: string }
  | { readonly kind: 'trouble'; readonly what: string; readonly cause: unknown };

/** Options of a relay. */
export interface RelayOptions {
  readonly admission: LocalAdmissionService;
  readonly replica: Pick<Replica, 'instance' | 'locate' | 'peers' | 'onShardOffered' | 'replaceInstance' | 'leave'>;
  /** Returns this replica as others see it, for display. */
  readonly self: () => Omit<PeerView, 'instance'>;
  readonly messages: MessageBus;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly defer: (run: () => void) => void;
  /** Waits between two slices of a reload. Default: one turn of the event loop. */
  readonly pace?: Pace | undefined;
  readonly newName: () => string;
  readonly settings: readonly GroupSettings[];
  readonly shardOf: (root: string) => number;
  readonly bounds: RelayBounds;
  /** Every outcome is to carry limits, for RateLimit fields. */
  readonly limits: boolean;
  /** Opens an admission over memory only, for a share of the limits; see {@link DegradedMode}. Absent: every group is `closed`. */
  readonly shareAdmission?: ((settings: readonly GroupSettings[]) => Promise<AdmissionService>) | undefined;
  readonly onEvent: (event: RelayEvent) => void;
}

/** Sends requests of this replica's callers to the owner of their group, and serves requests that peers send to this replica. */
export class Relay {
  /** Admission for the callers of this process. */
  readonly admission: RoutedAdmission;
  readonly #options: RelayOptions;
  readonly #transport: PeerTransport;
  readonly #ownerService: OwnerService;
  readonly #requests: PendingRequests;
  readonly #calls: PendingCalls;
  readonly #barriers: TakeoverBarriers;
  readonly #directory: GroupDirectory;
  readonly #degraded: DegradedMode | undefined;
  /** Live replicas as last known, this one included. */
  readonly #replicaCount: ReplicaCount;
  #reachable = true;

  constructor(options: RelayOptions) {
    const { admission, replica, clock, timers, bounds } = options;
    this.#options = options;
    const now = () => clock.now();
    this.#replicaCount = new ReplicaCount(now);
    const locate = (shard: number) => replica.locate(shard);
    const peers = () => replica.peers().map(({ instance }) => instance);
    const send = (to: string, message: RelayMessage) => this.#transport.send(to, message);
    const openingQueue = new OpeningQueue();
    this.#directory = new GroupDirectory(options);
    const directory = this.#directory;
    this.#transport = this.#openTransport();
    this.#calls = new PendingCalls({ send, timers });
    const calls = this.#calls;
    this.#barriers = new TakeoverBarriers({ timers, peers });
    const onRejoined = (peer: string, shard: number, term: bigint) => this.#barriers.onPeerRejoined(peer, shard, term);
    const onError = (cause: unknown) => options.onEvent({ kind: 'trouble', what: 'a call of another replica', cause });
    this.#ownerService = new OwnerService({
      admission,
      openingQueue,
      now,
      timers,
      isHere: (shard) => locate(shard).at === 'here',
      send,
      onRejoined: onRejoined,
      onError,
      maxPeerRequests: bounds.peerRequests,
    });
    this.#degraded = this.#openDegradedMode(now);
    const degraded = this.#degraded;
    const poller = new PositionPoller({ calls, timers, now });
    const limitCache = new LimitCache();
    this.#requests = new PendingRequests({
      ...{ admission, openingQueue, directory, clock, timers, locate, send, limits: options.limits, maxHeld: bounds.held },
      degraded: degraded,
      onRejoined: (shard, term) => onRejoined('', shard, term),
      onLimits: (request, limits) => limitCache.set(request.group, request.key, limits),
      positionOf: (pending) => poller.position(pending),
      releaseUnused: (caller, permit) => void this.admission.release({ caller, permit, disposition: 'unused' }),
    });
    const owners = new OwnerClient({ admission, directory, calls, timers, now, locate });
    const leave = () => {
      this.#transport.beginShutdown();
      return replica.leave();
    };
    const flush = () => this.#transport.flush(FLUSH_TIMEOUT);
    const clusterView = new ClusterView({ directory, locate, self: options.self, others: () => replica.peers() });
    this.admission = new RoutedAdmission({
      ...{ admission, directory, slices: new Slices(options), calls, owners },
      peerRequests: this.#requests,
      limitCache,
      degraded,
      clusterView,
      peers,
      leave,
      flush,
      timers,
      now,
      locate,
    });
  }

  /** Returns true while no session of this replica has been live for longer than slots last: it decides nothing. */
  get isIsolated(): boolean {
    return !this.#reachable;
  }

  /** Callers of this replica that are in no gate of it, and callers of peers that are in its gates. */
  get figures(): { readonly remoteWaiters: number; readonly peerWaiters: number } {
    return { remoteWaiters: this.#requests.table.index.size, peerWaiters: this.#ownerService.waiting };
  }

  /**
   * Resolves when every caller that waited for the shard is back in its trees, this replica's own callers and those of all peers, or
   * after 150 ms. To be called in the same turn of the event loop as the local admission's `gain`.
   */
  barrier(shard: number, term: bigint): Promise<void> {
    const raised = this.#barriers.arm(shard, term, '');
    // The trees begin to open after this turn.
    this.#options.defer(() => this.#requests.onShardLocated(shard));
    return raised;
  }

  /** Handles an event of the replica; events must come in their order. */
  onReplica(event: ReplicaEvent): void {
    if (event.kind === 'placed') this.#requests.onShardLocated(event.shard);
    else if (event.kind === 'peers') this.#onPeersChanged();
    else if (event.kind === 'reachable') void this.#onReachable(event.reachable);
  }

  /** Notifies a peer that it was given a shard; for {@link ReplicaOptions.notify}. */
  notify(instance: string, shard: number, term: bigint): void {
    this.#transport.send(instance, { op: 'gave', shard, term });
  }

  /** Sends again what is not acknowledged, after the connection was lost and is back. */
  reconnected(): void {
    this.#transport.reconnected();
  }

  /** Stops sending and receiving. */
  close(): void {
    this.#transport.close();
  }

  #openTransport(): PeerTransport {
    const { replica, messages, clock, timers, defer, newName, bounds, onEvent } = this.#options;
    return new PeerTransport({
      ...{ messages, timers, defer, newName, instance: replica.instance, maxWaiting: bounds.waiting },
      now: () => clock.now(),
      peers: () => replica.peers(),
      onMessage: (peer, message, by) => this.#onMessage(peer, message, by),
      onSilence: (peer, silent) => this.#ownerService.onPeerSilent(peer, silent),
      onPeerLost: (peer) => this.#onPeerLost(peer),
      onInstanceReplaced: (instance) => this.#onInstanceReplaced(instance),
      onTrouble: (what, cause) => onEvent({ kind: 'trouble', what, cause }),
    });
  }

  #openDegradedMode(now: () => ReturnType<Clock['now']>): DegradedMode | undefined {
    const { shareAdmission, onEvent } = this.#options;
    if (shareAdmission === undefined) return undefined;
    const settings = () => [...this.#directory.all().values()].map((route) => route.settings);
    return new DegradedMode({ now, settings, admission: shareAdmission, admitted: (group, how) => onEvent({ kind: 'degraded', group, how }) });
  }

  #onMessage(peer: string, message: RelayMessage, by: Micros): void {
    if (message.op === 'reply') this.#calls.reply(peer, message, by);
    else if (message.op === 'gave') this.#options.replica.onShardOffered(message.shard, message.term);
    else if (!this.#requests.onMessage(peer, message, by)) this.#ownerService.onMessage(peer, message, by);
  }

  #onPeerLost(peer: string): void {
    this.#ownerService.onPeerLost(peer);
    this.#calls.onPeerLost(peer);
    this.#requests.onPeerLost(peer);
  }

  #onInstanceReplaced(instance: string): void {
    this.#options.onEvent({ kind: 'instance_replaced', instance });
    this.#options.replica.replaceInstance(instance);
    this.#ownerService.clear();
    this.#calls.onPeerLost();
    this.#requests.onInstanceReplaced();
  }

  #onPeersChanged(): void {
    const live = this.#options.replica.peers();
    this.#barriers.onPeersChanged(new Set(['', ...live.map(({ instance }) => instance)]));
    if (this.#reachable) this.#replicaCount.set(live.length + 1);
  }

  async #onReachable(reachable: boolean): Promise<void> {
    this.#reachable = reachable;
    const replicas = this.#replicaCount.most;
    this.#options.onEvent({ kind: 'alone', isIsolated: !reachable, replicas });
    if (reachable) {
      this.#requests.reachable(true);
      this.#degraded?.end();
      return;
    }
    try {
      await this.#degraded?.begin(replicas);
    } catch (cause) {
      this.#options.onEvent({ kind: 'trouble', what: 'opening degraded admission', cause });
    }
    if (!this.#reachable) this.#requests.reachable(false);
  }
}

/** A replica that was live within this time counts as live: when the connection is lost, replicas are missed one by one. */
const REMEMBER_FOR: Micros = 10 * SECOND;

/** Number of live replicas, this one included, over the last 10 s. An isolated replica takes 1/n of each limit. */
export class ReplicaCount {
  readonly #now: () => Instant;
  #counts: { readonly count: number; until: Instant }[] = [];
  #count = 1;

  constructor(now: () => Instant) {
    this.#now = now;
  }

  /** Sets the number of live replicas from now on. */
  set(count: number): void {
    const until = plus(this.#now(), REMEMBER_FOR);
    this.#counts = this.#counts.filter((past) => past.until > this.#now());
    this.#counts.push({ count: this.#count, until });
    this.#count = count;
  }

  /** The highest number within the last 10 s. */
  get most(): number {
    const now = this.#now();
    return Math.max(this.#count, ...this.#counts.filter(({ until }) => until > now).map(({ count }) => count));
  }
}
