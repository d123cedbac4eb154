import { type Micros, SECOND } from '../core/time.ts';

/** The same trouble is told again after this long at the earliest. */
const TELL_EVERY: Micros = 10 * SECOND;

/** Keeps a trouble that lasts from filling the log. */
export class WarningThrottle {
  readonly #told = new Map<string, Micros>();

  /** Is it to be told now? */
  fresh(what: string, mono: Micros): boolean {
    for (const [told, at] of this.#told) if (mono - at >= TELL_EVERY) this.#told.delete(told);
    if (this.#told.has(what)) return false;
    this.#told.set(what, mono);
    return true;
  }
}

/** What an operator is to know about shards of a session whose record is lost; undefined: there are none. */
export function orphanedShardsMessage(shards: readonly number[]): string | undefined {
  if (shards.length === 0) return undefined;
  return `Shards ${shards.join(', ')} stand still: the record of who decided for them is lost. They go on by themselves once a replica's wall clock and the registers' time agree within 250 ms, unless they did not agree when these shards were last owned either.`;
}
