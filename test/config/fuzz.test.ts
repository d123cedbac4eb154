import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { optionPaths } from '../../src/config/docs-table.ts';
import { loadConfig } from '../../src/config/load.ts';
import { parseDuration, parseSize, showDuration, showSize } from '../../src/config/units.ts';
import { BAD_FILES } from './bad-files.ts';

const words = [
  'groups',
  'limits',
  'a',
  'name',
  'rate',
  'window',
  'spacing',
  '5/1s',
  '5s',
  '[',
  ']',
  '{',
  '}',
  ':',
  ': ',
  '- ',
  '\n',
  '\n  ',
  ', ',
  '&x ',
  '*x',
  '"',
  "'",
  '|',
  '>',
  '#',
  '__proto__',
  'listen',
  'api',
  '8080',
  '!!js',
  '%',
  '\t',
  'null',
  '~',
  '0',
  '-1',
  '1e400',
  '.nan',
  'key',
  'keys',
  'parent',
  'share',
  '60%',
  '<<',
  '?',
  '\u0000',
  '\ud800',
];

function check(text: string, env: Readonly<Record<string, string>> = {}): void {
  const loaded = loadConfig({ text, name: 'f.yaml', env, flags: [] });
  if (loaded.kind === 'config') return;
  expect(loaded.mistakes.length).toBeGreaterThan(0);
  const lines = text.split(/\r\n|\n|\r/);
  for (const { source, line = 0, column = 0, problem, remedy } of loaded.mistakes) {
    expect(problem).not.toBe('');
    expect(remedy).not.toBe('');
    if (source !== 'f.yaml') continue;
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines.length + 1);
    expect(column).toBeGreaterThanOrEqual(1);
  }
}

describe('reading never throws, and places every mistake:', () => {
  test('any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => check(text)),
      { numRuns: 500 },
    );
  });

  test('words of the language in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...words), { maxLength: 60 }), (parts) => check(parts.join(''))),
      { numRuns: 1000 },
    );
  });

  test('bad files with a piece cut out or put in', () => {
    const mutated = fc.tuple(fc.constantFrom(...BAD_FILES.map(({ text }) => text)), fc.nat(200), fc.nat(20), fc.constantFrom(...words));
    fc.assert(
      fc.property(mutated, ([text, from, length, word]) => check(text.slice(0, from) + word + text.slice(from + length))),
      { numRuns: 1000 },
    );
  });

  test('any value at any option', () => {
    const paths = optionPaths().map((path) => path.replace('<group>', 'g').replace('<key>', 'k').replace('<class>', 'c'));
    const at = (path: string, value: unknown): unknown => {
      const [first = '', ...rest] = path.split('.');
      const inner = rest.length === 0 ? value : at(rest.join('.'), value);
      return first.endsWith('[]') ? { [first.slice(0, -2)]: [inner] } : { [first]: inner };
    };
    fc.assert(
      fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => check(JSON.stringify(at(path, value)))),
      { numRuns: 1000 },
    );
  });

  test('any variable', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('GROUPS', 'A', 'LIMITS', '0', 'X', 'LISTEN', 'API', 'TLS', '', 'GATEWAY', 'QUEUE'), { maxLength: 6 }),
        fc.string({ maxLength: 20 }),
        (steps, value) => check('groups: { a: { limits: [ { name: x, spacing: 5s } ] } }', { [`SLUICE_${steps.join('_')}`]: value }),
      ),
      { numRuns: 500 },
    );
  });
});

test('a duration reads back as it was shown', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 400 * 86_400_000_000 }), (micros) => parseDuration(showDuration(micros)) === micros));
});

test('a size reads back as it was shown', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (bytes) => parseSize(showSize(bytes)) === bytes));
});

test('a duration is no other text', () => {
  for (const text of ['', '5', 's', '5 s', '+5s', '5S', '1s1s', '1s1m', '1e3s', '.5s', '5.s', '0.0000001s', '5s ', '९s', '99999999999w', 'Infinitys'])
    expect(parseDuration(text), text).toBeUndefined();
});
