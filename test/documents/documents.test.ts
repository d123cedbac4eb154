import { globSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clone, makeClone } from './clone.ts';
import { blocksOf } from './document.ts';
import { Shell, Terminal } from './terminal.ts';

/*
 * Every shell block of the documents is run in order, as printed, in a copy of the repository that has nothing but what the README
 * says: `npm ci` brings the packages. Only ports are others. A document without a server of its own has the one of the README's first section.
 * How a block is run that does not end, and why one is not, stands in a comment before it: `<!-- sh: ... -->` (CONTRIBUTING.md).
 */

const root = fileURLToPath(new URL('../../', import.meta.url));
const documents = ['README.md', 'CONTRIBUTING.md', 'bench/README.md', 'examples/README.md', ...globSync('docs/*.md', { cwd: root }).sort()];
const read = (file: string) => blocksOf(readFileSync(join(root, file), 'utf8'));
const SERVER = 'npm start';
/** Also `npm ci` ends in this time. */
const TERMINAL_MS_MAX = 240_000;
const BLOCK_MS_MAX = 90_000;

let clone: Clone;
const open: Terminal[] = [];
const shells: Shell[] = [];

async function openTerminal(command: string, ready: RegExp): Promise<void> {
  const terminal = new Terminal(clone.ported(command), clone.place);
  open.push(terminal);
  await terminal.ready(ready, TERMINAL_MS_MAX);
}

async function stop(what: string): Promise<void> {
  const stopped = open.filter(({ command }) => command.includes(what));
  expect(stopped.length, `terminals in which ${what} runs`).toBeGreaterThan(0);
  for (const terminal of stopped) {
    await terminal.stop();
    open.splice(open.indexOf(terminal), 1);
  }
}

/** Refusals in what a block wrote: problems of plain HTTP, errors of Connect and grpcurl, events of SSE. */
function refusals(output: string): readonly string[] {
  return output.split('\n').filter((line) => /"status":\d+,.*"reason":|^\{"code":|^event: refused|^ERROR:|^curl: /.test(line));
}

beforeAll(async () => {
  clone = await makeClone();
  process.stdout.write(`grpcurl: ${clone.grpcurl.why}\n`);
}, 300_000);

afterAll(async () => {
  for (const shell of shells) shell.kill();
  for (const terminal of open) {
    terminal.kill();
    await terminal.stop();
  }
  clone?.remove();
});

test('a block that is marked is run as its comment says, and a comment that says nothing known fails', () => {
  const fenced = (comment: string, text = 'a\nb') => blocksOf(`x\n\n<!-- sh: ${comment} -->\n\`\`\`sh\n${text}\n\`\`\`\n`)[0]?.way;
  expect(blocksOf('```sh\na\n```\n')).toEqual([{ line: 2, text: 'a', way: { kind: 'shell' } }]);
  expect(fenced('terminal')).toMatchObject({ kind: 'terminals', commands: ['a\nb'], stop: undefined });
  expect(fenced('terminals; stop: npm start; ready: on port')).toMatchObject({ commands: ['a', 'b'], stop: 'npm start', ready: /on port/ });
  expect(fenced('not run: it needs a cluster')).toEqual({ kind: 'none', why: 'it needs a cluster' });
  expect(() => fenced('somewhere')).toThrow('is not understood');
  expect(() => fenced('terminal; start: x')).toThrow('is not understood');
  expect(() => blocksOf('<!-- sh: terminal -->\n\n```sh\na\n```\n')).toThrow('stands before none');
});

test('the README and docs/clients.md have blocks that are run', () => {
  for (const [file, least] of [
    ['README.md', 10],
    ['docs/clients.md', 2],
  ] as const)
    expect(read(file).filter(({ way }) => way.kind !== 'none').length, file).toBeGreaterThanOrEqual(least);
});

test('the blocks that are not run name scripts that exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly scripts: Readonly<Record<string, string>> };
  const texts = documents.flatMap((file) => read(file).flatMap(({ way, text }) => (way.kind === 'none' ? [text] : [])));
  const named = texts.flatMap((text) => [...text.matchAll(/^npm run ([\w:]+)/gm)].map(([, name = '']) => name));
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
});

describe.each(documents.filter((file) => read(file).length > 0))('%s', (file) => {
  const blocks = read(file);
  const run = blocks.filter(({ way }) => way.kind !== 'none');

  beforeAll(async () => {
    // What an earlier document stored is not this reader's.
    rmSync(join(clone.place.cwd, 'data'), { recursive: true, force: true });
    if (run.length > 0 && run[0]?.way.kind === 'shell') await openTerminal(SERVER, /"event":"serving"/);
    // The commands ask at port 8080 unless they are told another, which documents do not.
    const env = { ...clone.place.env, SLUICE_URL: clone.ported('http://127.0.0.1:8080') };
    shells.push(new Shell({ ...clone.place, env }));
  }, TERMINAL_MS_MAX);

  afterAll(async () => {
    shells.pop()?.kill();
    for (const terminal of open.splice(0)) await terminal.stop();
  });

  for (const { line, text, way } of blocks) {
    const first = text.split('\n')[0];
    if (way.kind === 'none') test.skip(`line ${line} is not run: ${way.why}: ${first}`, () => undefined);
    else
      test(`line ${line}: ${first}`, { timeout: TERMINAL_MS_MAX + BLOCK_MS_MAX }, async () => {
        if (way.kind === 'terminals') {
          if (way.stop !== undefined) await stop(way.stop);
          await Promise.all(way.commands.map((command) => openTerminal(command, way.ready)));
          return;
        }
        const output = await (shells.at(-1) as Shell).run(clone.ported(text), BLOCK_MS_MAX);
        expect(refusals(output), output).toEqual([]);
        // One each 5 s, as the README says of them; the shell starts them one after the other.
        const waits = [...output.matchAll(/"waited":"([\d.]+)s"/g)].map(([, seconds]) => Number(seconds)).sort((a, b) => a - b);
        if (text.includes('/groups/demo/') && text.includes('done; wait'))
          for (const index of [0, 1, 2]) expect(waits[index], output).toBeGreaterThan(5 * index - 2);
      });
  }
});

test('grpcurl itself makes the calls of the documents; where it is not run: it was neither on the PATH nor built by Go, and a stand-in over grpc-js made them', ({
  skip,
}) => {
  if (!clone.grpcurl.real) skip(clone.grpcurl.why);
});
