import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { automatonOf, slowness } from '../../tools/expression-linear.ts';
import { type Expression, expressionsOf } from '../../tools/expressions.ts';
import { STEPS_MAX, search } from './backtracking.ts';

/*
 * Every regular expression of `src` takes linear time, whatever it is given. tools/expression-linear.ts proves it, and `npm run check`
 * demands it. Here the proof is held against a matcher that counts its steps, over texts made of each expression's own characters.
 */

/** Characters of a text, and of one twice as long. */
const SHORT = 64;
const LONG = 2 * SHORT;
/** Steps over the longer text, as a multiple of those over the shorter: 2 where they are linear, 4 where they are quadratic. */
const GROWTH_MAX = 3;
/** Steps for each character below which nothing grows. */
const FEW = 16;
/** What few expressions go on over, so that matches fail at the end. */
const END = '\u0001\n';

/** Beginnings that lead into the expressions of the protocols. */
const BEGINNINGS = [
  '',
  'application/json',
  'application/a+',
  'Bearer ',
  'for=',
  ';for="',
  '"',
  ';r=0',
  ';r=0.0',
  ';t=1',
  'nats://',
  '1',
  '1h',
  '1.',
  '/a',
  '/{a',
  '[',
  'http://',
  '%',
  'data:',
  'ledger.',
  'Mon, 01 Jan 2024 ',
];

const folder = new URL('../../src/', import.meta.url);
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !name.startsWith('gen'));
const all = files.flatMap((name) => expressionsOf(readFileSync(new URL(name, folder), 'utf8')).map((each) => ({ ...each, name })));

/** What an expression is repeated with: its own characters, some of each class, and pairs of them. */
function pumpsOf({ source }: Pick<Expression, 'source'>): readonly string[] {
  const bare = source.replaceAll(/\\[dDwWsSbBnrt]/g, '').replaceAll(/\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})/g, '');
  const own = [...new Set(bare)].filter((char) => !'()[]{}^$|?*'.includes(char) || source.includes(`\\${char}`)).slice(0, 14);
  const single = [...new Set([...own, ' ', '\t', '0', 'a', 'A', '"', '\\', '.', '-', ';', '%'])];
  return [...single, ...own.flatMap((first) => ['a', '0', ' ', '\\', '"'].map((second) => first + second))];
}

/** The first text over which the steps of an expression grow more than in proportion; undefined: none of those tried. */
function growsOver(each: Pick<Expression, 'source' | 'flags'>): string | undefined {
  const automaton = automatonOf(each.source, each.flags);
  const sticky = each.flags.includes('y');
  for (const beginning of BEGINNINGS) {
    for (const pump of pumpsOf(each)) {
      const steps = (length: number): number => search(automaton, beginning + pump.repeat(length / pump.length) + END, sticky).steps;
      const long = steps(LONG);
      if (long >= STEPS_MAX || (long > FEW * LONG && long > GROWTH_MAX * steps(SHORT)))
        return `${JSON.stringify(beginning)} and ${JSON.stringify(pump)} again and again`;
    }
  }
  return undefined;
}

/** Expressions that take quadratic time, or worse, each in its own way. */
const SLOW = [
  ...['\\s*;\\s*charset="?utf-8"?\\s*$', '=+$', '([\\d.]+)(d|h|ms|us|m|s)', '"(?:[^"\\\\]|\\\\.)*"', '[.:\\s]+$', '\\{([^}]*)\\}'],
  ...['^(a+)+$', '^(a*)*b', '^(a|a)*$', '^a*a*$', '(?:a*b|a)*', '^(?:a?0?)*c', '^(?:a|a0|0)*$', '^a{0,64}a{0,64}$', '^(?:a(?=.*;))*', '^.*-.*-.*$'],
];

