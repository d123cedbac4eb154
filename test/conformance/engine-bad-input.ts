/** Bytes that must reach no handler, and the statuses an engine may answer. */
export interface BadFraming {
  readonly name: string;
  readonly bytes: string;
  readonly statuses: readonly number[];
}

/** What is no host, or a host to some and another one to others. */
const BAD_HOSTS: readonly string[] = [
  'user@h',
  'h..',
  '.h',
  'a..h',
  'h:x',
  'h:65536',
  'h:1:2',
  'h/x',
  'h\\x',
  'h?x',
  'h#x',
  'h x',
  'h%2eexample',
  '127.1',
  '0x7f000001',
  '2130706433',
  '::1',
  '[::1',
  '[fe80::1%25eth0]',
  '[127.0.0.1]',
  'caf\xc3\xa9',
  `${'h'.repeat(64)}.example`,
  `${'h.'.repeat(128)}h`,
];

const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n';

/**
 * Framing whose end is in doubt, and heads that are not HTTP (RFC 9112 section 6). Each must be refused by closing; what is
 * hidden behind it must never be served. uWebSockets.js answers 505 or nothing where it has no better word.
 */
export const BAD_FRAMING: readonly BadFraming[] = [
  bad('Content-Length and Transfer-Encoding', post('Content-Length: 5\r\nTransfer-Encoding: chunked', `0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('two Content-Lengths that differ', post('Content-Length: 5\r\nContent-Length: 0', HIDDEN), 400, 505),
  bad('two Content-Lengths that agree', post('Content-Length: 0\r\nContent-Length: 0', HIDDEN), 400),
  bad('a list as Content-Length', post('Content-Length: 5, 5', HIDDEN), 400),
  bad('a signed Content-Length', post('Content-Length: +5', HIDDEN), 400),
  bad('a hexadecimal Content-Length', post('Content-Length: 0x5', HIDDEN), 400),
  bad('a negative Content-Length', post('Content-Length: -1', HIDDEN), 400),
  bad('an empty Content-Length', post('Content-Length:', HIDDEN), 400),
  bad('a Content-Length beyond all numbers', post('Content-Length: 99999999999999999999', HIDDEN), 400, 413),
  bad('an unknown Transfer-Encoding', post('Transfer-Encoding: xchunked', HIDDEN), 400, 411, 501),
  bad('identity', post('Transfer-Encoding: identity', HIDDEN), 400, 411, 501),
  bad('gzip, chunked', post('Transfer-Encoding: gzip, chunked', `0\r\n\r\n${HIDDEN}`), 400, 411, 501),
  bad('chunked twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', `0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('chunked, then identity', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', `0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('an empty Transfer-Encoding beside a Content-Length', post('Transfer-Encoding:\r\nContent-Length: 0', HIDDEN), 400, 411),
  bad('Transfer-Encoding on HTTP/1.0', `POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`, 400, 411, 505),
  bad('a chunk size that is no number', post('Transfer-Encoding: chunked', `g\r\n0123456789abcdef\r\n0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('a bare LF after a chunk size', post('Transfer-Encoding: chunked', `3\nabc\r\n0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('chunk data without its CRLF', post('Transfer-Encoding: chunked', `3\r\nabcd0\r\n\r\n${HIDDEN}`), 400, 411),
  bad('a request hidden in a trailer', post('Transfer-Encoding: chunked', `0\r\nbad trailer\r\n${HIDDEN}`), 400, 411, 505),
  bad('chunks over the bound', post('Transfer-Encoding: chunked', `${'1f4\r\n'.concat('x'.repeat(500), '\r\n').repeat(3)}0\r\n\r\n`), 411, 413),
  bad('two Hosts', `GET /x HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n${HIDDEN}`, 400),
  bad('no Host', `GET /x HTTP/1.1\r\n\r\n${HIDDEN}`, 400),
  ...BAD_HOSTS.map((host) => bad(`the Host ${JSON.stringify(host.slice(0, 40))}`, `GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n${HIDDEN}`, 400)),
  bad('an unknown method', `BREW /x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 405, 501),
  bad('a method with other letters', `G@T /x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 405, 501, 505),
  bad('a method in lower case', `get /x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 405, 501, 505),
  bad('TRACE', `TRACE /x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 405, 501),
  bad('CONNECT', 'CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n', 400, 405, 501, 505),
  bad('a fragment in the target', `GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400),
  bad('bytes beyond ASCII in the target', `GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400),
  bad('DEL in the target', `GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400),
  bad('another authority than Host', `GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 505),
  bad('a target without a slash', `GET x HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 505),
  bad('no version', `GET /x\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 505),
  bad('HTTP/2.0 in a request line', `GET /x HTTP/2.0\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 505),
  bad('no HTTP at all', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n', 400, 405, 505),
  bad('an empty field name', `GET /x HTTP/1.1\r\nHost: h\r\n: v\r\n\r\n${HIDDEN}`, 400),
  bad('a space before the colon', `GET /x HTTP/1.1\r\nHost: h\r\nX : v\r\n\r\n${HIDDEN}`, 400),
  bad('a folded line', `GET /x HTTP/1.1\r\nHost: h\r\nX: v\r\n w\r\n\r\n${HIDDEN}`, 400),
  bad('NUL in a field', `GET /x HTTP/1.1\r\nHost: h\r\nX: v\0w\r\n\r\n${HIDDEN}`, 400),
  bad('a bare CR in a field', `GET /x HTTP/1.1\r\nHost: h\r\nX: v\rw\r\n\r\n${HIDDEN}`, 400),
  bad('a head that is too large', `GET /x HTTP/1.1\r\nHost: h\r\n${`X: ${'v'.repeat(1_000)}\r\n`.repeat(20)}\r\n`, 431),
  bad('a head that does not end in time', 'GET /x HTTP/1.1\r\nHost: h\r\nX: ', 408),
  bad('nothing at all in time', '', 408),
];

function bad(name: string, bytes: string, ...statuses: number[]): BadFraming {
  return { name, bytes, statuses };
}

function post(fields: string, rest: string): string {
  return `POST /x HTTP/1.1\r\nHost: h\r\n${fields}\r\n\r\n${rest}`;
}
