import { ONE_REQUEST } from '../../core/group.ts';
import type { Attempt, EndState, RequestEnd, RequestHead, RequestRow, StoredResponse } from '../request.ts';
import type { Flight } from '../store.ts';

/** Version of the values below; the first byte of each. A change of what they mean raises it. */
export const FORMAT = 1;

/** A value was written by a version of Sluice with another format. */
export class UnknownFormat extends Error {
  override readonly name = 'UnknownFormat';

  constructor(record: string, format: number) {
    super(`${record} has the format ${format}, and this version of Sluice reads ${FORMAT}. Start the version that wrote it.`);
  }
}

/** Where the body of a request is: `pieces` entries of the table `body`, under the number `body`; 0 pieces: it is with its head. */
export interface BodyPlace {
  readonly body: number;
  readonly pieces: number;
}

/** One entry of `done`. The body of a response above 1 KiB has an entry of its own (`apart`). */
export interface EndRecord {
  readonly row: RequestRow;
  readonly end: RequestEnd;
  /** The last attempt; those before are in `tries`. */
  readonly attempt: Attempt | undefined;
  readonly apart: boolean;
}

/** One entry of `ends`: what is known of an ended request when its row is removed. */
export interface EndIndexEntry {
  readonly number: number;
  readonly state: EndState;
  readonly goneAt: number;
  /** Only where it has a key that must be known. */
  readonly row: RequestRow | undefined;
}

/** What the tables `head` and `body` should hold, and how many ended requests are kept. */
export interface Counters {
  readonly heads: number;
  readonly pieces: number;
  readonly done: number;
  readonly dead: number;
  readonly cancelled: number;
}

const STATES: readonly EndState[] = ['done', 'dead', 'cancelled'];
const ROW = { ordered: 1, idHash: 2, requestHash: 4, costs: 8, callback: 16 };
const HEAD = { timeout: 1, attemptsMax: 2, delays: 4 };
const END = { response: 1, truncated: 2, attempt: 4, apart: 8 };

/** A row as a value of `order`. */
export function encodeRow(row: RequestRow): Uint8Array {
  const out = new Writer();
  writeRow(out, row);
  return out.done();
}

/** Throws {@link UnknownFormat}, or a RangeError where the value is too short. */
export function decodeRow(record: string, bytes: Uint8Array): RequestRow {
  return readRow(new Reader(record, bytes));
}

/** A head, and its body or where that is, as a value of `head`. */
export function encodeHead(head: RequestHead, place: BodyPlace, inline: Uint8Array): Uint8Array {
  const { retries, timeoutMs } = head;
  const out = new Writer();
  const delays = retries !== undefined && 'delaysMs' in retries ? retries.delaysMs : undefined;
  const attemptsMax = retries !== undefined && 'attemptsMax' in retries ? retries.attemptsMax : undefined;
  out.byte((timeoutMs === undefined ? 0 : HEAD.timeout) | (attemptsMax === undefined ? 0 : HEAD.attemptsMax) | (delays === undefined ? 0 : HEAD.delays));
  out.number(place.body);
  out.number(place.pieces);
  out.number(head.bodyBytes);
  for (const text of [head.host, head.method, head.target, head.callback]) out.text(text);
  out.texts(head.headers);
  if (timeoutMs !== undefined) out.number(timeoutMs);
  if (attemptsMax !== undefined) out.number(attemptsMax);
  if (delays !== undefined) out.numbers(delays);
  out.bytes(inline);
  return out.done();
}

/** Reads what encodeHead wrote. */
export function decodeHead(record: string, bytes: Uint8Array): { readonly head: RequestHead; readonly place: BodyPlace; readonly inline: Uint8Array } {
  const from = new Reader(record, bytes);
  const flags = from.byte();
  const place = { body: from.number(), pieces: from.number() };
  const bodyBytes = from.number();
  const [host, method, target, callback] = [from.text(), from.text(), from.text(), from.text()];
  const headers = from.texts();
  const timeoutMs = (flags & HEAD.timeout) === 0 ? undefined : from.number();
  let retries: RequestHead['retries'];
  if ((flags & HEAD.attemptsMax) !== 0) retries = { attemptsMax: from.number() };
  else if ((flags & HEAD.delays) !== 0) retries = { delaysMs: from.numbers() };
  return { head: { host, method, target, headers, bodyBytes, timeoutMs, retries, callback }, place, inline: from.bytes() };
}

/** An end as a value of `done`. */
export function encodeEnd({ row, end, attempt, apart }: EndRecord): Uint8Array {
  const { response } = end;
  const out = new Writer();
  out.byte(STATES.indexOf(end.state));
  out.byte(
    (response === undefined ? 0 : END.response) |
      (response?.truncated === true ? END.truncated : 0) |
      (attempt === undefined ? 0 : END.attempt) |
      (apart ? END.apart : 0),
  );
  for (const number of [end.at, end.goneAt, end.attempts]) out.number(number);
  out.text(end.error);
  writeRow(out, row);
  if (attempt !== undefined) writeAttempt(out, attempt);
  if (response !== undefined) {
    out.number(response.status);
    out.texts(response.headers);
    out.bytes(apart ? NOTHING : response.body);
  }
  return out.done();
}

