import type { Refusal } from '../core/refusal.ts';
import { SHARDS } from '../core/sharding.ts';
import type { RequestFilter, RequestScope, RequestView } from './deferred.ts';
import type { RequestEnd, RequestRow } from './request.ts';
import { fits, inScope, matches, narrowed, viewOf } from './request-view.ts';
import type { SharedStore } from './shared-store.ts';

/** Dependencies of the lists. */
export interface ClusterPagesDeps {
  readonly storeOf: (shard: number) => SharedStore;
  /** What a request that has not ended waits for, as far as it is known here. */
  readonly waitOf: (row: RequestRow, state: string) => Partial<RequestView>;
}

interface ShardList {
  readonly scope: RequestScope;
  readonly filter: RequestFilter;
  readonly size: number;
  readonly token: string;
}

interface ListPage {
  readonly requests: readonly RequestView[];
  readonly next: string;
}

/**
 * Lists requests of the whole cluster, one shard after the other, since any of them may hold requests of a group that has moved. A page token is
 * the shard and that shard's own token.
 */
export class ClusterPages {
  readonly #deps: ClusterPagesDeps;

  constructor(deps: ClusterPagesDeps) {
    this.#deps = deps;
  }

  /** Rejects when NATS does not answer. */
  async list(scope: RequestScope, filter: RequestFilter, size: number, token: string): Promise<ListPage | Refusal> {
    const from = token === '' ? ['', '0', ''] : /^(\d{1,2})\.(\d{0,16})$/.exec(token);
    if (from === null || Number(from[1]) >= SHARDS) return { reason: 'malformed', detail: 'This page token is not one of this list.' };
    const requests: RequestView[] = [];
    let within = from[2] ?? '';
    for (let shard = Number(from[1]); shard < SHARDS; shard++, within = '') {
      const page = await this.#listShard(this.#deps.storeOf(shard), { scope, filter, size: size - requests.length, token: within });
      requests.push(...page.requests);
      if (page.next !== '') return { requests, next: `${shard}.${page.next}` };
      if (requests.length >= size) return { requests, next: shard + 1 < SHARDS ? `${shard + 1}.` : '' };
    }
    return { requests, next: '' };
  }

  async #listShard(store: SharedStore, { scope, filter, size, token }: ShardList): Promise<ListPage> {
    const { state } = filter;
    if (state === 'done' || state === 'dead' || state === 'cancelled') {
      const page = await store.listEnded({ ...filter, state, ...narrowed(scope, filter) }, size, token);
      const seen = page.requests.filter(({ row }) => inScope(scope, row));
      return { requests: seen.map(({ row, end }) => viewOf(row, undefined, end, end.state)), next: page.next };
    }
    if (state === 'any') return this.#listAll(store, { scope, filter, size, token });
    const page = await store.listPending((row) => inScope(scope, row) && fits(filter, row), size, token);
    const armed = page.rows.length === 0 ? new Map<number, number>() : await store.armed();
    const views = page.rows.map((row) => this.#pendingView(row, armed));
    return { requests: views.filter((view) => state === undefined || view.state === state), next: page.next };
  }

  async #listAll(store: SharedStore, { scope, filter, size, token }: ShardList): Promise<ListPage> {
    const fitting = (row: RequestRow, end: RequestEnd | undefined): boolean =>
      inScope(scope, row) && (end === undefined ? fits(filter, row) : matches({ ...filter, state: end.state }, row, end));
    const page = await store.listAll(fitting, size, token);
    const armed = page.requests.some(({ end }) => end === undefined) ? await store.armed() : new Map<number, number>();
    const requests = page.requests.map(({ row, end }) => (end === undefined ? this.#pendingView(row, armed) : viewOf(row, undefined, end, end.state)));
    return { requests, next: page.next };
  }

  #pendingView(row: RequestRow, armed: ReadonlyMap<number, number>): RequestView {
    const at = (armed.get(row.sequence) ?? 0) > row.attempts ? 'sending' : 'pending';
    return { ...viewOf(row, undefined, undefined, at), ...this.#deps.waitOf(row, at) };
  }
}
