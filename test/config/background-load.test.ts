import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { loadInBackground, ThreadUnavailable } from '../../src/config/background-load.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { restartRequired } from '../../src/config/watch.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-thread-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sources = (text: string) => ({ text, name: 'f.yaml', env: { SLUICE_LOG_LEVEL: 'warn', HOME: '/' }, flags: [{ name: 'drain.delay', value: '1s' }] });

function loaded(text: string): Config {
  const read = loadConfig(sources(text));
  if (read.kind !== 'config') throw new Error(JSON.stringify(read.mistakes));
  return read.config;
}

/** A thread of its own: what it does after it was given its task. */
function thread(name: string, code: string): { readonly thread: URL } {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, `import { parentPort } from 'node:worker_threads';\n${code}\n`);
  return { thread: pathToFileURL(file) };
}

const groups = (count: number, more: Readonly<Record<number, string>> = {}) =>
  `groups:\n${Array.from({ length: count }, (_, at) => `  g${at}: { limits: [{ name: l, ${more[at] ?? 'window: 5/1m'} }], priority: { classes: { high: 1 } } }\n`).join('')}`;

describe('A configuration that is read in a thread', () => {
  test('is what this thread would read, with flags and variables', async () => {
    const before = loaded(groups(3));
    const text = `revision: 4\n${groups(300, { 2: 'rate: 7/1s, burst: 3', 250: 'concurrency: 5' })}backends: { b: { servers: ["http://127.0.0.1:1"] } }\nroutes: [{ match: { path: /x }, backend: b }]\n`;
    const read = await loadInBackground(sources(text), before);
    expect(read).toEqual(loadConfig(sources(text)));
    if (read.kind === 'config') expect(restartRequired(before, read.config)).toEqual([]);
  });

  test('has the very objects of the groups that did not change, wherever they stand now', async () => {
    const before = loaded(groups(5_000));
    const text = groups(5_000, { 17: 'window: 6/1m' }).replace('  g0: ', '  new: {}\n  g0: ');
    const read = await loadInBackground(sources(text), before);
    if (read.kind !== 'config') throw new Error('mistakes');
    const known = new Set(before.groups);
    expect(read.config.groups.filter((group) => !known.has(group)).map(({ spec }) => spec.name)).toEqual(['new', 'g17']);
    expect(read.config.groups).toEqual(loaded(text).groups);
  });

  test('and is bad has the same mistakes, with their lines', async () => {
    const text = `${groups(2)}  bad: { ttl: { default: 5 } }\n`;
    const read = await loadInBackground(sources(text), loaded(groups(2)));
    expect(read).toEqual(loadConfig(sources(text)));
    expect(read).toMatchObject({ kind: 'mistakes', mistakes: [{ line: 4 }] });
  });
});

describe('A thread', () => {
  const before = loaded(groups(1));

  test.each([
    ['throws', `throw new Error('no luck');`, 'the thread that reads the configuration failed: no luck'],
    ['ends', 'process.exit(3);', 'the thread that reads the configuration failed: it ended with code 3'],
    [
      'names a group that is not in force',
      `parentPort.on('message', () => parentPort.postMessage({ kind: 'groups', groups: [9] })); parentPort.postMessage({ kind: 'config', config: {}, groups: 1 });`,
      'no group 9 is in force',
    ],
  ])('that %s after it began is a clear error', async (name, code, message) => {
    const begun = thread(name.replaceAll(' ', '-'), `parentPort.postMessage({ kind: 'started' });\n${code}`);
    await expect(loadInBackground(sources(groups(1)), before, begun)).rejects.toThrow(message);
  });

  test('that says nothing is ended at its deadline', async () => {
    const silent = thread('silent', `parentPort.postMessage({ kind: 'started' });\nfor (;;) {}`);
    await expect(loadInBackground(sources(groups(1)), before, { ...silent, deadlineMs: 500 })).rejects.toThrow('it took longer than 0.5 s');
  });

  test.each([
    ['is not there', { thread: pathToFileURL(join(folder, 'nowhere.mjs')) }],
    ['cannot be begun', thread('broken', 'this is no JavaScript')],
  ])('that %s is told apart, so that the file is read without it', async (_how, parts) => {
    await expect(loadInBackground(sources(groups(1)), before, parts)).rejects.toThrow(ThreadUnavailable);
  });
});
