import { addChecksum, verifyChecksum } from '../../storage/checksum.ts';
import type { LmdbFile } from '../../storage/lmdb.ts';
import { RegisterConflict, type Registers, type RegisterValue } from './registers.ts';

const TABLE = 'registers';

/**
 * Registers in LMDB: one entry each, its version the revision. LMDB's writer lock spans processes and Node has no file
 * lock, so two servers on one folder decide here which of them may continue (docs/design/coordination.md, decision 4).
 */
export class LmdbRegisters implements Registers {
  readonly #file: LmdbFile;

  constructor(file: LmdbFile) {
    this.#file = file;
  }

  async read(name: string): Promise<RegisterValue | undefined> {
    this.#file.refresh();
    const entry = this.#file.table(TABLE).getEntry(name);
    return entry && { revision: entry.version ?? 0, bytes: verifyChecksum(name, entry.value) };
  }

  async change(name: string, bytes: Uint8Array, revision: number): Promise<number> {
    const framed = addChecksum(name, bytes);
    const applied = await this.#file.change({ table: TABLE, key: name, version: revision === 0 ? undefined : revision }, [
      { table: TABLE, key: name, value: framed, version: revision + 1 },
    ]);
    if (!applied) throw new RegisterConflict(name, revision);
    return revision + 1;
  }
}
