import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type Expression, expressionsOf } from '../../tools/expressions.ts';

/*
 * Every regular expression of `src` takes linear time, whatever it is given: each is run over texts as long as the longest
 * that come from outside (a head is 16 KiB, a body or an SSE event 64 KiB) and made of its own characters.
 */

/** Characters of a head, and of what a slow expression is tried with again. */
const HEAD = 16_384;
const MORE = 32_768;
/** Processor time that a linear expression never needs for a head, and a quadratic one always for `MORE`: a linear one takes less than a twentieth of either, a quadratic one three times the second. */
const SUSPECT_MS = 15;
const SLOW_MS = 250;

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

function cpuMs(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** The first text over which an expression takes more than linear time; undefined: none of those tried. */
function slowOver(each: Pick<Expression, 'source' | 'flags'>): string | undefined {
  const expression = new RegExp(each.source, each.flags.includes('g') ? each.flags : `${each.flags}g`);
  for (const beginning of BEGINNINGS) {
    for (const pump of pumpsOf(each)) {
      for (const end of ['', '\u0001']) {
        const text = (length: number): string => beginning + pump.repeat(length / pump.length) + end;
        const head = text(HEAD);
        if (cpuMs(() => void head.replaceAll(expression, '')) < SUSPECT_MS) continue;
        const more = text(MORE);
        if (cpuMs(() => void more.replaceAll(expression, '')) > SLOW_MS) return `${JSON.stringify(beginning)} and ${JSON.stringify(pump)} again and again`;
      }
    }
  }
  return undefined;
}

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

describe('an expression over outside text takes linear time', () => {
  const unique = [...new Map(all.map((each) => [`/${each.source}/${each.flags}`, each])).entries()];
  test.each(unique)('%s', (_shown, each) => {
    expect(slowOver(each)).toBeUndefined();
  });
});

test.each(['\\s*;\\s*charset="?utf-8"?\\s*$', '=+$', '([\\d.]+)(d|h|ms|us|m|s)', '"(?:[^"\\\\]|\\\\.)*"', '[.:\\s]+$', '\\{([^}]*)\\}'])(
  'the search finds that /%s/ takes quadratic time',
  (source) => {
    expect(slowOver({ source, flags: '' })).toBeDefined();
  },
);

test('expressions made at run time are made of constants of their own file', () => {
  const made = files.flatMap((name) =>
    [...readFileSync(new URL(name, folder), 'utf8').matchAll(/new RegExp\((.*)\)/g)].map(([, from]) => `${name}: ${from?.replaceAll('$' + '{', '#{')}`),
  );
  expect(made).toEqual([
    'config/quantity.ts: DURATION_PATTERN',
    'config/route-leaves.ts: `^header (#{FIELD})$`',
    'config/route-leaves.ts: `^path (#{NAME})$`',
    'config/route-leaves.ts: `^query (#{NAME})$`',
  ]);
});
