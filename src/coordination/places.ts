import type { Hold } from './holdings.ts';
import type { Peer } from './peers.ts';
import type { Whereabouts } from './replica.ts';

const NOWHERE: Whereabouts = { at: 'nowhere' };

/**
 * Who decides for which shard, from what everybody says of himself: own holdings and the heartbeats of those that live. The
 * highest term is right; one below a term that was ever heard of is over, whoever speaks of it.
 */
export class Places {
  readonly #at: Whereabouts[];
  readonly #terms: bigint[];

  constructor(parts: { shards: number }) {
    this.#at = Array.from({ length: parts.shards }, () => NOWHERE);
    this.#terms = Array.from({ length: parts.shards }, () => 0n);
  }

  of(shard: number): Whereabouts {
    return this.#at[shard] ?? NOWHERE;
  }

  /** Looks at what is known now; answers the shards whose place has changed. A hold that has halted decides nothing: nowhere, until who is given it speaks up. */
  update(holds: Iterable<Hold>, peers: readonly Peer[]): readonly number[] {
    const terms = this.#terms;
    const owners: (string | undefined)[] = [];
    for (const { shard, term, phase } of holds) {
      if (term < (terms[shard] ?? 0n)) continue;
      terms[shard] = term;
      owners[shard] = phase === 'owned' || phase === 'draining' ? '' : undefined;
    }
    for (const peer of peers) {
      for (const { shard, term } of peer.own) {
        const known = terms[shard];
        if (known === undefined || term < known || (term === known && owners[shard] === '')) continue;
        terms[shard] = term;
        owners[shard] = peer.instance;
      }
    }
    return this.#at.flatMap((_, shard) => (this.#set(shard, owners[shard]) ? [shard] : []));
  }

  #set(shard: number, owner: string | undefined): boolean {
    const was = this.#at[shard] ?? NOWHERE;
    const term = this.#terms[shard] ?? 0n;
    if (owner === undefined) {
      if (was.at === 'nowhere') return false;
      this.#at[shard] = NOWHERE;
      return true;
    }
    if (was.at !== 'nowhere' && was.term === term && owner === (was.at === 'here' ? '' : was.instance)) return false;
    this.#at[shard] = owner === '' ? { at: 'here', term } : { at: 'peer', instance: owner, term };
    return true;
  }
}
