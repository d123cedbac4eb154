import type { Clock } from '../admission/clock.ts';
import type { RequestLifecycle } from './request-lifecycle.ts';
import type { DeferredStore } from './store.ts';

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

/** Adds numbers up. `groups`: of each group with requests, how many have not ended and how old the oldest is. Takes time for each group, not for each request. */
export function figuresOf(all: readonly Counted[], clock: Clock, space: { readonly bytes: number; readonly bytesMax: number }): DeferredFigures {
  const ended = { done: 0, dead: 0, cancelled: 0 };
  const groups = new Map<string, { pending: number; oldestMs: number }>();
  const down = new Set<string>();
  let sending = 0;
  let delayed = 0;
  for (const { store, requests } of all) {
    const { index, running, dispatcher, outages } = requests;
    sending += running.size;
    delayed += dispatcher.delayed;
    const counts = store.counts();
    for (const state of ['done', 'dead', 'cancelled'] as const) ended[state] += counts[state];
    for (const backend of outages.down) down.add(backend);
    for (const [group, { first, length }] of index.groups) {
      const known = groups.get(group) ?? { pending: 0, oldestMs: 0 };
      const ageMs = clock.epoch(clock.now()) - index.acceptedAtOf(first);
      groups.set(group, { pending: known.pending + length, oldestMs: Math.max(1, known.oldestMs, ageMs) });
    }
  }
  return { sending, delayed, ended, groups, ...space, down: [...down] };
}
