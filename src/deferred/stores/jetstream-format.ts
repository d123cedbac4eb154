import { crc32 } from 'node:zlib';
import type { QueueMessage } from '../../nats/queue-records.ts';
import { addChecksum, CorruptRecord, verifyChecksum } from '../../storage/checksum.ts';
import type { Attempt, RequestEnd, RequestHead, RequestRow, StoredResponse } from '../request.ts';
import type { CallbackProgress } from '../shared-store.ts';
import type { Flight } from '../store.ts';

/** Of rows and payloads; a reader refuses what it does not know. */
const FORMAT = 1;

/** What the headers of a message say of a request: all that a takeover reads. */
export interface QueuedRow {
  readonly row: RequestRow;
  /** Tells the message of one submit from that of another under the same key. */
  readonly nonce: string;
  /** Where the body's pieces are; '' when it is stored with the request, or there is none. */
  readonly upload: string;
  /** How it ended; undefined: it is pending. */
  readonly end: Omit<RequestEnd, 'sequence' | 'response'> | undefined;
  /** Until when a callback is owed for this end, in milliseconds since 1970; 0: none is. */
  readonly reportUntil: number;
}

/** A body as it is stored: whole, or how many pieces of how many bytes. */
export type QueuedBody = Uint8Array | { readonly pieces: number; readonly bytes: number };

/** The row as a header: ASCII, a CRC-32 over subject and text in front. */
export function encodeRow(subject: string, { row, nonce, upload, end, reportUntil }: QueuedRow): string {
  return header(subject, { format: FORMAT, row, nonce, upload, end, ...(reportUntil === 0 ? {} : { reportUntil }) });
}

/** A row without a sequence has that of its message. Throws {@link CorruptRecord}. */
export function decodeRow(message: Pick<QueueMessage, 'subject' | 'sequence' | 'row'>): QueuedRow {
  const { row, nonce, upload, end, reportUntil = 0 } = fieldsOf<Omit<QueuedRow, 'reportUntil'> & { readonly reportUntil?: number }>(message);
  return { row: row.sequence === 0 ? { ...row, sequence: message.sequence } : row, nonce, upload, end, reportUntil };
}

/** How far the callback of an end has come, as a header. */
export function encodeCallback(subject: string, callback: CallbackProgress): string {
  return header(subject, { format: FORMAT, callback });
}

/** Throws {@link CorruptRecord}. */
export function decodeCallback(message: Pick<QueueMessage, 'subject' | 'sequence' | 'row'>): CallbackProgress {
  return fieldsOf<{ callback: CallbackProgress }>(message).callback;
}

/** JSON as a header: ASCII, a CRC-32 over subject and text in front. */
function header(subject: string, value: object): string {
  const text = JSON.stringify(value).replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return `${checksum(subject, text)} ${text}`;
}

function fieldsOf<T>({ subject, sequence, row }: Pick<QueueMessage, 'subject' | 'sequence' | 'row'>): T {
  const text = row.slice(9);
  if (row.slice(0, 8) !== checksum(subject, text)) throw new CorruptRecord(`${subject}#${sequence}`);
  const value = JSON.parse(text) as T & { format: number };
  if (value.format !== FORMAT) throw new Error(`${subject} has format ${value.format}: it was written by a newer Sluice; upgrade this one.`);
  return value;
}

/** Head and body of a request. */
export function encodeRequest(subject: string, head: RequestHead, body: QueuedBody): Uint8Array {
  const whole = body instanceof Uint8Array;
  return framed(subject, { head, ...(whole ? {} : { pieces: body.pieces, bytes: body.bytes }) }, whole ? body : NOTHING);
}

/** Throws {@link CorruptRecord}. */
export function decodeRequest({ subject, bytes }: Pick<QueueMessage, 'subject' | 'bytes'>): { readonly head: RequestHead; readonly body: QueuedBody } {
  const { value, rest } = unframed<{ head: RequestHead; pieces?: number; bytes?: number }>(subject, bytes);
  // JSON leaves out what is undefined.
  const head = { ...value.head, timeoutMs: value.head.timeoutMs, retries: value.head.retries };
  return { head, body: value.pieces === undefined ? rest : { pieces: value.pieces, bytes: value.bytes ?? 0 } };
}

