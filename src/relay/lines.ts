import { compareArrival } from './opening-queue.ts';
import type { PendingRequest } from './pending-request.ts';

/** Asks of this replica's callers that no gate of this process has: by shard, and those asked at a peer by name. */
export class PendingIndex {
  readonly #lines = new Map<number, Set<PendingRequest>>();
  readonly #named = new Map<number, PendingRequest>();
  #size = 0;

  /** In all lines. */
  get size(): number {
    return this.#size;
  }

  add(pending: PendingRequest): void {
    const { shard } = pending.route;
    let line = this.#lines.get(shard);
    if (line === undefined) {
      line = new Set();
      this.#lines.set(shard, line);
    }
    if (pending.inLine) return;
    pending.inLine = true;
    line.add(pending);
    this.#size++;
  }

  remove(pending: PendingRequest): void {
    if (!pending.inLine) return;
    pending.inLine = false;
    const { shard } = pending.route;
    const line = this.#lines.get(shard);
    line?.delete(pending);
    this.#size--;
    if (line?.size === 0) this.#lines.delete(shard);
  }

  name(pending: PendingRequest): void {
    this.#named.set(pending.requestSeq, pending);
  }

  /** The ask of this name is not waited for any more. */
  unname(wid: number): void {
    this.#named.delete(wid);
  }

  named(wid: number): PendingRequest | undefined {
    return this.#named.get(wid);
  }

  /** Of one shard, as they are to be asked again: those with a place in its order, then the others as they came. */
  of(shard: number): readonly PendingRequest[] {
    return [...(this.#lines.get(shard) ?? [])].sort((a, b) => compareArrival(a.knownArrival, b.knownArrival) || a.serial - b.serial);
  }

  all(): readonly PendingRequest[] {
    return [...this.#lines.values()].flatMap((line) => [...line]);
  }

  /** Is somebody in this shard's line? */
  has(shard: number): boolean {
    return this.#lines.has(shard);
  }
}
