import { type Micros, SECOND } from '../../core/time.ts';
import type { Heartbeat } from './session-record.ts';

/** A process that ends, or goes on under another name, is heard for less long. */
const FOR: Micros = 2 * SECOND;

/** Silent for longer, it begins anew. */
const SILENCE: Micros = SECOND;

/** Notices another process that runs under this replica's name: the two take each other's shards, and peers count them as one. */
export class DuplicateNameDetector {
  readonly #heard = new Map<string, { readonly since: Micros; last: Micros }>();

  /** What to tell of a heartbeat; undefined: nothing. */
  onHeartbeat(
    heartbeat: Pick<Heartbeat, 'replica' | 'instance' | 'acceptsShards'>,
    own: { readonly replica: string; readonly instance: string },
    mono: Micros,
  ): string | undefined {
    const { replica, instance, acceptsShards } = heartbeat;
    // Who leaves, or has only begun, owns nothing for long.
    if (replica !== own.replica || instance === own.instance || !acceptsShards) return undefined;
    for (const [other, { last }] of this.#heard) if (mono - last > SILENCE) this.#heard.delete(other);
    const known = this.#heard.get(instance) ?? { since: mono, last: mono };
    known.last = mono;
    this.#heard.set(instance, known);
    if (mono - known.since <= FOR) return undefined;
    return `Another process (instance ${instance}) runs under this replica's name too: set another cluster.name for one of the two, and restart it.`;
  }
}
