import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { COMMANDS, dispatch } from '../../src/cli/cli.ts';
import { fakeWorld } from './world.ts';

async function completion(...args: string[]) {
  const world = fakeWorld();
  const code = await dispatch(['completion', ...args], world);
  return { code, out: world.out(), err: world.err() };
}

/** What bash offers for the last of these words. */
async function offered(...words: string[]): Promise<readonly string[]> {
  const { out } = await completion('bash');
  const script = `${out}\nCOMP_WORDS=(sluice "$@")\nCOMP_CWORD=$#\n_sluice\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['--norc', '-eu', '-c', script, 'bash', ...words], { encoding: 'utf8' })
    .split('\n')
    .filter((each) => each !== '');
}

test('bash completes every command, and the flags of each', async () => {
  expect(await offered('')).toEqual([...Object.keys(COMMANDS), 'help']);
  expect(await offered('pau')).toEqual(['pause']);
  expect(await offered('pause', 'llm', '--')).toEqual(['--address', '--dry-run', '--for', '--help', '--json', '--key', '--reason', '--token-file']);
  expect(await offered('override', 'llm', 'rpm=5/60s', '--f')).toEqual(['--for', '--forgive-debt']);
  expect(await offered('run', '--gro')).toEqual(['--group']);
});

test('bash completes commands below a command', async () => {
  expect(await offered('requests', 're')).toEqual(['redrive']);
  expect(await offered('requests', 'redrive', '--ma')).toEqual(['--max']);
  expect(await offered('keys', 'n')).toEqual(['new']);
  expect(await offered('completion', '')).toEqual(expect.arrayContaining(['bash', 'zsh']));
  expect(await offered('help', 'top')).toEqual(['top']);
});

test('zsh has the same words', async () => {
  const { code, out, err } = await completion('zsh');
  expect([code, err, out.startsWith('#compdef sluice\n'), out.includes('    requests\\ redrive|requests\\ redrive\\ *) choices=(')]).toEqual([
    0,
    '',
    true,
    true,
  ]);
});

test.each([[[]], [['fish']], [['bash', 'zsh']]])('completion %j is called wrongly', async (args) => {
  expect(await completion(...args)).toMatchObject({ code: 64, out: '', err: expect.stringContaining('bash or zsh') });
});

test('completion --help has exit codes and an example', async () => {
  expect((await completion('--help')).out).toMatch(/^Usage: sluice completion bash\|zsh[\s\S]*Exit codes: 0;[\s\S]*Example: /);
});
