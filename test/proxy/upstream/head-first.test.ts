import { expect, test } from 'vitest';
import { HEAD_ONLY, HeadFirst } from '../../../src/proxy/upstream/head-first.ts';

/** What is written of these writes, to a connection with a marked request. */
function written(writes: readonly (string | Uint8Array)[], marked = true): string {
  const first = new HeadFirst();
  first.arm(marked);
  return writes.map((write) => Buffer.from(first.take(write) as string).toString('latin1')).join('');
}

const HEAD = 'POST / HTTP/1.1\r\nhost: h\r\n';

test('the mark, and what frames it, is left out of chunks', () => {
  expect(written([`${HEAD}transfer-encoding: chunked\r\n`, '\r\n1\r\n', HEAD_ONLY, '\r\n5\r\n', 'hello', '\r\n0\r\n\r\n'])).toBe(
    `${HEAD}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  );
  expect(written([`${HEAD}transfer-encoding: chunked\r\n`, '\r\n1\r\n', HEAD_ONLY, '\r\n0\r\n\r\n'])).toBe(
    `${HEAD}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  );
});

test('and out of a length', () => {
  expect(written([`${HEAD}content-length: 6\r\n\r\n`, HEAD_ONLY, 'hello'])).toBe(`${HEAD}content-length: 5\r\n\r\nhello`);
  expect(written([`${HEAD}content-length: 1\r\n\r\n`, HEAD_ONLY])).toBe(`${HEAD}content-length: 0\r\n\r\n`);
});

test('requests without it are not looked at', () => {
  expect(written([`${HEAD}content-length: 5\r\n\r\n`, 'hello'], false)).toBe(`${HEAD}content-length: 5\r\n\r\nhello`);
});

test.each([
  ['a body before a head', [Buffer.from('x')]],
  ['a head without framing', [`${HEAD}\r\n`]],
  ['a length of nothing', [`${HEAD}content-length: 0\r\n\r\n`]],
  ['another byte in place of the mark', [`${HEAD}content-length: 6\r\n\r\n`, Buffer.from([0])]],
  ['another chunk in place of the mark', [`${HEAD}transfer-encoding: chunked\r\n`, '\r\n2\r\n']],
  ['no chunk after the mark', [`${HEAD}transfer-encoding: chunked\r\n`, '\r\n1\r\n', HEAD_ONLY, 'x']],
])('what undici would not write ends the request: %s', (_what, writes) => {
  expect(() => written(writes)).toThrow(/undici/);
});
