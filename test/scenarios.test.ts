import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { filled, OPEN, rowsOf, SCENARIO_IDS, SCENARIOS_PAGE, scenarioTests } from '../tools/scenarios.ts';

/* docs/scenarios.md and the tests name each other, both ways. */

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(`${root}${SCENARIOS_PAGE}`, 'utf8');
const tests = scenarioTests(root);

test('the table has every scenario once, in order, with what it demands', () => {
  const rows = rowsOf(page);
  expect(rows.map(({ id }) => id)).toEqual(SCENARIO_IDS);
  for (const { demand } of rows) expect(demand.length).toBeGreaterThan(10);
});

test('every scenario has a test, but for those that are open for a reason', () => {
  expect(SCENARIO_IDS.filter((id) => !tests.has(id))).toEqual(Object.keys(OPEN));
});

test('every test with an id in its title is of a scenario that there is', () => {
  expect([...tests.keys()].filter((id) => !SCENARIO_IDS.includes(id))).toEqual([]);
});

test('the table shows the tests there are, each by file and title: else run `npm run gen`', () => {
  expect(page).toBe(filled(page, tests));
});

test('a title is found in a call of test, it or describe, and as a text that begins with an id; elsewhere an id is no test', () => {
  const found = [...tests].flatMap(([id, all]) => all.map(({ file, title }) => `${id} ${file} ${title}`));
  expect(found).toContain('LN-25 test/config/bad-files.ts LN-25: a wait timeout above its maximum (ttl 120 s, at most 61 s)');
  expect(found).toContain('RQ-14 test/deferred/scenarios.test.ts RQ-14: after %i with Retry-After 7 it is tried again, not before 7 s');
  expect(found.filter((each) => each.includes('test/proxy/listener/abort.test.ts'))).toEqual([]);
});
