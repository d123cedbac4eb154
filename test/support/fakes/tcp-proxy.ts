import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from './ports.ts';

/** Beyond this, what is held back fills the sender's buffers instead, as on a line that carries nothing. */
const HELD_BYTES_MAX = 1 << 20;

/** `up`: from who connected to the server behind; `down`: back. */
export type Direction = 'up' | 'down';

/** A line to a server on loopback that can be cut, frozen one way and made slow. */
export class TcpProxy {
  readonly port: number;
  readonly #target: number;
  readonly #lines = new Set<Line>();
  readonly #frozen = new Set<Direction>();
  #server: Server | undefined;
  #delayMs = 0;

  private constructor(port: number, target: number) {
    this.port = port;
    this.#target = target;
  }

  /** A proxy on a port of its own that leads to this port of loopback. */
  static async to(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(await freePort(), target);
    await proxy.#listen();
    return proxy;
  }

  /** How many connections it carries. */
  get connections(): number {
    return this.#lines.size;
  }

  /** How many bytes it holds back. */
  get heldBytes(): number {
    return [...this.#lines].reduce((sum, line) => sum + line.heldBytes, 0);
  }

  /** Resets every connection and refuses new ones, until `heal`. */
  cut(): void {
    this.#server?.close();
    this.#server = undefined;
    for (const line of this.#lines) line.reset();
  }

  /**
   * Carries nothing more this way, neither bytes nor ends, and keeps the connections; until `heal`, which delivers all
   * that was held back. New connections are taken, and stand still too.
   */
  freeze(way: Direction | 'both'): void {
    for (const direction of way === 'both' ? (['up', 'down'] as const) : [way]) this.#frozen.add(direction);
  }

  /** Delivers everything this much later from now on, each way, in order; 0: at once. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Takes back `cut`, `freeze` and `delay`. What was cut off stays so; new connections are taken again. */
  async heal(): Promise<void> {
    this.#delayMs = 0;
    this.#frozen.clear();
    for (const line of this.#lines) line.pump();
    if (this.#server === undefined) await this.#listen();
  }

  /** Resets what is open and listens no more. */
  async close(): Promise<void> {
    const server = this.#server;
    this.cut();
    if (server?.listening === true) await once(server, 'close');
  }

  async #listen(): Promise<void> {
    // Half-open, so that each end is passed on by itself.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#open(near));
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
  }

  #open(near: Socket): void {
    const far = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    const state = { frozen: (way: Direction) => this.#frozen.has(way), delayMs: () => this.#delayMs };
    const line = new Line({ near, far, state, gone: () => this.#lines.delete(line) });
    this.#lines.add(line);
  }
}

/** How the proxy stands now. */
interface State {
  frozen(way: Direction): boolean;
  delayMs(): number;
}

/** One connection: two sockets, and a queue each way. */
class Line {
  readonly #sockets: readonly [Socket, Socket];
  readonly #up: Flow;
  readonly #down: Flow;

  constructor({ near, far, state, gone }: { readonly near: Socket; readonly far: Socket; readonly state: State; gone(): void }) {
    this.#sockets = [near, far];
    this.#up = new Flow(near, far, { frozen: () => state.frozen('up'), delayMs: () => state.delayMs() });
    this.#down = new Flow(far, near, { frozen: () => state.frozen('down'), delayMs: () => state.delayMs() });
    for (const socket of this.#sockets) {
      socket.on('close', () => {
        if (this.#sockets.every(({ closed }) => closed)) gone();
      });
    }
  }

  get heldBytes(): number {
    return this.#up.heldBytes + this.#down.heldBytes;
  }

  reset(): void {
    for (const socket of this.#sockets) reset(socket);
  }

  pump(): void {
    this.#up.pump();
    this.#down.pump();
  }
}

/** What came from one socket and is on its way to the other: bytes, its end, its abrupt end. */
class Flow {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #state: { frozen(): boolean; delayMs(): number };
  readonly #held: { readonly due: number; readonly what: Buffer | 'end' | 'reset' }[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, state: { frozen(): boolean; delayMs(): number }) {
    this.#from = from;
    this.#to = to;
    this.#state = state;
    from.on('data', (bytes) => this.#take(bytes));
    from.on('end', () => this.#take('end'));
    from.on('error', () => this.#take('reset'));
    to.on('drain', () => this.pump());
    to.on('close', () => clearTimeout(this.#timer));
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Delivers what is due. */
  pump(): void {
    clearTimeout(this.#timer);
    for (
      let next = this.#held[0];
      next !== undefined && !this.#state.frozen() && (next.what === 'reset' || !this.#to.writableNeedDrain);
      next = this.#held[0]
    ) {
      const wait = this.#state.delayMs() === 0 ? 0 : next.due - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(wait));
        break;
      }
      this.#held.shift();
      this.#deliver(next.what);
    }
    if (this.#heldBytes <= HELD_BYTES_MAX) this.#from.resume();
  }

  #take(what: Buffer | 'end' | 'reset'): void {
    this.#held.push({ due: performance.now() + this.#state.delayMs(), what });
    this.#heldBytes += typeof what === 'string' ? 0 : what.length;
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause();
    this.pump();
  }

  #deliver(what: Buffer | 'end' | 'reset'): void {
    if (what === 'reset') reset(this.#to);
    else if (what === 'end') this.#to.end();
    else {
      this.#heldBytes -= what.length;
      this.#to.write(what);
    }
  }
}

/**
 * Resets a connection. One whose own end is just being sent is closed instead: Node 24 fails to reset it (EINVAL), never closes its handle,
 * and spins for ever when the process is to end.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
