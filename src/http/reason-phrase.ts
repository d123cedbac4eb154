import { STATUS_CODES } from 'node:http';

/** Characters of a phrase at most; a longer one is replaced. */
const CHARS_MAX = 256;

/**
 * Returns the reason phrase to write for a backend's status: its own where that is ASCII text of at most 256 characters
 * (RFC 9112 4: HTAB, SP, VCHAR), else the standard phrase of the status, else ''.
 *
 * A phrase beyond ASCII is never written: undici decodes it as UTF-8, so that its characters do not stand for the bytes the
 * backend sent; written as Latin-1, U+010D U+010A become CR LF, and node refuses U+FFFD by throwing.
 */
export function reasonPhrase(status: number, phrase: string): string {
  return isPlain(phrase) ? phrase : (STATUS_CODES[status] ?? '');
}

function isPlain(phrase: string): boolean {
  if (phrase.length > CHARS_MAX) return false;
  for (let i = 0; i < phrase.length; i++) {
    const code = phrase.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code > 0x7e) return false;
  }
  return true;
}
