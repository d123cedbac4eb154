import { createHash, type Hash } from 'node:crypto';
import type { Submission } from './deferred.ts';
import type { DeferredStore, StoredBody } from './store.ts';

/** A body up to this size is stored with its row; a larger one in pieces before. */
const INLINE_BYTES_MAX = 64 << 10;
const PIECE_BYTES = 256 << 10;

/** The body of a submission ended early: its sender left, or was refused. Not a fault of the store. */
export class BodyBroken extends Error {
  constructor(cause: unknown) {
    super('The body of a submission did not come whole.', { cause });
    this.name = 'BodyBroken';
  }
}

/** Reads a body as it arrives: small ones stay whole, larger ones are stored in pieces; both are hashed where the request has an idempotency key. */
export class IncomingBody {
  readonly #submission: Submission;
  readonly #upload: (piece: { upload: number; number: number }, bytes: Uint8Array) => Promise<void>;
  readonly #hash: Hash | undefined;
  readonly #piece = { upload: 0, number: 0 };
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #digest = '';
  bytes = 0;

  constructor(submission: Submission, upload: (piece: { upload: number; number: number }, bytes: Uint8Array) => Promise<void>) {
    this.#submission = submission;
    this.#upload = upload;
    if (submission.idempotencyKey === '') return;
    this.#hash = createHash('sha256').update([submission.method, submission.host, submission.target, ''].join('\u0000'));
  }

  /** 64 bits of SHA-256 over method, host, target and body; '' without an idempotency key. */
  get requestHash(): string {
    return this.#digest;
  }

  get stored(): StoredBody {
    if (this.#piece.upload === 0) return this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
    return { upload: this.#piece.upload, pieces: this.#piece.number, bytes: this.bytes };
  }

  async read(): Promise<void> {
    const { body } = this.#submission;
    if (body instanceof Uint8Array) await this.#take(body);
    else for await (const chunk of checked(body)) await this.#take(chunk);
    if (this.#piece.upload !== 0 || this.bytes > INLINE_BYTES_MAX) await this.#flush(1);
    this.#digest = this.#hash?.digest('hex').slice(0, 16) ?? '';
  }

  async drop(store: Pick<DeferredStore, 'dropUpload'>): Promise<void> {
    if (this.#piece.upload !== 0) await store.dropUpload(this.#piece.upload);
  }

  async #take(chunk: Uint8Array): Promise<void> {
    this.#hash?.update(chunk);
    this.bytes += chunk.byteLength;
    this.#held.push(chunk);
    this.#heldBytes += chunk.byteLength;
    await this.#flush(PIECE_BYTES);
  }

  /** Stores whole pieces while at least `least` bytes are held. */
  async #flush(least: number): Promise<void> {
    while (this.#heldBytes >= least && this.#heldBytes > 0) {
      const all = this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
      const piece = all.subarray(0, PIECE_BYTES);
      this.#held = all.byteLength > piece.byteLength ? [all.subarray(piece.byteLength)] : [];
      this.#heldBytes -= piece.byteLength;
      await this.#upload(this.#piece, piece);
      this.#piece.number++;
    }
  }
}

/** The same, whose own failure is a {@link BodyBroken}. */
async function* checked(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw new BodyBroken(cause);
  }
}
