import type { Batch } from '../../src/ledger/batch-codec.ts';
import type { SimNats } from './sim-registers.ts';

/** One record of a chain. */
export interface Link {
  readonly sequence: number;
  readonly batch: Batch;
}

/** What came of an append. */
export type Appended = number | 'conflict';

/** Chains of records, one for each shard, each append compared with the one before: the store behind the ledgers. */
export class SimChains {
  readonly #nats: SimNats;
  readonly #chains = new Map<number, Link[]>();

  constructor(nats: SimNats) {
    this.#nats = nats;
  }

  /** Adds `batch` if `last` is still the newest (0: none). */
  append(replica: number, write: { shard: number; batch: Batch; last: number }, answer: (given: Appended) => void): void {
    this.#nats.ask(
      replica,
      () => {
        const { shard, batch, last } = write;
        const chain = this.#chains.get(shard) ?? [];
        if ((chain.at(-1)?.sequence ?? 0) !== last) return 'conflict';
        this.#chains.set(shard, chain);
        chain.push({ sequence: last + 1, batch });
        return last + 1;
      },
      answer,
    );
  }

  /** Everything after `after`; the newest may be missing. */
  read(replica: number, shard: number, after: number, answer: (links: readonly Link[]) => void): void {
    this.#nats.ask(
      replica,
      () => {
        const chain = this.#chains.get(shard) ?? [];
        return chain.slice(0, chain.length - this.#nats.lag()).filter((link) => link.sequence > after);
      },
      answer,
    );
  }
}
