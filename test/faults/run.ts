import { createWriteStream, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findNatsServer } from '../fakes/nats-binary.ts';
import { play } from './play.ts';

/*
 * npm run faults -- --faults 60 --seed 7 --nats 3 --only replica
 *
 * Hurts three replicas over NATS while callers ask, and judges what the callers saw. Exit code 1: something was over, doubled,
 * out of line, or never came back; the history is kept.
 */

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    nats: { type: 'string', default: '1' },
    only: { type: 'string', default: 'all' },
    kinds: { type: 'string' },
  },
});

const file = join(mkdtempSync(join(tmpdir(), 'sluice-faults-')), 'history.jsonl');
const history = createWriteStream(file);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const binary = await findNatsServer('newest');
say(`nats-server ${binary.version}, ${values.nats} of them; seed ${values.seed}; history in ${file}`);
const report = await play({
  binary,
  faults: Number(values.faults),
  seed: Number(values.seed),
  nats: values.nats === '3' ? 3 : 1,
  only: values.only as 'all' | 'replica' | 'nats',
  kinds: values.kinds?.split(','),
  write: (line) => void history.write(`${JSON.stringify(line)}\n`),
  say,
});
for (const line of report.text) say(line);
process.exitCode = report.failures.length > 0 ? 1 : 0;
