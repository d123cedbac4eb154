import { createServer, type Server, type Socket } from 'node:net';

/** A request as it stood on the wire. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Name, value, name, value, ... as sent. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  /** Sent by length, in chunks, or without a body. */
  readonly framing: 'length' | 'chunked' | 'none';
  readonly trailers: readonly string[];
  /** Number of the connection it came on, from 0. */
  readonly connection: number;
}

/** What a backend does with one request once it is there. */
export type Script = (seen: SeenRequest, wire: BackendWire) => void;

/** One connection, as a script writes to it. */
export interface BackendWire {
  readonly socket: Socket;
  /** A whole answer with a length; headers as lines. */
  answer(status: number, headers?: readonly string[], body?: string | Uint8Array): void;
  /** Bytes as they are. */
  raw(bytes: string | Uint8Array): void;
  /** Ends the connection without ceremony. */
  cut(): void;
}

/** A backend by hand: strict about framing (what it cannot read ends the connection and is noted), with answers from a script. */
export class ScriptedBackend {
  readonly seen: SeenRequest[] = [];
  /** Requests whose head has come. */
  begun = 0;
  /** What could not be read. */
  readonly anomalies: string[] = [];
  readonly sockets = new Set<Socket>();
  connections = 0;
  script: Script;
  readonly #server: Server;
  readonly #waiting = new Set<() => void>();

  private constructor(script: Script) {
    this.script = script;
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  /** Listens on loopback. */
  static async open(script: Script = (_seen, wire) => wire.answer(200)): Promise<ScriptedBackend> {
    const backend = new ScriptedBackend(script);
    await new Promise<void>((resolve) => backend.#server.listen(0, '127.0.0.1', resolve));
    return backend;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves when `enough` says so; asked whenever something happened here. */
  async until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Something happened that somebody may wait for. */
  wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #serve(socket: Socket): void {
    const connection = this.connections++;
    this.sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.sockets.delete(socket);
      this.wake();
    });
    const parser = new RequestParser(connection, {
      onHead: () => {
        this.begun++;
        this.wake();
      },
      onRequest: (seen) => {
        this.seen.push(seen);
        this.script(seen, wireOf(socket));
        this.wake();
      },
    });
    socket.on('data', (bytes: Buffer) => {
      try {
        parser.take(bytes);
      } catch (error) {
        this.anomalies.push((error as Error).message);
        socket.destroy();
      }
      this.wake();
    });
    this.wake();
  }
}

/**
 * What a strict reader takes the bytes of one connection for: its whole requests, and what it could not read. `asOrigin`: it
 * takes what RFC 9112 lets a server take beside: HTTP/1.0, empty lines before a request (2.2), more spaces before the version (3),
 * chunk extensions (7.1.1).
 */
export function readStrictly(bytes: Uint8Array, asOrigin = false): { readonly requests: readonly SeenRequest[]; readonly anomaly: string | undefined } {
  const requests: SeenRequest[] = [];
  const parser = new RequestParser(0, { onHead: () => {}, onRequest: (seen) => void requests.push(seen) }, asOrigin);
  try {
    parser.take(Buffer.from(bytes));
    return { requests, anomaly: undefined };
  } catch (error) {
    return { requests, anomaly: (error as Error).message };
  }
}

function wireOf(socket: Socket): BackendWire {
  return {
    socket,
    answer(status, headers = [], body = '') {
      const lines = headers.map((line) => `${line}\r\n`).join('');
      const length = [204, 304].includes(status) ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
      socket.write(Buffer.from(`HTTP/1.1 ${status} Said\r\n${lines}${length}\r\n`, 'latin1'));
      if (body.length > 0) socket.write(body);
    },
    raw: (bytes) => void socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
    cut: () => void socket.destroy(),
  };
}

interface Heard {
  readonly onHead: () => void;
  readonly onRequest: (seen: SeenRequest) => void;
}

/** Reads requests off a connection, strictly: CRLF only, one way of framing, nothing that is not a request. */
class RequestParser {
  readonly #connection: number;
  readonly #heard: Heard;
  readonly #asOrigin: boolean;
  #parts: Buffer[] = [];
  #head: { method: string; target: string; headers: string[] } | undefined;
  #body: Buffer[] = [];

  constructor(connection: number, heard: Heard, asOrigin = false) {
    this.#connection = connection;
    this.#heard = heard;
    this.#asOrigin = asOrigin;
  }

