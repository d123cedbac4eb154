import type { Errand } from './errand.ts';
import { bySince } from './porch.ts';

/** Asks of this replica's callers that no gate of this process has: by shard, and those asked at a peer by name. */
export class Lines {
  readonly #lines = new Map<number, Set<Errand>>();
  readonly #named = new Map<number, Errand>();
  #size = 0;

  /** In all lines. */
  get size(): number {
    return this.#size;
  }

  add(errand: Errand): void {
    const { shard } = errand.spot;
    let line = this.#lines.get(shard);
    if (line === undefined) {
      line = new Set();
      this.#lines.set(shard, line);
    }
    if (errand.inLine) return;
    errand.inLine = true;
    line.add(errand);
    this.#size++;
  }

  remove(errand: Errand): void {
    if (!errand.inLine) return;
    errand.inLine = false;
    const { shard } = errand.spot;
    const line = this.#lines.get(shard);
    line?.delete(errand);
    this.#size--;
    if (line?.size === 0) this.#lines.delete(shard);
  }

  name(errand: Errand): void {
    this.#named.set(errand.wid, errand);
  }

  /** The ask of this name is not waited for any more. */
  unname(wid: number): void {
    this.#named.delete(wid);
  }

  named(wid: number): Errand | undefined {
    return this.#named.get(wid);
  }

  /** Of one shard, as they are to be asked again: those with a place in its order, then the others as they came. */
  of(shard: number): readonly Errand[] {
    return [...(this.#lines.get(shard) ?? [])].sort((a, b) => bySince(a.arrival, b.arrival) || a.serial - b.serial);
  }

  all(): readonly Errand[] {
    return [...this.#lines.values()].flatMap((line) => [...line]);
  }

  /** Is somebody in this shard's line? */
  has(shard: number): boolean {
    return this.#lines.has(shard);
  }
}
