import type { ByteBudget } from './byte-budget.ts';
import type { SpillFile, SpillFolder } from './spill-file.ts';

/** Read from disk at once. */
export const PIECE_BYTES = 64 << 10;

/** Pieces below this are gathered: a body of one-byte chunks would otherwise cost a hundred times its bytes. */
const SMALL_BYTES = 2 << 10;
const GATHERED_BYTES = 16 << 10;

/** Where one body's bytes may stay. */
export interface BufferBudgets {
  readonly memory: ByteBudget;
  readonly disk: ByteBudget;
  readonly group: ByteBudget;
  /** undefined: nothing goes to disk. */
  readonly folder: SpillFolder | undefined;
  /** Of this body, while there is a disk; bytes. */
  readonly memoryBytesMax: number;
}

/** What became of bytes that were to be kept: `full`, they never fit; `broken`, the disk failed. */
export type AppendResult = { readonly kind: 'kept' } | { readonly kind: 'full' } | { readonly kind: 'broken'; readonly cause: unknown };

/** Whose bytes are kept. */
export interface SpillingBufferOwner {
  /** What became of the piece that was put; once for each, perhaps before `put` returns. */
  onKept(kept: AppendResult): void;
}

/** How far a reader is. */
export interface Cursor {
  chunk: number;
  offset: number;
}

const KEPT: AppendResult = { kind: 'kept' };

/** The bytes of one body: in memory, then on disk; a piece that fits nowhere waits for room. The order is kept, for once on disk the rest goes there too. */
export class SpillingBuffer {
  readonly #places: BufferBudgets;
  readonly #owner: SpillingBufferOwner;
  #memory: Uint8Array[] = [];
  /** The last of `#memory` is a part of it that grows; undefined: the last stands for itself. */
  #gathering: Uint8Array | undefined;
  #file: SpillFile | undefined;
  /** Taken of each budget. */
  #memoryBytes = 0;
  #diskBytes = 0;
  #groupBytes = 0;
  /** On its way to a place. */
  #waiting: Uint8Array | undefined;
  #stopWaiting: (() => void) | undefined;
  #dropped = false;

  constructor(places: BufferBudgets, owner: SpillingBufferOwner) {
    this.#places = places;
    this.#owner = owner;
  }

  /** A piece waits for room: the pause is not the sender's. */
  get waits(): boolean {
    return this.#stopWaiting !== undefined;
  }

  /** Nothing is, or was, anywhere but in memory. */
  get inMemory(): boolean {
    return this.#file === undefined && this.#waiting === undefined;
  }

  /** How many pieces are in memory. */
  get pieces(): number {
    return this.#memory.length;
  }

  /** All that is in memory, in one piece. */
  get bytes(): Uint8Array {
    if (this.#memory.length > 1) {
      this.#memory = [Buffer.concat(this.#memory)];
      this.#gathering = undefined;
    }
    return this.#memory[0] ?? Buffer.alloc(0);
  }

