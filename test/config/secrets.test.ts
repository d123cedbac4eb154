import { expect, test } from 'vitest';
import type { Reference } from '../../src/config/auth-options.ts';
import { resolveKeys } from '../../src/config/secrets.ts';

const HASH = 'ab'.repeat(32);

const sources = {
  env: { GOOD: `${HASH.toUpperCase()}\n`, BAD: 'hunter2' },
  readFile: async (path: string) => {
    if (path !== '/run/key') throw new Error('ENOENT');
    return `${'cd'.repeat(32)}  -\n`;
  },
};

function key(name: string, sha256: Reference) {
  return { name, sha256, can: ['acquire'] as const, groups: undefined, key: undefined, classes: undefined };
}

test('a hash is taken from the file, a variable, or another file', async () => {
  const { keys, mistakes } = await resolveKeys(
    [key('a', { from: 'here', value: 'ef'.repeat(32) }), key('b', { from: 'env', env: 'GOOD' }), key('c', { from: 'file', file: '/run/key' })],
    sources,
  );
  expect(mistakes).toEqual([]);
  expect(keys.map(({ sha256 }) => sha256)).toEqual(['ef'.repeat(32), HASH, 'cd'.repeat(32)]);
});

test('every one that is not to be had is told, and none of what was found instead', async () => {
  const { mistakes } = await resolveKeys(
    [key('a', { from: 'env', env: 'NONE' }), key('b', { from: 'env', env: 'BAD' }), key('c', { from: 'file', file: '/none' })],
    sources,
  );
  expect(mistakes).toEqual([
    'auth.keys[0].sha256 (a): the variable NONE is not there, or cannot be read',
    'auth.keys[1].sha256 (b): the variable BAD does not hold 64 hex digits',
    'auth.keys[2].sha256 (c): the file /none is not there, or cannot be read',
  ]);
});

test('two keys of one hash are told, wherever it came from', async () => {
  const { mistakes } = await resolveKeys([key('a', { from: 'here', value: HASH }), key('b', { from: 'env', env: 'GOOD' })], sources);
  expect(mistakes).toEqual(['auth.keys: b has the same hash as another key; give each its own']);
});
