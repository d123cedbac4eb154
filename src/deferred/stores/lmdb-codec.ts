import { ONE_REQUEST } from '../../core/group.ts';
import type { Attempt, EndState, RequestEnd, RequestHead, RequestRow, StoredResponse } from '../request.ts';
import type { Flight } from '../store.ts';
import { Reader, Writer } from './lmdb-bytes.ts';

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

/** What the tables of heads and bodies should hold, and how many ended requests are kept. */
export interface Counters {
  readonly heads: number;
  /** Of the heads, how many are in packs; and how many packs that are. */
  readonly packed: number;
  readonly packs: number;
  readonly pieces: number;
  readonly done: number;
  readonly dead: number;
  readonly cancelled: number;
}

/** Of the answer to an attempt. */
const FIRST_BYTES_MAX = 256;
const NOTHING = new Uint8Array(0);
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
  const out = new Writer();
  writeHead(out, head, place, inline);
  return out.done();
}

/** Writes what {@link encodeHead} has after its format byte. */
export function writeHead(out: Writer, head: RequestHead, place: BodyPlace, inline: Uint8Array): void {
  const { retries, timeoutMs } = head;
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
}

/** Reads what encodeHead wrote. */
export function decodeHead(record: string, bytes: Uint8Array): { readonly head: RequestHead; readonly place: BodyPlace; readonly inline: Uint8Array } {
  const from = new Reader(record, bytes);
  const flags = from.byte();
  const place = { body: from.number(), pieces: from.number() };
  const bodyBytes = from.number();
  const host = from.part();
  const method = from.part();
  const target = from.part();
  const callback = from.part();
  const headers = from.parts();
  const timeoutMs = (flags & HEAD.timeout) === 0 ? undefined : from.number();
  let retries: RequestHead['retries'];
  if ((flags & HEAD.attemptsMax) !== 0) retries = { attemptsMax: from.number() };
  else if ((flags & HEAD.delays) !== 0) retries = { delaysMs: from.numbers() };
  return { head: { host, method, target, headers, bodyBytes, timeoutMs, retries, callback }, place, inline: from.bytes() };
}

/** Reads only where the body is, and how long. */
export function decodePlace(record: string, bytes: Uint8Array): { readonly place: BodyPlace; readonly bodyBytes: number } {
  const from = new Reader(record, bytes);
  from.byte();
  return { place: { body: from.number(), pieces: from.number() }, bodyBytes: from.number() };
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
  out.number(end.at);
  out.number(end.goneAt);
  out.number(end.attempts);
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

/** Writes what {@link encodeRow} has after its format byte. */
export function writeRow(out: Writer, row: RequestRow): void {
  const costs = row.costs !== ONE_REQUEST;
  out.byte(
    (row.ordered ? ROW.ordered : 0) |
      (row.idHash === '' ? 0 : ROW.idHash) |
      (row.requestHash === '' ? 0 : ROW.requestHash) |
      (costs ? ROW.costs : 0) |
      (row.callbackOf === 0 ? 0 : ROW.callback),
  );
  out.number(row.sequence);
  out.number(row.priority);
  out.number(row.attempts);
  out.number(row.spared);
  out.number(row.acceptedAt);
  out.number(row.dueAt);
  out.number(row.deadlineAt);
  out.number(row.firstAttemptAt);
  out.hex(row.secret);
  if (row.idHash !== '') out.hex(row.idHash);
  if (row.requestHash !== '') out.hex(row.requestHash);
  if (row.callbackOf !== 0) out.number(row.callbackOf);
  out.text(row.group);
  out.text(row.route);
  out.text(row.caller);
  out.text(row.key);
  if (costs) out.text(JSON.stringify(row.costs));
}

/** Texts of the row that was read last: the next one often has the same. */
let before = { group: '', route: '', caller: '', key: '' };

function readRow(from: Reader): RequestRow {
  const flags = from.byte();
  const [sequence, priority, attempts, spared, acceptedAt] = [from.number(), from.number(), from.number(), from.number(), from.number()];
  const [dueAt, deadlineAt, firstAttemptAt] = [from.number(), from.number(), from.number()];
  const secret = from.hex();
  const idHash = (flags & ROW.idHash) === 0 ? '' : from.hex();
  const requestHash = (flags & ROW.requestHash) === 0 ? '' : from.hex();
  const callbackOf = (flags & ROW.callback) === 0 ? 0 : from.number();
  const [group, route, caller, key] = [from.text(before.group), from.text(before.route), from.text(before.caller), from.text(before.key)];
  before = { group, route, caller, key };
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
  const { firstBytes } = attempt;
  out.number(attempt.number);
  out.number(attempt.at);
  out.number(attempt.status);
  out.number(attempt.nextAt);
  out.text(attempt.error);
  out.bytes(firstBytes.byteLength > FIRST_BYTES_MAX ? firstBytes.subarray(0, FIRST_BYTES_MAX) : firstBytes);
}

function readAttempt(from: Reader): Attempt {
  const [number, at, status, nextAt] = [from.number(), from.number(), from.number(), from.number()];
  return { number, at, status, nextAt, error: from.text(), firstBytes: from.bytes() };
}
