import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import type { Log } from '../telemetry/log.ts';

/** Published by node:net for every connection that any server of it accepts, once the server has it. */
const ACCEPTED = 'net.server.socket';

/** Connections that were shed are logged at most this often, in milliseconds; as long after the last one there is room again. */
const LOG_EVERY_MS = 10_000;

/** Below this many descriptors a server at start warns: it is what most shells allow, and holds few callers. */
const LIMIT_LOW = 4096;

/** File descriptors that this process may have open; undefined where that is not known (not Linux), or unlimited. */
export function descriptorLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** What a guard of descriptors needs. */
export interface DescriptorDeps {
  readonly limit: number | undefined;
  /** Kept for health, admin, backends and files; at most a quarter of the limit. */
  readonly reserve: number;
  /** Ports of listeners that are served to the last: health and admin. */
  readonly spared: ReadonlySet<number>;
  /** Ports of the listeners that are watched, with their names. */
  readonly names: ReadonlyMap<number, string>;
  readonly log: Log;
  /** One connection was closed as it was accepted. */
  readonly onShed: (listener: string) => void;
  readonly nowMs: () => number;
}

/**
 * Closes connections as they are accepted while less than the reserve of file descriptors is left. The system gives out the lowest free
 * number, so the number of a new connection shows how many are in use by all together: callers, backends, files. Without it the process
 * accepts up to the last, libuv closes the rest without an error, and probes of health are among them.
 */
export class DescriptorGuard {
  readonly #deps: DescriptorDeps;
  readonly #max: number;
  #shed = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;
  #shedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: DescriptorDeps) {
    this.#deps = deps;
    const { limit, reserve, log } = deps;
    this.#max = limit === undefined ? Number.POSITIVE_INFINITY : limit - Math.min(reserve, Math.floor(limit / 4));
    if (limit !== undefined && limit < LIMIT_LOW) {
      const what = `The process may open ${limit} files and connections; callers are closed beyond ${this.#max}. Raise it (ulimit -n) above the callers you expect.`;
      log.write('warn', 'descriptors_limited', what, { limit, reserve: limit - this.#max });
    }
    if (limit !== undefined) subscribe(ACCEPTED, this.#accepted);
  }

  /** One line for /readyz while connections are shed; undefined: none were lately. */
  get remark(): string | undefined {
    return this.#deps.nowMs() - this.#shedAt < LOG_EVERY_MS
      ? `descriptors: fewer than ${(this.#deps.limit ?? 0) - this.#max} left, connections are closed`
      : undefined;
  }

  close(): void {
    unsubscribe(ACCEPTED, this.#accepted);
  }

  readonly #accepted = (message: unknown): void => {
    const { socket } = message as { socket: Socket & { readonly _handle?: { readonly fd?: number } | null; readonly server?: Server } };
    const descriptor = socket._handle?.fd;
    if (descriptor === undefined || descriptor < this.#max) return;
    const port = socket.localPort ?? 0;
    const listener = this.#deps.names.get(port);
    // Another server of this process is none of its business.
    if (listener === undefined || this.#deps.spared.has(port)) return;
    socket.destroy();
    this.#deps.onShed(listener);
    this.#report(listener);
  };

  #report(listener: string): void {
    const { log, nowMs, limit } = this.#deps;
    const now = nowMs();
    this.#shed++;
    this.#shedAt = now;
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    const what = `Out of file descriptors: of ${limit} fewer than ${(limit ?? 0) - this.#max} are left, new connections are closed (${this.#shed} since it was last logged). Raise ulimit -n.`;
    log.write('error', 'descriptors_exhausted', what, { limit, listener, shed: this.#shed });
    this.#shed = 0;
  }
}
