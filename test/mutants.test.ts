import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { removed, unseen } from './sim/rules.ts';

/*
 * Which rules of the protocol each of the two proofs needs: taken out, the simulation (`npm run sim`) or the fault runner (`npm run faults`)
 * has to complain. test/sim/rules.test.ts and test/faults/faults.test.ts show what the table says of them.
 */

interface Row {
  /** `caught`: shown by test/sim/rules.test.ts. */
  readonly simulation: 'caught' | 'survives';
  /** By client logs, or by a reload that does not end. `caught`: when this was last measured, as the table says. */
  readonly faults: 'caught' | 'survives';
  /** A test that fails without the rule, where the simulation does not. */
  readonly test?: string;
}

interface Table {
  readonly measured: string;
  readonly mutants: Readonly<Record<string, Row>>;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const { mutants } = JSON.parse(readFileSync(`${root}test/mutants.json`, 'utf8')) as Table;
const rows = Object.entries(mutants);
const named = (which: (row: Row) => boolean) => rows.filter(([, row]) => which(row)).map(([name]) => name);

test('Every rule that can be taken out has its row in the table, and every row a rule', () => {
  expect(Object.keys(mutants).sort()).toEqual(['deaf', ...removed.map(({ name }) => name), ...unseen.map(({ name }) => name)].sort());
});

test('The simulation is said to catch just those that it is tried with', () => {
  expect(named(({ simulation }) => simulation === 'caught').sort()).toEqual(removed.map(({ name }) => name).sort());
});

test('What the simulation does not catch is caught by a test that is named, or by the fault runner', () => {
  for (const [name, row] of rows) {
    if (row.simulation === 'caught') continue;
    expect(row.faults === 'caught' || row.test !== undefined, name).toBe(true);
    if (row.test !== undefined) expect(existsSync(`${root}${row.test}`), row.test).toBe(true);
  }
});

test('An owner that decides past its slots is caught by both', () => {
  for (const name of ['late-50ms', 'late-1s']) expect(mutants[name]).toEqual({ simulation: 'caught', faults: 'caught' });
  expect(mutants['deaf']?.faults).toBe('caught');
});

test('The counts that CONTRIBUTING.md tells are those of the table', () => {
  const simulation = named((row) => row.simulation === 'caught').length;
  const faults = named((row) => row.faults === 'caught').length;
  const sentence = `Of ${rows.length} mutants the simulation catches ${simulation}, the fault runner ${faults}`;
  expect(readFileSync(`${root}CONTRIBUTING.md`, 'utf8')).toContain(sentence);
});
