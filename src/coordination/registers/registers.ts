/**
 * Records changed by compare-and-set, which store terms. `test/conformance/registers.suite.ts` defines the behaviour of every
 * implementation.
 */
export interface Registers {
  /** Returns the newest value this process can see, or undefined if it was never written. A read may lag: only a change proves a value. Throws `CorruptRecord`. */
  read(name: string): Promise<RegisterValue | undefined>;
  /**
   * Writes `bytes` if `revision` is still the newest (0: never written); resolves with the new revision once on disk.
   * Rejects with {@link RegisterConflict} (nothing written), or anything else: then the outcome is unknown.
   */
  change(name: string, bytes: Uint8Array, revision: number): Promise<number>;
}

/** A register's content. */
export interface RegisterValue {
  /** Grows with every change; 1 is the first. */
  readonly revision: number;
  readonly bytes: Uint8Array;
}

/** Another process changed the register first. */
export class RegisterConflict extends Error {
  override readonly name = 'RegisterConflict';

  constructor(register: string, revision: number) {
    super(`Register ${register} has moved on from revision ${revision}.`);
  }
}

/** The register of a session. */
export interface StaleSession {
  readonly register: string;
  readonly revision: number;
  /** Milliseconds since 1970, of the clock of the server that keeps it. */
  readonly writtenAt: number;
}

/** Registers of sessions, to be listed and deleted. */
export interface SessionRegisters {
  sessions(): AsyncIterable<StaleSession>;
  /** Deletes a register unless it has been written since `revision`. */
  forget(register: string, revision: number): Promise<void>;
}
