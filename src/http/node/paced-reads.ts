import type { Server, Socket } from 'node:net';
import { Fifo } from '../../core/collections/fifo.ts';

/** Refused connections read again in one turn of the event loop, at some 50 microseconds each: while connections come, and else. */
const TURN_MIN = 2;
const TURN_MAX = 32;

/**
 * Reads connections again, after a refusal, a few in each turn of the event loop. Callers that are refused and ask again at once make a turn as long as
 * there are of them, and libuv takes one new connection in a turn (libuv 1.45): a thousand of them kept all others waiting for seconds. The
 * refusal itself is not held back, and no other connection.
 */
export class PacedReads {
  readonly #paused = new Fifo<Socket>();
  #most = TURN_MAX;
  #read = 0;
  #turn: NodeJS.Immediate | undefined;

  /** Learns of the connections of a server. */
  attend(server: Server): void {
    server.on('connection', () => {
      this.#most = TURN_MIN;
    });
  }

  /** A refusal was written to a connection. Reads it on in this turn, or in a later one, in the order of the calls. */
  refused(socket: Socket): void {
    this.#turn ??= setImmediate(this.#next);
    if (this.#read < this.#most) this.#read++;
    else if (!socket.destroyed) {
      socket.pause();
      this.#paused.push(socket);
    }
  }

  readonly #next = (): void => {
    this.#turn = undefined;
    this.#read = 0;
    while (this.#read < this.#most) {
      const socket = this.#paused.shift();
      if (socket === undefined) break;
      this.#read++;
      socket.resume();
    }
    if (this.#read > 0) this.#turn = setImmediate(this.#next);
    this.#most = Math.min(TURN_MAX, 2 * this.#most);
  };
}