/** Reads what encodeEnd wrote. */
export function decodeEnd(record: string, bytes: Uint8Array): EndRecord {
  const from = new Reader(record, bytes);
  const state = STATES[from.byte()] as EndState;
  const flags = from.byte();
  const [at, goneAt, attempts] = [from.number(), from.number(), from.number()];
  const error = from.text();
  const row = readRow(from);
  const attempt = (flags & END.attempt) === 0 ? undefined : readAttempt(from);
  let response: StoredResponse | undefined;
  if ((flags & END.response) !== 0) {
    response = { status: from.number(), headers: from.texts(), body: from.bytes(), truncated: (flags & END.truncated) !== 0 };
  }
  return { row, end: { sequence: row.sequence, state, at, attempts, error, response, goneAt }, attempt, apart: (flags & END.apart) !== 0 };
}

/** An ended request as a value of `ends`. */
export function encodeEndIndex({ number, state, goneAt, row }: EndIndexEntry): Uint8Array {
  const out = new Writer();
  out.byte(STATES.indexOf(state));
  out.number(number);
  out.number(goneAt);
  out.byte(row === undefined ? 0 : 1);
  if (row !== undefined) writeRow(out, row);
  return out.done();
}

/** Reads what encodeEndIndex wrote. */
export function decodeEndIndex(record: string, bytes: Uint8Array): EndIndexEntry {
  const from = new Reader(record, bytes);
  const state = STATES[from.byte()] as EndState;
  const [number, goneAt] = [from.number(), from.number()];
  return { number, state, goneAt, row: from.byte() === 0 ? undefined : readRow(from) };
}

/** What lists of dead letters look at, without reading more of them. */
export function encodeDead(number: number, key: string, error: string): Uint8Array {
  const out = new Writer();
  out.number(number);
  out.text(key);
  out.text(error);
  return out.done();
}

/** Reads what encodeDead wrote. */
export function decodeDead(record: string, bytes: Uint8Array): { readonly number: number; readonly key: string; readonly error: string } {
  const from = new Reader(record, bytes);
  return { number: from.number(), key: from.text(), error: from.text() };
}

/** Attempts, at most 255, as a value of `tries`. */
export function encodeAttempts(attempts: readonly Attempt[]): Uint8Array {
  const out = new Writer();
  out.byte(attempts.length);
  for (const attempt of attempts) writeAttempt(out, attempt);
  return out.done();
}

/** Reads what encodeAttempts wrote. */
export function decodeAttempts(record: string, bytes: Uint8Array): readonly Attempt[] {
  const from = new Reader(record, bytes);
  return Array.from({ length: from.byte() }, () => readAttempt(from));
}

/** What may be on its way, as a value of `flight`. */
export function encodeFlights(flights: readonly Flight[]): Uint8Array {
  const out = new Writer();
  out.number(flights.length);
  for (const { sequence, attempt } of flights) {
    out.number(sequence);
    out.number(attempt);
  }
  return out.done();
}

/** Reads what encodeFlights wrote. */
export function decodeFlights(record: string, bytes: Uint8Array): readonly Flight[] {
  const from = new Reader(record, bytes);
  return Array.from({ length: from.number() }, () => ({ sequence: from.number(), attempt: from.number() }));
}

/** Whole numbers, as a value of `meta`. */
export function encodeNumbers(...numbers: readonly number[]): Uint8Array {
  const out = new Writer();
  out.numbers(numbers);
  return out.done();
}

/** Reads what encodeNumbers wrote. */
export function decodeNumbers(record: string, bytes: Uint8Array): readonly number[] {
  return new Reader(record, bytes).numbers();
}

function writeRow(out: Writer, row: RequestRow): void {
  const costs = row.costs !== ONE_REQUEST;
  out.byte(
    (row.ordered ? ROW.ordered : 0) |
      (row.idHash === '' ? 0 : ROW.idHash) |
      (row.requestHash === '' ? 0 : ROW.requestHash) |
      (costs ? ROW.costs : 0) |
      (row.callbackOf === 0 ? 0 : ROW.callback),
  );
  for (const number of [row.sequence, row.priority, row.attempts, row.spared, row.acceptedAt, row.dueAt, row.deadlineAt, row.firstAttemptAt])
    out.number(number);
  out.hex(row.secret);
  if (row.idHash !== '') out.hex(row.idHash);
  if (row.requestHash !== '') out.hex(row.requestHash);
  if (row.callbackOf !== 0) out.number(row.callbackOf);
  for (const text of [row.group, row.route, row.caller, row.key]) out.text(text);
  if (costs) out.text(JSON.stringify(row.costs));
}

