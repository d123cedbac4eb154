import { createWriteStream, globSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findNatsServer } from '../fakes/nats-binary.ts';
import { type FaultKind, faultKind, NATS_FAULTS, REPLICA_FAULTS } from './fault-kinds.ts';
import { play } from './play.ts';
import { reportOf } from './report.ts';

/*
 * npm run faults -- --faults 60 --seed 7 --nats 3 --only replica
 *
 * Hurts three replicas over NATS while callers ask, and judges what the callers saw. Exit code 1: something that was promised
 * was not kept. `--broken` runs replicas that ignore the end of their slots: then nothing found is the failure.
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
    broken: { type: 'boolean', default: false },
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
  ...{ binary, faults, nats, kinds, faketime, say, logs: folder, broken: values.broken, signal: stop.signal },
  seed: Number(values.seed),
  eachGroup: Number(values.callers),
  write: (line) => void history.write(`${JSON.stringify(line)}\n`),
  ...(values.minutes !== undefined && { msMax: Number(values.minutes) * 60_000 }),
});
for (const line of reportOf(report)) say(line);
if (report.begun < faults) say(`only ${report.begun} of ${faults} faults: time was over, or the run was ended`);
const over = report.violations.some((violation) => violation.includes('permits within'));
const failed = values.broken ? !over : report.violations.length > 0;
process.exitCode = failed || report.begun < faults ? 1 : 0;

function chosen(): readonly FaultKind[] {
  if (values.kinds !== undefined) return values.kinds.split(',').map(faultKind);
  if (values.broken) return ['pause', 'cut', 'cut-up', 'cut-down'];
  const ofNats = NATS_FAULTS.filter((kind) => nats === 3 || kind !== 'nats-leader');
  return values.only === 'replica' ? REPLICA_FAULTS : values.only === 'nats' ? ofNats : [...REPLICA_FAULTS, ...ofNats];
}
