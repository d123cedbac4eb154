import { expect, test } from 'vitest';
import type { Reference } from '../../src/config/auth-options.ts';
import { resolveKeys, resolveLogin } from '../../src/config/secrets.ts';

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

const NO_LOGIN = { credentials: undefined, user: undefined, password: undefined, token: undefined };

test('the login to NATS is looked up without the white space around it', async () => {
  const password = { from: 'env', env: 'PASSWORD' } as const;
  const { login, mistakes } = await resolveLogin({ ...NO_LOGIN, user: 'me', password }, { ...sources, env: { PASSWORD: 'hunter2\n' } });
  expect([login, mistakes]).toEqual([{ kind: 'user', user: 'me', password: 'hunter2' }, []]);
  expect((await resolveLogin({ ...NO_LOGIN, credentials: { file: '/run/nats.creds' } }, sources)).login).toEqual({
    kind: 'credentials',
    file: '/run/nats.creds',
  });
  expect((await resolveLogin(NO_LOGIN, sources)).login).toEqual({ kind: 'none' });
});

test('a login to NATS that is not there or empty is told, by where it should be', async () => {
  expect((await resolveLogin({ ...NO_LOGIN, token: { from: 'file', file: '/none' } }, sources)).mistakes).toEqual([
    'cluster.token: the file /none is not there, or cannot be read',
  ]);
  expect((await resolveLogin({ ...NO_LOGIN, token: { from: 'env', env: 'EMPTY' } }, { ...sources, env: { EMPTY: '\n' } })).mistakes).toEqual([
    'cluster.token: the variable EMPTY is empty',
  ]);
});
