import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';

/** Connections with an answer that is not yet read; each is cut when that lasts too long. */
export class LingeringSockets {
  readonly #until = new Map<Socket, number>();

  /** Waits for `ms` at most until what was written has been read, and for the other side's end where ours was said. */
  add(socket: Socket, ms: number): void {
    this.#until.set(socket, performance.now() + ms);
  }

  /** Lets go of those that have read, and cuts those whose time is over; call it every second or so. */
  sweep(now: number): void {
    for (const [socket, by] of this.#until) {
      if (!socket.writableEnded && socket.writableLength === 0) this.#until.delete(socket);
      else if (socket.destroyed || by <= now) {
        this.#until.delete(socket);
        socket.destroy();
      }
    }
  }
}
