import { createWriteStream, globSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { removed, unseen } from '../sim/rules.ts';
import { findNatsServer } from '../support/fakes/nats-binary.ts';
import { isOfSafety } from './checker.ts';
import { type FaultKind, faultKind, NATS_FAULTS, OVERRUN_FAULTS, REPLICA_FAULTS } from './fault-kinds.ts';
import { mutatedMain } from './mutated.ts';
import { play } from './play.ts';
import { reportOf } from './report.ts';

/*
 * npm run faults -- --faults 60 --seed 7 --nats 3 --only replica
 *
 * Hurts three replicas over NATS while callers ask, and judges what the callers saw. Exit code 1: something that was promised
 * was not kept. `--mutant NAME` runs replicas without one rule of test/sim/rules.ts, or `deaf`, which ignore that they lost their
 * slots: then nothing found is the failure.
 */

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    nats: { type: 'string', default: '1' },
    only: { type: 'string', default: 'all' },
    kinds: { type: 'string' },
    minutes: { type: 'string' },
    callers: { type: 'string', default: '12' },
    mutant: { type: 'string' },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const nats = values.nats === '3' ? 3 : 1;
const [faketime] = globSync('/usr/{lib,lib64,local/lib}/{,*/}faketime/libfaketimeMT.so.1');
const folder = mkdtempSync(join(tmpdir(), 'sluice-faults-'));
const file = join(folder, 'history.jsonl');
const history = createWriteStream(file);
const binary = await findNatsServer('newest');
const kinds = chosen().filter((kind) => kind !== 'wall' || faketime !== undefined);
say(`nats-server ${binary.version}, ${nats} of them; seed ${values.seed}; history and logs in ${folder}`);
if (faketime === undefined) say('faketime is not installed: wall clocks stay as they are (apt-get install faketime)');
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    say(`${signal}: no more faults; callers are served to their end. Once more: at once.`);
    stop.abort();
  });
}
const faults = Number(values.faults);
const report = await play({
  ...{ binary, faults, nats, kinds, faketime, say, logs: folder, main: mutant(), signal: stop.signal },
  seed: Number(values.seed),
  eachGroup: Number(values.callers),
  write: (line) => void history.write(`${JSON.stringify(line)}\n`),
  ...(values.minutes !== undefined && { msMax: Number(values.minutes) * 60_000 }),
});
for (const line of reportOf(report)) say(line);
if (report.begun < faults) say(`only ${report.begun} of ${faults} faults: time was over, or the run was ended`);
const found = report.violations.filter(isOfSafety);
const failed = values.mutant === undefined ? report.violations.length > 0 : found.length === 0;
if (values.mutant !== undefined) say(`mutant ${values.mutant}: ${found.length === 0 ? 'NOT CAUGHT' : `caught, ${found.length} times`}`);
await new Promise((resolve) => history.end(resolve));
// Nothing that a hurt connection left behind keeps the process.
process.exit(failed || report.begun < faults ? 1 : 0);

/** The file that replicas run. */
function mutant(): string | undefined {
  if (values.mutant === undefined) return undefined;
  if (values.mutant === 'deaf') return fileURLToPath(new URL('broken-owner-process.ts', import.meta.url));
  const all = [...removed, ...unseen];
  const found = all.find(({ name }) => name === values.mutant);
  if (found === undefined) throw new Error(`There is no mutant '${values.mutant}': deaf, ${all.map(({ name }) => name).join(', ')}.`);
  return mutatedMain(found, join(folder, 'mutant'));
}

function chosen(): readonly FaultKind[] {
  if (values.kinds !== undefined) return values.kinds.split(',').map(faultKind);
  if (values.mutant !== undefined) return OVERRUN_FAULTS;
  const ofNats = NATS_FAULTS.filter((kind) => nats === 3 || kind !== 'nats-leader');
  return values.only === 'replica' ? REPLICA_FAULTS : values.only === 'nats' ? ofNats : [...REPLICA_FAULTS, ...ofNats];
}
