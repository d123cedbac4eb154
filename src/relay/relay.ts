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
  readonly asks: number;
}

/** The bounds of docs/design/coordination.md 2.8. */
export const RELAY_BOUNDS: RelayBounds = { held: 10_000, waiting: 10_000, asks: 200_000 };

/** At the end peers are waited for so long, until they know who waits no more. */
const FLUSH_TIMEOUT: Micros = SECOND / 2;

/** Events of the relay, for the log and metrics. */
export type RelayEvent =
  /** No other replica can be reached, or again: groups with `share` or `open` go on alone, as one of so many. */
  | { readonly kind: 'alone'; readonly isIsolated: boolean; readonly replicas: number }
  /** A caller was admitted on a share, or without any limit. */
  | { readonly kind: 'degraded'; readonly group: string; readonly how: DegradedOptions }
  /** This process was taken for dead by another, and goes on under another address. */
  | { readonly kind: 'readdressed'; readonly instance: string }
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
  readonly #parts: RelayOptions;
  readonly #links: PeerTransport;
  readonly #ownerService: OwnerService;
  readonly #asks: PendingRequests;
  readonly #calls: PendingCalls;
  readonly #barriers: TakeoverBarriers;
  readonly #directory: GroupDirectory;
  readonly #outage: DegradedMode | undefined;
  /** Live replicas when last seen, with this one. */
  readonly #heads: ReplicaCount;
  #reachable = true;

  constructor(parts: RelayOptions) {
    const { admission, replica, clock, timers, bounds } = parts;
    this.#parts = parts;
    const now = () => clock.now();
    this.#heads = new ReplicaCount(now);
    const place = (shard: number) => replica.locate(shard);
    const peers = () => replica.peers().map(({ instance }) => instance);
    const send = (to: string, op: RelayMessage) => this.#links.send(to, op);
    const openingQueue = new OpeningQueue();
    this.#directory = new GroupDirectory(parts);
    const directory = this.#directory;
    this.#links = this.#openLinks();
    this.#calls = new PendingCalls({ send, timers });
    const calls = this.#calls;
    this.#barriers = new TakeoverBarriers({ timers, peers });
    const back = (peer: string, shard: number, term: bigint) => this.#barriers.onPeerRejoined(peer, shard, term);
    const fault = (cause: unknown) => parts.onEvent({ kind: 'trouble', what: 'a call of another replica', cause });
    this.#ownerService = new OwnerService({
      admission,
      openingQueue,
      now,
      timers,
      isHere: (shard) => place(shard).at === 'here',
      send,
      rejoined: back,
      fault,
      asksMax: bounds.asks,
    });
    this.#outage = this.#openOutage(now);
    const outage = this.#outage;
    const watch = new PositionPoller({ calls, timers, now });
    const seen = new LimitCache();
    this.#asks = new PendingRequests({
      ...{ admission, openingQueue, directory, clock, timers, place, send, limits: parts.limits, heldMax: bounds.held },
      stopgap: outage,
      entered: (shard, term) => back('', shard, term),
      seen: (ask, limits) => seen.set(ask.group, ask.key, limits),
      watched: (pending) => watch.look(pending),
      unused: (caller, permit) => void this.admission.release({ caller, permit, disposition: 'unused' }),
    });
    const owners = new OwnerClient({ admission, directory, calls, timers, now, place });
    const leave = () => {
      this.#links.beginShutdown();
      return replica.leave();
    };
    const told = () => this.#links.flush(FLUSH_TIMEOUT);
    const standing = new ClusterView({ directory, place, self: parts.self, others: () => replica.peers() });
    this.admission = new RoutedAdmission({
      ...{ admission, directory, slices: new Slices(parts), calls, owners },
      asks: this.#asks,
      seen,
      outage,
      standing,
      peers,
      leave,
      told,
      timers,
      now,
      place,
    });
  }

  /** No session of it is live, and none has been for longer than slots last: it decides nothing. */
  get isIsolated(): boolean {
    return !this.#reachable;
  }

  /** Callers of this replica that no gate of it has, and callers of others that its gates have. */
  get figures(): { readonly remoteWaiters: number; readonly peerWaiters: number } {
    return { remoteWaiters: this.#asks.roll.lines.size, peerWaiters: this.#ownerService.asks };
  }

  /**
   * For the local admission's `gain`, in the same turn as that is called: resolves when every caller that waited for the shard is back in
   * its trees, this replica's own callers and those of all peers, or after 150 ms.
   */
  barrier(shard: number, term: bigint): Promise<void> {
    const raised = this.#barriers.arm(shard, term, '');
    // The trees begin to open after this turn.
    this.#parts.defer(() => this.#asks.onShardLocated(shard));
    return raised;
  }

  /** What the replica says, in its order. */
  onReplica(event: ReplicaEvent): void {
    if (event.kind === 'placed') this.#asks.onShardLocated(event.shard);
    else if (event.kind === 'peers') this.#peersChanged();
    else if (event.kind === 'reachable') void this.#reach(event.reachable);
  }

  /** Tells a peer that it was given a shard; for {@link ReplicaOptions.notify}. */
  notify(instance: string, shard: number, term: bigint): void {
    this.#links.send(instance, { op: 'gave', shard, term });
  }

  /** The connection came back: what was sent while it was away is lost. */
  reconnected(): void {
    this.#links.reconnected();
  }

  /** Nothing is sent or heard any more. */
  close(): void {
    this.#links.close();
  }

  #openLinks(): PeerTransport {
    const { replica, messages, clock, timers, defer, newName, bounds, onEvent } = this.#parts;
    return new PeerTransport({
      ...{ messages, timers, defer, newName, instance: replica.instance, waitingMax: bounds.waiting },
      now: () => clock.now(),
      peers: () => replica.peers(),
      hear: (peer, op, by) => this.#hear(peer, op, by),
      silent: (peer, silent) => this.#ownerService.setPeerReachable(peer, silent),
      gone: (peer) => this.#gone(peer),
      readdressed: (instance) => this.#readdressed(instance),
      trouble: (what, cause) => onEvent({ kind: 'trouble', what, cause }),
    });
  }

  #openOutage(now: () => ReturnType<Clock['now']>): DegradedMode | undefined {
    const { shareAdmission, onEvent } = this.#parts;
    if (shareAdmission === undefined) return undefined;
    const settings = () => [...this.#directory.all().values()].map((spot) => spot.settings);
    return new DegradedMode({ now, settings, admission: shareAdmission, admitted: (group, how) => onEvent({ kind: 'degraded', group, how }) });
  }

  #hear(peer: string, op: RelayMessage, by: Micros): void {
    if (op.op === 'reply') this.#calls.reply(peer, op, by);
    else if (op.op === 'gave') this.#parts.replica.onShardOffered(op.shard, op.term);
    else if (!this.#asks.onMessage(peer, op, by)) this.#ownerService.hear(peer, op, by);
  }

  #gone(peer: string): void {
    this.#ownerService.gone(peer);
    this.#calls.gone(peer);
    this.#asks.onPeerLost(peer);
  }

  #readdressed(instance: string): void {
    this.#parts.onEvent({ kind: 'readdressed', instance });
    this.#parts.replica.readdress(instance);
    this.#ownerService.clear();
    this.#calls.gone();
    this.#asks.onInstanceReplaced();
  }

  #peersChanged(): void {
    const live = this.#parts.replica.peers();
    this.#barriers.gone(new Set(['', ...live.map(({ instance }) => instance)]));
    if (this.#reachable) this.#heads.set(live.length + 1);
  }

  async #reach(reachable: boolean): Promise<void> {
    this.#reachable = reachable;
    const replicas = this.#heads.most;
    this.#parts.onEvent({ kind: 'alone', isIsolated: !reachable, replicas });
    if (reachable) {
      this.#asks.reachable(true);
      this.#outage?.end();
      return;
    }
    try {
      await this.#outage?.begin(replicas);
    } catch (cause) {
      this.#parts.onEvent({ kind: 'trouble', what: 'going on alone', cause });
    }
    if (!this.#reachable) this.#asks.reachable(false);
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
