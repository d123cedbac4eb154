import { createServer, type Server, type Socket } from 'node:net';

/** A request as a backend saw it on the wire, by a parser that takes what it gets: Content-Length, chunks, or nothing. */
export interface Recorded {
  readonly method: string;
  readonly target: string;
  /** The request line and fields, as they came. */
  readonly head: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  body: Buffer;
  trailers: string;
  /** When its head was there, by `performance.now()`. */
  readonly at: number;
  readonly connection: number;
  whole: boolean;
}

/** Answers a request that is whole. */
export type Respond = (request: Recorded, socket: Socket) => void;

/** Answers 200 with a body. */
export function ok(body = 'ok'): Respond {
  return (_request, socket) => void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

/** A backend on a raw socket that records every byte, and what it takes for requests. */
export class Recorder {
  readonly seen: Recorded[] = [];
  /** Connections that ended within a request. */
  cut = 0;
  /** Connections that ended while an answer was owed. */
  abandoned = 0;
  respond: Respond;
  /** Every byte of each connection, by its number; kept where a test sets it. */
  raw: Map<number, Buffer[]> | undefined;
  /** Called when a head is there, before the body. */
  onHead: Respond | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<() => void>();
  #connections = 0;

  private constructor(respond: Respond) {
    this.respond = respond;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async start(respond: Respond = ok()): Promise<Recorder> {
    const recorder = new Recorder(respond);
    await new Promise<void>((resolve) => recorder.#server.listen(0, '127.0.0.1', resolve));
    return recorder;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  get open(): number {
    return this.#sockets.size;
  }

  /** Resolves when `enough` says so; looked at whenever something happens here. */
  async until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    const connection = ++this.#connections;
    this.#sockets.add(socket);
    const reader = new Reader(connection);
    let owed = 0;
    socket.on('data', (bytes) => {
      if (this.raw !== undefined) this.raw.set(connection, [...(this.raw.get(connection) ?? []), bytes]);
      for (const request of reader.read(bytes, (head) => {
        this.seen.push(head);
        this.onHead?.(head, socket);
      })) {
        owed++;
        this.respond(request, socket);
      }
      this.#wake();
    });
    const write = socket.write.bind(socket);
    socket.write = ((...args: Parameters<Socket['write']>) => {
      owed = 0;
      return write(...args);
    }) as Socket['write'];
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (reader.within) this.cut++;
      if (owed > 0) this.abandoned++;
      this.#wake();
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

/** Takes bytes for requests, laxly. */
class Reader {
  readonly #connection: number;
  #bytes: Buffer = Buffer.alloc(0);
  #request: Recorded | undefined;
  #left: number | 'chunked' = 0;
  /** What is left of a chunk, and of the line end behind it. */
  #chunk = 0;
  #ending = 0;
  #taken = 0;
  readonly #parts: Buffer[] = [];

  constructor(connection: number) {
    this.#connection = connection;
  }

  get within(): boolean {
    return this.#request !== undefined || this.#bytes.length > 0;
  }

  *read(bytes: Buffer, onHead: (request: Recorded) => void): Generator<Recorded> {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      if (this.#request === undefined && !this.#head(onHead)) return;
      const request = this.#request as Recorded | undefined;
      if (request === undefined) return;
      if (!(this.#left === 'chunked' ? this.#chunks(request) : this.#length(request))) return;
      request.whole = true;
      this.#request = undefined;
      yield request;
    }
  }

  #head(onHead: (request: Recorded) => void): boolean {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#bytes.toString('latin1', 0, end);
    this.#bytes = this.#bytes.subarray(end + 4);
    const [line = '', ...fields] = head.split('\r\n');
    const [method = '', target = ''] = line.split(' ');
    const headers = fields.map((field) => {
      const colon = field.indexOf(':');
      return [field.slice(0, colon), field.slice(colon + 1).trim()] as const;
    });
    const find = (name: string) => headers.find(([each]) => each.toLowerCase() === name)?.[1];
    this.#left = find('transfer-encoding') === undefined ? Number(find('content-length') ?? 0) : 'chunked';
    this.#request = { method, target, head, headers, body: Buffer.alloc(0), trailers: '', at: performance.now(), connection: this.#connection, whole: false };
    onHead(this.#request);
    return true;
  }

  #length(request: Recorded): boolean {
    const left = this.#left as number;
    this.#take(Math.min(left, this.#bytes.length));
    this.#left = left - this.#taken;
    return this.#left === 0 && this.#close(request);
  }

  #chunks(request: Recorded): boolean {
    for (;;) {
      if (this.#chunk > 0) {
        this.#take(Math.min(this.#chunk, this.#bytes.length));
        this.#chunk -= this.#taken;
        if (this.#chunk > 0) return false;
        this.#ending = 2;
      }
      if (this.#bytes.length < this.#ending) return false;
      this.#bytes = this.#bytes.subarray(this.#ending);
      this.#ending = 0;
      const line = this.#bytes.indexOf('\r\n');
      if (line < 0) return false;
      const size = Number.parseInt(this.#bytes.toString('latin1', 0, line), 16);
      if (size === 0) {
        const end = this.#bytes.indexOf('\r\n\r\n', line);
        if (end < 0) return false;
        request.trailers = this.#bytes.toString('latin1', line + 2, end);
        this.#bytes = this.#bytes.subarray(end + 4);
        return this.#close(request);
      }
      this.#bytes = this.#bytes.subarray(line + 2);
      this.#chunk = size;
    }
  }

  #take(count: number): void {
    this.#taken = count;
    if (count > 0) this.#parts.push(this.#bytes.subarray(0, count));
    this.#bytes = this.#bytes.subarray(count);
  }

  #close(request: Recorded): true {
    request.body = Buffer.concat(this.#parts.splice(0));
    return true;
  }
}
