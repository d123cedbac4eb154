import type { Socket } from 'node:net';

/**
 * Stands for the first byte of a body that has not come: undici writes the head of a request together with the first chunk of its
 * body, so it is given this one. It counts one byte in undici's sums, and never reaches the wire.
 */
export const HEAD_ONLY = Buffer.from([0]);

/** Bytes by which the body given to undici is announced longer. */
export const HEAD_ONLY_BYTES = HEAD_ONLY.length;

const LENGTH_AT_END = /content-length: (\d{1,16})\r\n\r\n$/;
const CHUNKED_AT_END = 'transfer-encoding: chunked\r\n';

/**
 * Sends the head of a request before its body: takes {@link HEAD_ONLY}, and what frames it, out of what undici 8 writes
 * (client-h1.js, AsyncWriter). What it does not expect ends the request, and nothing of it is sent. Sees the first writes of a
 * marked request only.
 */
export class HeadFirst {
  #state: 'through' | 'head' | 'size' | 'mark' | 'chunk' = 'through';
  #chunked = false;

  /** Reports that a request is about to be sent, and whether its body begins with the mark. */
  arm(marked: boolean): void {
    this.#state = marked ? 'head' : 'through';
  }

  /** Filters what is written to a new connection. */
  attach(socket: Socket): void {
    const write = socket.write.bind(socket) as (data: string | Uint8Array, ...rest: unknown[]) => boolean;
    socket.write = ((data: string | Uint8Array, ...rest: unknown[]): boolean => {
      if (this.#state === 'through') return write(data, ...rest);
      const kept = this.take(data);
      return kept.length === 0 ? !socket.writableNeedDrain : write(kept, ...rest);
    }) as Socket['write'];
  }

  /** Returns what is to be written of this; throws for what undici 8 would not write. */
  take(data: string | Uint8Array): string | Uint8Array {
    switch (this.#state) {
      case 'head':
        return this.#head(data);
      case 'size':
        if (data !== `\r\n${HEAD_ONLY_BYTES}\r\n`) break;
        this.#state = 'mark';
        return '';
      case 'mark':
        if (data !== HEAD_ONLY) break;
        this.#state = this.#chunked ? 'chunk' : 'through';
        return '';
      case 'chunk':
        // The line end that would have ended the chunk before it.
        if (typeof data !== 'string' || !data.startsWith('\r\n')) break;
        this.#state = 'through';
        return data.slice(2);
      case 'through':
        return data;
    }
    throw new Error(`undici wrote what was not expected (${this.#state}).`);
  }

  #head(data: string | Uint8Array): string {
    if (typeof data !== 'string') throw new Error('undici began with a body.');
    this.#chunked = data.endsWith(CHUNKED_AT_END);
    if (this.#chunked) {
      this.#state = 'size';
      return `${data}\r\n`;
    }
    const length = Number(LENGTH_AT_END.exec(data)?.[1] ?? Number.NaN);
    if (!(length >= HEAD_ONLY_BYTES)) throw new Error('undici wrote a head without framing.');
    this.#state = 'mark';
    return data.replace(LENGTH_AT_END, `content-length: ${length - HEAD_ONLY_BYTES}\r\n\r\n`);
  }
}
