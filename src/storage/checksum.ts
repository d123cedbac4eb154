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

/** Bytes that the checksum takes in front of a value. */
export const CHECKSUM_BYTES = 4;

/**
 * `bytes` with a CRC-32 (zlib's polynomial, little-endian, in front) over the record's name and the bytes: a value found under another
 * name is as wrong as a torn one. CRC-32 and not CRC-32C because Node has it built in; both find every burst up to 32 bits.
 */
export function addChecksum(record: string, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(CHECKSUM_BYTES + bytes.length);
  framed.set(bytes, CHECKSUM_BYTES);
  putChecksum(record, framed);
  return framed;
}

/** Puts the checksum of what follows into the first {@link CHECKSUM_BYTES} of `framed`: as {@link addChecksum}, without a copy. */
export function putChecksum(record: string, framed: Uint8Array): void {
  const sum = checksum(record, framed.subarray(CHECKSUM_BYTES));
  framed[0] = sum;
  framed[1] = sum >>> 8;
  framed[2] = sum >>> 16;
  framed[3] = sum >>> 24;
}

/** The bytes of a framed value, copied. Throws {@link CorruptRecord}. */
export function verifyChecksum(record: string, framed: Uint8Array): Uint8Array {
  if (framed.length < CHECKSUM_BYTES) throw new CorruptRecord(record);
  const bytes = framed.slice(CHECKSUM_BYTES);
  const expected = new DataView(framed.buffer, framed.byteOffset, CHECKSUM_BYTES).getUint32(0, true);
  if (expected !== checksum(record, bytes)) throw new CorruptRecord(record);
  return bytes;
}

function checksum(record: string, bytes: Uint8Array): number {
  return crc32(bytes, crc32(record));
}
