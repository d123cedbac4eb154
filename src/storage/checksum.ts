import { crc32 } from 'node:zlib';

/** A stored value is not what was written: a torn write, a bad disk, another hand. Never passed on as data. */
export class CorruptRecord extends Error {
  override readonly name = 'CorruptRecord';
  /** Which record, for the operator: subject or register, and its sequence or revision. */
  readonly record: string;

  constructor(record: string) {
    super(`${record} is damaged: its checksum does not fit. Restore the store from a copy; Sluice does not guess what it said.`);
    this.record = record;
  }
}

const HEAD = 4;

/**
 * `bytes` with a CRC-32 (zlib's polynomial, little-endian, in front) over the record's name and the bytes: a value found under another
 * name is as wrong as a torn one. CRC-32 and not CRC-32C because Node has it built in; both find every burst up to 32 bits.
 */
export function addChecksum(record: string, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(HEAD + bytes.length);
  new DataView(framed.buffer).setUint32(0, checksum(record, bytes), true);
  framed.set(bytes, HEAD);
  return framed;
}

/** The bytes of a framed value, copied. Throws {@link CorruptRecord}. */
export function verifyChecksum(record: string, framed: Uint8Array): Uint8Array {
  if (framed.length < HEAD) throw new CorruptRecord(record);
  const bytes = framed.slice(HEAD);
  const expected = new DataView(framed.buffer, framed.byteOffset, HEAD).getUint32(0, true);
  if (expected !== checksum(record, bytes)) throw new CorruptRecord(record);
  return bytes;
}

function checksum(record: string, bytes: Uint8Array): number {
  return crc32(bytes, crc32(record));
}
