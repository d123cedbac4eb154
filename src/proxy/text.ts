/**
 * How bytes from outside become text: the one rule for keys, classes, costs and path names, wherever they stand in a request
 * (docs/forward.md, "Text"). Valid UTF-8 is UTF-8; other bytes are ISO 8859-1, one character each. So a key is the same key
 * in a header, a query, a path, plain HTTP and gRPC.
 */

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const BEYOND_ASCII = /[\u0080-\uffff]/;

/** Returns the text of a header value as node delivers it: one character for each byte. */
export function decodeText(bytes: string): string {
  if (!BEYOND_ASCII.test(bytes)) return bytes;
  try {
    return UTF8.decode(Buffer.from(bytes, 'latin1'));
  } catch {
    return bytes;
  }
}

/** Returns the text of a part of a target without its percent-encoding; an escape that is none stands for itself. */
export function decodeEscapes(text: string): string {
  if (!text.includes('%')) return text;
  return decodeText(bytesOf(text));
}

/** Returns the same for a server that puts U+FFFD in the place of bytes that are no UTF-8. */
export function decodeLossy(text: string): string {
  return Buffer.from(bytesOf(text), 'latin1').toString('utf8');
}

function bytesOf(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_escape, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

/** Returns the first value of a query's member by name, both without their encoding (WHATWG form, `+` is a space); undefined if there is none. */
export function queryValue(query: string, name: string): string | undefined {
  for (const pair of query.split('&')) {
    const mark = pair.indexOf('=');
    if (formText(mark < 0 ? pair : pair.slice(0, mark)) === name) return formText(mark < 0 ? '' : pair.slice(mark + 1));
  }
  return undefined;
}

function formText(text: string): string {
  return decodeEscapes(text.includes('+') ? text.replaceAll('+', ' ') : text);
}
