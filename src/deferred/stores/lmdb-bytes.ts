/** Version of the values below; the first byte of each. A change of what they mean raises it. */
export const FORMAT = 1;

/** A value was written by a version of Sluice with another format. */
export class UnknownFormat extends Error {
  override readonly name = 'UnknownFormat';

  constructor(record: string, format: number, reads = FORMAT) {
    super(`${record} has the format ${format}, and this version of Sluice reads ${reads}. Start the version that wrote it.`);
  }
}

/** Shared by writers of one value each, one after the other. */
let shared = Buffer.allocUnsafe(64 << 10);

/** A buffer with the method of Node that its types leave out. */
type Writable = Buffer & { utf8Write(text: string, at: number): number };

/** Writes values, each with the format byte first. One at a time, unless each has a buffer of its own. */
export class Writer {
  #bytes: Writable;
  readonly #isShared: boolean;
  #at = 0;

  /** With `own` the caller sets where values begin. */
  constructor(own?: Buffer) {
    this.#isShared = own === undefined;
    this.#bytes = (own ?? shared) as Writable;
    if (own === undefined) this.byte(FORMAT);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  /** Goes back to `length` bytes. */
  cut(length: number): void {
    this.#at = length;
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  /** Whole numbers from 0 to 2^53 - 1 in 1 to 8 bytes. Others become the next one: fractions of a millisecond go to the late side. */
  number(value: number): void {
    this.#room(8);
    let rest = Math.min(Math.max(Math.ceil(value), 0), Number.MAX_SAFE_INTEGER);
    // Times and large sequences have more bits than the engine's integers: the lower 28 first.
    if (rest >= LOWER) {
      const lower = rest % LOWER;
      for (let shift = 0; shift < 28; shift += 7) this.#bytes[this.#at++] = ((lower >>> shift) & 0x7f) | 0x80;
      rest = Math.floor(rest / LOWER);
    }
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  numbers(values: readonly number[]): void {
    this.number(values.length);
    for (const value of values) this.number(value);
  }

  /** 4 bytes, big-endian. */
  fixed(value: number): void {
    this.#room(4);
    this.#at = this.#bytes.writeUInt32BE(value, this.#at);
  }

  /** 16 hexadecimal digits as 8 bytes. By hand, since a call into Node costs several times as much. */
  hex(digits: string): void {
    this.#room(8);
    for (let index = 0; index < 16; index += 2) {
      this.#bytes[this.#at++] = ((HEX[digits.charCodeAt(index)] as number) << 4) | (HEX[digits.charCodeAt(index + 1)] as number);
    }
  }

  text(value: string): void {
    const { length } = value;
    if (length < BYTE_MAX) {
      this.#room(1 + 3 * length);
      const size = length < SHORT ? this.#ascii(value) : this.#bytes.utf8Write(value, this.#at + 1);
      if (size >= 0 && size < BYTE_MAX) {
        this.#bytes[this.#at] = size;
        this.#at += 1 + size;
        return;
      }
    }
    const size = Buffer.byteLength(value);
    this.number(size);
    this.#room(size);
    this.#at += this.#bytes.utf8Write(value, this.#at);
  }

  texts(values: readonly string[]): void {
    this.number(values.length);
    for (const value of values) this.text(value);
  }

  bytes(value: Uint8Array): void {
    this.number(value.byteLength);
    this.raw(value);
  }

  /** Bytes without their length. */
  raw(value: Uint8Array): void {
    const { byteLength } = value;
    this.#room(byteLength);
    if (byteLength > SHORT) this.#bytes.set(value, this.#at);
    else for (let index = 0; index < byteLength; index++) this.#bytes[this.#at + index] = value[index] as number;
    this.#at += byteLength;
  }

  /** What was written. With the shared buffer it is to be copied before another value is written. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** A copy of what was written from `from` on. */
  copy(from: number): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#bytes, from, this.#at);
  }

  /** Writes a short text one byte further on; returns its length, or -1 if it is not ASCII. */
  #ascii(value: string): number {
    const bytes = this.#bytes;
    const at = this.#at + 1;
    const { length } = value;
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) return -1;
      bytes[at + index] = code;
    }
    return length;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.byteLength) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.byteLength * 2, this.#at + bytes));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger as Writable;
    if (this.#isShared) shared = larger;
  }
}

/** 28 bits are four bytes of a number. */
const LOWER = 2 ** 28;
/** Texts of fewer bytes have a length of one byte. */
const BYTE_MAX = 0x80;
/** Up to here a loop is faster than a call into Node. */
const SHORT = 24;
/** The value of each hexadecimal digit by its code. */
const HEX = Uint8Array.from({ length: 0x80 }, (_, code) => Number.parseInt(String.fromCharCode(code), 16) || 0);

/** Reads what a {@link Writer} wrote. */
export class Reader {
  readonly #bytes: Buffer;
  readonly #record: string;
  #at = 1;
  /** All bytes, each as one character, once a text was cut out of it. */
  #characters: string | undefined;

  constructor(record: string, bytes: Uint8Array) {
    this.#record = record;
    this.#bytes = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes[0] !== FORMAT) throw new UnknownFormat(record, bytes[0] ?? 0);
  }

  byte(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  number(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  numbers(): number[] {
    const values: number[] = [];
    for (let left = this.number(); left > 0; left--) values.push(this.number());
    return values;
  }

  hex(): string {
    const at = this.#take(8);
    return this.#bytes.toString('hex', at, at + 8);
  }

  /** `likely`: returned where it is what is written, and ASCII; a call into Node costs several times as much as to compare. */
  text(likely = ''): string {
    const length = this.number();
    const at = this.#take(length);
    if (length === likely.length) {
      let same = 0;
      while (same < length && this.#bytes[at + same] === likely.charCodeAt(same)) same++;
      if (same === length) return likely;
    }
    return this.#bytes.toString('utf8', at, at + length);
  }

  /**
   * A text that is kept for a short time only: it is cut out of one string of the whole value, and holds all of that in memory. For values with
   * many texts, since a call into Node for each costs several times as much.
   */
  part(): string {
    const length = this.number();
    const at = this.#take(length);
    for (let index = at; index < at + length; index++) if ((this.#bytes[index] as number) >= 0x80) return this.#bytes.toString('utf8', at, at + length);
    this.#characters ??= this.#bytes.toString('latin1');
    return this.#characters.slice(at, at + length);
  }

  texts(): string[] {
    const values: string[] = [];
    for (let left = this.number(); left > 0; left--) values.push(this.text());
    return values;
  }

  /** Many texts, each as {@link part}. */
  parts(): string[] {
    const values: string[] = [];
    for (let left = this.number(); left > 0; left--) values.push(this.part());
    return values;
  }

  bytes(): Uint8Array {
    const length = this.number();
    const at = this.#take(length);
    // In the pool of Node where it is short: memory of its own costs a microsecond.
    const copy = Buffer.allocUnsafe(length);
    this.#bytes.copy(copy, 0, at, at + length);
    return new Uint8Array(copy.buffer, copy.byteOffset, length);
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.byteLength) throw new RangeError(`${this.#record} ends before its last field.`);
    this.#at += length;
    return at;
  }
}
