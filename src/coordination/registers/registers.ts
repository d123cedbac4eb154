/**
 * Records changed by compare-and-set: what terms are kept in. `test/conformance/registers.suite.ts` says by example what
 * every implementation does.
 */
export interface Registers {
  /** The newest value this process can see; undefined: never written. A read proves nothing: only a change does. Throws `CorruptRecord`. */
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

/** A session's register as it is found. */
export interface StaleSession {
  readonly register: string;
  readonly revision: number;
  /** Milliseconds since 1970, of the clock of the server that keeps it. */
  readonly writtenAt: number;
}

/** Registers of sessions that can be looked through and forgotten. */
export interface SessionRegisters {
  sessions(): AsyncIterable<StaleSession>;
  /** Forgets a register unless it has been written since. */
  forget(register: string, revision: number): Promise<void>;
}
