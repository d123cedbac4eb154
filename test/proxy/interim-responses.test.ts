import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { INTERIM_BYTES_MAX, InterimFilter } from '../../src/proxy/interim-responses.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n';
const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nab';

/** What passes of these pieces. */
function passed(pieces: readonly string[]): string {
  const filter = new InterimFilter();
  return pieces.map((piece) => filter.take(Buffer.from(piece, 'latin1')).toString('latin1')).join('');
}

describe('a 100 Continue', () => {
  test.each([
    ['none', ANSWER, ANSWER],
    ['one', CONTINUE + ANSWER, ANSWER],
    ['several', CONTINUE + CONTINUE + ANSWER, ANSWER],
    ['one among others', HINTS + CONTINUE + HINTS + ANSWER, HINTS + HINTS + ANSWER],
    ['one without a phrase, after an empty line', `\r\nHTTP/1.1 100\r\n\r\n\r\n${ANSWER}`, ANSWER],
    ['one of HTTP/1.0 with bare line ends', `HTTP/1.0 100 x\n\n${ANSWER}`, ANSWER],
    ['what is no HTTP', 'SSH-2.0-x\r\n', 'SSH-2.0-x\r\n'],
    ['another protocol', `HTTP/1.1 101 Sure\r\n\r\n${CONTINUE}`, `HTTP/1.1 101 Sure\r\n\r\n${CONTINUE}`],
    ['no number', `HTTP/1.1 1x0 A\r\n\r\n${CONTINUE}`, `HTTP/1.1 1x0 A\r\n\r\n${CONTINUE}`],
  ])('is taken out, wherever the bytes are cut: %s', (_what, bytes, expected) => {
    for (let at = 0; at <= bytes.length; at++) expect(passed([bytes.slice(0, at), bytes.slice(at)])).toBe(expected);
    expect(passed([...bytes])).toBe(expected);
  });

  test('what cannot be one is not held back', () => {
    for (const start of ['S', 'HTTQ', 'HTTP/1.1 2', 'HTTP/1.1 12x']) expect(passed([start])).toBe(start);
  });

  test('is looked for again once the next request is sent', () => {
    const filter = new InterimFilter();
    expect(filter.take(Buffer.from(ANSWER)).toString()).toBe(ANSWER);
    filter.arm();
    expect(filter.take(Buffer.from(CONTINUE + ANSWER)).toString()).toBe(ANSWER);
  });
});

describe('a connection', () => {
  test('whose 1xx do not end is ended after 64 KiB, in linear time', async () => {
    const stream = new PassThrough({ highWaterMark: 1 << 20 });
    new InterimFilter().attach(stream as unknown as Socket);
    const failed = new Promise<Error>((resolve) => stream.once('error', resolve));
    stream.on('readable', () => {
      while (stream.read() !== null);
    });
    for (let bytes = 0; bytes <= INTERIM_BYTES_MAX; bytes += CONTINUE.length) stream.write(CONTINUE);
    expect((await failed).message).toContain('65536 bytes of 1xx');
  });
});