  /** Keeps the next piece; no other may come before its owner received the outcome. Not after `drop`. */
  put(piece: Uint8Array): void {
    const { byteLength } = piece;
    const { group, memory } = this.#places;
    // Nearly always: there is room for it at once.
    if (this.#staysInMemory(byteLength) && group.has(byteLength) && memory.take(byteLength)) {
      group.take(byteLength);
      this.#groupBytes += byteLength;
      return this.#remember(piece);
    }
    this.#waiting = piece;
    this.#when(group, byteLength, () => {
      this.#groupBytes += byteLength;
      this.#store(piece);
    });
  }

  /** The piece that waits for room, which a reader who had all before it may take at once; then its outcome is not reported. */
  takeWaiting(): Uint8Array | undefined {
    if (this.#stopWaiting === undefined) return undefined;
    const piece = this.#waiting;
    this.#stopWaiting();
    this.#stopWaiting = undefined;
    this.#waiting = undefined;
    this.#shrink();
    return piece;
  }

  /** The piece at the cursor, which moves on; undefined: nothing is there, yet. `consume`: it is not read again, its room is returned. */
  next(cursor: Cursor, consume: boolean): Uint8Array | Promise<Uint8Array> | undefined {
    const piece = consume ? this.#memory.shift() : this.#memory[cursor.chunk++];
    // What was handed out is written to no more.
    if (this.#memory.length === 0) this.#gathering = undefined;
    if (piece !== undefined) {
      if (consume) this.#forget(piece.byteLength);
      return piece;
    }
    const file = this.#file;
    if (file === undefined || cursor.offset >= file.size) return undefined;
    return file.read(cursor.offset, PIECE_BYTES).then((read) => {
      cursor.offset += read.byteLength;
      if (consume && cursor.offset === file.size && this.#waiting === undefined) this.#closeFile(cursor);
      return read;
    });
  }

  /** Gives everything back. */
  drop(): void {
    this.#dropped = true;
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
    this.#waiting = undefined;
    this.#memory = [];
    const { memory, disk, group } = this.#places;
    memory.give(this.#memoryBytes);
    disk.give(this.#diskBytes);
    group.give(this.#groupBytes);
    this.#memoryBytes = 0;
    this.#diskBytes = 0;
    this.#groupBytes = 0;
    void this.#file?.close().catch(ignore);
    this.#file = undefined;
  }

  /** Runs `then` with the bytes taken of a budget, now or when it is this body's turn. */
  #when(room: ByteBudget, bytes: number, then: () => void): void {
    if (room.take(bytes)) return then();
    if (bytes > room.max) return this.#settle({ kind: 'full' });
    this.#stopWaiting = room.wait(bytes, () => {
      this.#stopWaiting = undefined;
      then();
    });
  }

  /** What belongs to memory; with a disk, as far as this body may take of it, and nothing of it is on disk. */
  #staysInMemory(bytes: number): boolean {
    const { folder, memoryBytesMax } = this.#places;
    return folder === undefined || (this.#file === undefined && this.#memoryBytes + bytes <= memoryBytesMax);
  }

  #store(piece: Uint8Array): void {
    const { byteLength } = piece;
    const { memory, disk, folder } = this.#places;
    if (folder === undefined) return this.#when(memory, byteLength, () => this.#remember(piece));
    if (this.#staysInMemory(byteLength) && memory.take(byteLength)) return this.#remember(piece);
    this.#when(disk, byteLength, () => {
      this.#diskBytes += byteLength;
      this.#spill(folder, piece).then(
        () => this.#settle(KEPT),
        (cause: unknown) => this.#settle({ kind: 'broken', cause }),
      );
    });
  }

  /** Memory was given for it. */
  #remember(piece: Uint8Array): void {
    this.#memoryBytes += piece.byteLength;
    this.#append(piece);
    this.#settle(KEPT);
  }

  #append(piece: Uint8Array): void {
    const last = this.#memory.at(-1);
    if (last === undefined || piece.byteLength > SMALL_BYTES || last.byteLength + piece.byteLength > GATHERED_BYTES) {
      this.#gathering = undefined;
      this.#memory.push(piece);
      return;
    }
    const bytes = last.byteLength + piece.byteLength;
    if (this.#gathering === undefined || this.#gathering.byteLength < bytes) {
      this.#gathering = Buffer.allocUnsafeSlow(Math.min(GATHERED_BYTES, Math.max(64, 2 * bytes)));
      this.#gathering.set(last);
    }
    this.#gathering.set(piece, last.byteLength);
    this.#memory[this.#memory.length - 1] = this.#gathering.subarray(0, bytes);
  }

  async #spill(folder: SpillFolder, piece: Uint8Array): Promise<void> {
    if (this.#file === undefined) {
      const file = await folder.create();
      if (this.#dropped) return void (await file.close());
      this.#file = file;
    }
    await this.#file.append(piece);
  }

  #settle(kept: AppendResult): void {
    if (this.#dropped) return;
    this.#waiting = undefined;
    this.#owner.onKept(kept);
  }

  #forget(bytes: number): void {
    this.#memoryBytes -= bytes;
    this.#groupBytes -= bytes;
    this.#places.memory.give(bytes);
    this.#places.group.give(bytes);
  }

  /** What the group gave for a piece that needs no place is its again. */
  #shrink(): void {
    const over = this.#groupBytes - this.#memoryBytes - this.#diskBytes;
    this.#groupBytes -= over;
    this.#places.group.give(over);
  }

  /** All of it was read: what comes now may pass through. */
  #closeFile(cursor: Cursor): void {
    if (this.#dropped) return;
    const bytes = this.#diskBytes;
    this.#diskBytes = 0;
    this.#groupBytes -= bytes;
    void this.#file?.close().catch(ignore);
    this.#file = undefined;
    cursor.offset = 0;
    this.#places.disk.give(bytes);
    this.#places.group.give(bytes);
  }
}

/** Closing a file that has no name loses nothing. */
function ignore(): void {}
