import { checked, withChecksum } from '../../disk/checked.ts';
import type { Layout } from '../../nats/layout.ts';
import { type Records, WrongLast } from '../../nats/records.ts';
import { RegisterConflict, type Registers, type RegisterValue } from '../registers.ts';

/**
 * Registers in JetStream: one subject each that keeps one message, whose sequence is the revision. A change is a publish
 * that names the message it follows; every server of the stream's group applies the same, so one of many wins. A read may
 * come from a server that lags behind.
 */
export class JetStreamRegisters implements Registers {
  readonly #records: Pick<Records, 'write' | 'newest'>;
  readonly #layout: Layout;

  constructor(parts: { readonly records: Pick<Records, 'write' | 'newest'>; readonly layout: Layout }) {
    this.#records = parts.records;
    this.#layout = parts.layout;
  }

  async read(name: string): Promise<RegisterValue | undefined> {
    const found = await this.#records.newest(this.#layout.register(name));
    // The broker has checksums of its own; this one finds what another hand has put there.
    return found && { revision: found.sequence, bytes: checked(name, found.bytes) };
  }

  async change(name: string, bytes: Uint8Array, revision: number): Promise<number> {
    try {
      return await this.#records.write(this.#layout.register(name), withChecksum(name, bytes), revision);
    } catch (cause) {
      throw cause instanceof WrongLast ? new RegisterConflict(name, revision) : cause;
    }
  }
}
