import type { Micros } from '../../core/time.ts';
import type { Peer } from '../membership/peers.ts';
import type { ShardLocation, ShardView } from '../replica.ts';
import type { ReplicaMachine } from '../replica-machine.ts';
import type { ShardOwnership } from './owned-shards.ts';

const NOWHERE: ShardLocation = { at: 'nowhere' };

/**
 * Who decides for which shard, from what each replica says of itself: own holdings and the heartbeats of those that live. The
 * highest term is right; one below a term that was ever heard of is over, whichever replica names it.
 */
export class RoutingTable {
  readonly #at: ShardLocation[];
  readonly #terms: bigint[];

  constructor(options: { shards: number }) {
    this.#at = Array.from({ length: options.shards }, () => NOWHERE);
    this.#terms = Array.from({ length: options.shards }, () => 0n);
  }

  /** Returns whether every shard has an owner. */
  get settled(): boolean {
    return this.#at.every(({ at }) => at !== 'nowhere');
  }

  ownerOf(shard: number): ShardLocation {
    return this.#at[shard] ?? NOWHERE;
  }

  /** Looks at what is known now; answers the shards whose place has changed. A hold that has halted decides nothing: nowhere, until who is given it speaks up. */
  update(owned: Iterable<ShardOwnership>, peers: readonly Peer[]): readonly number[] {
    const terms = this.#terms;
    const owners: (string | undefined)[] = [];
    for (const { shard, term, phase } of owned) {
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

  /** Every shard, as the replica `own` sees it. */
  views(own: string, machine: Pick<ReplicaMachine, 'others' | 'ownedShards' | 'until'>, mono: Micros): readonly ShardView[] {
    const names = new Map(machine.others(mono).map(({ instance, replica }) => [instance, replica]));
    const views = this.#at.map((at, shard): ShardView => {
      const owner = at.at === 'peer' ? (names.get(at.instance) ?? '') : '';
      return { shard, term: at.at === 'nowhere' ? 0n : at.term, owner, phase: 'elsewhere', from: undefined, until: undefined };
    });
    for (const { shard, term, phase, from } of machine.ownedShards())
      views[shard] = { shard, term, owner: own, phase, from, until: machine.until(shard, term) };
    return views;
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
