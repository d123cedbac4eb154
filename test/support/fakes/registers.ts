import type { Registers, RegisterValue } from '../../../src/coordination/registers/registers.ts';

/** What becomes of one change: as it should; nothing is written; written, but the answer is lost. */
export type ChangeFate = 'ok' | 'lost' | 'unheard';

/** Registers whose changes meet faults, as told. */
export class FaultyRegisters implements Registers {
  readonly #inner: Registers;
  /** Fates of the next changes, in order; then `ok`. */
  fates: ChangeFate[] = [];
  changes = 0;

  constructor(inner: Registers) {
    this.#inner = inner;
  }

  read(name: string): Promise<RegisterValue | undefined> {
    return this.#inner.read(name);
  }

  async change(name: string, bytes: Uint8Array, revision: number): Promise<number> {
    const fate = this.fates.shift() ?? 'ok';
    this.changes++;
    if (fate === 'lost') throw new Error('The disk refused.');
    const next = await this.#inner.change(name, bytes, revision);
    if (fate === 'unheard') throw new Error('The answer was lost.');
    return next;
  }
}
