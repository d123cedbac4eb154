import type { PermitTag } from '../core/permit.ts';

/** Longest name of a permit: a group of 128, a serial of 11, a proof of 12, a key of 256 bytes in 342 characters, three signs between. */
export const PERMIT_CHARS_MAX = 496;

/** What a permit's name says. */
export interface PermitName {
  readonly group: string;
  readonly serial: number;
  /** undefined: a permit of which nothing is remembered; there is nothing to renew, settle or end. */
  readonly tag: PermitTag | undefined;
  /** Of a permit of which nothing is remembered: shows to whom it was given; absent: given to this process itself. */
  readonly proof?: string | undefined;
  /** The key that comes with a proof, where pushback is by key. */
  readonly key?: string | undefined;
}

const FORM = /^([A-Za-z0-9._-]{1,128})~([0-9a-z]{1,11})(?:~(?:([0-9a-z]{7})([0-9a-z]{7})|([A-Za-z0-9_-]{12})(?:~([A-Za-z0-9_-]{1,342}))?))?$/;

/** The name of a permit, `group~serial~tag` in digits of 36: safe in a URL as it is. The serial carries the low bits of its term. */
export function permitId(group: string, serial: number, tag: PermitTag | undefined): string {
  const name = `${group}~${digits(serial)}`;
  return tag === undefined ? name : `${name}~${word(tag.high)}${word(tag.low)}`;
}

/** The name of a permit of which nothing is remembered: `group~serial~proof`, and `~key` where the key is needed for pushback. */
export function provenPermitId(group: string, serial: number, proof: string, key: string): string {
  const name = `${permitId(group, serial, undefined)}~${proof}`;
  return key === '' ? name : `${name}~${Buffer.from(key).toString('base64url')}`;
}

/** Reads a permit's name; undefined: it is none. */
export function parsePermitId(text: string): PermitName | undefined {
  if (text.length > PERMIT_CHARS_MAX) return undefined;
  const parts = FORM.exec(text);
  if (parts === null) return undefined;
  const serial = Number.parseInt(parts[2] as string, 36);
  if (!Number.isSafeInteger(serial)) return undefined;
  const group = parts[1] as string;
  const proof = parts[5];
  if (proof !== undefined) return { group, serial, tag: undefined, proof, key: Buffer.from(parts[6] ?? '', 'base64url').toString() };
  if (parts[3] === undefined || parts[4] === undefined) return { group, serial, tag: undefined };
  const high = Number.parseInt(parts[3], 36);
  const low = Number.parseInt(parts[4], 36);
  return high > 0xffffffff || low > 0xffffffff ? undefined : { group, serial, tag: { high, low } };
}

/** Pairs of digits of 36. `toString(36)` of what is no small integer takes ten times as long, and every admission has a name. */
const PAIRS = Array.from({ length: 36 ** 2 }, (_, pair) => pair.toString(36).padStart(2, '0'));
const FOUR = 36 ** 4;

/** The last serial's digits but four: those of the next are mostly the same. */
let leading = { number: 0, text: '' };

function digits(serial: number): string {
  const last = serial % FOUR;
  const number = (serial - last) / FOUR;
  if (number === 0) return last.toString(36);
  if (number !== leading.number) leading = { number, text: number.toString(36) };
  return leading.text + four(last);
}

/** Seven digits. */
function word(bits: number): string {
  const last = bits % FOUR;
  const first = (bits - last) / FOUR;
  // At most 2 ** 32: the first digit is 0 or 1.
  return `${first < 36 ** 2 ? 0 : 1}${PAIRS[first % 36 ** 2]}${four(last)}`;
}

function four(number: number): string {
  const last = number % 36 ** 2;
  return `${PAIRS[(number - last) / 36 ** 2]}${PAIRS[last]}`;
}

const POOL_BYTES = 8192;

/** 64 random bits per permit, drawn from a pool: one call for randomness per thousand requests. */
export class PermitTagSource {
  readonly #random: (bytes: number) => Uint8Array;
  #pool = new Uint32Array(0);
  #at = 0;

  /** `random` returns that many bytes that cannot be guessed. */
  constructor(random: (bytes: number) => Uint8Array) {
    this.#random = random;
  }

  /** The next tag; never the same bits twice. */
  next(): PermitTag {
    if (this.#at + 2 > this.#pool.length) {
      // Copied, since an array of bytes may lie at any offset of its buffer.
      this.#pool = new Uint32Array(Uint8Array.from(this.#random(POOL_BYTES)).buffer);
      this.#at = 0;
    }
    const high = this.#pool[this.#at++] as number;
    const low = this.#pool[this.#at++] as number;
    return { high, low };
  }
}
