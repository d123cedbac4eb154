import { addChecksum, verifyChecksum } from '../../storage/checksum.ts';
import { RegisterConflict, type Registers, type RegisterValue } from './registers.ts';

/** What outlives a `MemoryRegisters`; several may share one, as processes share a disk. */
export type RegisterDisk = Map<string, { revision: number; framed: Uint8Array }>;

/** The registers that define the meaning of `Registers`. */
export class MemoryRegisters implements Registers {
  readonly #disk: RegisterDisk;

  constructor(disk: RegisterDisk = new Map()) {
    this.#disk = disk;
  }

  async read(name: string): Promise<RegisterValue | undefined> {
    const found = this.#disk.get(name);
    return found && { revision: found.revision, bytes: verifyChecksum(name, found.framed) };
  }

  async change(name: string, bytes: Uint8Array, revision: number): Promise<number> {
    if ((this.#disk.get(name)?.revision ?? 0) !== revision) throw new RegisterConflict(name, revision);
    this.#disk.set(name, { revision: revision + 1, framed: addChecksum(name, bytes) });
    return revision + 1;
  }
}
