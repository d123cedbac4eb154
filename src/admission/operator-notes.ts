import type { Instant } from '../core/time.ts';

/** Pauses of keys whose circumstances are remembered, of one group. */
const KEYS_MAX = 1_000;

/** Who changed a group, when and why. */
export interface OperatorNote {
  readonly since: Instant;
  /** Name of the credential; '' without auth. */
  readonly by: string;
  /** As the operator wrote it; '' if nothing was. */
  readonly reason: string;
}

/** Circumstances of the pauses and the override of one group. They are kept in memory: after a restart, or where a pushback made the pause, there are none. */
export class OperatorNotes {
  pause: OperatorNote | undefined;
  override: OperatorNote | undefined;
  readonly #keys = new Map<string, OperatorNote>();

  ofKey(key: string): OperatorNote | undefined {
    return this.#keys.get(key);
  }

  /** Notes a pause, of the group or of one key; undefined: it is over. */
  setPause(key: string | undefined, note: OperatorNote | undefined): void {
    if (key === undefined) this.pause = note;
    else if (note === undefined) this.#keys.delete(key);
    else {
      this.#keys.set(key, note);
      const [oldest] = this.#keys.keys();
      if (this.#keys.size > KEYS_MAX && oldest !== undefined) this.#keys.delete(oldest);
    }
  }
}
