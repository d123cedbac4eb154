import { Readable } from 'node:stream';
import { HEAD_ONLY } from '../upstream/head-first.ts';
import type { Cursor } from './body-buffer.ts';

/** What a backend reads of a body that is not in one piece of memory. */
export class BodyReader extends Readable implements Cursor {
  /** Everything it reads stays for another reader. */
  readonly replays: boolean;
  readonly #pull: (reader: BodyReader) => void;
  chunk = 0;
  offset = 0;
  /** Something was taken. */
  started = false;
  /** Asked for more than there was. */
  hungry = false;

  constructor(replays: boolean, pull: (reader: BodyReader) => void) {
    super({ highWaterMark: 64 << 10 });
    this.replays = replays;
    this.#pull = pull;
    // One that nobody reads yet has nobody to hear of its end.
    this.on('error', () => {});
  }

  /** Begins with the mark by which the head of its request is sent before the first byte; before anything is read. */
  mark(): void {
    this.push(HEAD_ONLY);
  }

  override _read(): void {
    this.started = true;
    this.hungry = false;
    this.#pull(this);
  }

  /** There is more, or the end. */
  wake(): void {
    if (!this.hungry) return;
    this.hungry = false;
    this.#pull(this);
  }
}
