import { isUtf8 } from 'node:buffer';
import { type Report, ValueError, type Where } from '../config/errors.ts';

const LINE_END = 0x0a;
const REMEDY = 'Save the file as UTF-8.';

/** Decodes a file; a mark of its order of bytes is dropped. Returns undefined where it is not text in UTF-8; the first place where it is not is reported. */
export function decodeUtf8(bytes: Uint8Array, source: string, report: Report): string | undefined {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    report({ source, line: 1, column: 1 }, [], new ValueError('the file is UTF-16 or UTF-32, not UTF-8', REMEDY));
    return undefined;
  }
  const nul = bytes.indexOf(0);
  const text = isUtf8(bytes) ? bytes : bytes.subarray(0, validLength(bytes));
  if (nul !== -1 && nul < text.length) report(placeOf(bytes, nul, source), [], new ValueError('the file has a NUL byte: it is not text in UTF-8', REMEDY));
  else if (text.length < bytes.length) report(placeOf(bytes, text.length, source), [], new ValueError('the file is not UTF-8 from here on', REMEDY));
  else return new TextDecoder().decode(bytes);
  return undefined;
}

/** Returns how many bytes come before the first that belong to no character. */
function validLength(bytes: Uint8Array): number {
  let from = 0;
  for (;;) {
    const end = bytes.indexOf(LINE_END, from);
    const line = bytes.subarray(from, end === -1 ? bytes.length : end + 1);
    if (!isUtf8(line)) return from + validInLine(line);
    if (end === -1) return bytes.length;
    from = end + 1;
  }
}

function validInLine(line: Uint8Array): number {
  // What is not UTF-8 comes back as other bytes; the character in which they differ is the first that is not.
  const again = new TextEncoder().encode(new TextDecoder('utf-8', { ignoreBOM: true }).decode(line));
  const differs = line.findIndex((byte, index) => byte !== again[index]);
  // The beginning of U+FFFD, cut off, comes back whole: then none differs, and the line ends amid a character.
  const before = differs === -1 ? line : line.subarray(0, differs);
  const whole = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(before, { stream: true });
  return Buffer.byteLength(whole);
}

/** Returns the line and column of a byte; all before it is UTF-8. */
function placeOf(bytes: Uint8Array, at: number, source: string): Where {
  let line = 1;
  let begin = 0;
  for (let end = bytes.indexOf(LINE_END); end !== -1 && end < at; end = bytes.indexOf(LINE_END, begin)) {
    line++;
    begin = end + 1;
  }
  return { source, line, column: new TextDecoder().decode(bytes.subarray(begin, at)).length + 1 };
}
