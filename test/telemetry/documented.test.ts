import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { REFUSAL_STATUS } from '../../src/api/refusal-status.ts';
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

test('errors.md has every reason of a refusal, with the codes that it has on the wire, and none that is not there', () => {
  const errors = readFileSync(`${root}docs/errors.md`, 'utf8');
  const rows = [...errors.matchAll(/^\| `([a-z_]+)` \| (\d{3})(?:, or \d{3})? \| ([A-Z_]+) \|/gm)].map(([, reason, status, code]) => [
    reason,
    Number(status),
    code,
  ]);
  const names: Readonly<Record<string, string>> = { canceled: 'CANCELLED' };
  const there = Object.entries(REFUSAL_STATUS).map(([reason, { http, code }]) => [reason, http, names[code] ?? code.toUpperCase()]);
  expect(rows.toSorted()).toEqual(there.toSorted());
});

test('operations.md names every event of the log', () => {
  const source = globSync('src/**/*.ts', { cwd: root, exclude: ['src/gen/**'] }).map((file) => readFileSync(root + file, 'utf8'));
  const events = source.flatMap((text) =>
    [...text.matchAll(/\b(?:log|deps\.log|#log)\??\.write\(\s*[^,;]{1,60},\s*'([a-z_]+)'/g)].map(([, event = '']) => event),
  );
  expect(new Set(events).size).toBeGreaterThan(50);
  expect([...new Set(events)].filter((event) => !page.includes(`\`${event}\``))).toEqual([]);
});