  take(bytes: Buffer): void {
    this.#parts.push(bytes);
    while (this.#step());
  }

  #step(): boolean {
    const head = this.#head;
    if (head === undefined) return this.#readHead();
    const chunked = valuesOf(head.headers, 'transfer-encoding');
    const lengths = valuesOf(head.headers, 'content-length');
    if (chunked.length > 0 && lengths.length > 0) throw new Error('both framings');
    if (chunked.length > 1 || lengths.length > 1) throw new Error('repeated framing');
    if (chunked.length === 1) return this.#readChunk(chunked[0] ?? '');
    if (lengths.length === 0) return this.#done('none', Buffer.alloc(0));
    const length = /^\d+$/.test(lengths[0] ?? '') ? Number(lengths[0]) : Number.NaN;
    if (Number.isNaN(length)) throw new Error('bad length');
    const body = this.#need(length);
    return body === undefined ? false : this.#done('length', body);
  }

  #readHead(): boolean {
    while (this.#asOrigin && /^[\r\n]/.test(this.#all().toString('latin1', 0, 1))) this.#parts = [this.#all().subarray(1)];
    const text = this.#line('\r\n\r\n');
    if (text === undefined) return false;
    const [first = '', ...lines] = text.split('\r\n');
    const [, method, target, spaces, minor] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+)( +)HTTP\/1\.([01])$/.exec(first) ?? [];
    const old = minor === '0';
    if (method === undefined || target === undefined || ((old || spaces !== ' ') && !this.#asOrigin)) throw new Error(`bad request line: ${first}`);
    this.#head = { method, target, headers: fieldsOf(lines) };
    const hosts = valuesOf(this.#head.headers, 'host').length;
    if (hosts !== 1 && !(old && hosts === 0)) throw new Error('not one Host');
    this.#heard.onHead();
    return true;
  }

  #readChunk(coding: string): boolean {
    if (coding !== 'chunked') throw new Error(`bad coding: ${coding}`);
    const all = this.#all();
    const at = all.indexOf('\r\n');
    if (at < 0) return false;
    const line = all.toString('latin1', 0, at);
    const size = this.#asOrigin ? line.replace(/;.*$/, '') : line;
    if (!/^[0-9a-f]{1,8}$/i.test(size)) throw new Error(`bad chunk size: ${size}`);
    const bytes = Number.parseInt(size, 16);
    if (bytes === 0) return this.#readTrailers(all, at);
    const end = at + 2 + bytes;
    if (all.length < end + 2) return false;
    if (all.toString('latin1', end, end + 2) !== '\r\n') throw new Error('chunk without an end');
    this.#body.push(all.subarray(at + 2, end));
    this.#parts = [all.subarray(end + 2)];
    return true;
  }

  #readTrailers(all: Buffer, at: number): boolean {
    const rest = all.subarray(at + 2);
    if (rest.toString('latin1', 0, 2) === '\r\n') {
      this.#parts = [rest.subarray(2)];
      return this.#done('chunked', Buffer.concat(this.#body));
    }
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    this.#parts = [rest.subarray(end + 4)];
    return this.#done('chunked', Buffer.concat(this.#body), fieldsOf(rest.toString('latin1', 0, end).split('\r\n')));
  }

  #done(framing: SeenRequest['framing'], body: Buffer, trailers: readonly string[] = []): boolean {
    const head = this.#head;
    if (head === undefined) return false;
    this.#head = undefined;
    this.#body = [];
    this.#heard.onRequest({ ...head, body, framing, trailers, connection: this.#connection });
    return this.#all().length > 0;
  }

  #line(end: string): string | undefined {
    const all = this.#all();
    const at = all.indexOf(end);
    if (at < 0) return undefined;
    this.#parts = [all.subarray(at + end.length)];
    return all.toString('latin1', 0, at);
  }

  #need(bytes: number): Buffer | undefined {
    if (this.#parts.reduce((sum, { length }) => sum + length, 0) < bytes) return undefined;
    const all = this.#all();
    this.#parts = [all.subarray(bytes)];
    return all.subarray(0, bytes);
  }

  #all(): Buffer {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0] ?? Buffer.alloc(0);
  }
}

function fieldsOf(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [, name, value] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`bad field: ${line}`);
    return [name, value];
  });
}

/** Values of a field by lower-case name. */
export function valuesOf(headers: readonly string[], name: string): readonly string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name);
}
