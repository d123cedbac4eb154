import { Readable } from 'node:stream';
import type { Clock } from '../../admission/clock.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { Instant, Micros } from '../../core/time.ts';
import type { IncomingBody } from '../incoming.ts';
import type { HoldLimits } from '../route.ts';
import type { HeldBody } from '../upstream/forwarder.ts';
import { HEAD_ONLY } from '../upstream/head-first.ts';
import { type AppendResult, type BufferBudgets, type Cursor, SpillingBuffer, type SpillingBufferOwner } from './spilling-buffer.ts';
import { UploadMonitor, type UploadSource } from './upload-monitor.ts';
import type { WatchedLater, WatchLater } from './watch-later.ts';

/** Why a body did not come whole; `gone`: its sender left. */
export type BodyProblem =
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'slow'; readonly detail: string }
  | { readonly kind: 'gone' };

/** Callbacks of a body while it comes in. */
export interface BodyWatch {
  /** There is more than before. */
  onMore?(): void;
  /** One of these two, once. */
  onWhole(): void;
  onError(fault: BodyProblem): void;
}

/** Pieces of a longer body are sent as they are: to join them is to copy them, and room for another of its size. */
const JOINED_BYTES = 16 << 10;

/** Where a body is held, with those of the same group. */
export interface BodyContext {
  readonly clock: Clock;
  readonly watchLater: WatchLater;
  readonly onError: (error: unknown) => void;
  /** A body more; answers where its bytes may stay. */
  enter(memoryBytesMax: number): BufferBudgets;
  /** Nothing of it is held any more. */
  leave(): void;
}

/**
 * One body on its way from its sender to a backend:
 *
 *     sender ─▶ memory ─▶ disk ─▶ (socket paused)         while it is held
 *     sender ───────────────────▶ reader                  once opened before it was whole, after what was held
 *
 * Opened when whole it can be opened again; opened earlier, only once, and nothing is kept.
 */
export class BufferedBody implements HeldBody, SpillingBufferOwner, WatchedLater, UploadSource {
  readonly #incoming: IncomingBody;
  readonly #limits: HoldLimits;
  readonly #home: BodyContext;
  readonly #kept: SpillingBuffer;
  #watch: BodyWatch | undefined;
  #state: 'before' | 'receiving' | 'whole' | 'failed' | 'dropped' = 'before';
  #received = 0;
  place = -1;
  since = 0 as Instant;
  #wholeBy: Instant | undefined;
  #pace: UploadMonitor | undefined;
  #reader: BodyReader | undefined;
  /** The sender has sent all; some of it may still be on its way to the disk. */
  #ended = false;
  /** A piece is on its way to its place. */
  #keeping = false;
  #fault: BodyProblem | undefined;

  /** Three arguments, not one object: this runs once per request. */
  constructor(incoming: IncomingBody, limits: HoldLimits, home: BodyContext) {
    this.#incoming = incoming;
    this.#limits = limits;
    this.#home = home;
    this.#kept = new SpillingBuffer(home.enter(limits.memoryBytesMax), this);
  }

  get length(): number | undefined {
    return this.#incoming.length ?? (this.whole ? this.#received : undefined);
  }

  /** All of it is here. */
  get whole(): boolean {
    return this.#state === 'whole';
  }

