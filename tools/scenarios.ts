import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** A test that shows a scenario: its title begins with the scenario's id, or holds it. */
export interface ScenarioTest {
  /** From the root of the repository. */
  readonly file: string;
  /** As it stands in the source. */
  readonly title: string;
}

/** A row of docs/scenarios.md. */
export interface ScenarioRow {
  readonly id: string;
  readonly demand: string;
  /** The third limit instance, as it stands. */
  readonly shown: string;
}

/** The page that lists them. */
export const SCENARIOS_PAGE = 'docs/scenarios.md';

/** Scenarios without a test as yet, each with the reason. It only shrinks: an id whose test is there must leave. */
export const OPEN: Readonly<Record<string, string>> = {};

const ID = '(?:GQ|RQ|LN|TQ)-[1-9]\\d?|X[1-9]\\d?';
const IDS = new RegExp(`\\b(?:${ID})\\b`, 'g');
const LITERAL = /(['"`])((?:\\.|(?!\1)[^\\\n])*)\1/g;
const BEGINS = new RegExp(`^(?:${ID})[:,] `);
const NAMES_A_TEST = /\b(?:test|it|describe)\b[^'"`]*\($|\)\($/;
const ROW = new RegExp(`^\\| (${ID}) \\| (.*?) \\|(.*)\\|$`);

/** Every id there is: GQ-1 to 19, RQ-1 to 17, LN-1 to 25, TQ-1 to 16, X1 to X16. */
export const SCENARIO_IDS: readonly string[] = (
  [
    ['GQ-', 19],
    ['RQ-', 17],
    ['LN-', 25],
    ['TQ-', 16],
    ['X', 16],
  ] as const
).flatMap(([prefix, count]) => Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`));

/** Returns the tests below `test/` by the ids in their titles, in the order of files and lines. */
export function scenarioTests(root: string): ReadonlyMap<string, readonly ScenarioTest[]> {
  const found = new Map<string, ScenarioTest[]>();
  for (const file of globSync('test/**/*.ts', { cwd: root }).sort()) {
    for (const title of titlesIn(readFileSync(`${root}/${file}`, 'utf8'))) {
      for (const id of new Set(title.match(IDS))) found.set(id, [...(found.get(id) ?? []), { file, title }]);
    }
  }
  return found;
}

/** Titles of tests with an id: texts that begin with one, or are what `test`, `it` or `describe` is called with. */
function titlesIn(source: string): readonly string[] {
  const titles: string[] = [];
  for (const line of source.split('\n')) {
    for (const match of line.matchAll(LITERAL)) {
      const [, , text = ''] = match;
      if (text.match(IDS) === null) continue;
      if (BEGINS.test(text) || NAMES_A_TEST.test(line.slice(0, match.index))) titles.push(text);
    }
  }
  return titles;
}

/** Returns the rows of the page. */
export function rowsOf(page: string): readonly ScenarioRow[] {
  return page.split('\n').flatMap((line) => {
    const [, id, demand = '', shown = ''] = ROW.exec(line) ?? [];
    return id === undefined ? [] : [{ id, demand, shown: shown.trim() }];
  });
}

/** Returns the page with the third limit instance of each row as the tests and {@link OPEN} are now. */
export function filled(page: string, tests: ReadonlyMap<string, readonly ScenarioTest[]>): string {
  return page
    .split('\n')
    .map((line) => {
      const [, id, demand] = ROW.exec(line) ?? [];
      return id === undefined ? line : `| ${id} | ${demand} | ${shownFor(id, tests.get(id) ?? [])} |`;
    })
    .join('\n');
}

function shownFor(id: string, tests: readonly ScenarioTest[]): string {
  if (tests.length === 0) return `open: ${OPEN[id] ?? 'no reason is written down'}`;
  return tests.map(({ file, title }) => `[${basename(file)}](../${file}): ${instance(title)}`).join('<br>');
}

/** A title as text of a limit instance. */
function instance(title: string): string {
  return title.replaceAll("\\'", "'").replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('[', '\\[');
}
