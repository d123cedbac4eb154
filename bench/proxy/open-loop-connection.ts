import { connect, type Socket } from 'node:net';

/** What came back: a status, or 0 where the connection broke. */
export type Answered = (status: number, retryAfter: boolean) => void;

const HEAD_END = Buffer.from('\r\n\r\n');

/** One HTTP/1.1 connection of the generator, with one request at a time. */
export class Connection {
  readonly #socket: Socket;
  readonly #onFree: (connection: Connection) => void;
  readonly #onGone: (connection: Connection) => void;
  #answered: Answered | undefined;
  #head: Buffer | undefined;
  #left = -1;
  #status = 0;
  #retryAfter = false;
  #closes = false;
  gone = false;

  /** `onFree`: connected, or answered, and ready for the next; `onGone`: closed. */
  constructor(port: number, onFree: (connection: Connection) => void, onGone: (connection: Connection) => void) {
    this.#onFree = onFree;
    this.#onGone = onGone;
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('connect', () => {
      if (this.#answered === undefined) onFree(this);
    });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('close', () => this.#close());
  }

  /** Before it is connected too. */
  ask(request: Buffer, answered: Answered): void {
    this.#answered = answered;
    this.#socket.write(request);
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let rest: Buffer = chunk;
    if (this.#left < 0) {
      const all: Buffer = this.#head === undefined ? rest : Buffer.concat([this.#head, rest]);
      const end = all.indexOf(HEAD_END);
      this.#head = end < 0 ? all : undefined;
      if (end < 0) return;
      const head = all.toString('latin1', 0, end + 2);
      this.#status = Number(head.slice(9, 12));
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
      if (Number.isNaN(this.#left)) throw new Error(`No length in this answer:\n${head}`);
      this.#retryAfter = /\r\nretry-after:/i.test(head);
      this.#closes = /\r\nconnection: *close/i.test(head);
      rest = all.subarray(end + HEAD_END.length);
    }
    this.#left -= rest.length;
    if (this.#left > 0) return;
    this.#left = -1;
    this.#tell(this.#status);
    if (this.#closes) this.#socket.destroy();
    else this.#onFree(this);
  }

  #tell(status: number): void {
    const answered = this.#answered;
    this.#answered = undefined;
    answered?.(status, this.#retryAfter);
  }

  #close(): void {
    if (this.gone) return;
    this.gone = true;
    this.#tell(0);
    this.#onGone(this);
  }
}