  get replayable(): boolean {
    return (this.whole && this.#reader?.replays !== false) || (this.#reader !== undefined && !this.#reader.started);
  }

  /** Whole within so long, not counting the time it is not read. */
  setDeadline(within: Micros): void {
    if (this.#state === 'receiving') this.watch().setDeadline(within);
  }

  /** Bytes received. */
  get received(): number {
    return this.#received;
  }

  /** The sender is not read from at the moment. */
  get paused(): boolean {
    return this.#incoming.stream.isPaused();
  }

  /** What went wrong, if anything. */
  get problem(): BodyProblem | undefined {
    return this.#fault;
  }

  /** All of it, or as much as is there, where it is in memory; undefined: some of it is not. */
  get bytes(): Uint8Array | undefined {
    return this.#kept.inMemory ? this.#kept.bytes : undefined;
  }

  /** Reads from now on, and must be whole by `wholeBy`; the time in which an open reader takes nothing does not count. */
  receive(watch: BodyWatch, wholeBy: Instant | undefined): void {
    if (this.#state !== 'before') return;
    this.#watch = watch;
    this.#state = 'receiving';
    this.#wholeBy = wholeBy;
    const { clock, watchLater } = this.#home;
    this.since = clock.now();
    if (!watchLater.take(this, this.since, wholeBy)) this.watch();
    const { stream } = this.#incoming;
    this.#incoming.wanted();
    stream.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onGone).on('error', this.#onGone);
    stream.resume();
    if (stream.destroyed) queueMicrotask(this.#onGone);
  }

  /** Its pace counts from its beginning, whenever watching begins. */
  watch(): UploadMonitor {
    if (this.#pace !== undefined) return this.#pace;
    const { clock, watchLater } = this.#home;
    watchLater.leave(this);
    this.#pace = new UploadMonitor({ clock, sender: this, bytesPerSecondMin: this.#limits.bytesPerSecondMin, wholeBy: this.#wholeBy });
    return this.#pace;
  }

  tooSlow(why: 'speed' | 'time'): void {
    const detail =
      why === 'time' ? 'The request did not arrive whole in time.' : `A body must arrive at ${this.#limits.bytesPerSecondMin} bytes a second at least.`;
    this.#fail(this.#kept.waits ? { kind: 'refused', refusal: NO_ROOM } : { kind: 'slow', detail });
  }

  /** A reader that was never read took nothing: another may take its place. */
  open(): Uint8Array | Readable {
    if (this.#reader !== undefined && !this.replayable) throw new Error('A body that was passed on as it came cannot be opened again.');
    if (this.whole && this.#kept.inMemory && (this.#kept.pieces <= 1 || this.#received <= JOINED_BYTES)) return this.#kept.bytes;
    this.#reader = new BodyReader(this.whole, (reader) => this.#pull(reader));
    if (this.#fault !== undefined) this.#reader.destroy(senderError(this.#fault));
    return this.#reader;
  }

  /** No other attempt will follow: room of bytes that have no reader left is returned, however long the response takes. */
  spent(): void {
    if (this.whole && (this.#reader === undefined || this.#reader.readableEnded)) this.drop();
  }

  drop(): void {
    if (this.#state === 'dropped') return;
    this.#stop();
    this.#state = 'dropped';
    this.#reader?.destroy();
    this.#kept.drop();
    this.#home.leave();
  }

  readonly #onData = (piece: Uint8Array): void => {
    this.#received += piece.byteLength;
    const { bodyBytesMax } = this.#limits;
    if (this.#received > bodyBytesMax) return this.#fail({ kind: 'refused', refusal: tooLarge(bodyBytesMax) });
    // A hungry reader has had everything that was kept.
    if (this.#reader?.hungry) {
      this.#reader.hungry = false;
      if (!this.#reader.push(piece)) this.#pause();
      return;
    }
    this.#keeping = true;
    this.#kept.put(piece);
    // One that passes on as it reads is not filled faster than it is emptied.
    if (this.#keeping || this.#reader !== undefined) this.#pause();
  };

  onKept(kept: AppendResult): void {
    this.#keeping = false;
    if (kept.kind === 'full') return this.#fail({ kind: 'refused', refusal: NO_ROOM });
    if (kept.kind === 'broken') {
      this.#home.onError(kept.cause);
      return this.#fail({ kind: 'refused', refusal: UNSTORED });
    }
    this.#reader?.wake();
    this.#watch?.onMore?.();
    this.#goOn();
  }

  readonly #onEnd = (): void => {
    this.#ended = true;
    if (!this.#keeping) this.#complete();
  };

  readonly #onGone = (): void => {
    if (!this.#ended) this.#fail({ kind: 'gone' });
  };

  #goOn(): void {
    if (this.#state !== 'receiving' || this.#keeping) return;
    if (this.#ended) return this.#complete();
    if (this.#reader !== undefined && !this.#reader.hungry) return;
    if (!this.paused) return;
    this.#pace?.resume();
    this.#incoming.stream.resume();
  }

  #complete(): void {
    if (this.#state !== 'receiving') return;
    this.#stop();
    this.#state = 'whole';
    this.#reader?.wake();
    this.#watch?.onWhole();
  }

  #fail(problem: BodyProblem): void {
    if (this.#state !== 'receiving') return;
    this.#stop();
    this.#state = 'failed';
    this.#fault = problem;
    this.#reader?.destroy(senderError(problem));
    this.#watch?.onError(problem);
  }

  /** Listens no more. What the sender still sends is left in its socket. */
  #stop(): void {
    this.#home.watchLater.leave(this);
    this.#pace?.stop();
    if (this.#state !== 'receiving') return;
    // Nothing more comes of one that has ended: its watcher is not called.
    if (this.#ended) return;
    const { stream } = this.#incoming;
    stream.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onGone).off('error', this.#onGone);
    // A late error of the socket has no other listener.
    stream.on('error', ignore);
    stream.pause();
  }

  #pause(): void {
    if (this.#reader === undefined) this.watch().resetWindow();
    else this.watch().pause();
    this.#incoming.stream.pause();
  }

  /** The reader has room. */
  #pull(reader: BodyReader): void {
    if (reader !== this.#reader || this.#state === 'dropped' || this.#state === 'failed') return;
    const piece = this.#kept.next(reader, !reader.replays);
    if (piece instanceof Promise) return this.#pullLater(reader, piece);
    if (piece !== undefined) return void reader.push(piece);
    const waiting = this.#kept.takeWaiting();
    if (waiting !== undefined) {
      this.#keeping = false;
      reader.push(waiting);
      return this.#goOn();
    }
    if (this.whole) return void reader.push(null);
    reader.hungry = true;
    this.#goOn();
  }

  #pullLater(reader: BodyReader, piece: Promise<Uint8Array>): void {
    piece.then(
      (read) => {
        if (!reader.destroyed) reader.push(read);
      },
      (cause: unknown) => {
        if (reader.destroyed) return;
        this.#home.onError(cause);
        reader.destroy(cause as Error);
      },
    );
  }
}

function tooLarge(bytes: number): Refusal {
  return { reason: 'too_large', detail: `A request body may be at most ${bytes} bytes here.` };
}

function senderError({ kind }: BodyProblem): Error {
  return Object.assign(new Error(`The body did not come whole: ${kind}.`), { code: 'ERR_SLUICE_SENDER' });
}

const NO_ROOM: Refusal = { reason: 'shed', limit: 'backlog.bytes', detail: 'There is no room to hold the request; try again later.' };

const UNSTORED: Refusal = { reason: 'unstored', detail: 'The request cannot be held on disk at the moment; try again after a pause.' };

function ignore(): void {}

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
    // One that has no reader yet has no listener for its end.
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
