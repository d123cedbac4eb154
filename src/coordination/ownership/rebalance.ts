import type { Micros } from '../../core/time.ts';
import type { Peer } from '../membership/peers.ts';
import type { ShardOwnership } from './owned-shards.ts';
import { weightOf } from './rendezvous.ts';

/** Shards that one replica gives away at once. */
export const MOVES_MAX = 2;

/** Shards are moved when a load is above the mean by more than this factor. */
const UNEVEN = 1.25;

/** Shards of each replica. */
export interface Load {
  /** Shards of this replica that are not being given away. */
  readonly mine: readonly number[];
  /** Number of shards of each other session. */
  readonly others: ReadonlyMap<string, { readonly replica: string; readonly count: number }>;
  /** Number of shards being given away, by receiving session. */
  readonly moving: ReadonlyMap<string, number>;
  /** Everything is given away: this replica leaves, or runs an older configuration. */
  readonly leaving: boolean;
}

/** A shard to be given to a session. */
export interface Move {
  readonly shard: number;
  readonly to: string;
}

/**
 * Returns which shards to give away now and to which session, two at a time (docs/design/coordination.md 2.8). A replica gives only what
 * it has above the mean, and only to a replica below the mean, so that several that see a new replica at once together give it no more than its part.
 */
export function planMoves({ mine, others, moving, leaving }: Load): readonly Move[] {
  if (others.size === 0) return [];
  const under = new Map([...others].map(([session, { replica, count }]) => [session, { replica, count: count + (moving.get(session) ?? 0) }]));
  let total = mine.length;
  for (const { count } of under.values()) total += count;
  let onTheWay = 0;
  for (const count of moving.values()) onTheWay += count;
  const mean = total / (others.size + (leaving ? 0 : 1));
  const kept = leaving ? 0 : mine.length > UNEVEN * mean ? Math.ceil(mean) : mine.length;
  const left = [...mine];
  const moves: Move[] = [];
  while (left.length > kept && onTheWay + moves.length < MOVES_MAX) {
    const move = best(left, under, leaving ? Number.POSITIVE_INFINITY : mean);
    if (move === undefined) break;
    moves.push(move);
    left.splice(left.indexOf(move.shard), 1);
    const receiver = under.get(move.to);
    if (receiver !== undefined) receiver.count++;
  }
  return moves;
}

/** Returns the move to the session with the least shards, of the shard that ranks highest there. */
function best(shards: readonly number[], receivers: ReadonlyMap<string, { replica: string; count: number }>, below: number): Move | undefined {
  let to: string | undefined;
  let least = below;
  for (const [session, { count }] of receivers) if (count < least) [to, least] = [session, count];
  if (to === undefined) return undefined;
  const replica = receivers.get(to)?.replica ?? '';
  const shard = shards.reduce((a, b) => (weightOf(String(b), replica) > weightOf(String(a), replica) ? b : a));
  return { shard, to };
}

/** One replica, its shards, and the others. */
export interface RebalanceInput {
  readonly session: string;
  /** The number of its configuration. */
  readonly revision: number;
  readonly leaving: boolean;
  readonly owned: Iterable<ShardOwnership>;
  /** The other live replicas. */
  readonly peers: readonly Peer[];
}

/**
 * Decides when to give shards away: once live replicas and their configurations have not changed for `settleFor`, or at once when
 * leaving. Shards go only to replicas of the newest configuration; a replica of an older one gives them everything
 * (docs/design/coordination.md, decision 9).
 */
export class Rebalancer {
  readonly #settleFor: Micros;
  #known = '';
  #since: Micros = Number.NEGATIVE_INFINITY;

  constructor(options: { settleFor: Micros }) {
    this.#settleFor = options.settleFor;
  }

  /** Returns what to give away now; to '' while leaving with no replica to take it. */
  moves({ session, revision, leaving, owned, peers }: RebalanceInput, mono: Micros): readonly Move[] {
    const still = this.#still([...peers.map((peer) => `${peer.session} ${peer.revision.number}`), `${session} ${revision}`], mono);
    if (!leaving && still < this.#settleFor) return [];
    const mine: number[] = [];
    const moving = new Map<string, number>();
    for (const { shard, phase, to } of owned) {
      if (phase === 'owned') mine.push(shard);
      else moving.set(to, (moving.get(to) ?? 0) + 1);
    }
    const candidates = peers.filter(({ acceptsShards }) => acceptsShards);
    if (leaving && candidates.length === 0) return mine.map((shard) => ({ shard, to: '' }));
    const newest = Math.max(...candidates.map((peer) => peer.revision.number), leaving ? Number.NEGATIVE_INFINITY : revision);
    const receivers = candidates.filter((peer) => peer.revision.number === newest);
    const others = new Map(receivers.map((peer) => [peer.session, { replica: peer.replica, count: peer.own.length }]));
    return planMoves({ mine, others, moving, leaving: leaving || revision < newest });
  }

  /** Returns how long the live replicas have been these. */
  #still(names: readonly string[], mono: Micros): Micros {
    const now = [...names].sort().join('\n');
    if (now !== this.#known) {
      this.#known = now;
      this.#since = mono;
    }
    return mono - this.#since;
  }
}