test('the regular expressions of the sources are found', () => {
  expect(all.length).toBeGreaterThan(100);
  expect(all.map(({ source }) => source)).toContain('^Bearer +([\\x21-\\x7e]{1,1024})$');
  // As many as a plain search for common forms of use finds, at least.
  for (const name of files) {
    const text = readFileSync(new URL(name, folder), 'utf8');
    const uses = text.match(/(?:\(|= )\/(?![/*])\S.*?\/[a-z]*(?:\.test|\.exec|[,;)])/g)?.length ?? 0;
    expect(all.filter((each) => each.name === name).length, name).toBeGreaterThanOrEqual(uses > 0 ? 1 : 0);
  }
});

test('an expression is told from a division, a comment, a text and a template', () => {
  const sources = (text: string) => expressionsOf(text).map(({ source, flags }) => `${source} ${flags}`);
  expect(sources('a = b / c / d; // /no/\nf(/x[/]y\\//gi)')).toEqual(['x[/]y\\/ gi']);
  expect(sources('const t = `a #{b.replace(/q/, `#{/r/u.test({ s: 1 })}`)} /no/ `; return /z/;'.replaceAll('#', '$'))).toEqual(['q ', 'r u', 'z ']);
  expect(sources('\'/no/\' + "/no/" /* /no/ */ && /yes/y.test(x) ? a[0] / 2 / 3 : 1')).toEqual(['yes y']);
});

const unique = [...new Map(all.map((each) => [`/${each.source}/${each.flags}`, each])).entries()];

describe('an expression over outside text takes linear time', () => {
  test.each(unique)('%s', (_shown, each) => {
    expect({ proof: slowness(each.source, each.flags), search: growsOver(each) }).toEqual({});
  });
});

test.each(SLOW)('the proof finds that /%s/ takes more than linear time, and so does the search', (source) => {
  expect(slowness(source, '')).toMatch(/again and again|in two ways/);
  expect(growsOver({ source, flags: '' })).toBeDefined();
});

test.each(['a+', '^a+$', '^(a+0)+$', '^[^,]*,[^,]*$', ',[^,]*', '(?:a0)*', '^a{1,16}0', '\\d{4}$', '^(?:a0|a)0*$'])(
  'the proof takes /%s/ for linear',
  (source) => {
    expect({ proof: slowness(source, ''), search: growsOver({ source, flags: '' }) }).toEqual({});
  },
);

test.each(['(a)\\1', '(?<=a*)b', '(?<name>a)\\k<name>', 'a)', '[a'])('the proof says that it does not understand /%s/', (source) => {
  expect(slowness(source, '')).toMatch(/^not understood: /);
});

test('the counting matcher finds what the built-in one finds', () => {
  const plain = unique.filter(([, { source, flags }]) => !/\(\?[=!<]|\\b/i.test(source) && !/[myu]/.test(flags));
  expect(plain.length).toBeGreaterThan(80);
  for (const [, { source, flags }] of plain) {
    const automaton = automatonOf(source, flags);
    const expression = new RegExp(source, flags.includes('g') ? flags : `${flags}g`);
    for (const pump of pumpsOf({ source })) {
      for (const text of [pump, pump.repeat(3), `${pump}1.5s`, `/a/${pump}`, `${pump},wait=5`]) {
        const builtIn = [...text.matchAll(expression)].map(({ index, 0: { length } }) => [index, index + length]);
        expect(search(automaton, text).matches, `/${source}/${flags} over ${JSON.stringify(text)}`).toEqual(builtIn);
      }
    }
  }
});

test('the patterns of the published schema take linear time in an editor, too', () => {
  const schema = readFileSync(new URL('../../docs/sluice.schema.json', import.meta.url), 'utf8');
  const patterns = [...new Set([...schema.matchAll(/"pattern": ("(?:[^"\\\n]|\\.)*")/g)].map(([, text = '""']) => JSON.parse(text) as string))];
  expect(patterns.length).toBeGreaterThan(10);
  for (const pattern of patterns) expect(slowness(pattern, 'u'), pattern).toBeUndefined();
});

test('expressions made at run time are made of constants of their own file', () => {
  const made = files.flatMap((name) =>
    [...readFileSync(new URL(name, folder), 'utf8').matchAll(/new RegExp\((.*)\)/g)].map(([, from]) => `${name}: ${from?.replaceAll('$' + '{', '#{')}`),
  );
  expect(made).toEqual([
    'config/envoy-options.ts: `^entry (#{ENTRY})$`',
    "config/envoy-options.ts: `^#{ENTRY}$`), rule: 'Characters that print, no spaces, at most 256.', lengthMax: 256 }",
    'config/route-scalars.ts: `^header (#{FIELD})$`',
    'config/route-scalars.ts: `^path (#{NAME})$`',
    'config/route-scalars.ts: `^query (#{NAME})$`',
    'config/units.ts: DURATION_PATTERN',
  ]);
});
