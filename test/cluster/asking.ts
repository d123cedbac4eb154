import { shardOf } from '../../src/core/sharding.ts';
import type { Fleet, FleetReplica } from '../faults/fleet.ts';
import { until } from '../support/fakes/until.ts';

/** How one ask ended, as its caller saw it. */
export interface Answer {
  readonly status: number;
  /** `performance.now()` when it was there. */
  readonly at: number;
  /** `performance.now()` when it was sent, and so long after it as the permit says that it waited: it was admitted between this and `at`. */
  readonly earliest: number;
  readonly permit: string;
  readonly fence: string;
  readonly reason: string;
  readonly headers: Headers;
}

/** What a replica says of a group and of all replicas. */
export interface Standing {
  readonly placement: { readonly shard: number; readonly replica: string; readonly term: string } | undefined;
  readonly replicas: readonly { readonly name: string; readonly revision: string; readonly hash: string; readonly shards: number; readonly self: boolean }[];
}

/** Asks replicas of a fleet by plain HTTP. */
export class Asking {
  readonly #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /** Rejects when the connection breaks. */
  async post(replica: number, path: string, body: object = {}): Promise<Answer> {
    const { url, adminUrl } = this.#of(replica);
    const base = path.endsWith('/pause') ? adminUrl : url;
    const sent = performance.now();
    const answer = await fetch(`${base}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const { permit = '', fence = '', reason = '', waited = '0s' } = (await answer.json()) as Partial<Answer> & { readonly waited?: string };
    const earliest = sent + Number.parseFloat(waited) * 1_000;
    return { status: answer.status, at: performance.now(), earliest, permit, fence, reason, headers: answer.headers };
  }

  acquire(replica: number, group: string, more: object = {}): Promise<Answer> {
    return this.post(replica, `/v1/groups/${group}/acquire`, more);
  }

  /** How many wait in a group, asked at this replica. */
  async waiting(group: string, replica = 0): Promise<number> {
    const answer = await fetch(`${this.#of(replica).adminUrl}/v1/groups/${group}`);
    return Number(((await answer.json()) as { waiting?: string }).waiting ?? 0);
  }

  /** How many leases live in a group, asked at this replica. */
  async leases(group: string, replica = 0): Promise<number> {
    const answer = await fetch(`${this.#of(replica).adminUrl}/v1/groups/${group}`);
    return Number(((await answer.json()) as { leases?: string }).leases ?? 0);
  }

  /** Who decides for a group and who lives, as this replica says. */
  async standing(group: string, replica: number): Promise<Standing> {
    const answer = await fetch(`${this.#of(replica).adminUrl}/v1/groups?page_size=1000`);
    const { groups, replicas } = (await answer.json()) as { groups: readonly { name: string; placement?: Standing['placement'] }[] } & Pick<
      Standing,
      'replicas'
    >;
    return { placement: groups.find(({ name }) => name === group)?.placement, replicas };
  }

  /** Settles when so many wait. */
  async wait(group: string, count: number, replica = 0): Promise<void> {
    await until(`${count} to wait for ${group}`, async () => (await this.waiting(group, replica)) === count);
  }

  /** Which replica decides a group that is a root. */
  async owner(group: string): Promise<number> {
    const shard = `sluice_cluster_term{shard="${shardOf(group)}"}`;
    for (const { index, metrics } of await Promise.all(this.#fleet.replicas.map(async (each) => ({ index: each.index, metrics: await each.metrics() })))) {
      if (metrics?.includes(shard)) return index;
    }
    throw new Error(`nobody decides ${group}`);
  }

  /** One that does not decide it. */
  async other(group: string, besides: readonly number[] = []): Promise<number> {
    const owner = await this.owner(group);
    const found = this.#fleet.replicas.find(({ index }) => index !== owner && !besides.includes(index));
    if (found === undefined) throw new Error('no such replica');
    return found.index;
  }

  #of(replica: number): FleetReplica {
    const found = this.#fleet.replicas[replica];
    if (found === undefined) throw new Error(`no replica ${replica}`);
    return found;
  }
}