function readRow(from: Reader): RequestRow {
  const flags = from.byte();
  const [sequence, priority, attempts, spared, acceptedAt] = [from.number(), from.number(), from.number(), from.number(), from.number()];
  const [dueAt, deadlineAt, firstAttemptAt] = [from.number(), from.number(), from.number()];
  const secret = from.hex();
  const idHash = (flags & ROW.idHash) === 0 ? '' : from.hex();
  const requestHash = (flags & ROW.requestHash) === 0 ? '' : from.hex();
  const callbackOf = (flags & ROW.callback) === 0 ? 0 : from.number();
  const [group, route, caller, key] = [from.text(), from.text(), from.text(), from.text()];
  const costs = (flags & ROW.costs) === 0 ? ONE_REQUEST : (JSON.parse(from.text()) as RequestRow['costs']);
  const ordered = (flags & ROW.ordered) !== 0;
  // biome-ignore format: one line for each kind of member
  return {
    sequence, secret, group, route, caller, key, priority, costs,
    acceptedAt, dueAt, deadlineAt, firstAttemptAt, attempts, spared,
    idHash, requestHash, ordered, callbackOf,
  };
}

function writeAttempt(out: Writer, attempt: Attempt): void {
  for (const number of [attempt.number, attempt.at, attempt.status, attempt.nextAt]) out.number(number);
  out.text(attempt.error);
  out.bytes(attempt.firstBytes.subarray(0, 256));
}

function readAttempt(from: Reader): Attempt {
  const [number, at, status, nextAt] = [from.number(), from.number(), from.number(), from.number()];
  return { number, at, status, nextAt, error: from.text(), firstBytes: from.bytes() };
}

const NOTHING = new Uint8Array(0);

/** Shared by all writers: what is written is copied out at the end, in one piece. */
let scratch = Buffer.allocUnsafe(64 << 10);

/** Writes one value, the format byte first. One at a time. */
class Writer {
  #at = 1;

  constructor() {
    scratch[0] = FORMAT;
  }

  byte(value: number): void {
    this.#room(1);
    scratch[this.#at++] = value;
  }

  /** Whole numbers from 0 to 2^53 - 1 in 1 to 8 bytes. Others become the next one: fractions of a millisecond go to the late side. */
  number(value: number): void {
    this.#room(8);
    let rest = Math.min(Math.max(Math.ceil(value), 0), Number.MAX_SAFE_INTEGER);
    while (rest >= 0x80) {
      scratch[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    scratch[this.#at++] = rest;
  }

  numbers(values: readonly number[]): void {
    this.number(values.length);
    for (const value of values) this.number(value);
  }

  /** 16 hexadecimal digits as 8 bytes. */
  hex(digits: string): void {
    this.#room(8);
    scratch.writeUInt32BE(Number.parseInt(digits.slice(0, 8), 16), this.#at);
    scratch.writeUInt32BE(Number.parseInt(digits.slice(8), 16), this.#at + 4);
    this.#at += 8;
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.number(length);
    this.#room(length);
    this.#at += scratch.write(value, this.#at);
  }

  texts(values: readonly string[]): void {
    this.number(values.length);
    for (const value of values) this.text(value);
  }

  bytes(value: Uint8Array): void {
    this.number(value.byteLength);
    this.#room(value.byteLength);
    scratch.set(value, this.#at);
    this.#at += value.byteLength;
  }

  done(): Uint8Array {
    return Uint8Array.prototype.slice.call(scratch, 0, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= scratch.byteLength) return;
    const larger = Buffer.allocUnsafe(Math.max(scratch.byteLength * 2, this.#at + bytes));
    larger.set(scratch.subarray(0, this.#at));
    scratch = larger;
  }
}

/** Reads what a {@link Writer} wrote. */
class Reader {
  readonly #bytes: Buffer;
  readonly #record: string;
  #at = 1;

  constructor(record: string, bytes: Uint8Array) {
    this.#record = record;
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes[0] !== FORMAT) throw new UnknownFormat(record, bytes[0] ?? 0);
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#take(1));
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

  text(): string {
    const length = this.number();
    const at = this.#take(length);
    return this.#bytes.toString('utf8', at, at + length);
  }

  texts(): string[] {
    const values: string[] = [];
    for (let left = this.number(); left > 0; left--) values.push(this.text());
    return values;
  }

  bytes(): Uint8Array {
    const length = this.number();
    const at = this.#take(length);
    return new Uint8Array(this.#bytes.subarray(at, at + length));
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.byteLength) throw new RangeError(`${this.#record} ends before its last field.`);
    this.#at += length;
    return at;
  }
}
