import type { Arrival } from '../core/request.ts';

/** A request that arrived before its tree was open. */
interface OpeningWaiter {
  readonly since: () => Arrival | undefined;
  readonly enter: () => void;
}

/**
 * Holds requests for groups whose tree is being opened here, of this replica's own callers and of peers' callers. When the tree
 * is open they are submitted together, in the order that they had before, then those without an earlier arrival, as they came.
 */
export class OpeningQueue {
  readonly #waiters = new Map<string, OpeningWaiter[]>();

  /** Queues a request of this group until `opened` settles. */
  wait(group: string, opened: Promise<void>, waiter: OpeningWaiter): void {
    const waiters = this.#waiters.get(group);
    if (waiters !== undefined) {
      waiters.push(waiter);
      return;
    }
    this.#waiters.set(group, [waiter]);
    const enter = (): void => this.#enter(group);
    void opened.then(enter, enter);
  }

  #enter(group: string): void {
    const waiters = this.#waiters.get(group) ?? [];
    this.#waiters.delete(group);
    for (const { enter } of waiters.sort((a, b) => compareArrival(a.since(), b.since()))) enter();
  }
}

/** Orders earlier arrivals first, then those without one in their present order (sorting is stable). */
export function compareArrival(a: Arrival | undefined, b: Arrival | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  return a.order - b.order;
}
