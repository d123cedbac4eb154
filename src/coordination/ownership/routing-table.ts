import type { Micros } from '../../core/time.ts';
import type { Peer } from '../membership/peers.ts';
import type { ShardLocation, ShardView } from '../replica.ts';
import type { ReplicaMachine } from '../replica-machine.ts';
import type { ShardOwnership } from './owned-shards.ts';

const NOWHERE: ShardLocation = { at: 'nowhere' };

/**
 * The owner of each shard, from the own shards and the heartbeats of live replicas. The highest term is right; one below a term that
 * was ever reported has ended, whichever replica names it.
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

  /** Updates the table. Returns the shards whose location has changed. A halted shard is nowhere, until the replica that is given it reports it. */
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

  /** Returns a view of every shard, as the replica `own` sees it. */
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
