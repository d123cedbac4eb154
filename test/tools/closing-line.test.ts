import { expect, test } from 'vitest';
import type { TestModule } from 'vitest/node';
import { ClosingLine } from '../../tools/closing-line.ts';

/** A module as the reporter sees it. */
function moduleOf(tests: readonly { readonly name: string; readonly state: string; readonly note?: string }[], errors = 0): TestModule {
  const cases = tests.map(({ name, state, note }) => ({ fullName: name, result: () => ({ state, note }) }));
  return { errors: () => Array.from({ length: errors }), children: { allSuites: () => [], allTests: () => cases } } as unknown as TestModule;
}

const MODULES = [
  moduleOf([
    { name: 'one', state: 'passed' },
    { name: 'two', state: 'skipped', note: 'haproxy is not installed' },
  ]),
  moduleOf(
    [
      { name: 'three', state: 'failed' },
      { name: 'four', state: 'skipped' },
    ],
    1,
  ),
];

test('the end of a run lists every test that was skipped, however it is named, with its reason', () => {
  expect(new ClosingLine().linesOf(MODULES, [])).toEqual(['left out: two (haproxy is not installed)', 'left out: four', '1 passed, 2 failed']);
});

test('the end of a run of tests that were asked for by name lists none of the others', () => {
  const line = new ClosingLine();
  line.onInit({ config: { testNamePattern: /one/ } } as never);
  expect(line.linesOf(MODULES, [{ message: 'outside every test' }])).toEqual(['1 passed, 3 failed']);
});