/** The answer that ended a request, its attempts, and where its end is reported ('' for nowhere). */
export function encodeEnd(subject: string, response: StoredResponse | undefined, attempts: readonly Attempt[], callback = ''): Uint8Array {
  const { body, ...rest } = response ?? { body: NOTHING };
  const named = callback === '' ? {} : { callback };
  return framed(subject, { response: response === undefined ? undefined : rest, attempts: attempts.map(written), ...named }, body);
}

/** Throws {@link CorruptRecord}. */
export function decodeEnd({ subject, bytes }: Pick<QueueMessage, 'subject' | 'bytes'>): {
  readonly response: StoredResponse | undefined;
  readonly attempts: readonly Attempt[];
  readonly callback: string;
} {
  const { value, rest } = unframed<{ response?: Omit<StoredResponse, 'body'>; attempts: readonly WrittenAttempt[]; callback?: string }>(subject, bytes);
  const response = value.response === undefined ? undefined : { ...value.response, body: rest };
  return { response, attempts: value.attempts.map(read), callback: value.callback ?? '' };
}

/** The register of flights. */
export interface FlightRegister {
  readonly term: bigint;
  /** What may be on its way, and which process sends it, as the owner of that term knows it. */
  readonly flights: readonly Flight[];
}

/** The register as a payload; processes are named once, and by their place in that list. */
export function encodeFlights(subject: string, { term, flights }: FlightRegister): Uint8Array {
  const holders = [...new Set(flights.flatMap(({ heldBy }) => heldBy ?? []))];
  const places = new Map(holders.map((holder, place) => [holder, place]));
  const written = flights.map(({ sequence, attempt, heldBy }) => (heldBy === undefined ? [sequence, attempt] : [sequence, attempt, places.get(heldBy)]));
  return framed(subject, { term: String(term), flights: written, holders }, NOTHING);
}

/** Throws {@link CorruptRecord}. */
export function decodeFlights({ subject, bytes }: Pick<QueueMessage, 'subject' | 'bytes'>): FlightRegister {
  const { value } = unframed<{ term: string; flights: readonly [number, number, number?][]; holders: readonly string[] }>(subject, bytes);
  const flights = value.flights.map(([sequence, attempt, place]) => {
    const heldBy = place === undefined ? undefined : value.holders[place];
    return heldBy === undefined ? { sequence, attempt } : { sequence, attempt, heldBy };
  });
  return { term: BigInt(value.term), flights };
}

const NOTHING = new Uint8Array();

/** JSON has no bytes. */
type WrittenAttempt = Omit<Attempt, 'firstBytes'> & { readonly firstBytes: string };

function written(attempt: Attempt): WrittenAttempt {
  return { ...attempt, firstBytes: Buffer.from(attempt.firstBytes).toString('base64') };
}

function read(attempt: WrittenAttempt): Attempt {
  return { ...attempt, firstBytes: new Uint8Array(Buffer.from(attempt.firstBytes, 'base64')) };
}

/** Format, length of the text, the text, then bytes as they are. */
function framed(subject: string, value: object, rest: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const joined = new Uint8Array(HEAD + text.length + rest.length);
  const view = new DataView(joined.buffer);
  view.setUint8(0, FORMAT);
  view.setUint32(1, text.length);
  joined.set(text, HEAD);
  joined.set(rest, HEAD + text.length);
  return addChecksum(subject, joined);
}

function unframed<T>(subject: string, bytes: Uint8Array): { readonly value: T; readonly rest: Uint8Array } {
  const joined = verifyChecksum(subject, bytes);
  const view = new DataView(joined.buffer, joined.byteOffset, joined.byteLength);
  if (view.getUint8(0) !== FORMAT) throw new Error(`${subject} has format ${view.getUint8(0)}: it was written by a newer Sluice; upgrade this one.`);
  const end = HEAD + view.getUint32(1);
  return { value: JSON.parse(new TextDecoder().decode(joined.subarray(HEAD, end))) as T, rest: joined.subarray(end) };
}

const HEAD = 5;

function checksum(subject: string, text: string): string {
  return crc32(text, crc32(subject)).toString(16).padStart(8, '0');
}
