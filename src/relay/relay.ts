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
  /** Asks for one peer that wait until its channel takes them; beyond: `shed`. */
  readonly waiting: number;
  /** Asks of one peer in the gates here; beyond: `shed`. */
  readonly peerRequests: number;
}

/** The bounds of docs/design/coordination.md 2.8. */
export const RELAY_BOUNDS: RelayBounds = { held: 10_000, waiting: 10_000, peerRequests: 200_000 };

/** At the end peers are waited for so long, until they know who waits no more. */
const FLUSH_TIMEOUT: Micros = SECOND / 2;

/** Events of the relay, for the log and metrics. */
export type RelayEvent =
  /** No other replica can be reached, or again: groups with `share` or `open` go on alone, as one of so many. */
  | { readonly kind: 'alone'; readonly isIsolated: boolean; readonly replicas: number }
  /** A caller was admitted on a share, or without any limit. */
  | { readonly kind: 'degraded'; readonly group: string; readonly how: DegradedOptions }
  /** This process was taken for dead by another, and goes on under another address. */
  | { readonly kind: 'instance_replaced'; readonly instance: string }
  | { readonly kind: 'trouble'; readonly what: string; readonly cause: unknown };

/** What a relay is made of. */
export interface RelayOptions {
  readonly admission: LocalAdmissionService;
  readonly replica: Pick<Replica, 'instance' | 'locate' | 'peers' | 'onShardOffered' | 'readdress' | 'leave'>;
  /** This replica as others see it; for people. */
  readonly self: () => Omit<PeerView, 'instance'>;
  readonly messages: MessageBus;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly defer: (run: () => void) => void;
  /** Between two slices of a reload. Absent: a turn of the event loop. */
  readonly pace?: Pace | undefined;
  readonly newName: () => string;
  readonly settings: readonly GroupSettings[];
  readonly shardOf: (root: string) => number;
  readonly bounds: RelayBounds;
  /** Limits are wanted with every outcome, for RateLimit fields. */
  readonly limits: boolean;
  /** Admission over nothing but memory, for a share of the limits; see {@link DegradedMode}. Absent: every group is `closed`. */
  readonly shareAdmission?: ((settings: readonly GroupSettings[]) => Promise<AdmissionService>) | undefined;
  readonly onEvent: (event: RelayEvent) => void;
}

/** One replica's part in deciding with others: its callers' requests go to the owner, and others' requests come in here. */
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
  /** Live replicas when last seen, with this one. */
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
    const onFault = (cause: unknown) => options.onEvent({ kind: 'trouble', what: 'a call of another replica', cause });
    this.#ownerService = new OwnerService({
      admission,
      openingQueue,
      now,
      timers,
      isHere: (shard) => locate(shard).at === 'here',
      send,
      onRejoined: onRejoined,
      onFault,
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

  /** No session of it is live, and none has been for longer than slots last: it decides nothing. */
  get isIsolated(): boolean {
    return !this.#reachable;
  }

  /** Callers of this replica that no gate of it has, and callers of others that its gates have. */
  get figures(): { readonly remoteWaiters: number; readonly peerWaiters: number } {
    return { remoteWaiters: this.#requests.table.index.size, peerWaiters: this.#ownerService.waiting };
  }

  /**
   * For the local admission's `gain`, in the same turn as that is called: resolves when every caller that waited for the shard is back in
   * its trees, this replica's own callers and those of all peers, or after 150 ms.
   */
  barrier(shard: number, term: bigint): Promise<void> {
    const raised = this.#barriers.arm(shard, term, '');
    // The trees begin to open after this turn.
    this.#options.defer(() => this.#requests.onShardLocated(shard));
    return raised;
  }

  /** What the replica says, in its order. */
  onReplica(event: ReplicaEvent): void {
    if (event.kind === 'placed') this.#requests.onShardLocated(event.shard);
    else if (event.kind === 'peers') this.#onPeersChanged();
    else if (event.kind === 'reachable') void this.#onReachable(event.reachable);
  }

  /** Tells a peer that it was given a shard; for {@link ReplicaOptions.notify}. */
  notify(instance: string, shard: number, term: bigint): void {
    this.#transport.send(instance, { op: 'gave', shard, term });
  }

  /** The connection came back: what was sent while it was away is lost. */
  reconnected(): void {
    this.#transport.reconnected();
  }

  /** Nothing is sent or heard any more. */
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
    this.#options.replica.readdress(instance);
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
      this.#options.onEvent({ kind: 'trouble', what: 'going on alone', cause });
    }
    if (!this.#reachable) this.#requests.reachable(false);
  }
}

/** A replica that was there this long before counts as there: replicas fall silent one by one before it is known that they cannot be heard. */
const REMEMBER_FOR: Micros = 10 * SECOND;

/** How many replicas there are, this one included, as it was known lately: what one of them may take alone is a part of that. */
export class ReplicaCount {
  readonly #now: () => Instant;
  #counts: { readonly count: number; until: Instant }[] = [];
  #count = 1;

  constructor(now: () => Instant) {
    this.#now = now;
  }

  /** So many are there from now on. */
  set(count: number): void {
    const until = plus(this.#now(), REMEMBER_FOR);
    this.#counts = this.#counts.filter((past) => past.until > this.#now());
    this.#counts.push({ count: this.#count, until });
    this.#count = count;
  }

  /** The most that were there at once within the last 10 s. */
  get most(): number {
    const now = this.#now();
    return Math.max(this.#count, ...this.#counts.filter(({ until }) => until > now).map(({ count }) => count));
  }
}
