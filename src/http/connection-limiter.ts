import type { Server as NetServer, Socket } from 'node:net';
import type { Millis } from '../core/time.ts';
import { siteOf } from './client-limiter.ts';

/** Addresses remembered at most; the oldest is forgotten. */
const ADDRESSES_MAX = 10_000;
/** Connections of one address that wait at most; more are closed. */
const WAITING_MAX = 256;

interface Slowed {
  readonly waiting: (() => void)[];
  timer: NodeJS.Timeout | undefined;
}

/**
 * Slows down new connections of an address whose connection was closed for a flood, so that connecting again is no way to
 * go on with it: one each `paceMs`, in order, until none waits. Connections that are open are left alone.
 */
export class ConnectionGate {
  readonly #paceMs: Millis;
  readonly #slowed = new Map<string, Slowed>();

  constructor(paceMs: Millis) {
    this.#paceMs = paceMs;
  }

  /** Stands before the listeners that a server has for `connection`. */
  attach(server: NetServer): void {
    const accept = server.listeners('connection') as ((socket: Socket) => void)[];
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      const begin = (): void => {
        for (const each of accept) each.call(server, socket);
      };
      const slowed = this.#slowed.size === 0 ? undefined : this.#slowed.get(siteOf(socket.remoteAddress ?? ''));
      if (slowed === undefined) begin();
      else if (slowed.waiting.length >= WAITING_MAX) socket.destroy();
      else {
        const failed = (): void => {};
        socket.on('error', failed);
        slowed.waiting.push(() => {
          socket.removeListener('error', failed);
          if (!socket.destroyed) begin();
        });
      }
    });
  }

  /** Counts a flood of this address. */
  slow(address: string): void {
    const key = siteOf(address);
    if (this.#slowed.has(key)) return;
    const [oldest] = this.#slowed;
    if (this.#slowed.size >= ADDRESSES_MAX && oldest !== undefined) this.#release(...oldest);
    const slowed: Slowed = { waiting: [], timer: undefined };
    this.#slowed.set(key, slowed);
    slowed.timer = setInterval(() => {
      const next = slowed.waiting.shift();
      if (next === undefined) this.#release(key, slowed);
      else next();
    }, this.#paceMs);
    slowed.timer.unref();
  }

  /** Lets all who wait in. */
  close(): void {
    for (const [key, slowed] of this.#slowed) this.#release(key, slowed);
  }

  #release(key: string, slowed: Slowed): void {
    clearInterval(slowed.timer);
    this.#slowed.delete(key);
    for (const next of slowed.waiting.splice(0)) next();
  }
}
