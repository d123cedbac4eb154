import type { Timers } from '../coordination/replica.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';

/** A new owner waits this long for waiters from before (docs/design/coordination.md 2.6). */
const BARRIER: Micros = 150 * MILLISECOND;

/** Replicas that have not sent their waiters of one shard yet. */
interface Barrier {
  readonly term: bigint;
  readonly missing: Set<string>;
  readonly lift: () => void;
}

/** Shards that admit no waiter yet, because waiters from before are still to be sent again, by this replica and by all live peers. */
export class TakeoverBarriers {
  readonly #timers: Timers;
  readonly #peers: () => readonly string[];
  readonly #open = new Map<number, Barrier>();
  /** Peers that rejoined before the barrier was armed, for the latest term of each shard. */
  readonly #early = new Map<number, { readonly term: bigint; readonly peers: Set<string> }>();

  constructor(deps: { timers: Timers; peers: () => readonly string[] }) {
    this.#timers = deps.timers;
    this.#peers = deps.peers;
  }

  /** Resolves when all have rejoined, or after 150 ms. `own` is the name for this replica's own waiters. */
  arm(shard: number, term: bigint, own: string): Promise<void> {
    this.#open.get(shard)?.lift();
    return new Promise((resolve) => {
      const cancel = this.#timers.after(BARRIER, () => lift());
      const lift = (): void => {
        cancel();
        if (this.#open.get(shard) === barrier) this.#open.delete(shard);
        resolve();
      };
      const early = this.#early.get(shard);
      const missing = new Set([own, ...this.#peers()].filter((peer) => early?.term !== term || !early.peers.has(peer)));
      const barrier: Barrier = { term, missing, lift };
      this.#early.delete(shard);
      this.#open.set(shard, barrier);
    });
  }

  /** Records that all callers of `peer` that waited for the shard have entered. */
  onPeerRejoined(peer: string, shard: number, term: bigint): void {
    const barrier = this.#open.get(shard);
    if (barrier?.term === term) {
      barrier.missing.delete(peer);
      if (barrier.missing.size === 0) barrier.lift();
    } else if (barrier === undefined || barrier.term < term) {
      const early = this.#early.get(shard);
      if (early?.term === term) early.peers.add(peer);
      else if (early === undefined || early.term < term) this.#early.set(shard, { term, peers: new Set([peer]) });
    }
  }

  /** Stops waiting for peers that are not in `live`. */
  onPeersChanged(live: ReadonlySet<string>): void {
    for (const barrier of [...this.#open.values()]) {
      for (const peer of barrier.missing) if (!live.has(peer)) barrier.missing.delete(peer);
      if (barrier.missing.size === 0) barrier.lift();
    }
  }
}
