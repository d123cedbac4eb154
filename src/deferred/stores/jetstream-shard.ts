import type { EndState } from '../request.ts';
import type { PendingCallback } from '../shared-store.ts';

/** Ended requests are counted out in steps of this. */
const BUCKET_MS = 60_000;

/**
 * What the owner of a shard has in memory of its streams, beside the index: only what is rare. Everything else is found by
 * sequence and token.
 */
export class ShardState {
  /** Where the message of a redriven request is now; all others are at their own sequence. */
  readonly moved = new Map<number, number>();
  /** Sequences of the retry messages, by request. */
  readonly retries = new Map<number, number>();
  /** Uploads of bodies in pieces; `goneAt` of a dead letter's, else 0. */
  readonly uploads = new Map<number, { readonly upload: string; readonly goneAt: number }>();
  /** Messages of ends that this owner wrote and has not met in the stream yet. */
  readonly own = new Set<number>();
  /** Callbacks that are owed, and were not asked for yet. */
  callbacks: PendingCallback[] = [];
  readonly #counts = { done: 0, dead: 0, cancelled: 0 };
  readonly #buckets = new Map<number, { done: number; dead: number; cancelled: number }>();

  get counts(): { readonly done: number; readonly dead: number; readonly cancelled: number } {
    return { ...this.#counts };
  }

  /** The sequence of the message that holds a pending request. */
  at(sequence: number): number {
    return this.moved.get(sequence) ?? sequence;
  }

  /** A callback is owed for an end whose report has not begun. */
  owe(row: PendingCallback['row'], endedAt: number, until: number): void {
    this.callbacks.push(owedFor(row, endedAt, until));
  }

  /** One ended (or, with -1, is no longer among the ended). */
  count(state: EndState, goneAt: number, by: 1 | -1 = 1): void {
    const at = Math.ceil(goneAt / BUCKET_MS);
    const bucket = this.#buckets.get(at);
    // Its bucket has passed: it was counted out already.
    if (bucket === undefined && by === -1) return;
    const into = bucket ?? { done: 0, dead: 0, cancelled: 0 };
    into[state] += by;
    this.#buckets.set(at, into);
    this.#counts[state] += by;
  }

  /** Counts out what is no longer kept. */
  forget(nowMs: number): void {
    for (const [at, bucket] of this.#buckets) {
      if (at * BUCKET_MS > nowMs) continue;
      for (const state of ['done', 'dead', 'cancelled'] as const) this.#counts[state] -= bucket[state];
      this.#buckets.delete(at);
    }
  }
}

/** The callback of an end, before its first attempt. */
export function owedFor({ sequence, secret, group, route }: PendingCallback['row'], endedAt: number, until: number): PendingCallback {
  const progress = { sequence, endedAt, state: 'pending', attempts: 0, firstAttemptAt: 0, dueAt: 0 } as const;
  return { row: { sequence, secret, group, route }, progress, until };
}
