import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAnyYaml } from '../../src/config/yaml.ts';
import { readPlainYaml } from '../../src/config/yaml-plain.ts';
import { BAD_FILES } from './bad-files.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

const files = ['sluice.yaml', ...readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).map((name) => join('examples', name))]
  .filter((name) => name.endsWith('.yaml') && !name.includes('node_modules'))
  .map((name) => ({ name, text: readFileSync(join(root, name), 'utf8') }));

/** What the plain reader reads, the library reads without a mistake, and as the same. Returns whether it reads it. */
function agree(text: string): boolean {
  const plain = readPlainYaml(text, 'f.yaml');
  if (plain === undefined) return false;
  const mistakes: unknown[] = [];
  const read = parseAnyYaml(text, 'f.yaml', (_where, _path, fault) => void mistakes.push(fault));
  expect({ text, read: plain, mistakes }).toEqual({ text, read, mistakes: [] });
  return true;
}

const PIECES = [
  ...['a: ', 'b:', '- ', '- a: ', '{ ', '}', '[', ']', ', ', ',', ':', ': ', '#', ' # c', '\n', '\n  ', '\n    ', '\n- ', '\n  - ', ' '],
  ...['"x"', "'y'", '"', "'", '1', '007', '1.5', '1e3', '0x1f', '0o7', '1_000', '-3', '+3', '.5', '.inf', 'true', 'False', 'null', '~', 'yes'],
  ...[
    'x y',
    'x:y',
    'x: y',
    'x#y',
    '500/1s',
    '06:00:30',
    '127.0.0.1:80',
    '60%',
    '&x',
    '*x',
    '!t',
    '|',
    '>',
    '?',
    '? ',
    '@',
    '`',
    '%',
    '---',
    '...',
    '\t',
    '\r',
    'ä',
    '<<: ',
  ],
];

describe('what is read without the library is what the library reads:', () => {
  test('all examples', () => {
    expect(files.length).toBeGreaterThan(5);
    for (const { text } of files) agree(text);
  });

  test('files with mistakes', () => {
    for (const { text } of BAD_FILES) agree(text);
  });

  test('examples with something put in, taken out or moved', () => {
    let agreed = 0;
    const edited = fc.tuple(fc.constantFrom(...files), fc.nat(), fc.nat(12), fc.constantFrom('', ...PIECES));
    fc.assert(
      fc.property(edited, ([{ text }, place, length, piece]) => {
        const lines = text.split('\n');
        // Some lines from a group on, so that the change is in what is read and not behind an early mistake.
        const from = place % lines.length;
        const some = lines.slice(from, from + 12).join('\n');
        const at = place % (some.length + 1);
        for (const whole of [some, `a:\n${some}`, text]) if (agree(whole.slice(0, at) + piece + whole.slice(at + length))) agreed++;
      }),
      { numRuns: 600 },
    );
    expect(agreed).toBeGreaterThan(100);
  });

  test('any pieces of YAML', () => {
    let agreed = 0;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }), (pieces) => {
        for (const before of ['', 'a: ', 'a: { b: ', 'a: [', 'a:\n  ', 'a:\n  - ']) if (agree(before + pieces.join(''))) agreed++;
      }),
      { numRuns: 2_000 },
    );
    expect(agreed).toBeGreaterThan(100);
  });
});

test('a file of thousands of groups is read without the library', () => {
  const group = (at: number): string =>
    `  g${at}: { limits: [{ name: rate, rate: 1000/1s, burst: 10 }, { name: slots, concurrency: 1000 }], lease: { default: 1s } } # ${at}\n`;
  expect(agree(`listen: { api: "127.0.0.1:8080" }\ngroups:\n${Array.from({ length: 100 }, (_, at) => group(at)).join('')}`)).toBe(true);
  expect(agree(readFileSync(join(root, 'sluice.yaml'), 'utf8'))).toBe(true);
});

test.each([
  'x: &a 1',
  'x: *a',
  'x: !!int 1',
  'x: |\n  a',
  'x: 1.50',
  'x: -1',
  'x: "a\\n"',
  'x: a\n  b',
  'x:',
  '? a',
  'a: 1\na: 2',
  '%YAML 1.2',
  '---\na: 1',
  'a:\tb',
  'ä: 1',
  '',
])('the library has the word on %j', (text) => expect(readPlainYaml(text, 'f.yaml')).toBeUndefined());
