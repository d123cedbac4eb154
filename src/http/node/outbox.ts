import type { Millis } from '../../core/time.ts';

/** The part of a stream that an outbox writes to: of grpc-js, or of an HTTP/1.1 answer. */
export interface OutboxStream {
  /** The caller is gone. */
  readonly cancelled: boolean;
  write(message: string | Uint8Array, written: () => void): boolean;
}

/** What an outbox needs. */
export interface OutboxDeps {
  readonly bytesMax: number;
  readonly unreadMs: Millis;
  /** Resets the stream. */
  readonly cut: () => void;
}

/**
 * Messages on their way to one caller, encoded. A caller that reads nothing for `unreadMs` while something waits, or
 * lets more than `bytesMax` wait, is cut: flow control alone would keep what waits for ever.
 */
export class Outbox {
  readonly #stream: OutboxStream;
  readonly #deps: OutboxDeps;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  constructor(stream: OutboxStream, deps: OutboxDeps) {
    this.#stream = stream;
    this.#deps = deps;
  }

  /** Nothing waits. */
  get empty(): boolean {
    return this.#bytes === 0;
  }

  /** Sends a message. `undefined`: the caller is gone or was cut; else whether more may come before `drain`. */
  send(message: string | Uint8Array): boolean | undefined {
    if (this.#over || this.#stream.cancelled) return undefined;
    const bytes = Buffer.byteLength(message);
    this.#bytes += bytes;
    if (this.#bytes > this.#deps.bytesMax) {
      this.#cut();
      return undefined;
    }
    const more = this.#stream.write(message, () => this.#written(bytes));
    if (this.#bytes > 0) this.#timer ??= this.#wait();
    return more;
  }

  /** Forgets the stream, which has ended. */
  close(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  #written(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#over) return;
    if (this.#bytes > 0) this.#timer?.refresh();
    else {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
  }

  #wait(): NodeJS.Timeout {
    const timer = setTimeout(() => this.#cut(), this.#deps.unreadMs);
    timer.unref();
    return timer;
  }

  #cut(): void {
    this.close();
    this.#deps.cut();
  }
}
