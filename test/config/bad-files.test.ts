import { describe, expect, test } from 'vitest';
import { type ConfigError, formatError, MISTAKES_MAX } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { FILE_BYTES_MAX } from '../../src/config/yaml.ts';
import { BAD_FILES } from './bad-files.ts';

function mistakesOf(text: string): readonly ConfigError[] {
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  return loaded.kind === 'mistakes' ? loaded.mistakes : [];
}

describe('a bad file is refused, with the place of each mistake:', () => {
  test.each(BAD_FILES.map((file) => [file.name, file] as const))('%s', (_name, { text, mistakes }) => {
    const found = mistakesOf(text).map((mistake) => [`${mistake.line}:${mistake.column} ${mistake.path}`, formatError(mistake)] as const);
    expect(found.map(([at]) => at)).toEqual(mistakes.map(([at]) => at));
    for (const [index, [, says]] of mistakes.entries()) expect(found[index]?.[1]).toContain(says);
  });

  test('there are at least sixty of them, each with another name', () => {
    expect(new Set(BAD_FILES.map(({ name }) => name)).size).toBeGreaterThanOrEqual(60);
  });
});

describe('a file that asks for too much is refused at once:', () => {
  test('aliases of aliases that stand for a billion values', () => {
    const levels = Array.from(
      { length: 10 },
      (_, level) => `a${level}: &a${level} [ ${Array.from({ length: 10 }, () => (level === 0 ? 'x' : `*a${level - 1}`)).join(', ')} ]`,
    );
    expect(mistakesOf(levels.join('\n')).map((mistake) => mistake.problem)).toContain('aliases stand for more than 100000 values');
  });

  test('a file of more than 4 MiB', () => {
    expect(mistakesOf(`# ${'x'.repeat(FILE_BYTES_MAX)}`)).toMatchObject([
      { line: 1, column: 1, problem: `the file has more than ${FILE_BYTES_MAX} characters` },
    ]);
  });

  test('brackets a hundred thousand deep', () => {
    const [mistake] = mistakesOf(`groups: ${'['.repeat(100_000)}`);
    expect(mistake?.line).toBe(1);
    expect(mistake?.problem).toContain('nested deeper than 64 levels');
  });

  test('maps sixty-five deep', () => {
    expect(mistakesOf(`groups: ${'{ a: '.repeat(65)}1${' }'.repeat(65)}`).map((mistake) => mistake.problem)).toContain('nested deeper than 64 levels');
  });

  test('a thousand mistakes are cut at the bound', () => {
    const text = `groups:\n${Array.from({ length: 1000 }, (_, index) => `  g${index}: { nothing: 1 }\n`).join('')}`;
    expect(mistakesOf(text)).toHaveLength(MISTAKES_MAX);
  });
});

test('one mistake reads as file:line:column path: problem. remedy', () => {
  const [mistake] = mistakesOf('drain:\n  grace: 20\n');
  expect(mistake && formatError(mistake)).toBe('f.yaml:2:10: drain.grace: 20 is not a duration. Give it a unit: 20s or 20ms.');
});

test('a key that stands in place of its hash is not repeated in the message', () => {
  const [mistake] = mistakesOf('auth: { keys: [ { name: x, sha256: hunter2 } ] }');
  expect(mistake && formatError(mistake)).not.toContain('hunter2');
});
