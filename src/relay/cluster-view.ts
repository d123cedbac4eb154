import type { GroupView, LocalAdmissionService, ReplicaView } from '../admission/admission.ts';
import { shiftAll, shiftGroup } from '../admission/time-shift.ts';
import type { PeerView, ShardLocation } from '../coordination/replica.ts';
import { type Instant, type Micros, plus, SECOND } from '../core/time.ts';
import type { GroupDirectory, GroupRoute } from './group-directory.ts';
import type { PendingCalls } from './owner-client.ts';

interface ClusterViewDeps {
  readonly directory: Pick<GroupDirectory, 'of'>;
  readonly locate: (shard: number) => ShardLocation;
  /** This replica. */
  readonly self: () => Omit<PeerView, 'instance'>;
  /** The others that live. */
  readonly others: () => readonly PeerView[];
}

/** Live replicas and the owner of each group, as this replica knows them, for display. */
export class ClusterView {
  readonly #deps: ClusterViewDeps;

  constructor(deps: ClusterViewDeps) {
    this.#deps = deps;
  }

  /** Returns the groups with the owner of each. A group that has just been removed from the configuration is returned unchanged. */
  withPlacement(groups: readonly GroupView[]): readonly GroupView[] {
    const { directory, locate, self, others } = this.#deps;
    const here = self().replica;
    const names = new Map(others().map(({ instance, replica }) => [instance, replica]));
    return groups.map((view) => {
      const route = directory.of(view.name);
      if (route === undefined) return view;
      const { shard } = route;
      const location = locate(shard);
      const replica = location.at === 'here' ? here : location.at === 'peer' ? names.get(location.instance) : undefined;
      const known = location.at !== 'nowhere' && replica !== undefined;
      return { ...view, placement: known ? { shard, replica, term: location.term } : { shard, replica: '', term: 0n } };
    });
  }

  /** Returns the live replicas, sorted by name. */
  replicas(): readonly ReplicaView[] {
    const { self, others } = this.#deps;
    const views = [viewOf(self(), true), ...others().map((other) => viewOf(other, false))];
    return views.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

function viewOf({ replica, revision, hash, shards }: Omit<PeerView, 'instance'>, self: boolean): ReplicaView {
  return { name: replica, revision, hash, shards, self };
}

/** A peer that does not answer one page within this time is sent no further call. */
const PAGE_WITHIN: Micros = SECOND;

/** Time at most for all pages of one peer. */
const PAGES_WITHIN: Micros = 5 * SECOND;

/** Groups at most of one peer: as many as a file may have (`bounds.groups`). */
const GROUPS_MAX = 100_000;

/** Dependencies of {@link listGroups}. */
export interface ListGroupsDeps {
  readonly admission: LocalAdmissionService;
  readonly directory: GroupDirectory;
  readonly calls: PendingCalls;
  readonly locate: (shard: number) => ShardLocation;
  readonly peers: () => readonly string[];
  readonly now: () => Instant;
}

/** Returns every group as its owner sees it; a group without an owner as its settings define it. */
export async function listGroups(deps: ListGroupsDeps): Promise<readonly GroupView[]> {
  const { admission, directory, locate } = deps;
  const [here, ...there] = await Promise.all([admission.groups(), ...deps.peers().map((peer) => groupsOf(deps, peer))]);
  const views = new Map<string, GroupView>();
  const take = (view: GroupView, from: string): void => {
    const route = directory.of(view.name);
    const location = route && locate(route.shard);
    const decides = location === undefined || (location.at === 'peer' ? location.instance === from : location.at === 'here' && from === '');
    if (decides || !views.has(view.name)) views.set(view.name, view);
  };
  for (const view of here) take(view, '');
  for (const { peer, groups } of there) for (const view of groups) take(view, peer);
  return [...directory.all().values()].map((route) => views.get(route.settings.spec.name) ?? unseen(route));
}

/**
 * Returns the groups of a peer, page by page. Ends at an empty page, at one that brings nothing new (the peer ignores `from`), at
 * {@link GROUPS_MAX} groups and after {@link PAGES_WITHIN}, whatever the peer answers. Never rejects.
 */
async function groupsOf({ calls, now }: ListGroupsDeps, peer: string): Promise<{ readonly peer: string; readonly groups: readonly GroupView[] }> {
  const groups = new Map<string, GroupView>();
  const end = plus(now(), PAGES_WITHIN);
  for (let before = -1; before < groups.size && groups.size < GROUPS_MAX && now() < end; ) {
    before = groups.size;
    const reply = await calls.make(peer, 'groups', { from: groups.size }, Math.min(PAGE_WITHIN, end - now()));
    if (reply.how !== 'value') break;
    for (const view of shiftAll(reply.value as readonly GroupView[], reply.by, shiftGroup)) groups.set(view.name, view);
  }
  return { peer, groups: [...groups.values()] };
}

function unseen({ settings }: GroupRoute): GroupView {
  const { spec } = settings;
  return {
    name: spec.name,
    parent: spec.parent?.group,
    enforce: spec.enforce,
    limits: [],
    waiting: 0,
    waitingBytes: 0,
    waitingByPriority: [],
    oldestWaiterSince: undefined,
    leases: 0,
    keys: 0,
    pausedUntil: undefined,
    pausedKeys: 0,
    overriddenUntil: undefined,
    counters: { admitted: 0, refused: {}, lapsed: 0, released: 0, shadowHeld: 0 },
  };
}
