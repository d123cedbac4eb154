import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { dispatch } from '../../src/cli/cli.ts';
import { loadConfig } from '../../src/config/load.ts';
import { fakeWorld } from './world.ts';

async function keys(...args: string[]) {
  const world = fakeWorld();
  const code = await dispatch(['keys', ...args], world);
  return { code, out: world.out(), err: world.err() };
}

const hash = (key: string) => createHash('sha256').update(key).digest('hex');

test('a new key is printed once, with a line that the file takes', async () => {
  const { code, out } = await keys('new', 'ops-2', '--can', 'read,manage', '--groups', 'llm,1e3', '--key', 'a: b');
  const [, key = ''] = /^key {5}(sluice_[\w-]{43})$/m.exec(out) ?? [];
  const line = out.split('\n').find((each) => each.startsWith('    - ')) ?? '';
  expect([code, out.split(key).length]).toEqual([0, 2]);
  const groups = '{ llm: { limits: [ { name: a, concurrency: 1 } ] }, "1e3": {} }';
  const loaded = loadConfig({ text: `auth:\n  keys:\n${line}\ngroups: ${groups}\n`, name: 'f', env: {}, flags: [] });
  expect(loaded).toMatchObject({
    kind: 'config',
    config: { auth: { keys: [{ name: 'ops-2', sha256: { value: hash(key) }, can: ['read', 'manage'], groups: ['llm', '1e3'], key: 'a: b' }] } },
  });
});

test('two keys are never the same, and --json has one on a line', async () => {
  const made = await Promise.all([keys('new', 'a', '--json'), keys('new', 'a', '--json')]);
  const [one, two] = made.map(({ out }) => JSON.parse(out) as { name: string; key: string; sha256: string });
  expect([one?.name, one?.sha256, one?.key === two?.key]).toEqual(['a', hash(one?.key ?? ''), false]);
});

test.each([
  [[], /write `keys new NAME`/],
  [['old', 'a'], /there is no command "old"/],
  [['new'], /name who holds the key/],
  [['new', 'a', 'b'], /name who holds the key/],
  [['new', '-a'], /Unknown option|not take/],
  [['new', 'a b'], /^sluice keys: name: "a b" is not a name/],
  [['new', 'a', '--can', 'fly'], /can\[0\]: "fly" is none of the words/],
  [['new', 'a', '--groups', 'x,'], /groups\[1\]: /],
])('%j is called wrongly, and makes no key', async (args, why) => {
  expect(await keys(...args)).toEqual({ code: 64, out: '', err: expect.stringMatching(why) });
});

test('keys --help has its flags, exit codes and an example', async () => {
  expect((await keys('--help')).out).toMatch(/^Usage: sluice keys new NAME[\s\S]*Exit codes: 0;[\s\S]*Example: sluice keys new /);
});
