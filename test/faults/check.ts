import { readFileSync } from 'node:fs';
import { judge } from './checker.ts';
import { parseHistory } from './history.ts';
import { reportOf } from './report.ts';

/* node test/faults/check.ts FILE: judges the history of a fault run again. Exit code 1: something that was promised was not kept. */

const [, , file] = process.argv;
if (file === undefined) {
  process.stderr.write('check: FILE is missing\n');
  process.exit(2);
}
const verdict = judge(parseHistory(readFileSync(file, 'utf8')));
process.stdout.write(`${reportOf(verdict).join('\n')}\n`);
process.exitCode = verdict.violations.length > 0 ? 1 : 0;
