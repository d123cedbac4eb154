import { FORMAT, UnknownFormat, Writer } from './lmdb-bytes.ts';

/*
 * A pack is one value for several requests, whose key is the first of their sequences: the format byte, how many (2 bytes), their
 * values, and of each its sequence less the key's (4) and its length (4). Packs of a table never overlap: a request whose sequence
 * is below one that is stored already has an entry of its own.
 */
const COUNT_AT = 1;
/** Bytes before the first value, and for each value. */
export const PACK_HEAD = 3;
export const INDEX_BYTES = 8;
/** The last sequence of a pack is so far from the first at most. */
export const SPAN_MAX = 2 ** 32 - 1;
export const COUNT_MAX = 0xffff;

/** The value of one request in a pack, with its format byte. */
export interface Packed {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** A pack as it is read. */
export class Pack {
  readonly first: number;
  readonly length: number;
  readonly record: string;
  readonly #bytes: Buffer;
  readonly #index: number;

  /** Throws a RangeError where the value is too short. */
  constructor(record: string, first: number, bytes: Uint8Array) {
    this.first = first;
    this.record = record;
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes[0] !== FORMAT) throw new UnknownFormat(record, bytes[0] ?? 0);
    this.length = this.#bytes.readUInt16BE(COUNT_AT);
    this.#index = bytes.byteLength - this.length * INDEX_BYTES;
    let end = PACK_HEAD;
    for (let index = 0; index < this.length; index++) end += this.#lengthAt(index);
    if (end !== this.#index) throw new RangeError(`${record} does not have the bytes of its values.`);
  }

  /** The last sequence in this pack. */
  get last(): number {
    return this.#sequenceAt(this.length - 1);
  }

  /** All of them, in the order of their sequences. */
  *values(): IterableIterator<Packed> {
    let at = PACK_HEAD;
    for (let index = 0; index < this.length; index++) {
      const end = at + this.#lengthAt(index);
      yield { sequence: this.#sequenceAt(index), bytes: this.#bytes.subarray(at, end) };
      at = end;
    }
  }

  /** Whether a sequence is in this pack. */
  has(sequence: number): boolean {
    for (let index = 0; index < this.length; index++) if (this.#sequenceAt(index) === sequence) return true;
    return false;
  }

  /** The value of a sequence; undefined if it is not in this pack. */
  find(sequence: number): Uint8Array | undefined {
    let at = PACK_HEAD;
    for (let index = 0; index < this.length; index++) {
      const end = at + this.#lengthAt(index);
      if (this.#sequenceAt(index) === sequence) return this.#bytes.subarray(at, end);
      at = end;
    }
    return undefined;
  }

  #sequenceAt(index: number): number {
    return this.first + this.#bytes.readUInt32BE(this.#index + index * INDEX_BYTES);
  }

  #lengthAt(index: number): number {
    return this.#bytes.readUInt32BE(this.#index + index * INDEX_BYTES + 4);
  }
}

/** Writes packs one after the other, values in the order of their sequences. One at a time. */
export class PackWriter {
  readonly #bytesMax: number;
  readonly #out: Writer;
  readonly #sequences: number[] = [];
  readonly #lengths: number[] = [];
  readonly #done: (first: number, bytes: Uint8Array) => void;
  readonly #first: number | undefined;

  /**
   * Writes in `buffer`. `done` gets each pack, and copies it. A pack has `bytesMax` bytes at most, unless one value alone
   * is longer. `first`: the key of the pack, where that is not the first sequence.
   */
  constructor(buffer: Buffer, bytesMax: number, done: (first: number, bytes: Uint8Array) => void, first?: number) {
    this.#out = new Writer(buffer);
    this.#bytesMax = bytesMax;
    this.#done = done;
    this.#first = first;
  }

  /** Adds a value: what `write` writes after its format byte. */
  add(sequence: number, write: (out: Writer) => void): void {
    const out = this.#out;
    if (this.#sequences.length === 0) this.#begin();
    const start = out.length;
    out.byte(FORMAT);
    write(out);
    this.#added(sequence, start);
  }

  /** Adds a value as it was read. */
  addRaw({ sequence, bytes }: Packed): void {
    if (this.#sequences.length === 0) this.#begin();
    const start = this.#out.length;
    this.#out.raw(bytes);
    this.#added(sequence, start);
  }

  /** Ends the pack under way. */
  flush(): void {
    const count = this.#sequences.length;
    if (count === 0) return;
    const out = this.#out;
    const first = this.#first ?? (this.#sequences[0] as number);
    for (let index = 0; index < count; index++) {
      out.fixed((this.#sequences[index] as number) - first);
      out.fixed(this.#lengths[index] as number);
    }
    const bytes = out.done();
    bytes[COUNT_AT] = count >> 8;
    bytes[COUNT_AT + 1] = count & 0xff;
    this.#sequences.length = this.#lengths.length = 0;
    this.#done(first, bytes);
  }

  #begin(): void {
    this.#out.cut(0);
    this.#out.byte(FORMAT);
    this.#out.byte(0);
    this.#out.byte(0);
  }

  /** A value that is too much for the pack under way begins the next one. */
  #added(sequence: number, start: number): void {
    const out = this.#out;
    const length = out.length - start;
    const count = this.#sequences.length;
    const fits = out.length + (count + 1) * INDEX_BYTES <= this.#bytesMax && count < COUNT_MAX && sequence - (this.#sequences[0] ?? sequence) <= SPAN_MAX;
    if (count > 0 && !fits) {
      const value = out.copy(start);
      out.cut(start);
      this.flush();
      this.#begin();
      out.raw(value);
    }
    this.#sequences.push(sequence);
    this.#lengths.push(length);
  }
}
