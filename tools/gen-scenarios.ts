import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { filled, SCENARIOS_PAGE, scenarioTests } from './scenarios.ts';

// Writes into docs/scenarios.md which test shows which scenario. test/scenarios.test.ts checks that it was run.
const root = fileURLToPath(new URL('..', import.meta.url));
writeFileSync(`${root}${SCENARIOS_PAGE}`, filled(readFileSync(`${root}${SCENARIOS_PAGE}`, 'utf8'), scenarioTests(root)));
