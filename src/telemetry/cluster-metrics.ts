import { Counter, Gauge, type Registry } from 'prom-client';

/** What a replica knows of itself and the others; the coordinator's and the relay's own views have more. */
export interface ClusterStats {
  readonly shards: readonly { readonly shard: number; readonly term: bigint; readonly owner: string; readonly phase: string }[];
  readonly peers: readonly { readonly replica: string; readonly revision: number; readonly hash: string }[];
  readonly revision: { readonly number: number; readonly hash: string };
  /** NATS takes what this replica sends. */
  readonly connected: boolean;
  /** Callers of this replica whose requests wait at the owner, and requests of peers that wait here. */
  readonly remoteWaiters: number;
  readonly peerWaiters: number;
}

/** Exports the figures of a replica of a cluster. Returns a function that counts an admission outside the promises. */
export function createClusterMetrics(registry: Registry, figures: () => ClusterStats): (group: string, how: string) => void {
  gauge(registry, 'sluice_cluster_connected', 'NATS takes what this replica sends: 1, else 0.', () => Number(figures().connected));
  gauge(registry, 'sluice_cluster_replicas', 'Live replicas, this one included.', () => figures().peers.length + 1);
  gauge(registry, 'sluice_cluster_revisions', 'Different configurations among live replicas; more than 1 for long: a rollout that stands still.', () => {
    const { peers, revision } = figures();
    return new Set([...peers.map(({ revision: number, hash }) => `${number} ${hash}`), `${revision.number} ${revision.hash}`]).size;
  });
  gauge(registry, 'sluice_cluster_revision', "The revision of this replica's configuration.", () => figures().revision.number);
  gauge(
    registry,
    'sluice_cluster_shards_undecided',
    'Shards without a known owner; above 0 for longer than a takeover: see the operations page.',
    () => figures().shards.filter(({ phase, owner }) => phase === 'elsewhere' && owner === '').length,
  );
  gauge(
    registry,
    'sluice_cluster_remote_waiters',
    'Callers of this replica whose requests wait at another replica, or for an owner.',
    () => figures().remoteWaiters,
  );
  gauge(registry, 'sluice_cluster_peer_waiters', 'Requests of other replicas that wait here.', () => figures().peerWaiters);
  new Gauge({
    name: 'sluice_cluster_shards',
    help: 'Shards decided by this replica, by phase.',
    labelNames: ['phase'],
    registers: [registry],
    collect() {
      for (const phase of ['owned', 'draining', 'halted', 'sealed']) this.set({ phase }, figures().shards.filter((shard) => shard.phase === phase).length);
    },
  });
  new Gauge({
    name: 'sluice_cluster_term',
    help: 'Term of each shard decided by this replica; grows with every change of owner.',
    labelNames: ['shard'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { shard, term, phase } of figures().shards) if (phase !== 'elsewhere') this.set({ shard: String(shard) }, Number(term));
    },
  });
  const degraded = new Counter({
    name: 'sluice_degraded_total',
    help: 'Admissions on a share of the limits or without any, while the other replicas were out of reach.',
    labelNames: ['group', 'how'],
    registers: [registry],
  });
  return (group, how) => degraded.inc({ group, how });
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
