import { connect, type Socket } from 'node:net';

/** A raw connection to a listener: bytes out, text in. What a well-behaved client library would never send, it does. */
export class Wire {
  /** Everything received so far, as Latin-1. */
  received = '';
  /** The other side is done: nothing more will come. */
  closed = false;
  readonly socket: Socket;
  readonly #waiting = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.received += bytes.toString('latin1');
      this.#wake();
    });
    const over = (): void => {
      this.closed = true;
      this.#wake();
    };
    socket.on('end', over);
    socket.on('close', over);
    socket.on('error', over);
  }

  /** Connects; `halfOpen` keeps this side open when the other ends. */
  static async open(port: number, halfOpen = false): Promise<Wire> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: halfOpen });
    socket.setNoDelay(true);
    const wire = new Wire(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return wire;
  }

  /** Sends bytes as they are. */
  write(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Resolves with everything received, once `enough` says so; rejects when the connection ends before. */
  async until(enough: (received: string) => boolean): Promise<string> {
    while (!enough(this.received)) {
      if (this.closed) throw new Error(`The connection ended before, after: ${JSON.stringify(this.received)}`);
      await this.#next();
    }
    return this.received;
  }

  /** Resolves with everything received, once the other side has closed. */
  async untilClosed(): Promise<string> {
    while (!this.closed) await this.#next();
    return this.received;
  }

  /** How many final answers have begun. */
  get answers(): number {
    return this.received.match(/HTTP\/1\.1 [2-5]\d\d/g)?.length ?? 0;
  }

  /** Ends the connection without ceremony. */
  destroy(): void {
    this.socket.destroy();
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
