import type { Socket } from 'node:net';

/** Bytes of all 1xx heads of one answer, at most. */
export const INTERIM_BYTES_MAX = 65_536;

/** Length of `HTTP/1.1 100`. */
const START_LENGTH = 12;
const VERSION = 'HTTP/1.';
const LF = 0x0a;
const CR = 0x0d;
const ONE = 0x31;
const NO_BYTES = Buffer.alloc(0);

/**
 * Takes each `100 Continue` off a connection before undici parses it: undici 8 sends no `Expect` and ends the connection at a 100
 * (client-h1.js: "bad response"), where RFC 9110 15.2 has a client read it past. Other 1xx pass. Reads the beginning of each
 * answer only: from the first head that is not 1xx on, bytes pass unseen. Time is linear in the bytes; at most 12 are held back.
 */
export class InterimFilter {
  #state: 'start' | 'interim' | 'through' = 'start';
  /** What came of `HTTP/1.1 100` so far. */
  #start = '';
  #drops = false;
  /** Characters of the current line; an empty line ends a head. */
  #line = 0;
  #bytes = 0;

  /** Reports that a request is about to be sent: what comes next is the head of its answer. */
  arm(): void {
    this.#state = 'start';
    this.#start = '';
    this.#bytes = 0;
  }

  /** Filters what is read from a new connection, which is ended where its 1xx do not end. */
  attach(socket: Socket): void {
    this.arm();
    const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
    socket.read = (size?: number): Buffer | null => {
      for (;;) {
        const chunk = read(size);
        if (chunk === null || this.#state === 'through') return chunk;
        const kept = this.take(chunk);
        if (this.#bytes > INTERIM_BYTES_MAX) {
          socket.destroy(new Error(`The backend sent more than ${INTERIM_BYTES_MAX} bytes of 1xx responses.`));
          return null;
        }
        if (kept.length > 0) return kept;
      }
    };
  }

  /** Returns the bytes that pass. */
  take(chunk: Buffer): Buffer {
    // Nearly all answers: a head that says at once that it is not 1xx.
    if (this.#state === 'start' && this.#start === '' && chunk.length > 9 && chunk[0] !== CR && chunk[0] !== LF && chunk[9] !== ONE) this.#state = 'through';
    if (this.#state === 'through') return chunk;
    const out: Buffer[] = [];
    let at = 0;
    while (at < chunk.length && !this.#passes) at = this.#state === 'start' ? this.#readStart(chunk, at, out) : this.#readInterim(chunk, at, out);
    if (at < chunk.length) out.push(chunk.subarray(at));
    return out.length === 0 ? NO_BYTES : Buffer.concat(out);
  }

  get #passes(): boolean {
    return this.#state === 'through';
  }

  /** Reads up to where it is known whether a 1xx begins; empty lines before it are skipped (RFC 9112 2.2). */
  #readStart(chunk: Buffer, from: number, out: Buffer[]): number {
    for (let at = from; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      const length = this.#start.length;
      if (length === 0 && (byte === CR || byte === LF)) {
        this.#bytes++;
        continue;
      }
      this.#start += String.fromCharCode(byte);
      const fits = length < VERSION.length ? byte === VERSION.charCodeAt(length) : length !== 9 || byte === ONE;
      if (fits && this.#start.length < START_LENGTH) continue;
      this.#begin(fits, out);
      return at + 1;
    }
    return chunk.length;
  }

  #begin(interim: boolean, out: Buffer[]): void {
    const start = this.#start;
    const status = start.slice(9);
    this.#start = '';
    // After 101 it is another protocol that speaks.
    this.#state = interim && /^1\d\d$/.test(status) && status !== '101' ? 'interim' : 'through';
    this.#drops = this.#state === 'interim' && status === '100';
    this.#line = START_LENGTH;
    if (this.#state === 'interim') this.#bytes += START_LENGTH;
    if (!this.#drops) out.push(Buffer.from(start, 'latin1'));
  }

  /** Reads up to the end of a 1xx head. */
  #readInterim(chunk: Buffer, from: number, out: Buffer[]): number {
    let at = from;
    while (at < chunk.length && this.#state === 'interim') {
      const byte = chunk[at++];
      if (byte === LF) {
        if (this.#line === 0) this.#state = 'start';
        this.#line = 0;
      } else if (byte !== CR) this.#line++;
    }
    this.#bytes += at - from;
    if (!this.#drops) out.push(chunk.subarray(from, at));
    return at;
  }
}
