import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { configTable, optionPaths } from '../../src/config/docs-table.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { RELOADABLE } from '../../src/config/watch.ts';

const file = (name: string) => readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8');

test('docs/sluice.schema.json is what the schema says: else run `npm run gen`', () => {
  expect(JSON.parse(file('docs/sluice.schema.json'))).toEqual(JSON.parse(JSON.stringify(configJsonSchema())));
});

test('docs/configuration.md is what the schema says: else run `npm run gen`', () => {
  expect(file('docs/configuration.md')).toBe(configTable());
});

test('every option has a sentence of its own', () => {
  const rows = configTable()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  expect(rows.length).toBeGreaterThan(70);
  for (const row of rows) expect(row).toMatch(/[.)] \|$/);
});

test('what a reload takes are options', () => {
  for (const path of RELOADABLE) expect(optionPaths().some((each) => each.startsWith(path))).toBe(true);
});
