import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { COMMANDS, dispatch } from '../../src/cli/cli.ts';
import { configArguments } from '../../src/cli/config-flags.ts';
import { fakeWorld } from './world.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-commands-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function sluice(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const world = fakeWorld(env);
  const code = await dispatch(args, world);
  return { code, out: world.out(), err: world.err() };
}

const GOOD = file(
  'good.yaml',
  'revision: 7\ngroups:\n  p: { limits: [ { name: all, concurrency: 9 } ] }\n  a: { enforce: false, parent: { group: p }, limits: [ { name: rpm, rate: 5/1s, scope: key } ] }\n  c: {}\n',
);
const BAD = file('bad.yaml', 'revision: x\ngroups:\n  a: { limit: [] }\n');

describe('sluice', () => {
  test('says its version', async () => expect(await sluice(['--version'])).toEqual({ code: 0, out: '1.2.3\n', err: '' }));

  test('alone, and with help, lists every command', async () => {
    const { code, out } = await sluice([]);
    expect(code).toBe(0);
    for (const name of Object.keys(COMMANDS)) expect(out).toContain(`  sluice ${name} `);
    expect((await sluice(['help'])).out).toBe(out);
    expect((await sluice(['--help'])).out).toBe(out);
  });

  test('says the nearest command to one that is not there', async () => {
    expect(await sluice(['chekc'])).toEqual({
      code: 2,
      out: '',
      err: 'There is no command "chekc". Did you mean check? `sluice help` lists those there are.\n',
    });
    expect((await sluice(['constructor'])).code).toBe(2);
  });

  test.each(Object.keys(COMMANDS))('every command answers --help: %s', async (name) => {
    expect(await sluice([name, '--help'])).toMatchObject({ code: 0, err: '', out: expect.stringContaining('Usage: ') as string });
    expect((await sluice(['help', name])).code).toBe(0);
  });
});

describe('sluice check', () => {
  test('sums up a good file', async () => {
    expect(await sluice(['check', GOOD])).toEqual({
      code: 0,
      out: `${GOOD} is good: revision 7, 3 groups\n  p: all (concurrency)\n  a: rpm (rate per key); under p; shadow\n  c: no limits\n`,
      err: '',
    });
  });

  test('tells every mistake of a bad one, with its line', async () => {
    const { code, out, err } = await sluice(['check', BAD]);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err.split('\n')).toEqual([
      `${BAD}:1:11: revision: "x" is not a whole number. Take 0 to 9007199254740991, without quotes or a unit.`,
      `${BAD}:3:8: groups.a: there is no option "limit" here. Did you mean limits?`,
      '2 mistakes',
      '',
    ]);
  });

  test('counts flags and variables as serve would', async () => {
    expect((await sluice(['check', GOOD, '--drain.grace=3'])).err).toContain('flag --drain.grace: drain.grace: 3 is not a duration');
    expect((await sluice(['check', GOOD], { SLUICE_DRAIN_GRACE: '3' })).err).toContain('environment SLUICE_DRAIN_GRACE');
    expect((await sluice(['check', '--revision=8', '--config', GOOD])).out).toContain('revision 8');
  });

  test('says that a file is not there', async () => {
    expect(await sluice(['check', join(folder, 'none.yaml')])).toMatchObject({ code: 1, err: expect.stringContaining('cannot be read: ENOENT') as string });
  });

  test('reads the file that serve would read when none is named', async () => {
    expect((await sluice(['check'], { SLUICE_CONFIG: GOOD })).out).toContain(`${GOOD} is good`);
    expect((await sluice(['check'])).out).toContain('sluice.yaml is good: revision 1');
  });

  test.each([[[GOOD, BAD]], [[GOOD, '--drain.grace']]])('is called wrongly: %j', async (args) => {
    expect(await sluice(['check', ...args])).toMatchObject({ code: 2, err: expect.stringContaining('Usage: sluice check [FILE]') as string });
  });
});

describe('sluice serve', () => {
  test('does not start with a bad file, and tells its mistakes', async () => {
    expect(await sluice(['serve', '--config', BAD])).toMatchObject({ code: 1, err: expect.stringContaining(':1:11: revision:') as string });
    expect(await sluice(['serve'], { SLUICE_CONFIG: BAD })).toMatchObject({ code: 1, err: expect.stringContaining(':1:11: revision:') as string });
  });

  test.each([[['more']], [['--log.level']]])('is called wrongly: %j', async (args) => {
    expect(await sluice(['serve', ...args])).toMatchObject({ code: 2, err: expect.stringContaining('Usage: sluice serve') as string });
  });
});

describe('arguments of a command that reads the configuration', () => {
  test('take a value behind = or apart', () => {
    expect(configArguments(['--config', 'f', '--store', 'memory', '--drain.grace=5s', '--listen.api', '-1'], true)).toMatchObject({
      config: 'f',
      flags: [
        { name: 'store', value: 'memory' },
        { name: 'drain.grace', value: '5s' },
      ],
      bare: expect.arrayContaining(['listen.api']) as string[],
    });
  });

  test('behind = only, where the command has arguments of its own', () => {
    expect(configArguments(['--store', 'memory', '--a.b=c=d'], false)).toMatchObject({
      flags: [{ name: 'a.b', value: 'c=d' }],
      positionals: ['memory'],
      bare: ['store'],
    });
  });
});
