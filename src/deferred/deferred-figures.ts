import type { Clock } from '../admission/clock.ts';
import { ENDED } from './request-index.ts';
import type { RequestLifecycle } from './request-lifecycle.ts';
import type { DeferredStore } from './store.ts';

/** Of all groups together, so many of the oldest requests are looked at for ages. */
const OLDEST_LOOKED_AT_MAX = 10_000;

/** Numbers of deferred mode at one moment. */
export interface DeferredFigures {
  readonly sending: number;
  /** Waiting for a due time or the next attempt. */
  readonly delayed: number;
  readonly ended: ReturnType<DeferredStore['counts']>;
  readonly groups: ReadonlyMap<string, { readonly pending: number; readonly oldestMs: number }>;
  readonly bytes: number;
  readonly bytesMax: number;
  readonly down: readonly string[];
}

/** What figures are taken of: one store, or one of each shard. */
export interface Counted {
  readonly store: Pick<DeferredStore, 'counts'>;
  readonly requests: Pick<RequestLifecycle, 'index' | 'running' | 'dispatcher' | 'outages'>;
}

/** Adds numbers up. `groups`: of each group with requests, how many have not ended and when the oldest was accepted (looked for among the 10,000 oldest). */
export function figuresOf(all: readonly Counted[], clock: Clock, space: { readonly bytes: number; readonly bytesMax: number }): DeferredFigures {
  const ended = { done: 0, dead: 0, cancelled: 0 };
  const groups = new Map<string, { pending: number; oldestMs: number }>();
  const down = new Set<string>();
  let sending = 0;
  let delayed = 0;
  let looked = 0;
  for (const { store, requests } of all) {
    const { index, running, dispatcher, outages } = requests;
    sending += running.size;
    delayed += dispatcher.delayed;
    const counts = store.counts();
    for (const state of ['done', 'dead', 'cancelled'] as const) ended[state] += counts[state];
    for (const backend of outages.down) down.add(backend);
    const unseen = new Set<string>();
    for (const [group, pending] of index.pending) {
      const known = groups.get(group) ?? { pending: 0, oldestMs: 0 };
      groups.set(group, { ...known, pending: known.pending + pending });
      unseen.add(group);
    }
    for (const slot of index.slots()) {
      if (unseen.size === 0 || ++looked > OLDEST_LOOKED_AT_MAX) break;
      if (index.stateOf(slot) === ENDED || !unseen.delete(index.groupOf(slot))) continue;
      const figures = groups.get(index.groupOf(slot));
      if (figures !== undefined) figures.oldestMs = Math.max(1, figures.oldestMs, clock.epoch(clock.now()) - index.acceptedAtOf(slot));
    }
  }
  return { sending, delayed, ended, groups, ...space, down: [...down] };
}
