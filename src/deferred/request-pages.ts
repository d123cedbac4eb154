import type { Refusal } from '../core/refusal.ts';
import type { RequestFilter, RequestScope, RequestView } from './deferred.ts';
import type { RequestRow } from './request.ts';
import { ENDED, SENDING } from './request-index.ts';
import type { RequestLifecycle } from './request-lifecycle.ts';
import { fits, inScope, matches, narrowed, viewOf } from './request-view.ts';
import type { LocalStore } from './store.ts';

/** Requests looked at for one page at most. */
const LOOKED_AT_MAX = 10_000;
/** Of them, between two turns of the event loop where ends are read from the store. */
const SLICE = 256;

/** Dependencies of the lists. */
export interface RequestPagesDeps {
  readonly store: LocalStore;
  readonly requests: RequestLifecycle;
  /** Dead letters that are being redriven or cancelled, by sequence: until then neither index nor store may have them. */
  readonly changing: ReadonlyMap<number, Promise<void>>;
  readonly pendingView: (slot: number, row: RequestRow) => RequestView;
}

interface ListPage {
  readonly requests: readonly RequestView[];
  readonly next: string;
}

/** Some requests in the order of their sequences. */
interface Slice {
  readonly found: readonly { readonly sequence: number; readonly view: RequestView }[];
  readonly looked: number;
  /** The sequence to go on from; infinite: there are no more. */
  readonly next: number;
}

/** Lists requests of one process, a page at a time. */
export class RequestPages {
  readonly #deps: RequestPagesDeps;

  constructor(deps: RequestPagesDeps) {
    this.#deps = deps;
  }

  /** Rejects when the store cannot be read. */
  async list(scope: RequestScope, filter: RequestFilter, size: number, token: string): Promise<ListPage | Refusal> {
    const { state } = filter;
    if (state === 'done' || state === 'dead' || state === 'cancelled') {
      const page = await this.#deps.store.listEnded({ ...filter, state, ...narrowed(scope, filter) }, size, token);
      const requests = page.requests.filter(({ row }) => inScope(scope, row)).map(({ row, end }) => viewOf(row, undefined, end, end.state));
      return { requests, next: page.next };
    }
    const from = /^\d{0,16}$/.test(token) ? Number(token) : Number.NaN;
    if (!Number.isSafeInteger(from)) return { reason: 'malformed', detail: 'This page token is not one of this list.' };
    return state === 'any' ? this.#listAny(scope, filter, size, from) : this.#listPending(scope, filter, size, from);
  }

  /** The token is the sequence at which the next page begins: no page walks through those before it. */
  #listPending(scope: RequestScope, filter: RequestFilter, size: number, from: number): ListPage {
    const { index } = this.#deps.requests;
    const requests: RequestView[] = [];
    let looked = 0;
    for (const slot of index.from(from)) {
      const next = String(index.sequenceOf(slot));
      if (++looked > LOOKED_AT_MAX) return { requests, next };
      if (index.stateOf(slot) === ENDED || (filter.group !== undefined && filter.group !== index.groupOf(slot))) continue;
      if (filter.state !== undefined && filter.state !== (index.stateOf(slot) === SENDING ? 'sending' : 'pending')) continue;
      const row = index.row(slot);
      if (!inScope(scope, row) || !fits(filter, row)) continue;
      if (requests.length === size) return { requests, next };
      requests.push(this.#deps.pendingView(slot, row));
    }
    return { requests, next: '' };
  }

  /**
   * Walks through index and store at once, by sequence, which no end and no redrive changes: each request is seen once, as it is then. Going
   * through one state after the other would pass by what moves to a state that was read before.
   */
  async #listAny(scope: RequestScope, filter: RequestFilter, size: number, from: number): Promise<ListPage> {
    const requests: RequestView[] = [];
    for (let at = from, looked = 0; ; ) {
      const slice = this.#slice(scope, filter, at);
      if (slice instanceof Promise) {
        await slice;
        continue;
      }
      for (const { sequence, view } of slice.found) {
        if (requests.length === size) return { requests, next: String(sequence) };
        requests.push(view);
      }
      looked += slice.looked;
      if (slice.next === Number.POSITIVE_INFINITY) return { requests, next: '' };
      if (looked >= LOOKED_AT_MAX) return { requests, next: String(slice.next) };
      at = slice.next;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Some requests from a sequence on; a promise: look again when it has settled. */
  #slice(scope: RequestScope, filter: RequestFilter, from: number): Slice | Promise<void> {
    const { requests, store, changing, pendingView } = this.#deps;
    const { index, ends } = requests;
    const ended = store.endedFrom(from, SLICE);
    let { upTo } = ended;
    const views = new Map<number, RequestView | undefined>();
    let looked = 0;
    for (const slot of index.from(from)) {
      const sequence = index.sequenceOf(slot);
      if (sequence > upTo) break;
      if (++looked > SLICE) {
        upTo = sequence - 1;
        break;
      }
      if (index.stateOf(slot) === ENDED && !ends.has(sequence)) continue;
      const row = index.row(slot);
      const isListed = filter.error === undefined && inScope(scope, row) && fits(filter, row);
      views.set(sequence, isListed ? pendingView(slot, row) : undefined);
    }
    for (const { row, end } of ended.requests) {
      const slot = index.slotOf(row.sequence);
      // On disk it has ended; one whose end is being stored is found in both.
      if (row.sequence > upTo || (views.has(row.sequence) && index.stateOf(slot) !== ENDED)) continue;
      const isListed = inScope(scope, row) && matches({ ...filter, state: end.state }, row, end);
      views.set(row.sequence, isListed ? viewOf(row, undefined, end, end.state) : undefined);
    }
    for (const [sequence, change] of changing) if (sequence >= from && sequence <= upTo && !views.has(sequence)) return change;
    const found = [...views].flatMap(([sequence, view]) => (view === undefined ? [] : [{ sequence, view }]));
    return { found: found.sort((a, b) => a.sequence - b.sequence), looked: looked + ended.requests.length, next: upTo + 1 };
  }
}
