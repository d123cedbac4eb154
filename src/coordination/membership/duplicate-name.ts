import { type Micros, SECOND } from '../../core/time.ts';
import type { Heartbeat } from './session-record.ts';

/** A duplicate is reported after this time: heartbeats of a process that ends, or changes its instance, last less long. */
const FOR: Micros = 2 * SECOND;

/** After a silence longer than this, the time starts again. */
const SILENCE: Micros = SECOND;

/** Detects another process that runs under this replica's name: the two take each other's shards, and peers count them as one. */
export class DuplicateNameDetector {
  readonly #heard = new Map<string, { readonly since: Micros; last: Micros }>();

  /** Handles a heartbeat. Returns the warning to log, or undefined. */
  onHeartbeat(
    heartbeat: Pick<Heartbeat, 'replica' | 'instance' | 'acceptsShards'>,
    own: { readonly replica: string; readonly instance: string },
    mono: Micros,
  ): string | undefined {
    const { replica, instance, acceptsShards } = heartbeat;
    // A process that leaves, or has just started, owns nothing for long.
    if (replica !== own.replica || instance === own.instance || !acceptsShards) return undefined;
    for (const [other, { last }] of this.#heard) if (mono - last > SILENCE) this.#heard.delete(other);
    const known = this.#heard.get(instance) ?? { since: mono, last: mono };
    known.last = mono;
    this.#heard.set(instance, known);
    if (mono - known.since <= FOR) return undefined;
    return `Another process (instance ${instance}) runs under this replica's name too: set another cluster.name for one of the two, and restart it.`;
  }
}
