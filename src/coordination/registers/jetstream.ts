import type { Layout } from '../../nats/layout.ts';
import { type StreamClient, WrongLastSequence } from '../../nats/stream-client.ts';
import { addChecksum, verifyChecksum } from '../../storage/checksum.ts';
import { RegisterConflict, type Registers, type RegisterValue, type SessionRegisters, type StaleSession } from './registers.ts';

/** The part of the stream client that registers use. */
export type RegisterRecords = Pick<StreamClient, 'write' | 'newest' | 'scan' | 'purge'>;

/**
 * Registers in JetStream: one subject each that keeps one message, whose sequence is the revision. A change is a publish
 * that names the message it follows; every server of the stream's group applies the same, so one of many wins. A read may
 * come from a server that lags behind.
 */
export class JetStreamRegisters implements Registers, SessionRegisters {
  readonly #records: RegisterRecords;
  readonly #layout: Layout;

  constructor(deps: { readonly records: RegisterRecords; readonly layout: Layout }) {
    this.#records = deps.records;
    this.#layout = deps.layout;
  }

  async read(name: string): Promise<RegisterValue | undefined> {
    const found = await this.#records.newest(this.#layout.register(name));
    // The broker has checksums of its own; this one finds records that other programs wrote.
    return found && { revision: found.sequence, bytes: verifyChecksum(name, found.bytes) };
  }

  async change(name: string, bytes: Uint8Array, revision: number): Promise<number> {
    try {
      return await this.#records.write(this.#layout.register(name), addChecksum(name, bytes), revision);
    } catch (cause) {
      throw cause instanceof WrongLastSequence ? new RegisterConflict(name, revision) : cause;
    }
  }

  async *sessions(): AsyncIterable<StaleSession> {
    for await (const { subject, sequence, at } of this.#records.scan(this.#layout.everySession, 0)) {
      const name = this.#layout.sessionAt(subject);
      if (name !== undefined) yield { register: name, revision: sequence, writtenAt: at };
    }
  }

  /** A purge below the revision after it: what was written since stays. */
  async forget(register: string, revision: number): Promise<void> {
    await this.#records.purge(this.#layout.register(register), revision + 1);
  }
}
