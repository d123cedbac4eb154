import type { GroupView, ReplicaView } from '../admission/admission.ts';
import type { PeerView, ShardLocation } from '../coordination/replica.ts';
import type { GroupDirectory } from './group-directory.ts';

/** What it takes to say who is there, and who decides. */
export interface ClusterViewDeps {
  readonly directory: Pick<GroupDirectory, 'of'>;
  readonly place: (shard: number) => ShardLocation;
  /** This replica. */
  readonly self: () => Omit<PeerView, 'instance'>;
  /** The others that live. */
  readonly others: () => readonly PeerView[];
}

/** Who is there and who decides for what, as this replica sees it; for people. */
export class ClusterView {
  readonly #parts: ClusterViewDeps;

  constructor(parts: ClusterViewDeps) {
    this.#parts = parts;
  }

  /** Groups with where each is decided now; one that has just left the file, as it is. */
  placed(groups: readonly GroupView[]): readonly GroupView[] {
    const { directory, place, self, others } = this.#parts;
    const here = self().replica;
    const names = new Map(others().map(({ instance, replica }) => [instance, replica]));
    return groups.map((view) => {
      const spot = directory.of(view.name);
      if (spot === undefined) return view;
      const { shard } = spot;
      const at = place(shard);
      const replica = at.at === 'here' ? here : at.at === 'peer' ? names.get(at.instance) : undefined;
      const known = at.at !== 'nowhere' && replica !== undefined;
      return { ...view, placement: known ? { shard, replica, term: at.term } : { shard, replica: '', term: 0n } };
    });
  }

  /** By name. */
  replicas(): readonly ReplicaView[] {
    const { self, others } = this.#parts;
    const views = [viewOf(self(), true), ...others().map((other) => viewOf(other, false))];
    return views.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

function viewOf({ replica, revision, hash, shards }: Omit<PeerView, 'instance'>, self: boolean): ReplicaView {
  return { name: replica, revision, hash, shards, self };
}
