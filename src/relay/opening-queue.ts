import type { Arrival } from '../core/request.ts';

/** A request that came before its tree was open. */
interface OpeningWaiter {
  readonly since: () => Arrival | undefined;
  readonly enter: () => void;
}

/**
 * Asks for groups whose tree is just being opened here, of this replica's own callers and of others'. When admission opens
 * they enter together, in the order that they had before; newcomers after them, in order of arrival.
 */
export class OpeningQueue {
  readonly #lines = new Map<string, OpeningWaiter[]>();

  /** Waits for `opened` in the line of this group. */
  wait(group: string, opened: Promise<void>, standing: OpeningWaiter): void {
    const line = this.#lines.get(group);
    if (line !== undefined) {
      line.push(standing);
      return;
    }
    this.#lines.set(group, [standing]);
    const enter = (): void => this.#enter(group);
    void opened.then(enter, enter);
  }

  #enter(group: string): void {
    const line = this.#lines.get(group) ?? [];
    this.#lines.delete(group);
    for (const { enter } of line.sort((a, b) => compareArrival(a.since(), b.since()))) enter();
  }
}

/** Earlier arrivals first; those without one after them, as they are (sorting keeps their order). */
export function compareArrival(a: Arrival | undefined, b: Arrival | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  return a.order - b.order;
}
