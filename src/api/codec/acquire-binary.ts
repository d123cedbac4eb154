import type { AcquireRequest, AcquireResponse } from '../../gen/sluice/v1/admission_pb.ts';

/*
 * The two messages of every acquire, by hand: protobuf-es walks descriptors, which costs more than the decision. Whatever is
 * out of the ordinary (unknown or repeated fields, other wire types, text beyond ASCII, costs, a shadow) is left to it, so
 * that there is one meaning of the bytes and not two.
 */

/** A field's number and wire type; all of these fit one byte. */
const GROUP = 0x0a;
const KEY = 0x12;
const TTL = 0x1a;
const PRIORITY = 0x20;
const PRIORITY_CLASS = 0x2a;
const LEASE = 0x3a;
const HOLDER = 0x42;
const REQUEST_ID = 0x4a;
const SECONDS = 0x08;
const NANOS = 0x10;

const PERMIT = 0x0a;
const FENCE = 0x10;
const FENCE_FLOOR = 0x18;
const GRANTED_LEASE = 0x22;
const WAITED = 0x2a;

/** Longest text read here; what is longer is refused anyway. */
const TEXT_MAX = 256;
/** Varints of up to five bytes are read here. */
const VARINT_BYTES = 5;
/** Larger ones are negative, or no lengths of anything. */
const VARINT_MAX = 2 ** 31 - 1;

type DurationMembers = { $typeName: 'google.protobuf.Duration'; seconds: bigint; nanos: number };

/** An empty acquire, as protobuf-es makes it. */
export function emptyAcquire(): AcquireRequest {
  return { $typeName: 'sluice.v1.AcquireRequest', group: '', key: '', urgency: { case: undefined }, costs: {}, holder: '', requestId: '' };
}

/** Reads an acquire from its bytes, as `fromBinary` reads it; undefined: let that read it. */
export function decodeAcquire(bytes: Uint8Array): AcquireRequest | undefined {
  const request = emptyAcquire();
  const reader = new Reader(bytes);
  let last = 0;
  while (reader.at < bytes.length) {
    const tag = bytes[reader.at++] as number;
    // In order, each once: as every encoder writes them.
    if (tag <= last || !readField(request, tag, reader)) return undefined;
    // The two of the oneof exclude each other.
    last = tag === PRIORITY ? PRIORITY_CLASS : tag;
  }
  return request;
}

function readField(request: AcquireRequest, tag: number, reader: Reader): boolean {
  switch (tag) {
    case TTL:
    case LEASE: {
      const duration = reader.duration();
      if (duration === undefined) return false;
      request[tag === TTL ? 'ttl' : 'lease'] = duration;
      return true;
    }
    case PRIORITY: {
      const value = reader.varint();
      request.urgency = { case: 'priority', value };
      return value >= 0;
    }
    default:
      return readText(request, tag, reader);
  }
}

function readText(request: AcquireRequest, tag: number, reader: Reader): boolean {
  if (tag !== GROUP && tag !== KEY && tag !== PRIORITY_CLASS && tag !== HOLDER && tag !== REQUEST_ID) return false;
  const text = reader.text();
  if (text === undefined) return false;
  if (tag === GROUP) request.group = text;
  else if (tag === KEY) request.key = text;
  else if (tag === HOLDER) request.holder = text;
  else if (tag === REQUEST_ID) request.requestId = text;
  else request.urgency = { case: 'priorityClass', value: text };
  return true;
}

/** Reads on from `at`. */
class Reader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** A varint below 2^31 in its shortest form; -1: something else. */
  varint(): number {
    let value = 0;
    for (let count = 0; count < VARINT_BYTES; count++) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * 2 ** (7 * count);
      if (byte < 0x80) return (byte === 0 && count > 0) || value > VARINT_MAX ? -1 : value;
    }
    return -1;
  }

  /** ASCII; undefined: something else. */
  text(): string | undefined {
    const length = this.varint();
    const end = this.at + length;
    if (length < 0 || length > TEXT_MAX || end > this.#bytes.length) return undefined;
    let text = '';
    for (; this.at < end; this.at++) {
      const byte = this.#bytes[this.at] as number;
      if (byte >= 0x80) return undefined;
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** A google.protobuf.Duration that is not negative and below 2^31 seconds. */
  duration(): DurationMembers | undefined {
    const length = this.varint();
    const end = this.at + length;
    if (length < 0 || end > this.#bytes.length) return undefined;
    let seconds = 0;
    let nanos = 0;
    let last = 0;
    while (this.at < end) {
      const tag = this.#bytes[this.at++] as number;
      if (tag <= last || (tag !== SECONDS && tag !== NANOS)) return undefined;
      const value = this.varint();
      if (value < 0 || this.at > end) return undefined;
      if (tag === SECONDS) seconds = value;
      else nanos = value;
      last = tag;
    }
    return { $typeName: 'google.protobuf.Duration', seconds: BigInt(seconds), nanos };
  }
}

/** A permit's bytes, as `toBinary` writes them; undefined: let that write them. */
export function encodeAcquired(response: AcquireResponse): Buffer | undefined {
  const { permit, fence, fenceFloor, lease, waited } = response;
  if (response.shadow !== undefined || response.degraded !== undefined || response.$unknown !== undefined || permit.length > TEXT_MAX) return undefined;
  const writer = new Writer(permit.length + ROOM);
  if (permit !== '' && !writer.text(PERMIT, permit)) return undefined;
  if (fence !== undefined && !writer.whole(FENCE, Number(fence))) return undefined;
  if (fenceFloor !== undefined && !writer.whole(FENCE_FLOOR, Number(fenceFloor))) return undefined;
  if (lease !== undefined && !writer.duration(GRANTED_LEASE, Number(lease.seconds), lease.nanos)) return undefined;
  if (waited !== undefined && !writer.duration(WAITED, Number(waited.seconds), waited.nanos)) return undefined;
  return writer.done();
}

/** Bytes for everything beside the permit: its length, two fences, two durations. */
const ROOM = 64;

/** Writes into one small buffer. */
class Writer {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(room: number) {
    this.#bytes = Buffer.allocUnsafe(room);
  }

  /** False: it is not ASCII. */
  text(tag: number, text: string): boolean {
    this.whole(tag, text.length);
    for (let index = 0; index < text.length; index++) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) return false;
      this.#bytes[this.#at++] = code;
    }
    return true;
  }

  /** False: it is no whole number that a double holds exactly. */
  whole(tag: number, value: number): boolean {
    if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) return false;
    this.#bytes[this.#at++] = tag;
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes[this.#at++] = (rest % 0x80) | 0x80;
    this.#bytes[this.#at++] = rest;
    return true;
  }

  duration(tag: number, seconds: number, nanos: number): boolean {
    this.#bytes[this.#at++] = tag;
    const length = this.#at++;
    if (seconds !== 0 && !this.whole(SECONDS, seconds)) return false;
    if (nanos !== 0 && !this.whole(NANOS, nanos)) return false;
    this.#bytes[length] = this.#at - length - 1;
    return true;
  }

  done(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }
}
