import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { registeredMetrics } from '../support/fakes/metrics.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(`${root}docs/operations.md`, 'utf8');
const documented = [...new Set([...page.matchAll(/`(sluice_[a-z_]+)`/g)].map(([, name = '']) => name))].sort();

test('operations.md names every metric of ours, and none that is not there', () => {
  const there = registeredMetrics().flatMap(({ name }) => (name.startsWith('sluice_') ? [name] : []));
  expect(there.length).toBeGreaterThan(20);
  expect(documented).toEqual(there.sort());
});

test('every metric is named in one place of the source, whole, so that a search finds it', () => {
  const source = globSync('src/**/*.ts', { cwd: root }).map((file) => readFileSync(root + file, 'utf8'));
  const places = documented.map((name) => ({ name, places: source.reduce((sum, text) => sum + text.split(`'${name}'`).length - 1, 0) }));
  expect(places.filter((each) => each.places !== 1)).toEqual([]);
});
