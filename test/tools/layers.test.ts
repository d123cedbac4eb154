import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fileCirclesOf, undeclared } from '../../tools/layers.ts';

let tree = '';

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'sluice-circles-'));
});

afterEach(() => rmSync(tree, { recursive: true, force: true }));

/** Writes files that import the named others. */
function written(imports: Readonly<Record<string, readonly string[]>>): void {
  for (const [file, targets] of Object.entries(imports)) {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), targets.map((to) => `import type { A } from '${to}';\n`).join(''));
  }
}

test('files that import each other in a circle are found, over type imports and folders too', () => {
  written({ 'a.ts': ['./b.ts'], 'b.ts': ['./c/c.ts'], 'c/c.ts': ['../a.ts', '../leaf.ts'], 'leaf.ts': [], 'above.ts': ['./a.ts'] });
  expect(fileCirclesOf(tree)).toEqual([['a.ts', 'b.ts', 'c/c.ts']]);
});

test('files that import each other one way are no circle', () => {
  written({ 'a.ts': ['./b.ts', './c.ts'], 'b.ts': ['./c.ts'], 'c.ts': [] });
  expect(fileCirclesOf(tree)).toEqual([]);
});

test('a circle that is declared passes, also when a part of it is left', () => {
  const declared = [['a.ts', 'b.ts', 'c.ts']];
  expect(undeclared([['a.ts', 'b.ts', 'c.ts']], declared)).toEqual([]);
  expect(undeclared([['a.ts', 'b.ts']], declared)).toEqual(['c.ts is in no circle any more: take it from DECLARED_CIRCLES in tools/layers.ts']);
});

test('a circle that is new, or that took in another file, is refused with the files along it', () => {
  expect(undeclared([['a.ts', 'b.ts']], [])).toEqual(['files of src import each other in a circle: a.ts, b.ts']);
  expect(undeclared([['a.ts', 'b.ts', 'c.ts']], [['a.ts', 'b.ts']])).toEqual([
    'files of src import each other in a circle: a.ts, b.ts, c.ts; new in a declared one: c.ts',
  ]);
  expect(
    undeclared(
      [['a.ts', 'b.ts', 'c.ts', 'd.ts']],
      [
        ['a.ts', 'b.ts'],
        ['c.ts', 'd.ts'],
      ],
    ),
  ).toEqual(['files of src import each other in a circle: a.ts, b.ts, c.ts, d.ts; new in a declared one: c.ts, d.ts']);
});
