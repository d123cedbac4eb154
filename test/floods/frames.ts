/** HTTP/2 frames as bytes (RFC 9113), well-formed or not: what no client library would send, an attacker does. */

export const FRAME = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
export const FLAG = { ack: 1, endStream: 1, endHeaders: 4 } as const;

/** Error code ENHANCE_YOUR_CALM. */
export const CALM = 11;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Returns one frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

/** Returns the client's preface and its SETTINGS; `settings` are identifiers and values. */
export function preface(settings: readonly (readonly [id: number, value: number])[] = []): Buffer {
  return Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0, settingsOf(settings))]);
}

function settingsOf(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * settings.length);
  for (const [index, [id, value]] of settings.entries()) {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  }
  return payload;
}

/** Returns an RST_STREAM with CANCEL. */
export function reset(stream: number): Buffer {
  return frame(FRAME.reset, 0, stream, Buffer.from([0, 0, 0, 8]));
}

/** Returns a gRPC message in its envelope, as DATA. */
export function message(stream: number, bytes: Uint8Array, end: boolean): Buffer {
  const envelope = Buffer.alloc(5 + bytes.length);
  envelope.writeUInt32BE(bytes.length, 1);
  envelope.set(bytes, 5);
  return frame(FRAME.data, end ? FLAG.endStream : 0, stream, envelope);
}

/** Writes the header blocks of one connection's gRPC calls: the first names all fields, the later ones refer to them in 6 bytes. */
export class HeaderBlocks {
  readonly #first: Buffer;
  #used = false;

  constructor(path: string) {
    // Static table: 3 `:method: POST`, 6 `:scheme: http`, 4 `:path`, 1 `:authority`, 31 `content-type`.
    const literal = (index: number, value: string): Buffer => Buffer.concat([Buffer.from([0x40 | index]), text(value)]);
    this.#first = Buffer.concat([
      Buffer.from([0x83, 0x86]),
      literal(4, path),
      literal(1, 'a'),
      literal(31, 'application/grpc'),
      Buffer.from([0x40]),
      text('te'),
      text('trailers'),
    ]);
  }

  next(): Buffer {
    if (this.#used) return AGAIN;
    this.#used = true;
    return this.#first;
  }
}

/** Dynamic entries, the newest first: 62 te, 63 content-type, 64 :authority, 65 :path. */
const AGAIN = Buffer.from([0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length > 126) throw new Error('too long for one byte of length');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}
