import { parseArgs } from 'node:util';
import { simulate } from './world.ts';

/*
 * `npm run sim -- --seed 42` replays one seed; `--seed 1 --seeds 2000` runs many; `--gates` with real gates behind. A
 * failure prints its seed and the first thing that was wrong.
 */

const { values } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, seeds: { type: 'string', default: '1' }, gates: { type: 'boolean', default: false } },
});
const first = Number(values.seed);
const count = Number(values.seeds);
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
  process.stderr.write('sim: --seed and --seeds are whole numbers\n');
  process.exit(2);
}

const began = performance.now();
const sum = { failed: 0, terms: 0, stamps: 0, permits: 0 };
for (let seed = first; seed < first + count; seed++) {
  const verdict = simulate({ seed, gates: values.gates });
  sum.terms += verdict.terms;
  sum.stamps += verdict.stamps;
  sum.permits += verdict.permits;
  if (verdict.complaint !== undefined) {
    sum.failed++;
    process.stdout.write(`seed ${seed}: ${verdict.complaint}\n`);
  }
  if (count === 1) process.stdout.write(`seed ${seed}: hash ${verdict.hash >>> 0}, ${verdict.steps} steps\n`);
  else if ((seed - first + 1) % 100 === 0)
    process.stdout.write(`${seed - first + 1} of ${count} seeds, ${sum.failed} failed, ${Math.round((performance.now() - began) / 1000)} s\n`);
}
process.stdout.write(`${count} seeds, ${sum.failed} failed: ${sum.terms} terms, ${sum.stamps} stamps, ${sum.permits} permits\n`);
process.exitCode = sum.failed === 0 ? 0 : 1;
