import { hostname, userInfo } from 'node:os';
import { expect, test } from 'vitest';
import { holderName } from '../../src/cli/holder-name.ts';

const me = `${userInfo().username}@${hostname()}`;

test('a holder is named for its user, host and command, without the folder and arguments', () => {
  expect(holderName({})).toBe(me);
  expect(holderName({}, '/usr/bin/make')).toBe(`${me}:make`);
});

test('a name that the server would refuse is made fit: no control characters, and 256 bytes', () => {
  expect(holderName({}, 'a\u001b[2Jb')).toBe(`${me}:a?[2Jb`);
  const long = holderName({}, '\u00fc'.repeat(300));
  expect([Buffer.byteLength(long) <= 256, Buffer.byteLength(long) > 254, long.endsWith('\u00fc')]).toEqual([true, true, true]);
});
